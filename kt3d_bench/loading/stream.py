"""Batches of samples that are generated during training instead of read: the same seed gives the same batches.

A dataset's stream (``DatasetPlugin.stream``) yields sample i as a function of a seed and i alone. Processes draw the
next batches while one is used; each renders on the training device. What they hand over goes through the shrinking,
warp and augmentation of stored samples. Shapes: B batch, as in ``loading.batches``.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch

from kt3d_bench.cores import cores
from kt3d_bench.data.format import FIELD_OF_MODALITY, holds
from kt3d_bench.errors import PluginError, UsageError
from kt3d_bench.geometry.crops import MARGIN
from kt3d_bench.lifeline import require_shared_memory, tie
from kt3d_bench.loading.assembly import assembly
from kt3d_bench.loading.augment import Augmentation, place
from kt3d_bench.loading.batches import UnlabelledBatch
from kt3d_bench.loading.finish import Crops, finish, from_shrunk
from kt3d_bench.loading.images import Decoded, crop_boxes, one_thread_each, shrunk, shrunk_sizes, with_foreground
from kt3d_bench.loading.loader import EndlessLoader, IntArray
from kt3d_bench.plugins import registry
from kt3d_bench.plugins.cards import read_card
from kt3d_bench.plugins.hookspecs import DatasetPlugin
from kt3d_bench.records import Sample

_AHEAD = 3
"""Batches that are generated while one is used."""
_MOST_PROCESSES = 16
_CHUNK = 4
"""Samples that a process generates per task."""


@dataclass(frozen=True)
class Stream:
    """A dataset's endless list of generated samples, with the facts that the manifest of its shards would hold."""

    plugin: DatasetPlugin
    seed: int

    def __post_init__(self) -> None:
        if self.plugin.stream is None:
            offered = [name for name, plugin in registry.datasets().items() if plugin.stream is not None]
            raise UsageError(
                f"dataset '{self.plugin.name}' cannot be generated on the fly",
                where="--source",
                hint=f"these can: {', '.join(offered) or 'none'}; or prepare shards of it: kt3d prepare",
            )

    @property
    def module(self) -> str:
        assert self.plugin.stream is not None
        return self.plugin.stream

    @property
    def version(self) -> int:
        return int(registry.load(f"{self.module}:VERSION"))

    def __len__(self) -> int:
        """Samples that count as one epoch."""
        return int(registry.load(f"{self.module}:EPOCH"))

    @property
    def num_parts(self) -> int:
        return read_card(self.plugin.folder).num_parts

    @property
    def digest(self) -> str:
        """Equal digests give equal samples."""
        text = f"stream {self.plugin.name} version {self.version} seed {self.seed}"
        return hashlib.sha256(text.encode()).hexdigest()

    def require(self, modalities: Sequence[str]) -> None:
        """Raise ``UsageError`` for a modality that the dataset lacks."""
        for name in modalities:
            if not holds(self.plugin.modalities, [name]):
                raise UsageError(
                    f"a stream of '{self.plugin.name}' holds {', '.join(self.plugin.modalities)}, not {name}",
                    where="--source",
                    hint="choose another source",
                )


@dataclass(frozen=True)
class _Task:
    """Consecutive samples to generate: everything that a process needs for it."""

    module: str
    seed: int
    index: int
    count: int
    device: str
    modalities: tuple[str, ...]
    input_px: int
    foreground: str


_Drawn = tuple[Sample, Decoded]
"""A generated sample without its images, and its images shrunk towards the network's input."""


