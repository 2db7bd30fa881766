"""Cheap checks of poses on a body of mean proportions: limbs inside the body, and balance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kt3d_bench.synth.body import mean_body
from kt3d_bench.synth.rig import RIG_INDEX, FloatArray, unit_vectors


def _segment_distance(a: FloatArray, b: FloatArray, point: FloatArray) -> FloatArray:
    along = b - a
    share = np.clip(((point - a) * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-9), 0, 1)
    distance: FloatArray = np.linalg.norm(point - a - share[..., None] * along, axis=-1)
    return distance


def entangled_frames(rotations: FloatArray) -> npt.NDArray[np.bool_]:
    """Return (F,) whether a wrist, hand or elbow is inside the trunk, the head or a leg, or hands or knees are inside
    each other; ``rotations`` (F, R, 3, 3)."""
    points, frames = mean_body().joints(rotations)

    def at(name: str) -> FloatArray:
        return points[:, RIG_INDEX[name]]

    pelvis, chest, neck, head = at("pelvis"), at("spine_high"), at("neck"), at("head")
    crown = head + 110 * frames[:, RIG_INDEX["head"], :, 2]
    found = np.zeros(len(rotations), bool)
    hands = {}
    for side in "lr":
        wrist = at(f"wrist_{side}")
        hand = hands[side] = wrist - 95 * frames[:, RIG_INDEX[f"wrist_{side}"], :, 2]
        middle = (wrist + at(f"elbow_{side}")) / 2
        for point, slack in ((wrist, 1.0), (hand, 0.9), (middle, 1.0), (at(f"elbow_{side}"), 0.8)):
            found |= _segment_distance(pelvis, chest, point) < 125 * slack
            found |= _segment_distance(chest, neck, point) < 105 * slack
            found |= _segment_distance(head, crown, point) < 85 * slack
        for other in "lr":
            for point in (wrist, hand, middle):
                found |= _segment_distance(at(f"hip_{other}"), at(f"knee_{other}"), point) < 65
                found |= _segment_distance(at(f"knee_{other}"), at(f"ankle_{other}"), point) < 50
    found |= np.linalg.norm(hands["l"] - hands["r"], axis=-1) < 35
    found |= np.linalg.norm(at("wrist_l") - at("wrist_r"), axis=-1) < 50
    found |= np.linalg.norm(at("knee_l") - at("knee_r"), axis=-1) < 80
    found |= _segment_distance(at("knee_l"), at("ankle_l"), at("ankle_r")) < 75
    found |= _segment_distance(at("knee_r"), at("ankle_r"), at("ankle_l")) < 75
    return found


_WEIGHTS = {"spine_high": 0.30, "spine_low": 0.22, "head": 0.08, "knee_l": 0.13, "knee_r": 0.13, "elbow_l": 0.07,
            "elbow_r": 0.07}  # fmt: skip


def forward_lean_rad(rotations: FloatArray) -> FloatArray:
    """Return (F,) the angle about the ankles by which the centre of mass is ahead of the middle of the feet;
    ``rotations`` (F, R, 3, 3)."""
    points, frames = mean_body().joints(rotations)
    forward = unit_vectors(frames[:, 0, :, 0] * [1, 1, 0])
    mass = np.tensordot(list(_WEIGHTS.values()), points[:, [RIG_INDEX[name] for name in _WEIGHTS]], (0, 1))
    feet = points[:, [RIG_INDEX[f"{joint}_{side}"] for joint in ("ankle", "ball") for side in "lr"]].mean(axis=1)
    arm = mass - feet
    lean: FloatArray = np.arctan2((arm * forward).sum(-1), np.maximum(arm[:, 2], 200.0))
    return lean
