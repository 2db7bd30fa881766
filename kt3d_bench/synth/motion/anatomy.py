"""Whether joints that were found in a recorded skeleton can be a person's: a test of the roles, by lengths.

Proportions are those of Drillis and Contini (Body segment parameters, 1966; in Winter, Biomechanics and Motor Control
of Human Movement), as fractions of stature: thigh 0.245, shank 0.246, upper arm 0.186, forearm 0.146, from shoulder to
shoulder 0.259. Limits are wide, since characters are stylised and every program sets joints elsewhere (one of CMU's
skeletons has an upper arm of 2.24 forearms); a twist bone taken for a knee or an elbow halves or doubles a ratio.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from kt3d_bench.synth.rig import FloatArray

_POSES = 50
_OPPOSED = -0.5
"""Cosine between the way from right to left and the feet's left, in the median pose; about 0.9 for right names."""
ALIKE = (0.8, 1.25)
"""Left over right: both sides of a skeleton are the same."""


@dataclass(frozen=True)
class _Ratio:
    what: str
    limits: tuple[float, float]
    usual: float


THIGH_TO_SHANK = _Ratio("thigh to shank", (0.62, 1.6), 0.245 / 0.246)
UPPER_TO_FOREARM = _Ratio("upper arm to forearm", (0.6, 2.6), 0.186 / 0.146)
ARM_TO_LEG = _Ratio("arm to leg", (0.45, 1.0), (0.186 + 0.146) / (0.245 + 0.246))
SHOULDERS_TO_ARM = _Ratio("distance between the shoulders to arm", (0.3, 1.4), 0.259 / (0.186 + 0.146))
NECK_TO_TRUNK = _Ratio("distance of the neck from the shoulders' middle to trunk", (0.0, 0.55), 0.1)


def contradictions(poses: FloatArray, joints: Mapping[str, int]) -> list[str]:
    """Return what no person has, in sentences; empty where the roles may be right.

    ``poses`` (F, J, 3): the recorded positions, in any unit and axes. Lengths are medians over them, since a skeleton
    at rest may have all bones along one axis. ``joints``: role -> joint, with the twelve limb joints at least.
    """
    some = poses[:: max(1, len(poses) // _POSES)]
    at = {role: some[:, joint] for role, joint in joints.items()}

    def distance(one: FloatArray, other: FloatArray) -> float:
        return float(np.median(np.linalg.norm(one - other, axis=-1)))

    def length(*roles: str) -> float:
        return sum(distance(at[a], at[b]) for a, b in pairwise(roles))

    bones = {
        "thigh": ("hip", "knee"), "shank": ("knee", "ankle"), "upper arm": ("shoulder", "elbow"),
        "forearm": ("elbow", "wrist"),
    }  # fmt: skip
    found: list[str] = []
    mean: dict[str, float] = {}
    for name, roles in bones.items():
        left, right = (length(*(f"{role}_{side}" for role in roles)) for side in "lr")
        mean[name] = (left + right) / 2
        if not ALIKE[0] * right <= left <= ALIKE[1] * right:
            found.append(f"the left {name} is {left / max(right, 1e-9):.2f} times the right one")
    arm, leg = mean["upper arm"] + mean["forearm"], mean["thigh"] + mean["shank"]
    middle = (at["shoulder_l"] + at["shoulder_r"]) / 2
    trunk = distance(middle, (at["hip_l"] + at["hip_r"]) / 2)
    pairs = [
        (THIGH_TO_SHANK, mean["thigh"], mean["shank"]),
        (UPPER_TO_FOREARM, mean["upper arm"], mean["forearm"]),
        (ARM_TO_LEG, arm, leg),
        (SHOULDERS_TO_ARM, length("shoulder_l", "shoulder_r"), arm),
    ]
    if "neck" in at:
        pairs.append((NECK_TO_TRUNK, distance(at["neck"], middle), trunk))
    for ratio, one, other in pairs:
        value = one / max(other, 1e-9)
        if not ratio.limits[0] <= value <= ratio.limits[1]:
            low, high = ratio.limits
            found.append(f"{ratio.what} is {value:.2f} (people: {ratio.usual:.2f}, allowed {low:g} to {high:g})")
    return found + _sides(at)


def _sides(at: Mapping[str, FloatArray]) -> list[str]:
    """Return which left hip or shoulder is on the right of the way the feet point; ``at``: role -> (F, 3). Shank
    and foot turn about an axis that points left, whatever the file's axes."""
    if not {"ball_l", "ball_r"} <= set(at):
        return []
    left = sum(
        np.cross(at[f"knee_{side}"] - at[f"ankle_{side}"], at[f"ball_{side}"] - at[f"ankle_{side}"]) for side in "lr"
    )
    found = []
    for role in ("hip", "shoulder"):
        across = at[f"{role}_l"] - at[f"{role}_r"]
        size = np.linalg.norm(across, axis=-1) * np.linalg.norm(left, axis=-1)
        if float(np.median((across * left).sum(axis=-1) / np.maximum(size, 1e-9))) < _OPPOSED:
            found.append(f"the left {role} is on the right side, by the way the feet point")
    return found
