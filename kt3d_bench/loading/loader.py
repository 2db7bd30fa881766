"""From shards to batches on the training device: the order of samples, label hiding, one warp, exact resume.

Shapes: B batch, J joints, as in ``loading.batches``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kt3d_bench.data.reader import ShardSet
from kt3d_bench.errors import ArtefactError, UsageError
from kt3d_bench.loading.assembly import Assembly, assembly
from kt3d_bench.loading.augment import Augmentation, Draws, Placement, place
from kt3d_bench.loading.batches import UnlabelledBatch
from kt3d_bench.loading.clips import Clip, clip_frames
from kt3d_bench.loading.finish import Crops, finish, from_shrunk
from kt3d_bench.loading.images import ImageStore, crop_boxes
from kt3d_bench.loading.views import simultaneous
from kt3d_bench.supervision import Grant

IntArray = npt.NDArray[np.int64]
_AHEAD = 2
"""Batches that are decoded while one is used."""


@dataclass(frozen=True, eq=False)
class _Coming:
    """A batch whose images are being decoded."""

    number: int
    indices: IntArray
    """(B,) samples of the batch, in the middle of their clips."""
    frames: IntArray
    """(B T,) all frames of their clips, or views of their groups; ``indices`` where the batch holds neither."""
    placement: Placement
    assembly: Assembly
    decoding: Sequence[Future[None]]

    def complete(self) -> _Coming:
        """Wait for the images; errors of decoding are raised here."""
        for part in self.decoding:
            part.result()
        return self


class EndlessLoader:
    """What the loaders of stored and of generated samples share: settings, augmentation, and the place in an endless
    order. ``part_mirror``: part id -> id in a mirrored image, ``None`` where the card of ``name`` does not say."""

    def __init__(
        self,
        modalities: Sequence[str],
        name: str,
        part_mirror: Sequence[int] | None,
        batch_size: int,
        input_px: int,
        seed: int,
        augmentation: Augmentation | None,
        device: torch.device | str,
        rank: int,
        world: int,
    ) -> None:
        self._modalities = tuple(modalities)
        self._batch_size, self._input_px, self._seed = batch_size, input_px, seed
        if augmentation is not None and "depth" not in self._modalities:
            augmentation = replace(augmentation, body_scale=0.0)
        self._augmentation = augmentation
        self._device = torch.device(device)
        self._rank, self._world = rank, world
        self._delivered = 0
        self._part_mirror: IntArray | None = None
        if "parts" in self._modalities and augmentation is not None and augmentation.flip:
            if part_mirror is None:
                raise UsageError(
                    "the card does not say which parts are left and right, so part images cannot be mirrored",
                    where=name,
                    hint="add part_mirror to the dataset's card (and prepare shards again), or augment without flip",
                )
            self._part_mirror = np.asarray(part_mirror, np.int64)

    def _identity(self) -> dict[str, Any]:
        """Return what decides the order of samples."""
        return {"batch_size": self._batch_size * self._world, "seed": self._seed}

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the endless order, as plain data."""
        return {**self._identity(), "delivered": self._delivered}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where ``state`` was taken. ``ArtefactError`` when it was taken with other data or settings,
        which have another order of samples."""
        for name, value in self._identity().items():
            if state.get(name) != value:
                raise ArtefactError(
                    f"the saved order of samples has {name} {state.get(name)!r}, this run has {value!r}",
                    where="loader state",
                    hint="resume with the same data, settings and versions, or start a new run",
                )
        self._delivered = int(state["delivered"])

    def _positions(self, number: int) -> IntArray:
        """Return (B,) places in the endless order that are this rank's share of batch ``number``."""
        return (number * self._batch_size + np.arange(self._batch_size, dtype=np.int64)) * self._world + self._rank

    def _draws(self, epochs: IntArray, indices: IntArray) -> Draws:
        if self._augmentation is None:
            return Draws.none(len(indices))
        return self._augmentation.draw(self._seed, epochs, indices)


