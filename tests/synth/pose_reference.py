"""Rotations, the joint tree and entangled limbs as they were before they were compiled: NumPy, joint by joint."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.synth.body import mean_body
from kt3d_bench.synth.rig import (
    ANGLE_INDEX,
    NECK_SHARES,
    PARENTS,
    RIG,
    RIG_INDEX,
    SPINE_SHARES,
    FloatArray,
    axis_rotation,
    rotation_matrices,
)


def rotations_from_angles(angles_deg: npt.NDArray[Any]) -> FloatArray:
    """Convert named angles (N, D) degrees to parent-relative rotations (N, R, 3, 3); the root's is in the world."""
    angles = np.radians(np.asarray(angles_deg, np.float64))

    def angle(name: str) -> FloatArray:
        values: FloatArray = angles[:, ANGLE_INDEX[name]]
        return values

    def vector(x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        return rotation_matrices(np.stack([x, y, z], axis=-1))

    rotations = np.tile(np.eye(3), (len(angles), len(RIG), 1, 1))
    rotations[:, 0] = (
        axis_rotation(2, angle("root.yaw"))
        @ axis_rotation(1, angle("root.pitch"))
        @ axis_rotation(0, angle("root.roll"))
    )
    for joint, share in SPINE_SHARES:
        rotations[:, RIG_INDEX[joint]] = vector(
            -share * angle("spine.side"), share * angle("spine.bend"), share * angle("spine.twist")
        )
    for joint, share in NECK_SHARES:
        rotations[:, RIG_INDEX[joint]] = vector(
            -share * angle("neck.tilt"), share * angle("neck.nod"), share * angle("neck.turn")
        )
    none = np.zeros(len(angles))
    for side, sign in (("l", 1.0), ("r", -1.0)):

        def at(name: str, side: str = side) -> FloatArray:
            return angle(name.replace(".", f"_{side}."))

        sided = {
            "clavicle": vector(sign * at("clavicle.raise"), none, -sign * at("clavicle.forward")),
            "elbow": axis_rotation(1, -at("elbow.flex")) @ axis_rotation(2, -sign * at("elbow.pronate")),
            "wrist": vector(sign * at("wrist.flex") * -1, -at("wrist.deviate"), none),
            "knee": axis_rotation(1, at("knee.flex")),
            "ankle": vector(-sign * at("ankle.invert"), -at("ankle.flex"), none),
            "ball": axis_rotation(1, -at("ball.flex")),
        }
        for joint in ("shoulder", "hip"):
            swing = vector(sign * at(f"{joint}.abduct"), -at(f"{joint}.flex"), none)
            sided[joint] = swing @ axis_rotation(2, sign * at(f"{joint}.twist"))
        for joint, turn in sided.items():
            rotations[:, RIG_INDEX[f"{joint}_{side}"]] = turn
    return rotations


def forward_kinematics(
    offsets_mm: FloatArray, rotations: FloatArray, root_mm: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return world positions (N, R, 3) mm and orientations (N, R, 3, 3), whose columns are each joint's forward, left
    and up, from rest offsets (N, R, 3) from each parent, local rotations (N, R, 3, 3) and the root (N, 3)."""
    count = len(rotations)
    offsets_mm = np.broadcast_to(offsets_mm, (count, *offsets_mm.shape[1:]))
    positions = np.empty((count, len(RIG), 3))
    frames = np.empty((count, len(RIG), 3, 3))
    for joint, parent in enumerate(PARENTS):
        if parent < 0:
            positions[:, joint], frames[:, joint] = root_mm, rotations[:, joint]
        else:
            positions[:, joint] = positions[:, parent] + np.einsum(
                "nij,nj->ni", frames[:, parent], offsets_mm[:, joint]
            )
            frames[:, joint] = frames[:, parent] @ rotations[:, joint]
    return positions, frames


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
