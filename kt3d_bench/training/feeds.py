"""Where batches come from: one feed per role, with what the loop must know about it before it is opened."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from kt3d_bench.data.detections import detections_path
from kt3d_bench.data.folders import split_digest
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.errors import PluginError, UsageError
from kt3d_bench.files import file_sha256
from kt3d_bench.progress import Reporter
from kt3d_bench.supervision import Grant
from kt3d_bench.training.joints import joints_for
from kt3d_bench.training.sources import GENERATED, Domain

if TYPE_CHECKING:
    from kt3d_bench.loading.augment import Augmentation
    from kt3d_bench.loading.batches import UnlabelledBatch
    from kt3d_bench.loading.loader import Loader
    from kt3d_bench.loading.stream import Stream
    from kt3d_bench.method import Method, Stage

IntArray = npt.NDArray[np.int64]
OTHER_PEOPLE = 1 << 32
"""Added to a stream's seed: no run's seed is as large, so nobody trains on these people."""


@dataclass(frozen=True)
class Place:
    """Which process this is, and the device of its batches."""

    device: str = "cpu"
    rank: int = 0
    world: int = 1
    sharing: int = 1
    """Processes among which this machine's cores are divided."""

    def share_of(self, stage: Stage) -> int:
        """Return this process's samples of each batch. Raises ``PluginError`` when a batch cannot be divided."""
        if stage.batch_size % self.world:
            problem = f"batch size {stage.batch_size} cannot be divided among {self.world} processes"
            raise PluginError(problem, where=f"stage '{stage.name}'")
        return stage.batch_size // self.world


class BatchSource(Protocol):
    """Endless batches, in an order that its state describes completely."""

    def __iter__(self) -> Iterator[UnlabelledBatch]:
        """Endless batches, from the present state on."""

    def state_dict(self) -> dict[str, Any]:
        """Plain data: after how many batches we are, and in which order."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where ``state_dict`` was taken."""

    def keys(self, number: int) -> list[str]:
        """Names of the samples of this process's batch ``number``, counted from the beginning."""

    def close(self) -> None:
        """Release threads and memory."""


@dataclass(frozen=True, eq=False)
class Looking:
    """Who finds the joints that batches hold, and who is told how far that is."""

    method: Method
    report: Reporter


class Feed(Protocol):
    """One role's training data."""

    @property
    def digest(self) -> str:
        """Digest of the data, and for a target of the grant: equal digests give equal batches."""

    @property
    def samples(self) -> int:
        """Number of samples."""

    @property
    def validates_on(self) -> str:
        """ "unseen" or "seen": whether ``fixed`` gives samples that no stage trains on."""

    def detections_digest(self, name: str) -> str:
        """Digest of the stored detections ``name`` of these samples."""

    def open(
        self, stage: Stage, role: str, input_px: int, seed: int, place: Place, *, looking: Looking | None = None
    ) -> BatchSource:
        """Batches for one stage; ``looking``: where the stage names detections of the role."""

    def fixed(
        self,
        stage: Stage,
        role: str,
        input_px: int,
        device: str,
        views: Sequence[Augmentation],
        samples: int,
        *,
        looking: Looking | None = None,
    ) -> tuple[list[UnlabelledBatch], ...]:
        """Of each view, whole batches of at least so many samples where there are as many, always the same."""


