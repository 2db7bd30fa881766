"""Transfer of a recorded motion to the rig: joint rotations from bone directions, resampled to another rate."""

from __future__ import annotations

import numpy as np

from kt3d_bench.errors import RawDataError
from kt3d_bench.synth.motion.recorded import Motion, resampled, rest_frame
from kt3d_bench.synth.rig import PARENTS, RIG, Clip, FloatArray, unit_vectors

_FLOOR_SLACK_MM = 50.0
"""How far the lowest joint of a standing foot rises as the foot rolls from heel to toe."""
_FLOOR_WINDOW_S, _FLOOR_PERCENT = 1.5, 25
_HEAD_SAMPLES = 200
_INSTEP_RAD = np.arctan2(0.028, 0.083)  # Slope of the line from ankle to ball in a flat foot


def _frame(up: FloatArray, left: FloatArray) -> FloatArray:
    """Return (F, 3, 3) orientations whose z is ``up`` and whose y is as near to ``left`` as possible."""
    z = unit_vectors(up)
    x = unit_vectors(np.cross(left, z))
    return np.stack([x, np.cross(z, x), z], axis=-1)


def _slerp_frames(a: FloatArray, b: FloatArray, share: float) -> FloatArray:
    """Return orientations between the nearby a and b, re-orthonormalised."""
    mixed = (1 - share) * a + share * b
    return _frame(mixed[..., 2], mixed[..., 1])


def _hinge_left(upper: FloatArray, lower: FloatArray, fallback: FloatArray, backward: bool) -> FloatArray:
    """Return the hinge axis (the person's left) of a bent limb, and ``fallback`` of a nearly straight one."""
    axis = np.cross(upper, lower)
    axis = axis if backward else -axis
    bend = np.linalg.norm(axis, axis=-1, keepdims=True)
    weight = np.clip((bend - 0.1) / 0.3, 0, 1)
    axis = axis / np.maximum(bend, 1e-9)
    return unit_vectors(weight * axis + (1 - weight) * fallback)


def clip_from_motion(motion: Motion, rate_hz: float, start: int = 0, frames: int | None = None) -> Clip:
    """Return ``frames`` frames (default: to the end) of ``motion`` from its frame ``start``, resampled to ``rate_hz``.

    Bone directions determine the rotations, so the motion fits every body; what the recorded skeleton lacks (toes,
    hands, a head) follows the bone before it. A conversion that lost a bone of the trunk does not move the arms: the
    CMU walk whose BVH lacks the thorax, with hands 12 cm too low, agrees with its AMC within 3 cm, hands within 10. The
    clip starts at the origin, faces its recorded direction, and stands on the floor except when running or jumping.
    Raises ``RawDataError`` if joints are missing or the motion is too short.
    """
    if motion.missing:
        raise RawDataError(
            f"no joint was found for {', '.join(motion.missing[:6])} among {', '.join(motion.names[:40])}",
            where=motion.source,
            hint="a whole person is needed; name its joints: --motion-joints knee_l=LeftLeg,knee_r=RightLeg",
        )
    if motion.doubts:
        found = ", ".join(f"{role} = {motion.names[joint]}" for role, joint in sorted(motion.joints.items()))
        raise RawDataError(
            f"the joints found are no person's: {'; '.join(motion.doubts)}; found: {found}",
            where=motion.source,
            hint="name the right ones: --motion-joints shoulder_l=NAME,shoulder_r=NAME, with the file's own names",
        )
    part = resampled(motion, rate_hz, start, frames)
    points = _points(part)
    rotations = _local_rotations(_orientations(points, _head(motion, part)))
    leg = float(np.mean(np.linalg.norm(points["knee_l"] - points["hip_l"], axis=-1)
                        + np.linalg.norm(points["ankle_l"] - points["knee_l"], axis=-1)))  # fmt: skip
    lift = _lift_mm(motion, part, start) / leg
    pelvis = points["pelvis"]
    return Clip(rotations, (pelvis[:, :2] - pelvis[:1, :2]) / leg, lift, rate_hz)


def _lift_mm(motion: Motion, part: Motion, start: int) -> FloatArray:
    """Return (F,) the height above the floor of ``part``, which begins at frame ``start`` of ``motion``.

    Recorded floors are not level (CMU's rise by up to 8 cm over a walk), so the floor is the lower quartile of the
    lowest joint's height around each frame, and only heights above it by more than a slack count as flight.
    """
    from scipy.ndimage import percentile_filter

    used = list(motion.joints.values())
    times = start + np.arange(len(part)) * motion.rate_hz / part.rate_hz
    reach = max(1, round(_FLOOR_WINDOW_S / 2 * motion.rate_hz))
    first, last = max(0, start - reach), int(times[-1]) + reach + 2
    around = motion.positions_mm[first:last, used, 2].min(axis=1)
    floor = percentile_filter(around, _FLOOR_PERCENT, size=2 * reach + 1, mode="nearest")
    above = part.positions_mm[:, used, 2].min(axis=1) - np.interp(times, np.arange(first, first + len(around)), floor)
    lift: FloatArray = np.maximum(0.0, above - _FLOOR_SLACK_MM)
    return lift


