"""The joint tree of generated people: names, parents, limits, forward kinematics, and rotations from named angles.

Body frame of every joint in the rest pose: x forward, y to the person's left, z up. At rest the person stands upright
with arms and legs hanging straight down (palms towards the thighs), so a limb points along its joint's -z.
Shapes: N figures (or frames), R rig joints, D named angles.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


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
    seated: bool = False
    """Whether the person sits on something, which is not there yet."""

    def __len__(self) -> int:
        return len(self.rotations)


FloatArray = npt.NDArray[np.float64]

_TREE: tuple[tuple[str, str], ...] = (
    ("pelvis", ""),
    ("spine_low", "pelvis"), ("spine_mid", "spine_low"), ("spine_high", "spine_mid"),
    ("neck", "spine_high"), ("head", "neck"),
    ("clavicle_l", "spine_high"), ("shoulder_l", "clavicle_l"), ("elbow_l", "shoulder_l"), ("wrist_l", "elbow_l"),
    ("clavicle_r", "spine_high"), ("shoulder_r", "clavicle_r"), ("elbow_r", "shoulder_r"), ("wrist_r", "elbow_r"),
    ("hip_l", "pelvis"), ("knee_l", "hip_l"), ("ankle_l", "knee_l"), ("ball_l", "ankle_l"),
    ("hip_r", "pelvis"), ("knee_r", "hip_r"), ("ankle_r", "knee_r"), ("ball_r", "ankle_r"),
)  # fmt: skip

RIG: tuple[str, ...] = tuple(name for name, _ in _TREE)
PARENTS: tuple[int, ...] = tuple(RIG.index(parent) if parent else -1 for _, parent in _TREE)
RIG_INDEX: dict[str, int] = {name: index for index, name in enumerate(RIG)}

_SIDED_LIMITS: dict[str, tuple[float, float]] = {
    "clavicle.raise": (-8, 30), "clavicle.forward": (-20, 25),
    "shoulder.flex": (-50, 170), "shoulder.abduct": (-40, 160), "shoulder.twist": (-80, 80),
    "elbow.flex": (0, 145), "elbow.pronate": (-80, 80), "wrist.flex": (-65, 65), "wrist.deviate": (-20, 30),
    "hip.flex": (-25, 125), "hip.abduct": (-25, 60), "hip.twist": (-40, 50),
    "knee.flex": (0, 150), "ankle.flex": (-45, 30), "ankle.invert": (-15, 25), "ball.flex": (-20, 50),
}  # fmt: skip
_CENTRAL_LIMITS: dict[str, tuple[float, float]] = {
    "root.yaw": (-3600, 3600), "root.pitch": (-180, 180), "root.roll": (-180, 180),
    "spine.bend": (-25, 85), "spine.side": (-35, 35), "spine.twist": (-50, 50),
    "neck.nod": (-45, 50), "neck.tilt": (-35, 35), "neck.turn": (-70, 70),
}  # fmt: skip
LIMITS_DEG: dict[str, tuple[float, float]] = {
    **_CENTRAL_LIMITS,
    **{f"{name.replace('.', f'_{side}.')}": limit for name, limit in _SIDED_LIMITS.items() for side in "lr"},
}
"""Named angle -> (minimum, maximum) degrees. Signs: flex bends forward at hip, shoulder, elbow, wrist and ankle
(dorsiflexion) and backward at the knee; abduct moves away from the body; twist turns outward; bend and nod forward;
side and tilt to the person's left; turn and spine twist to the left; pronate turns the palm backward."""
ANGLES: tuple[str, ...] = tuple(LIMITS_DEG)
ANGLE_INDEX: dict[str, int] = {name: index for index, name in enumerate(ANGLES)}
SHOULDER_CONE_DEG = 165.0
"""Maximum elevation of an upper arm from hanging down."""
SPINE_SHARES: tuple[tuple[str, float], ...] = (("spine_low", 0.4), ("spine_mid", 0.35), ("spine_high", 0.25))
NECK_SHARES: tuple[tuple[str, float], ...] = (("neck", 0.45), ("head", 0.55))


def rotation_matrices(vectors_rad: npt.NDArray[Any]) -> FloatArray:
    """Convert rotation vectors (..., 3) rad to matrices (..., 3, 3) by Rodrigues' formula."""
    vectors = np.asarray(vectors_rad, np.float64)
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*vectors.shape[:-1], 3, 3)
    small = angle < 1e-8
    safe = np.where(small, 1.0, angle)
    first = np.where(small, 1.0, np.sin(safe) / safe)
    second = np.where(small, 0.5, (1 - np.cos(safe)) / safe**2)
    matrices: FloatArray = np.eye(3) + first * cross + second * (cross @ cross)
    return matrices


