"""Where batches come from: one feed per role, with what the loop must know about it before it is opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from kt3d_bench.data.folders import split_digest
from kt3d_bench.errors import PluginError
from kt3d_bench.loading.batches import UnlabelledBatch
from kt3d_bench.method import Stage

if TYPE_CHECKING:
    from kt3d_bench.data.reader import ShardSet
    from kt3d_bench.supervision import Grant


@dataclass(frozen=True)
class Place:
    """Which process this is, and the device of its batches."""

    device: str = "cpu"
    rank: int = 0
    world: int = 1

    def share_of(self, stage: Stage) -> int:
        """Samples of each of the stage's batches that are this process's. Raises ``PluginError`` when it cannot be
        divided."""
        if stage.batch_size % self.world:
            raise PluginError(
                f"batch size {stage.batch_size} cannot be divided among {self.world} processes",
                where=f"stage '{stage.name}'",
            )
        return stage.batch_size // self.world


class BatchSource(Protocol):
    """Endless batches, in an order that its state describes completely."""

    def __iter__(self) -> Iterator[UnlabelledBatch]:
        """Endless batches, from the present state on."""

    def state_dict(self) -> dict[str, Any]:
        """Plain data: after how many batches we are, and in which order."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where ``state_dict`` was taken."""

    def close(self) -> None:
        """Release threads and memory."""


class Feed(Protocol):
    """One role's training data."""

    @property
    def digest(self) -> str:
        """Digest of the data, and for a target of the grant: equal digests give equal batches."""

    @property
    def samples(self) -> int:
        """Number of samples."""

    def open(self, stage: Stage, role: str, input_px: int, seed: int, place: Place) -> BatchSource:
        """Batches for one stage."""


@dataclass(frozen=True, eq=False)
class ShardFeed:
    """Shards in a role. ``grant`` is ``None`` for roles of which everything may be seen."""

    shards: ShardSet
    grant: Grant | None

    @property
    def digest(self) -> str:
        held = split_digest(self.shards.manifest, self.shards.split)
        if self.grant is None:
            return held
        seen = ["".join("01"[int(bit)] for bit in mask) for mask in (self.grant.mask_2d, self.grant.mask_3d)]
        return f"{held} seen {seen[0]} {seen[1]}"

    @property
    def samples(self) -> int:
        return len(self.shards.keys)

    def open(self, stage: Stage, role: str, input_px: int, seed: int, place: Place) -> BatchSource:
        from kt3d_bench.loading.augment import Augmentation
        from kt3d_bench.loading.loader import Loader

        return Loader(
            self.shards,
            stage.roles[role],
            batch_size=place.share_of(stage),
            input_px=input_px,
            seed=seed,
            grant=self.grant,
            labelled=self.grant is None or self.grant.sees_labels,
            augmentation=Augmentation() if stage.augment else None,
            shuffle=True,
            device=place.device,
            rank=place.rank,
            world=place.world,
        )
