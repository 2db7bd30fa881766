"""From a recorded motion to the rig: joint rotations from bone directions, resampled to another rate."""

from __future__ import annotations

import numpy as np

from kt3d_bench.errors import RawDataError
from kt3d_bench.people.motion import Motion
from kt3d_bench.people.poses import Clip
from kt3d_bench.people.rig import PARENTS, RIG, RIG_INDEX, FloatArray

_BVH = {
    "pelvis": "Hips", "hip_l": "LeftUpLeg", "knee_l": "LeftLeg", "ankle_l": "LeftFoot", "ball_l": "LeftToeBase",
    "toe_l": "LeftToeBase_end", "shoulder_l": "LeftArm", "elbow_l": "LeftForeArm", "wrist_l": "LeftHand",
    "hand_l": "LeftHandIndex1_end", "hip_r": "RightUpLeg", "knee_r": "RightLeg", "ankle_r": "RightFoot",
    "ball_r": "RightToeBase", "toe_r": "RightToeBase_end", "shoulder_r": "RightArm", "elbow_r": "RightForeArm",
    "wrist_r": "RightHand", "hand_r": "RightHandIndex1_end", "spine": "Spine", "neck": "Neck", "head": "Head",
}  # fmt: skip
_ASF = {
    "pelvis": "root", "hip_l": "lhipjoint", "knee_l": "lfemur", "ankle_l": "ltibia", "ball_l": "lfoot",
    "toe_l": "ltoes", "shoulder_l": "lclavicle", "elbow_l": "lhumerus", "wrist_l": "lradius", "hand_l": "lfingers",
    "hip_r": "rhipjoint", "knee_r": "rfemur", "ankle_r": "rtibia", "ball_r": "rfoot", "toe_r": "rtoes",
    "shoulder_r": "rclavicle", "elbow_r": "rhumerus", "wrist_r": "rradius", "hand_r": "rfingers",
    "spine": "lowerback", "neck": "thorax", "head": "head",
}  # fmt: skip


def _unit(vectors: FloatArray) -> FloatArray:
    unit: FloatArray = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    return unit


def _frame(up: FloatArray, left: FloatArray) -> FloatArray:
    """(F, 3, 3) orientations whose z is ``up`` and whose y is as near ``left`` as it can be."""
    z = _unit(up)
    x = _unit(np.cross(left, z))
    return np.stack([x, np.cross(z, x), z], axis=-1)


def _slerp_frames(a: FloatArray, b: FloatArray, share: float) -> FloatArray:
    """Orientations between a and b (nearby), re-orthonormalised."""
    mixed = (1 - share) * a + share * b
    return _frame(mixed[..., 2], mixed[..., 1])


def _hinge_left(upper: FloatArray, lower: FloatArray, fallback: FloatArray, backward: bool) -> FloatArray:
    """The hinge axis (the person's left) of a bent limb; where it is nearly straight, ``fallback`` takes over."""
    axis = np.cross(upper, lower)
    axis = axis if backward else -axis
    bend = np.linalg.norm(axis, axis=-1, keepdims=True)
    weight = np.clip((bend - 0.1) / 0.3, 0, 1)
    axis = axis / np.maximum(bend, 1e-9)
    return _unit(weight * axis + (1 - weight) * fallback)


def clip_from_motion(motion: Motion, rate_hz: float, start: int = 0, frames: int | None = None) -> Clip:
    """``frames`` frames (default: to the end) of ``motion`` from its frame ``start``, resampled to ``rate_hz``.

    Bone directions decide the rotations, so every body can wear the motion. The clip starts at the origin facing its
    recorded direction. Raises ``RawDataError`` when joints are missing or the motion is too short.
    """
    names = next((table for table in (_BVH, _ASF) if set(table.values()) <= set(motion.names)), None)
    if names is None:
        missing = min((sorted(set(table.values()) - set(motion.names)) for table in (_BVH, _ASF)), key=len)
        raise RawDataError(
            f"the motion lacks the joints {', '.join(missing[:6])}",
            where=motion.source,
            mend="motions with the joint names of the CMU database are understood",
        )
    span = (len(motion) - 1 - start) / motion.rate_hz
    available = int(np.floor(span * rate_hz + 1e-9)) + 1
    count = available if frames is None else frames
    if not 0 <= start < len(motion) or not 1 <= count <= available:
        raise RawDataError(
            f"{count} frames at {rate_hz:g} Hz from frame {start} on do not fit into {len(motion)} frames at "
            f"{motion.rate_hz:g} Hz",
            where=motion.source,
            mend=f"ask for at most {max(available, 0)} frames",
        )
    times = start + np.arange(count) * motion.rate_hz / rate_hz
    low = np.minimum(np.floor(times).astype(int), len(motion) - 1)
    high = np.minimum(low + 1, len(motion) - 1)
    share = (times - low)[:, None, None]
    positions = (1 - share) * motion.positions_mm[low] + share * motion.positions_mm[high]
    head = motion.orientations[np.where(share[:, 0, 0] < 0.5, low, high), motion.names.index(names["head"])]
    points = {ours: positions[:, motion.names.index(theirs)] for ours, theirs in names.items()}
    rotations = _local_rotations(_orientations(points, head))
    leg = float(np.mean(np.linalg.norm(points["knee_l"] - points["hip_l"], axis=-1)
                        + np.linalg.norm(points["ankle_l"] - points["knee_l"], axis=-1)))  # fmt: skip
    pelvis = (points["hip_l"] + points["hip_r"]) / 2
    lowest = np.min([points[name][:, 2] for name in points], axis=0)
    floor = float(np.min(np.min([motion.joint(theirs)[:, 2] for theirs in names.values()], axis=0)))
    lift = np.maximum(0.0, lowest - floor - 35.0) / leg
    return Clip(rotations, (pelvis[:, :2] - pelvis[:1, :2]) / leg, lift, rate_hz, "motion")