class StreamLoader(EndlessLoader):
    """Endless labelled batches of a stream: batch b of ``world`` ranks takes its next ``world * batch_size`` samples,
    every world-th of them for each rank, as ``Loader`` does with stored ones.

    ``workers``: processes, by default as many as there are cores for each of ``sharing`` ranks; 0 = generate in this
    process, on demand. Raises ``UsageError`` for a modality that the dataset lacks, and for mirrored part images when
    the card does not say which parts are left and right.
    """

    def __init__(
        self,
        stream: Stream,
        modalities: Sequence[str],
        *,
        batch_size: int,
        input_px: int,
        seed: int = 0,
        augmentation: Augmentation | None = None,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world: int = 1,
        workers: int | None = None,
        sharing: int = 1,
    ) -> None:
        stream.require(modalities)
        card = read_card(stream.plugin.folder)
        name, mirror, self._foreground = f"stream of {stream.plugin.name}", card.part_mirror, card.foreground
        super().__init__(modalities, name, mirror, batch_size, input_px, seed, augmentation, device, rank, world)
        self._stream = stream
        self._workers = max(1, min(_MOST_PROCESSES, cores() // sharing)) if workers is None else workers
        self._pool: Any = None

    def __iter__(self) -> Iterator[UnlabelledBatch]:
        waiting: deque[tuple[IntArray, list[Future[list[_Drawn]]]]] = deque()
        number = self._delivered
        ahead = _AHEAD if self._workers else 0
        while True:
            while len(waiting) <= ahead:
                waiting.append(self._begin(number))
                number += 1
            indices, tasks = waiting.popleft()
            drawn = [sample for task in tasks for sample in task.result()]
            self._delivered += 1
            yield self._batch(indices, drawn)

    def keys(self, number: int) -> list[str]:
        """Return the numbers of this rank's samples of batch ``number`` in the stream, counted from the beginning."""
        return [f"generated {index}" for index in self._positions(number)]

    def close(self) -> None:
        """Stop the processes."""
        if self._pool is not None:
            self._pool.shutdown(kill_workers=True)
            self._pool = None

    def _identity(self) -> dict[str, Any]:
        return {"stream": self._stream.digest, **super()._identity()}

    def _begin(self, number: int) -> tuple[IntArray, list[Future[list[_Drawn]]]]:
        indices, stream, device = self._positions(number), self._stream, str(self._device)
        tasks = [
            _Task(stream.module, stream.seed, first, count, device, self._modalities, self._input_px, self._foreground)
            for first, count in _runs(indices, _CHUNK)
        ]
        return indices, [self._submit(task) for task in tasks]

    def _submit(self, task: _Task) -> Future[list[_Drawn]]:
        if not self._workers:
            here: Future[list[_Drawn]] = Future()
            here.set_result(_draw(task))
            return here
        if self._pool is None:
            require_shared_memory()
            from joblib.externals.loky import ProcessPoolExecutor

            self._pool = ProcessPoolExecutor(self._workers, initializer=tie, initargs=(os.getpid(),))
        submitted: Future[list[_Drawn]] = self._pool.submit(_draw_alone, task)
        return submitted

    def _batch(self, indices: IntArray, drawn: Sequence[_Drawn]) -> UnlabelledBatch:
        samples = [sample for sample, _ in drawn]
        cameras = [sample.camera for sample in samples]
        sizes = np.array([camera.size_px for camera in cameras], np.int64)
        draws = self._draws(np.zeros_like(indices), indices)
        placement = place(draws, crop_boxes(sizes, MARGIN), self._input_px)
        shrunk = shrunk_sizes(sizes, MARGIN, self._input_px)
        affine = from_shrunk(placement.affine_px, shrunk / sizes)
        images = assembly(self._modalities, affine, draws.colour, self._input_px, shrunk, self._device)
        for row, (_, decoded) in enumerate(drawn):
            images.take(row, decoded)
        crops = Crops(
            np.stack([camera.intrinsics_px for camera in cameras]),
            np.stack([camera.distortion for camera in cameras]),
            cameras[0].tangential_factor,
            np.stack([sample.joints_px for sample in samples]),
            np.stack([sample.joints_cam_mm for sample in samples if sample.joints_cam_mm is not None]),
            np.stack([camera.rotation for camera in cameras]),
        )
        mirror, device = self._part_mirror, self._device
        return finish(images, crops, placement, grant=None, part_mirror=mirror, device=device)


def _runs(indices: IntArray, longest: int) -> list[tuple[int, int]]:
    """Return (first, count) of the consecutive runs in ascending ``indices``, none longer than ``longest``."""
    runs: list[tuple[int, int]] = []
    for index in indices.tolist():
        first, count = runs[-1] if runs else (-1, longest)
        if index == first + count and count < longest:
            runs[-1] = (first, count + 1)
        else:
            runs.append((index, 1))
    return runs


@cache
def _alone() -> None:
    """Use one thread in this process: the processes share the cores already."""
    torch.set_num_threads(1)
    one_thread_each()


def _draw_alone(task: _Task) -> list[_Drawn]:
    _alone()
    return _draw(task)


def _draw(task: _Task) -> list[_Drawn]:
    samples = registry.load_function(task.module, "samples")
    found = list(samples(task.seed, task.index, task.count, task.device))
    if len(found) != task.count or not all(isinstance(sample, Sample) for sample in found):
        raise PluginError(f"yields {len(found)} samples where {task.count} are wanted", where=f"{task.module}.samples")
    return [_shrunk(sample, task) for sample in found]


def _shrunk(sample: Sample, task: _Task) -> _Drawn:
    every = {name: getattr(sample, field) for name, field in FIELD_OF_MODALITY.items()}
    there = [name for name, image in every.items() if image is not None]
    if not holds(there, task.modalities) or sample.joints_cam_mm is None:
        raise PluginError(f"sample {sample.key} lacks an image or its 3D joints", where=f"{task.module}.samples")
    size = shrunk_sizes(np.array([sample.camera.size_px]), MARGIN, task.input_px)[0].tolist()
    images = with_foreground(task.modalities, there, every.__getitem__, task.foreground)
    return replace(sample, rgb=None, depth_mm=None, parts=None, foreground=None), shrunk(images, task.foreground, size)
