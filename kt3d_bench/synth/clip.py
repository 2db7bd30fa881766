"""A motion without a body: what activities and recordings give, and every body can wear."""

from __future__ import annotations

from dataclasses import dataclass, field

from kt3d_bench.synth.rig import FloatArray


@dataclass(frozen=True, eq=False)
class Clip:
    """Joint rotations over time, and a path in leg lengths so that it fits every body. F frames, R rig joints."""

    rotations: FloatArray
    """(F, R, 3, 3) parent-relative; the root's is its world orientation."""
    travel: FloatArray
    """(F, 2) root x, y in leg lengths."""
    lift: FloatArray
    """(F,) height of the lowest point above the floor, leg lengths."""
    rate_hz: float
    angles_deg: FloatArray | None = field(default=None, repr=False)
    """(F, D) the named angles of a clip that was made from them."""

    def __len__(self) -> int:
        return len(self.rotations)
