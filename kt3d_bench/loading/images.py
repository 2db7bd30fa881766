"""Decoded images of a split: decoded in threads, shrunk towards the network's input, kept while they fit a budget."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.geometry.foreground import person_depth
from kt3d_bench.geometry.reference import surface_reference_mm
from kt3d_bench.loading.augment import BOX_MARGIN
from kt3d_bench.shards.format import FIELD_OF_MODALITY
from kt3d_bench.shards.reader import ShardSet

HEADROOM = 1.5
"""Shrunk images keep this many times the resolution of the network's input, for augmentation that enlarges."""


def crop_boxes(size_px: npt.NDArray[Any], margin: float) -> npt.NDArray[np.float64]:
    """(N, 2) width and height of stored crops -> (N, 4) x0, y0, x1, y1 px: the square around the person in each.

    The person's box is a label in disguise and is not read: what a network sees depends on the stored image and its
    camera alone. A crop is a square of ``margin`` times the box's longer side around the box (``geometry.crops``), so
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
    shrink: npt.NDArray[np.float64]
    """(2,) x and y scale from the stored crop; px = (crop px + 0.5) * shrink - 0.5."""
    surface_mm: float
    """Surface reference of the person in the depth image, NaN without one."""

    @property
    def nbytes(self) -> int:
        return sum(image.nbytes for image in self.images.values())


class ImageStore:
    """Images of ``shards`` for a network that reads ``input_px``: ``request`` samples early, ``collect`` them later.

    Decoding runs in ``workers`` threads (JPEG and PNG decoders release the interpreter lock). Decoded samples are kept
    until ``cache_bytes`` are used; later ones are decoded again each time.
    """

    def __init__(
        self, shards: ShardSet, modalities: Sequence[str], input_px: int, *, cache_bytes: int, workers: int | None
    ) -> None:
        self._shards = shards
        self._modalities = tuple(modalities)
        self._input_px = input_px
        self._foreground = shards.manifest.foreground
        self._boxes_px = crop_boxes(shards.labels.size_px, shards.manifest.crop.margin)
        self._budget = cache_bytes
        self._kept: dict[int, Decoded] = {}
        self._surfaces_mm: dict[int, float] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1), thread_name_prefix="decode")

    def request(self, indices: npt.NDArray[np.int64]) -> list[Decoded | Future[Decoded]]:
        """Start decoding what is not kept."""
        return [self._kept.get(int(i)) or self._pool.submit(self._load, int(i)) for i in indices]

    @staticmethod
    def collect(requested: list[Decoded | Future[Decoded]]) -> list[Decoded]:
        """Wait for a request; errors of decoding are raised here."""
        return [entry if isinstance(entry, Decoded) else entry.result() for entry in requested]

    def close(self) -> None:
        """Stop the threads and drop what is kept."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._kept.clear()

    def _load(self, index: int) -> Decoded:
        images = {name: self._shards.image(index, FIELD_OF_MODALITY[name]) for name in self._modalities}
        if "depth" in images:
            images["depth"] = person_depth(images["depth"], self._foreground)
        surface = self._surfaces_mm.get(index, float("nan"))
        if "depth" in images and index not in self._surfaces_mm:
            surface = self._surfaces_mm[index] = surface_reference_mm(images["depth"])
        width, height = (int(side) for side in self._shards.labels.size_px[index])
        size = self._shrunk_size(index, width, height)
        if size != (width, height):
            images = {name: _resize(name, image, size) for name, image in images.items()}
        decoded = Decoded(images, np.array([size[0] / width, size[1] / height]), surface)
        with self._lock:
            if decoded.nbytes <= self._budget:
                self._budget -= decoded.nbytes if index not in self._kept else 0
                self._kept[index] = decoded
        return decoded

    def _shrunk_size(self, index: int, width: int, height: int) -> tuple[int, int]:
        x0, y0, x1, y1 = (float(edge) for edge in self._boxes_px[index])
        shrink = HEADROOM * self._input_px / (BOX_MARGIN * max(x1 - x0, y1 - y0, 1.0))
        if shrink >= 1:
            return width, height
        return max(1, round(width * shrink)), max(1, round(height * shrink))


def _resize(modality: str, image: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """Averages areas for RGB; depth and parts take the nearest reading, so that none is invented."""
    import cv2

    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if modality == "rgb" else cv2.INTER_NEAREST_EXACT)