def _points(motion: Motion) -> dict[str, FloatArray]:
    """Return role -> (F, 3) mm, including pelvis and spine."""
    points = {role: motion.role(role) for role in motion.joints if role != "head"}
    points["pelvis"] = (points["hip_l"] + points["hip_r"]) / 2
    points.setdefault("spine", 0.6 * points["pelvis"] + 0.4 * points["neck"])
    return points


def _chest(points: dict[str, FloatArray]) -> FloatArray:
    across = unit_vectors(points["shoulder_l"] - points["shoulder_r"]) + 0.5 * unit_vectors(
        points["hip_l"] - points["hip_r"]
    )
    return _frame(points["neck"] - points["spine"], across)


def _head(motion: Motion, part: Motion) -> FloatArray | None:
    """Return the head's (F, 3, 3) orientations in ``part``, cut from ``motion``; ``None`` if there is no head joint.

    No bone direction shows how a head is turned. Its joint's rotation does: against the rest pose if the skeleton
    stands upright at rest, else against its mean relative to the chest, which is taken as looking straight ahead.
    """
    joint = motion.joints.get("head")
    if joint is None:
        return None
    straight = rest_frame(motion)
    if straight is None:
        from scipy.spatial.transform import Rotation

        some = motion.taken(slice(None, None, max(1, len(motion) // _HEAD_SAMPLES)))
        turns = np.swapaxes(some.orientations[:, joint], -1, -2) @ _chest(_points(some))
        straight = np.asarray(Rotation.from_matrix(turns).mean().as_matrix())
    turned: FloatArray = part.orientations[:, joint] @ straight
    return turned


def _orientations(points: dict[str, FloatArray], head: FloatArray | None) -> dict[str, FloatArray]:
    pelvis = _frame(
        points["neck"] - points["pelvis"] + 0.5 * (points["spine"] - points["pelvis"]),
        points["hip_l"] - points["hip_r"],
    )
    chest = _chest(points)
    head = chest if head is None else head
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
        at = {role.removesuffix(f"_{side}"): path for role, path in points.items() if role.endswith(f"_{side}")}
        found |= {f"{joint}_{side}": frame for joint, frame in (_arm(at, chest) | _leg(at, pelvis)).items()}
    return found


def _arm(at: dict[str, FloatArray], chest: FloatArray) -> dict[str, FloatArray]:
    upper, lower = unit_vectors(at["elbow"] - at["shoulder"]), unit_vectors(at["wrist"] - at["elbow"])
    left = _hinge_left(upper, lower, _swing(chest, -upper)[..., 1], backward=False)
    elbow = _frame(-lower, left)
    wrist = _frame(at["wrist"] - at["hand"], left) if "hand" in at else elbow
    return {"shoulder": _frame(-upper, left), "elbow": elbow, "wrist": wrist}


def _leg(at: dict[str, FloatArray], pelvis: FloatArray) -> dict[str, FloatArray]:
    upper, lower = unit_vectors(at["knee"] - at["hip"]), unit_vectors(at["ankle"] - at["knee"])
    left = _hinge_left(upper, lower, _swing(pelvis, -upper)[..., 1], backward=True)
    knee = _frame(-lower, left)
    ankle = knee
    if "ball" in at:
        forward = unit_vectors(at["ball"] - at["ankle"])
        ankle = _frame(
            np.cos(_INSTEP_RAD) * unit_vectors(np.cross(forward, left)) + np.sin(_INSTEP_RAD) * forward, left
        )
    ball = _frame(np.cross(unit_vectors(at["toe"] - at["ball"]), left), left) if {"ball", "toe"} <= at.keys() else ankle
    return {"hip": _frame(-upper, left), "knee": knee, "ankle": ankle, "ball": ball}


def _swing(base: FloatArray, up: FloatArray) -> FloatArray:
    """Turn ``base`` the shortest way so that its z is ``up``."""
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
    local = [
        world[name] if parent < 0 else np.swapaxes(world[RIG[parent]], -1, -2) @ world[name]
        for name, parent in zip(RIG, PARENTS, strict=True)
    ]
    return np.stack(local, axis=1)