def unit_vectors(vectors: FloatArray) -> FloatArray:
    """Scale vectors (..., 3) to unit length; those shorter than 1e-9 stay shorter."""
    unit: FloatArray = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    return unit


def axis_rotation(axis: int, angle_rad: npt.NDArray[Any]) -> FloatArray:
    """Return (..., 3, 3) rotations by (...) rad about coordinate ``axis``."""
    vectors = np.zeros((*np.shape(angle_rad), 3))
    vectors[..., axis] = angle_rad
    return rotation_matrices(vectors)


def clamp_angles(angles_deg: FloatArray) -> FloatArray:
    """Clamp (..., D) degrees to the joint limits, including the shoulders' cone."""
    low = np.array([LIMITS_DEG[name][0] for name in ANGLES], np.float64)
    high = np.array([LIMITS_DEG[name][1] for name in ANGLES], np.float64)
    clamped: FloatArray = np.clip(angles_deg, low, high)
    for side in "lr":
        pair = [ANGLE_INDEX[f"shoulder_{side}.flex"], ANGLE_INDEX[f"shoulder_{side}.abduct"]]
        elevation = np.linalg.norm(clamped[..., pair], axis=-1, keepdims=True)
        clamped[..., pair] *= np.minimum(1.0, SHOULDER_CONE_DEG / np.maximum(elevation, 1e-9))
    return clamped


def _turns() -> list[tuple[str, tuple[tuple[str, float], ...]]]:
    """Return joint and rotation vector of every turn, as (angle, factor) along x, y and z; "" = none."""
    none = ("", 0.0)
    turns: list[tuple[str, tuple[tuple[str, float], ...]]] = [
        ("pelvis", (none, none, ("root.yaw", 1.0))),
        ("pelvis", (none, ("root.pitch", 1.0), none)),
        ("pelvis", (("root.roll", 1.0), none, none)),
    ]
    for joint, share in SPINE_SHARES:
        turns.append((joint, (("spine.side", -share), ("spine.bend", share), ("spine.twist", share))))
    for joint, share in NECK_SHARES:
        turns.append((joint, (("neck.tilt", -share), ("neck.nod", share), ("neck.turn", share))))
    for side, sign in (("l", 1.0), ("r", -1.0)):
        sided = [
            ("clavicle", ("raise", sign), none, ("forward", -sign)),
            ("elbow", none, ("flex", -1.0), none),
            ("elbow", none, none, ("pronate", -sign)),
            ("wrist", ("flex", -sign), ("deviate", -1.0), none),
            ("knee", none, ("flex", 1.0), none),
            ("ankle", ("invert", -sign), ("flex", -1.0), none),
            ("ball", none, ("flex", -1.0), none),
        ]
        for joint in ("shoulder", "hip"):
            sided += [
                (joint, ("abduct", sign), ("flex", -1.0), none),
                (joint, none, none, ("twist", sign)),
            ]
        for joint, *vector in sided:
            own = f"{joint}_{side}"
            turns.append((own, tuple((f"{own}.{name}" if name else "", factor) for name, factor in vector)))
    return turns


_TURN_JOINT = np.array([RIG_INDEX[joint] for joint, _ in _turns()])
_TURN_ANGLE = np.array([[ANGLE_INDEX.get(name, -1) for name, _ in vector] for _, vector in _turns()])
_TURN_FACTOR = np.array([[factor for _, factor in vector] for _, vector in _turns()])
_PARENTS = np.array(PARENTS)


def rotations_from_angles(angles_deg: npt.NDArray[Any]) -> FloatArray:
    """Convert named angles (N, D) degrees to parent-relative rotations (N, R, 3, 3); the root's is in the world."""
    import kt3d_bench.synth.pose_kernels as kernels

    return kernels.rotations(kernels.float_rows(angles_deg), len(RIG), _TURN_JOINT, _TURN_ANGLE, _TURN_FACTOR)


def forward_kinematics(
    offsets_mm: FloatArray, rotations: FloatArray, root_mm: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return world positions (N, R, 3) mm and orientations (N, R, 3, 3), whose columns are each joint's forward, left
    and up, from rest offsets (1 or N, R, 3) from each parent, local rotations (N, R, 3, 3) and the root (N, 3)."""
    import kt3d_bench.synth.pose_kernels as kernels

    rows = kernels.float_rows
    return kernels.tree(rows(offsets_mm), rows(rotations), rows(root_mm), _PARENTS)
