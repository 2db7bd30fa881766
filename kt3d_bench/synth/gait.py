"""How far and how high walking and running move the pelvis, computed from the leg angles of one cycle.

The foot on the ground does not slide, so the pelvis moves forward as that foot moves backward under it. The pelvis
follows a smooth curve, so fast gaits leave the ground.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kt3d_bench.synth.body import mean_body
from kt3d_bench.synth.rig import RIG_INDEX, FloatArray

_SOLES = (("ankle", (-44.0, 0.0, -72.0)), ("ball", (0.0, 0.0, -25.0)), ("ball", (60.0, 0.0, -20.0)))


@dataclass(frozen=True, eq=False)
class Gait:
    """One cycle, sampled at equal phases. Lengths in leg lengths."""

    advance: FloatArray
    """(S + 1,) distance covered since the cycle's start."""
    lift: FloatArray
    """(S + 1,) height of the lowest sole above the floor."""

    def travel(self, phase: FloatArray) -> FloatArray:
        """Return the distance since phase 0 at (F,) phases, counted in cycles."""
        cycles = np.floor(phase)
        within: FloatArray = np.interp(phase - cycles, np.linspace(0, 1, len(self.advance)), self.advance)
        total: FloatArray = cycles * self.advance[-1] + within
        return total

    def height(self, phase: FloatArray) -> FloatArray:
        """Return the lift at (F,) phases, counted in cycles."""
        lifted: FloatArray = np.interp(phase % 1.0, np.linspace(0, 1, len(self.lift)), self.lift)
        return lifted


def gait_of(rotations: FloatArray, *, period_s: float, speed: float | None = None) -> Gait:
    """Return the gait of one cycle, given as ``rotations`` (S, R, 3, 3) at equal phases.

    ``speed`` (leg lengths per second): a run, which moves forward evenly; ``None``: a walk, moved by the standing foot.
    """
    count = len(rotations)
    body = mean_body()
    points, frames = body.joints(rotations)
    leg = float(body.leg_mm[0])
    lowest, ahead = [], []
    for side in "lr":
        soles = np.stack(
            [
                points[:, RIG_INDEX[f"{joint}_{side}"]] + frames[:, RIG_INDEX[f"{joint}_{side}"]] @ np.array(point)
                for joint, point in _SOLES
            ],
            axis=1,
        )
        lowest.append(soles[..., 2].min(axis=1))
        ahead.append(points[:, RIG_INDEX[f"ankle_{side}"], 0] * 0.5 + points[:, RIG_INDEX[f"ball_{side}"], 0] * 0.5)
    heights, positions = np.array(lowest), np.array(ahead)
    pelvis = -heights.min(axis=0)
    waves = np.fft.rfft(pelvis)
    waves[3:] = 0
    smooth = np.fft.irfft(waves, count)
    if speed is not None:
        smooth += 0.5 * (pelvis - smooth).max()
    lift = np.maximum(0.0, smooth - pelvis) / leg
    if speed is None:
        stands = 1 / (1 + np.exp((heights[0] - heights[1]) / 6.0))
        backward = positions - np.roll(positions, -1, axis=1)
        steps = (stands * backward[0] + (1 - stands) * backward[1]) / leg
        steps = 0.8 * np.maximum(steps, 0) + 0.2 * max(float(steps.mean()), 0.0)
    else:
        steps = np.full(count, speed * period_s / count)
    return Gait(np.concatenate([[0.0], np.cumsum(steps)]), np.append(lift, lift[0]))
