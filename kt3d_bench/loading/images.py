"""Images of a split, decoded in threads, shrunk towards the network's input, and cached within a budget.

Shapes: N samples of the split, B of a batch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from kt3d_bench.cores import cores
from kt3d_bench.data.format import FIELD_OF_MODALITY
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.geometry.foreground import person_depth, silhouette
from kt3d_bench.geometry.reference import surface_reference_mm
from kt3d_bench.loading.augment import BOX_MARGIN

HEADROOM = 1.5
"""Shrunk images keep this many times the resolution of the network's input, for augmentations that enlarge."""


def crop_boxes(size_px: npt.NDArray[Any], margin: float) -> npt.NDArray[np.float64]:
    """(N, 2) width and height of stored crops -> (N, 4) x0, y0, x1, y1 px: the square around the person in each.

    The person's box is derived from labels and is not read: what a network sees depends on the stored image and its
    camera only. A crop is a square of ``margin`` times the box's longer side around the box (``geometry.crops``), so
    its middle is the square around that box, to within a pixel or so.
    """
    size = np.asarray(size_px, np.float64)
    half = size.max(axis=1, keepdims=True) / margin / 2
    center = (size - 1) / 2
    return np.concatenate([center - half, center + half], axis=1)


@dataclass(frozen=True, eq=False)
class Decoded:
    """The images of one sample, all of one size, perhaps shrunk."""

    images: Mapping[str, npt.NDArray[Any]]
    """Modality -> (H, W, 3) uint8, (H, W) uint16 or (H, W) uint8."""
    surface_mm: float
    """Surface reference of the person in the depth image, NaN without one."""


class Taker(Protocol):
    """What the images of a batch are for; threads may share it."""

    def room(self, row: int, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
        """Return memory that the stored RGB image of a row may be decoded in, until it is taken."""

    def take(self, row: int, decoded: Decoded) -> None:
        """Use the images of a row; their memory is used again afterwards."""


class ImageStore:
    """Images of ``shards`` for a network that reads ``input_px``.

    Decoding runs in ``workers`` threads (JPEG and PNG decoders release the interpreter lock). Decoded samples are kept
    until ``cache_bytes`` are used; later ones are decoded again each time. Beside these, memory does not grow with the
    number of samples seen.
    """

    def __init__(
        self, shards: ShardSet, modalities: Sequence[str], input_px: int, *, cache_bytes: int, workers: int | None
    ) -> None:
        self._shards, self._modalities = shards, tuple(modalities)
        self._foreground = shards.manifest.foreground
        self._budget = cache_bytes
        self._kept: dict[int, Decoded] = {}
        self._lock = threading.Lock()
        self.sizes_px = shrunk_sizes(shards.labels.size_px, shards.manifest.crop.margin, input_px)
        """(N, 2) width and height of the decoded images, shrunk."""
        self.shrink: npt.NDArray[np.float64] = self.sizes_px / np.asarray(shards.labels.size_px, np.float64)
        """(N, 2) x and y scale from the stored crop; px = (crop px + 0.5) * shrink - 0.5."""
        self._surfaces_mm: dict[int, float] = {}
        self.workers = workers or min(8, cores())
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="decode", initializer=one_thread_each)

    def request(self, indices: npt.NDArray[np.int64], taker: Taker) -> Sequence[Future[None]]:
        """Start decoding samples ``indices`` (B,); threads of the store hand each to ``taker``, ``row`` being its place
        in ``indices``. The results of the futures raise what went wrong."""
        shared = iter(list(enumerate(indices.tolist())))
        return [self._pool.submit(self._hand_over, shared, taker) for _ in range(min(self.workers, len(indices)))]

    def close(self) -> None:
        """Stop the threads and drop what is kept."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._kept.clear()

    def _hand_over(self, shared: Iterator[tuple[int, int]], taker: Taker) -> None:
        """Hand over one sample after another from an iterator that threads share, so that they end together."""
        for row, index in shared:
            taker.take(row, self._kept.get(index) or self._load(index, partial(taker.room, row)))

    def _load(self, index: int, room: Callable[[tuple[int, int, int]], npt.NDArray[np.uint8]]) -> Decoded:
        width, height = self._shards.labels.size_px[index].tolist()
        into = room((height, width, 3)) if "rgb" in self._modalities else None
        images = stored(self._shards, index, self._modalities, into)
        decoded = shrunk(images, self._foreground, self.sizes_px[index].tolist(), self._surfaces_mm.get(index))
        self._surfaces_mm[index] = decoded.surface_mm
        size = sum(image.nbytes for image in decoded.images.values())
        with self._lock:
            if size <= self._budget and index not in self._kept:
                self._budget -= size
                own = {name: image.copy() for name, image in decoded.images.items()}
                self._kept[index] = Decoded(own, decoded.surface_mm)
        return decoded


def stored(
    shards: ShardSet, index: int, modalities: Sequence[str], into: npt.NDArray[np.uint8] | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Return modality -> image of one sample of shards; see ``with_foreground``, and for ``into``
    ``format.decode_image``."""
    rule = shards.manifest.foreground
    return with_foreground(
        modalities, shards.modalities, lambda name: shards.image(index, FIELD_OF_MODALITY[name], into), rule
    )


def with_foreground(
    modalities: Sequence[str], there: Collection[str], read: Callable[[str], npt.NDArray[Any]], rule: str
) -> dict[str, npt.NDArray[Any]]:
    """Return modality -> image. A foreground that is not ``there`` is that of the depth image, which is no label, else
    that of the parts.

    ``read`` returns an image by its modality; ``rule`` finds the person in depth images (``geometry.foreground``).
    """
    found = {name: read(name) for name in modalities if name in there}
    if "foreground" in modalities and "foreground" not in there:
        shown = "depth" if "depth" in there else "parts"
        image = found[shown] if shown in found else read(shown)
        found["foreground"] = silhouette(image, rule)
    return found


def shrunk(
    images: Mapping[str, npt.NDArray[Any]], foreground: str, size: Sequence[int], surface_mm: float | None = None
) -> Decoded:
    """Return the images of one sample at (width, height) ``size``, with the person alone in the depth image.

    ``foreground``: rule of ``geometry.foreground`` that finds the person. ``surface_mm``: the surface reference where
    it is known. RGB averages areas; all others take the nearest value, so that none is invented.
    """
    kept = dict(images)
    if "depth" in kept:
        kept["depth"] = person_depth(kept["depth"], foreground)
    if surface_mm is None:
        surface_mm = float(surface_reference_mm(kept["depth"])) if "depth" in kept else float("nan")
    return Decoded({name: resized(name, image, (size[0], size[1])) for name, image in kept.items()}, surface_mm)


def shrunk_sizes(size_px: npt.NDArray[Any], margin: float, input_px: int) -> npt.NDArray[np.int64]:
    boxes = crop_boxes(size_px, margin)
    side = np.maximum((boxes[:, 2:] - boxes[:, :2]).max(axis=1), 1.0)
    shrink = HEADROOM * input_px / (BOX_MARGIN * side)
    shrunk = np.maximum(np.rint(np.asarray(size_px) * shrink[:, None]), 1)
    return np.where(shrink[:, None] >= 1, size_px, shrunk).astype(np.int64)


def one_thread_each() -> None:
    """Keep OpenCV from starting threads of its own: those that decode share the cores already."""
    import cv2

    cv2.setNumThreads(1)


def resized(modality: str, image: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """Resize to (width, height): averaging areas for RGB, taking the nearest value for depth and parts."""
    import cv2

    if image.shape[1::-1] == size:
        return image
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if modality == "rgb" else cv2.INTER_NEAREST_EXACT)