@dataclass(frozen=True, eq=False)
class RoleData:
    """A role's training data: the shards of a split, or samples that are generated during training."""

    domain: Domain
    shards: ShardSet | Stream
    grant: Grant | None = None
    """What may be seen of shards; ``None`` = everything."""
    held_out: int = 0
    """Samples of shards, the last in file order, that are kept out of training."""

    @property
    def split(self) -> str:
        """Generated samples stand for the split that is preferred for training."""
        return self.shards.split if isinstance(self.shards, ShardSet) else self.domain.training_splits[0]

    @property
    def digest(self) -> str:
        if not isinstance(self.shards, ShardSet):
            return self.shards.digest
        held = split_digest(self.shards.manifest, self.shards.split) + self.shards.external
        held += f" without the last {self.held_out}" if self.held_out else ""
        if self.grant is None:
            return held
        seen = ["".join("01"[int(bit)] for bit in mask) for mask in (self.grant.mask_2d, self.grant.mask_3d)]
        return f"{held} seen {seen[0]} {seen[1]}"

    @property
    def samples(self) -> int:
        return len(self.shards) - self.held_out

    @property
    def validates_on(self) -> str:
        return "unseen" if self.held_out or not isinstance(self.shards, ShardSet) else "seen"

    def document(self) -> dict[str, Any]:
        """What ``run.yaml`` records."""
        shards, domain = self.shards, self.domain
        if not isinstance(shards, ShardSet):
            return {
                "name": f"{GENERATED}:{domain.name}",
                "dataset": domain.dataset,
                "benchmark": None,
                "folder": "",
                "split": self.split,
                "samples": self.samples,
                "manifest_digest": shards.digest,
                "split_digest": shards.digest,
                "origin": "generated",
                "stream": {"version": shards.version, "seed": shards.seed},
            }
        return {
            "name": domain.name,
            "dataset": domain.dataset,
            "benchmark": domain.benchmark.id if domain.benchmark else None,
            "folder": str(shards.folder),
            "url": shards.url,
            "split": self.split,
            "samples": self.samples,
            "held_out": self.held_out,
            "manifest_digest": shards.digest,
            "split_digest": split_digest(shards.manifest, shards.split),
            "labels_digest": shards.labels_digest,
            "sample_list_digest": shards.sample_list_digest,
            "origin": shards.origin,
        }

    def detections_digest(self, name: str) -> str:
        path = detections_path(self._stored(name), name)
        return file_sha256(path) if path.is_file() else ""

    def open(
        self, stage: Stage, role: str, input_px: int, seed: int, place: Place, *, looking: Looking | None = None
    ) -> BatchSource:
        from kt3d_bench.loading.augment import Augmentation
        from kt3d_bench.loading.stream import StreamLoader

        options: dict[str, Any] = {
            "batch_size": place.share_of(stage),
            "input_px": input_px,
            "seed": seed,
            "augmentation": Augmentation() if stage.augment else None,
            "device": place.device,
            "rank": place.rank,
            "world": place.world,
        }
        if not isinstance(self.shards, ShardSet):
            self._require_single_images(stage, role)
            return StreamLoader(self.shards, stage.roles[role], sharing=place.sharing, **options)
        chosen = np.arange(self.samples)
        options |= self._beside(stage, role, looking, place.device, chosen)
        return self._loader(self.shards, stage.roles[role], chosen, shuffle=True, **options)

    def fixed(
        self,
        stage: Stage,
        role: str,
        input_px: int,
        device: str,
        views: Sequence[Augmentation],
        samples: int,
        *,
        looking: Looking | None = None,
    ) -> tuple[list[UnlabelledBatch], ...]:
        from kt3d_bench.loading.stream import StreamLoader

        size = stage.batch_size
        count = size * math.ceil(samples / size)
        options: dict[str, Any] = {"batch_size": size, "input_px": input_px, "device": device}
        loader: Callable[..., Loader | StreamLoader]
        if isinstance(self.shards, ShardSet):
            first, end = (self.samples, len(self.shards)) if self.held_out else (0, self.samples)
            options["limit"] = count
            loader = partial(self._loader, self.shards, stage.roles[role], np.arange(first, end))
            needed = loader(**options, **self._beside(stage, role)).needed if looking else None
            options |= self._beside(stage, role, looking, device, needed)
        else:
            self._require_single_images(stage, role)
            others = replace(self.shards, seed=self.shards.seed + OTHER_PEOPLE)
            loader = partial(StreamLoader, others, stage.roles[role], workers=0)

        def seen(view: Augmentation) -> list[UnlabelledBatch]:
            with closing(loader(augmentation=view, **options)) as batches:
                return list(islice(batches, count // size))

        return tuple(seen(view) for view in views)

    def _beside(
        self,
        stage: Stage,
        role: str,
        looking: Looking | None = None,
        device: str = "cpu",
        only: IntArray | None = None,
    ) -> dict[str, Any]:
        """What a loader of the stage is told beside modalities and sizes; joints are found in samples ``only``."""
        given: dict[str, Any] = {"clip": stage.clip_of(role), "views": stage.views, "asks": stage.asks}
        if looking is not None:
            name = stage.detections[role]
            shards = self._stored(name)
            given["detections_px"] = joints_for(looking.method, name, shards, device, looking.report, only=only)
        return given

    def _stored(self, what: str) -> ShardSet:
        if isinstance(self.shards, ShardSet):
            return self.shards
        problem = f"generated samples have no detections '{what}'"
        where = f"--source {GENERATED}:{self.domain.name}"
        raise UsageError(problem, where=where, hint="prepare shards and train on them")

    def _require_single_images(self, stage: Stage, role: str) -> None:
        if stage.clip_of(role) is not None or stage.views is not None or stage.asks:
            asked = "clips" if stage.clip is not None else "views, keys or extrinsics"
            raise UsageError(
                f"stage '{stage.name}' needs {asked}, and generated samples have no neighbours or names",
                where=f"--source {GENERATED}:{self.domain.name}",
                hint="prepare shards and train on them",
            )

    def _loader(self, shards: ShardSet, modalities: tuple[str, ...], indices: IntArray, **options: Any) -> Loader:
        from kt3d_bench.loading.loader import Loader

        labelled = self.grant is None or self.grant.sees_labels
        return Loader(shards, modalities, grant=self.grant, labelled=labelled, indices=indices, **options)