def _orientations(points: dict[str, FloatArray], head: FloatArray) -> dict[str, FloatArray]:
    across_hips = points["hip_l"] - points["hip_r"]
    across_shoulders = points["shoulder_l"] - points["shoulder_r"]
    mid_hips = (points["hip_l"] + points["hip_r"]) / 2
    pelvis = _frame(points["neck"] - mid_hips + 0.5 * (points["spine"] - mid_hips), across_hips)
    chest = _frame(points["neck"] - points["spine"], _unit(across_shoulders) + 0.5 * _unit(across_hips))
    found = {
        "pelvis": pelvis,
        "spine_low": _slerp_frames(pelvis, chest, 0.35),
        "spine_mid": _slerp_frames(pelvis, chest, 0.7),
        "spine_high": chest,
        "neck": _slerp_frames(chest, head, 0.5),
        "head": head,
    }
    for side in "lr":
        found[f"clavicle_{side}"] = chest
        shoulder, elbow, wrist, hand = (points[f"{name}_{side}"] for name in ("shoulder", "elbow", "wrist", "hand"))
        upper, lower = _unit(elbow - shoulder), _unit(wrist - elbow)
        left = _hinge_left(upper, lower, _swing(chest, -upper)[..., 1], backward=False)
        found[f"shoulder_{side}"] = _frame(-upper, left)
        found[f"elbow_{side}"] = _frame(-lower, left)
        found[f"wrist_{side}"] = _frame(-_unit(hand - wrist), left)
        hip, knee, ankle, ball, toe = (points[f"{name}_{side}"] for name in ("hip", "knee", "ankle", "ball", "toe"))
        upper, lower = _unit(knee - hip), _unit(ankle - knee)
        left = _hinge_left(upper, lower, _swing(pelvis, -upper)[..., 1], backward=True)
        found[f"hip_{side}"] = _frame(-upper, left)
        found[f"knee_{side}"] = _frame(-lower, left)
        forward = _unit(ball - ankle)
        level = np.cross(forward, left)
        tilt = np.arctan2(0.028, 0.083)
        up = np.cos(tilt) * _unit(level) + np.sin(tilt) * forward
        found[f"ankle_{side}"] = _frame(up, left)
        found[f"ball_{side}"] = _frame(np.cross(_unit(toe - ball), left), left)
    return found


def _swing(base: FloatArray, up: FloatArray) -> FloatArray:
    """``base`` turned the shortest way so that its z is ``up``."""
    z = base[..., 2]
    cross = np.cross(z, up)
    cosine = np.clip((z * up).sum(-1), -0.999, 1)[..., None, None]
    skew = np.zeros((*cross.shape, 3))
    skew[..., 0, 1], skew[..., 0, 2], skew[..., 1, 2] = -cross[..., 2], cross[..., 1], -cross[..., 0]
    skew -= np.swapaxes(skew, -1, -2)
    turn = np.eye(3) + skew + skew @ skew / (1 + cosine)
    turned: FloatArray = turn @ base
    return turned


def _local_rotations(world: dict[str, FloatArray]) -> FloatArray:
    count = len(world["pelvis"])
    local = np.empty((count, len(RIG), 3, 3))
    for name in RIG:
        joint = RIG_INDEX[name]
        parent = PARENTS[joint]
        if parent < 0:
            local[:, joint] = world[name]
        else:
            local[:, joint] = np.swapaxes(world[RIG[parent]], -1, -2) @ world[name]
    return local
