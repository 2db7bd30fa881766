"""``--source generated``: a role whose samples are generated during training instead of read from shards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kt3d_bench.loading.stream import Stream, StreamLoader
from kt3d_bench.method import Stage
from kt3d_bench.training.feeds import BatchSource, Place
from kt3d_bench.training.sources import GENERATED, Domain


@dataclass(frozen=True, eq=False)
class Streamed:
    """A role's data when it is generated; the counterpart of ``sources.Located``."""

    role: str
    domain: Domain
    shards: Stream

    @property
    def place(self) -> tuple[str, str]:
        """As those of the training split it stands for."""
        return self.domain.dataset, self.domain.training_splits[0]

    def document(self) -> dict[str, Any]:
        """What ``run.yaml`` records of it."""
        stream = self.shards
        return {
            "name": f"{GENERATED}:{self.domain.name}",
            "dataset": self.domain.dataset,
            "benchmark": None,
            "folder": "",
            "split": self.place[1],
            "samples": stream.epoch,
            "manifest_digest": stream.digest,
            "split_digest": stream.digest,
            "origin": "generated",
            "stream": {"version": stream.version, "seed": stream.seed},
        }


@dataclass(frozen=True, eq=False)
class StreamFeed:
    """A stream in a role of which everything may be seen. ``workers``: processes; ``None`` = by the cores here."""

    stream: Stream
    workers: int | None = None

    @property
    def digest(self) -> str:
        return self.stream.digest

    @property
    def samples(self) -> int:
        return self.stream.epoch

    def open(self, stage: Stage, role: str, input_px: int, seed: int, place: Place) -> BatchSource:
        from kt3d_bench.loading.augment import Augmentation

        return StreamLoader(
            self.stream,
            stage.roles[role],
            batch_size=place.share_of(stage),
            input_px=input_px,
            seed=seed,
            augmentation=Augmentation() if stage.augment else None,
            device=place.device,
            rank=place.rank,
            world=place.world,
            workers=self.workers,
        )