class Loader(EndlessLoader):
    """Batches of one split.

    ``shuffle=True``: iterating never ends. Epoch after epoch, each a fresh permutation that depends on (seed, epoch)
    alone, is laid end to end, and batch b of ``world`` ranks takes the next ``world * batch_size`` samples of that
    stream, every world-th of them for each rank. Iteration continues where the last one stopped; ``state_dict`` says
    where. ``shuffle=False``: one pass in order over this rank's samples, the last batch perhaps smaller.

    ``labelled=False`` yields ``UnlabelledBatch`` and reads images and crop cameras, nothing else.
    ``labelled=True`` yields ``LabelledBatch`` with what ``grant`` allows (``None`` = everything).
    ``clip``: each sample brings the frames around it (``loading.clips``), all augmented like it: (B T, ...) instead of
    (B, ...). ``views``: instead, each sample brings those of other cameras (``loading.views``), and samples whose
    instant too few saw are left out. Neighbours come from ``indices`` too; ``only``: those of them that have a clip.
    ``detections_px`` (N, J, 2): joints that were found in the stored crops, to be handed on. ``asks``: see ``Stage``.
    ``modalities`` may be empty: labels and cameras only. ``augmentation=None`` augments nothing. ``indices``:
    the samples, (N,) ascending numbers in the split; ``None`` = all. ``limit`` keeps the first so many of a fixed
    shuffle of them, in file order.

    Raises ``UsageError`` for clips that the samples do not make, for a modality the shards lack, or an augmentation
    that mirrors part ids of shards whose manifest does not say which parts are left and right.
    """

    def __init__(
        self,
        shards: ShardSet,
        modalities: Sequence[str],
        *,
        batch_size: int,
        input_px: int,
        seed: int = 0,
        grant: Grant | None = None,
        labelled: bool = True,
        augmentation: Augmentation | None = None,
        shuffle: bool = False,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world: int = 1,
        indices: IntArray | None = None,
        limit: int | None = None,
        only: IntArray | None = None,
        clip: Clip | None = None,
        views: int | None = None,
        detections_px: npt.NDArray[np.float32] | None = None,
        asks: Sequence[str] = (),
        cache_bytes: int = 1 << 30,
        workers: int | None = None,
    ) -> None:
        shards.require(modalities)
        if batch_size < 1 or not 0 <= rank < world or (limit is not None and limit < 1):
            raise UsageError(f"impossible batch size {batch_size}, limit {limit} or rank {rank} of {world}")
        name, mirror = f"shards of {shards.manifest.dataset}", shards.manifest.part_mirror
        super().__init__(modalities, name, mirror, batch_size, input_px, seed, augmentation, device, rank, world)
        self._shards, self._grant, self._labelled, self._shuffle = shards, grant, labelled, shuffle
        self._chosen = np.arange(len(shards.keys), dtype=np.int64) if indices is None else indices
        self._clip, self._views, self._detections_px, self._asks = clip, views, detections_px, tuple(asks)
        self._frames = None if clip is None else clip_frames(shards.labels, self._chosen, clip)
        if views is not None:
            self._frames = simultaneous(shards.labels, self._chosen, views)
            self._chosen = self._chosen[self._frames[self._chosen, 0] >= 0]
        elif shuffle and self.repeats:
            raise UsageError(
                f"no sample has a neighbour for clips of {clip}",
                where=shards.folder,
                hint="prepare neighbouring frames, or choose another stride",
            )
        if only is not None:
            self._chosen = only
        if limit is not None and limit < len(self._chosen):
            self._chosen = np.sort(np.random.default_rng(0).permutation(self._chosen)[:limit]).astype(np.int64)
        self._store = ImageStore(shards, self._modalities, input_px, cache_bytes=cache_bytes, workers=workers)
        self._boxes_px = crop_boxes(shards.labels.size_px, shards.manifest.crop.margin)

    @property
    def samples(self) -> int:
        """Samples of one epoch, all ranks together."""
        return len(self._chosen)

    @property
    def repeats(self) -> bool:
        """Whether every clip repeats its middle frame, because no sample has a neighbour."""
        if self._clip is None or self._frames is None:
            return False
        return bool((self._frames[self._chosen] == self._chosen[:, None]).all())

    @property
    def needed(self) -> IntArray:
        """Ascending numbers of the samples that one pass of this rank loads, neighbours included."""
        return np.unique(self.frames(self._chosen[self._rank :: self._world]))

    @property
    def workers(self) -> int:
        """Threads that decode."""
        return self._store.workers

    @property
    def batches_per_epoch(self) -> int:
        """Batches, on each rank, that it takes to use every sample at least once."""
        return -(-self.samples // (self._batch_size * self._world))

    def __iter__(self) -> Iterator[UnlabelledBatch]:
        if not self._shuffle:
            yield from (batch for _, batch in self._pass(self._labelled, augmented=True))
            return
        for coming in self._ahead(self._stream(self._delivered), augmented=True):
            self._delivered = coming.number + 1
            yield self._assemble(coming, self._labelled)

    def ordered(self) -> Iterator[tuple[IntArray, UnlabelledBatch]]:
        """Yield (indices into the split, batch without labels) for prediction: each of this rank's samples exactly
        once, in file order, not augmented."""
        yield from self._pass(False, augmented=False)

    def keys(self, number: int) -> list[str]:
        """Return the keys of this rank's samples of batch ``number``, counted from the beginning."""
        _, (_, indices) = next(self._stream(number))
        return [str(key) for key in self._shards.keys[indices]]

    def frames(self, indices: IntArray) -> IntArray:
        """Return the (B T,) samples of the clips or groups of samples ``indices`` (B,); these themselves without."""
        return indices if self._frames is None else self._frames[indices].ravel()

    def close(self) -> None:
        """Stop the decoding threads."""
        self._store.close()

    def _identity(self) -> dict[str, Any]:
        own = {"samples": self.samples, "sample_list": self._shards.sample_list_digest, **super()._identity()}
        own |= {} if self._clip is None else {"clip": list(self._clip)}
        return own if self._views is None else {**own, "views": self._views}

    def _stream(self, start: int) -> Iterator[tuple[int, tuple[IntArray, IntArray]]]:
        """Yield (batch number, (epochs (B,), indices (B,))), endlessly."""
        orders: dict[int, IntArray] = {}
        number = start
        while True:
            epochs, places = np.divmod(self._positions(number), self.samples)
            orders = {
                int(epoch): orders[epoch] if epoch in orders else self._order(int(epoch)) for epoch in set(epochs)
            }
            indices = np.array([orders[epoch][at] for epoch, at in zip(epochs, places, strict=True)], np.int64)
            yield number, (epochs, indices)
            number += 1

    def _order(self, epoch: int) -> IntArray:
        return np.random.default_rng((self._seed, epoch)).permutation(self._chosen)

    def _pass(self, labelled: bool, *, augmented: bool) -> Iterator[tuple[IntArray, UnlabelledBatch]]:
        own = self._chosen[self._rank :: self._world]
        starts = range(0, len(own), self._batch_size)
        parts = (own[start : start + self._batch_size] for start in starts)
        numbered = ((number, (np.zeros_like(part), part)) for number, part in enumerate(parts))
        for coming in self._ahead(numbered, augmented=augmented):
            yield coming.indices, self._assemble(coming, labelled)

    def _ahead(self, plan: Iterator[tuple[int, tuple[IntArray, IntArray]]], *, augmented: bool) -> Iterator[_Coming]:
        """Decode the next batches in the background; a batch that is yielded is complete."""
        waiting: deque[_Coming] = deque()
        for number, (epochs, indices) in plan:
            draws = self._draws(epochs, indices) if augmented else Draws.none(len(indices))
            waiting.append(self._begin(number, indices, draws))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().complete()
        while waiting:
            yield waiting.popleft().complete()

    def _begin(self, number: int, indices: IntArray, draws: Draws) -> _Coming:
        frames = self.frames(indices)
        if self._frames is not None:
            draws = draws.repeated(self._frames.shape[1])
        placement = place(draws, self._boxes_px[frames], self._input_px)
        affine = from_shrunk(placement.affine_px, self._store.shrink[frames])
        sizes, device = self._store.sizes_px[frames], self._device
        batch = assembly(self._modalities, affine, draws.colour, self._input_px, sizes, device)
        decoding = self._store.request(frames, batch) if self._modalities else ()
        return _Coming(number, indices, frames, placement, batch, decoding)

    def _assemble(self, coming: _Coming, labelled: bool) -> UnlabelledBatch:
        found, asks = self._detections_px, self._asks
        crops = Crops.stored(self._shards, coming.frames, labelled=labelled, detections_px=found, asks=asks)
        images, placement = coming.assembly, coming.placement
        grant, mirror, device = self._grant, self._part_mirror, self._device
        return finish(images, crops, placement, grant=grant, part_mirror=mirror, device=device)
