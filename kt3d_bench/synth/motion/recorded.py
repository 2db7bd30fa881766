"""Recorded motions of any file: joint paths in mm, z up; resampling; units by the body's size.

``read_bvh`` and ``read_amc`` parse the two formats; both end in ``finished``, which applies to any file:

- Unit: the one of ``UNITS_MM`` that makes a leg (thigh and shank) 0.55 to 1.2 m long. The units are so far apart that
  at most one does; if none does, the leg is assumed to be 0.85 m. ``mm_per_unit`` overrides it.
- Up: y, unless the skeleton at rest, or else the recorded person on average, stands along z.
- Inserted rest pose: some conversions put the skeleton's rest pose before the recording. Frame 0 is dropped if it is a
  rest pose (no joint but the root is turned, or arms and legs are straight and alike on both sides) *and* nobody could
  leave it so fast: to frame 1 the joints move at more than 2.5 m/s on average over the body, seen from the hips, and at
  least four times as fast as to frame 2. A real frame, or a calibration pose that is held, fails the second test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from kt3d_bench.errors import RawDataError, UsageError
from kt3d_bench.synth.motion.anatomy import contradictions
from kt3d_bench.synth.motion.joints import Tree, find_joints, given_joints, named_otherwise, with_given
from kt3d_bench.synth.rig import FloatArray

UNITS_MM: Mapping[str, float] = {"mm": 1.0, "cm": 10.0, "inch": 25.4, "cmu": 25.4 / 0.45, "m": 1000.0}
"""mm per unit; the CMU Graphics Lab database (mocap.cs.cmu.edu) stores inches divided by 0.45."""
CMU_MM_PER_UNIT = UNITS_MM["cmu"]
_LEG_MM = (550.0, 1200.0)
_USUAL_LEG_MM = 850.0
_FROM_Y_UP = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
_STRAIGHT = np.cos(np.radians(8))
_ALIKE = np.cos(np.radians(12))
_UPRIGHT = 0.8
_NEARLY = np.cos(np.radians(15))
_JUMP_MM_S = 2500.0
_JUMP_RATIO = 4.0


@dataclass(frozen=True, eq=False)
class Motion:
    """Joint paths of one recorded motion. Shapes: F frames, J joints of the file's own skeleton."""

    names: tuple[str, ...]
    """The file's joint names; a BVH end site is its parent's name + ``_end``, an ASF bone's name marks its far end."""
    parents: tuple[int, ...]
    """-1 = root; a parent comes before its children."""
    positions_mm: FloatArray
    """(F, J, 3) world, z up."""
    orientations: FloatArray
    """(F, J, 3, 3) turn from the rest pose, world frame."""
    rate_hz: float
    rest_mm: FloatArray
    """(J, 3) the skeleton with no joint turned, world frame."""
    ends: bool = False
    """Whether a joint turns the bone that ends in it (ASF), not those that start there (BVH)."""
    source: str = ""
    mm_per_unit: float = 1.0
    dropped_frames: int = 0
    """1 if an inserted rest pose at the start was dropped."""
    joints: Mapping[str, int] = field(default_factory=dict)
    """Role (``knee_l``) -> joint, as ``find_joints`` names them."""
    missing: tuple[str, ...] = ()
    """Required roles for which no joint was found."""
    doubts: tuple[str, ...] = ()
    """What no person has, if the joints found are right (``anatomy``); empty where the user named some."""
    up: str = "y"
    """The file's axis that points up."""
    notes: tuple[str, ...] = ()
    """What the file does not state and was assumed, in words."""

    def __len__(self) -> int:
        return len(self.positions_mm)

    @property
    def facts(self) -> str:
        """How the file was read, in a sentence: unit, axis, rate, and the joint found for each role."""
        found = ", ".join(f"{role} = {self.names[joint]}" for role, joint in sorted(self.joints.items()))
        assumed = f" ({'; '.join(self.notes)})" if self.notes else ""
        return f"{self.mm_per_unit:.4g} mm per unit, {self.up} up, {self.rate_hz:g} Hz{assumed}; {found}"

    def joint(self, name: str) -> FloatArray:
        """Return (F, 3) mm the path of one joint of the file. Raises ``ValueError`` if there is none of that name."""
        return self.positions_mm[:, self.names.index(name)]

    def role(self, role: str) -> FloatArray:
        """Return (F, 3) mm the path of the joint found for ``role``. Raises ``KeyError`` if there is none."""
        return self.positions_mm[:, self.joints[role]]

    def taken(self, frames: slice | FloatArray) -> Motion:
        return replace(self, positions_mm=self.positions_mm[frames], orientations=self.orientations[frames])


def resampled(motion: Motion, rate_hz: float, start: int = 0, frames: int | None = None) -> Motion:
    """Resample ``frames`` frames (default: to the end) from frame ``start`` on to ``rate_hz``.

    Between two recorded frames every joint's rotation against its parent follows the great circle (quaternion slerp);
    the root moves straight, and bones keep their lengths. Recorded frames stay unchanged. Raises ``RawDataError`` if
    the motion is too short.
    """
    span = (len(motion) - 1 - start) / motion.rate_hz
    available = int(np.floor(span * rate_hz + 1e-6)) + 1
    count = available if frames is None else frames
    if not 0 <= start < len(motion) or not 1 <= count <= available:
        raise RawDataError(
            f"{count} frames at {rate_hz:g} Hz from frame {start} on do not fit into {len(motion)} frames at "
            f"{motion.rate_hz:g} Hz",
            where=motion.source,
            hint=f"ask for at most {max(available, 0)} frames",
        )
    times = np.minimum(start + np.arange(count) * motion.rate_hz / rate_hz, len(motion) - 1)
    nearest = np.round(times).astype(int)
    if np.abs(times - nearest).max() < 1e-6:
        return replace(motion.taken(nearest), rate_hz=rate_hz)
    first = int(times[0])
    recorded = motion.taken(slice(first, int(np.ceil(times[-1])) + 1))
    positions, orientations = _interpolated(recorded, times - first)
    return replace(motion, positions_mm=positions, orientations=orientations, rate_hz=rate_hz)


def _interpolated(motion: Motion, times: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return positions and orientations at ``times``, counted in frames of ``motion``."""
    from scipy.spatial.transform import Rotation, Slerp

    stamps = np.arange(len(motion))
    low = np.minimum(times.astype(int), len(motion) - 2)
    share = (times - low)[:, None]
    positions = np.empty((len(times), len(motion.names), 3))
    orientations = np.empty((len(times), len(motion.names), 3, 3))
    for joint, parent in enumerate(motion.parents):
        own, at = motion.orientations[:, joint], motion.positions_mm[:, joint]
        above = np.broadcast_to(np.eye(3), own.shape) if parent < 0 else motion.orientations[:, parent]
        turn = np.swapaxes(above, -1, -2) @ own
        between = (
            turn[:1]
            if np.ptp(turn, axis=0).max() < 1e-12
            else Slerp(stamps, Rotation.from_matrix(turn))(times).as_matrix()
        )
        orientations[:, joint] = between if parent < 0 else orientations[:, parent] @ between
        carrier = own if motion.ends else above
        way = at if parent < 0 else np.einsum("fji,fj->fi", carrier, at - motion.positions_mm[:, parent])
        way = (1 - share) * way[low] + share * way[low + 1]
        if parent < 0:
            positions[:, joint] = way
        else:
            turned = orientations[:, joint if motion.ends else parent]
            positions[:, joint] = positions[:, parent] + np.einsum("fij,fj->fi", turned, way)
    return positions, orientations


def finished(
    raw: Motion,
    mm_per_unit: float | None,
    drop_rest_frame: bool,
    declared: float | None = None,
    roles: Mapping[str, str] | None = None,
) -> Motion:
    """Convert a motion from the file's units and axes to mm, z up; find its joints; drop an inserted rest pose.

    ``declared`` is the unit that the file states; it is used if it gives a leg of plausible length. ``roles``: role ->
    name of its joint, for joints that the user names. Raises ``UsageError`` for a role or a name there is not.
    """
    tree = Tree(raw.names, raw.parents, raw.rest_mm, raw.ends)
    joints, missing = find_joints(tree, raw.positions_mm)
    if roles:
        try:
            joints, missing = with_given(tree, joints, given_joints(tree, roles))
        except ValueError as error:
            raise UsageError(str(error), where=raw.source, hint="write role=name, such as knee_l=LeftLeg") from error
    if not missing and "neck" not in (roles or {}):
        raw, joints = _with_neck(raw, joints)
    doubts = () if missing or roles else tuple(contradictions(raw.positions_mm, joints))
    notes = raw.notes
    if not missing and "head" not in joints:
        notes += ("no head was found, so it follows the neck: --motion-joints head=NAME names it",)
    if not missing and not roles and named_otherwise(raw.names, joints):
        notes += ("left and right are exchanged in the names, by the way the feet point",)
    motion = replace(raw, joints=joints, missing=tuple(missing), doubts=doubts, notes=notes)
    unit = mm_per_unit or _unit_mm(motion, declared)
    z_up = not missing and _is_z_up(motion)
    turn = np.eye(3) if z_up else _FROM_Y_UP
    motion = replace(
        motion,
        positions_mm=unit * motion.positions_mm @ turn.T,
        orientations=turn @ motion.orientations @ turn.T,
        rest_mm=unit * motion.rest_mm @ turn.T,
        mm_per_unit=unit,
        up="z" if z_up else "y",
    )
    if drop_rest_frame and _starts_with_inserted_rest(motion):
        return replace(motion.taken(slice(1, None)), dropped_frames=1)
    return motion


def _with_neck(raw: Motion, joints: dict[str, int]) -> tuple[Motion, dict[str, int]]:
    """Return a motion whose neck, where the skeleton has none above the joint at which the collars meet, is a joint of
    its own: the mean of the two that the collars begin at."""
    chest = joints["neck"]
    shoulders = [joints[f"shoulder_{side}"] for side in "lr"]
    starts = [_below(raw.parents, chest, shoulder) for shoulder in shoulders]
    if raw.ends or chest in starts or any(map(int.__eq__, starts, shoulders)):
        return raw, joints
    neck = raw.positions_mm[:, starts].mean(axis=1, keepdims=True)
    return replace(
        raw,
        names=(*raw.names, "mean of the collars"),
        parents=(*raw.parents, chest),
        positions_mm=np.concatenate([raw.positions_mm, neck], axis=1),
        orientations=np.concatenate([raw.orientations, raw.orientations[:, [chest]]], axis=1),
        rest_mm=np.concatenate([raw.rest_mm, raw.rest_mm[starts].mean(axis=0, keepdims=True)]),
    ), {**joints, "neck": len(raw.names)}


def _below(parents: tuple[int, ...], above: int, joint: int) -> int:
    """Return the child of ``above`` on the way to ``joint``, or ``above`` itself where ``joint`` is not below it."""
    while joint > above and parents[joint] != above:
        joint = parents[joint]
    return max(joint, above)


def _unit_mm(motion: Motion, declared: float | None) -> float:
    if motion.missing:
        return declared or CMU_MM_PER_UNIT
    rest = {role: motion.rest_mm[joint] for role, joint in motion.joints.items()}
    bones = [rest[f"{lower}_{side}"] - rest[f"{upper}_{side}"] for side in "lr"
             for upper, lower in (("hip", "knee"), ("knee", "ankle"))]  # fmt: skip
    leg = float(np.linalg.norm(bones, axis=-1).sum() / 2)
    for unit in (*([declared] if declared else []), *UNITS_MM.values()):
        if _LEG_MM[0] <= leg * unit <= _LEG_MM[1]:
            return unit
    return _USUAL_LEG_MM / leg


def _trunk_up(points: FloatArray, joints: Mapping[str, int]) -> FloatArray:
    """Return (..., 3) the unit vector from between the ankles to the neck; ``points`` (..., J, 3)."""
    up = points[..., joints["neck"], :] - (points[..., joints["ankle_l"], :] + points[..., joints["ankle_r"], :]) / 2
    unit: FloatArray = up / np.maximum(np.linalg.norm(up, axis=-1, keepdims=True), 1e-12)
    return unit


def rest_frame(motion: Motion) -> FloatArray | None:
    """Return (3, 3) forward, left and up of the skeleton at rest, as columns; ``None`` if it does not stand upright
    (some files have all bones along one axis)."""
    at = {role: motion.rest_mm[joint] for role, joint in motion.joints.items()}
    up = _trunk_up(motion.rest_mm, motion.joints)
    across, shoulders = at["hip_l"] - at["hip_r"], at["shoulder_l"] - at["shoulder_r"]
    upright = [at["neck"] - (at["hip_l"] + at["hip_r"]) / 2]
    upright += [at[f"{upper}_{side}"] - at[f"{lower}_{side}"] for side in "lr"
                for upper, lower in (("hip", "knee"), ("knee", "ankle"))]  # fmt: skip
    left = across - up * (across @ up)
    cosines = [_unit(bone) @ up for bone in upright] + [_unit(side) @ _unit(left) for side in (across, shoulders)]
    if min(cosines) < _UPRIGHT:
        return None
    up, left = _along_axis(up), _along_axis(_unit(left))
    left = _unit(left - up * (left @ up))
    return np.stack([np.cross(left, up), left, up], axis=-1)


def _along_axis(direction: FloatArray) -> FloatArray:
    """Snap a unit vector to the world axis that it nearly has: a body at rest leans a degree or two."""
    nearest = np.where(np.abs(direction) > _NEARLY, np.sign(direction), 0.0)
    return nearest if nearest.any() else direction


def _is_z_up(motion: Motion) -> bool:
    frame = rest_frame(motion)
    up = frame[:, 2] if frame is not None else _trunk_up(motion.positions_mm, motion.joints).mean(axis=0)
    return bool(up[2] > 0.7 and up[2] > abs(up[1]))


def _starts_with_inserted_rest(motion: Motion) -> bool:
    if len(motion) < 4 or motion.missing:
        return False
    first = motion.taken(slice(0, 3))
    seen = first.positions_mm - (first.role("hip_l") + first.role("hip_r"))[:, None] / 2
    speeds = np.linalg.norm(np.diff(seen, axis=0), axis=-1).mean(axis=1) * motion.rate_hz
    if speeds[0] < _JUMP_MM_S or speeds[0] < _JUMP_RATIO * speeds[1]:
        return False
    return _is_rest_pose(first)


def _is_rest_pose(motion: Motion) -> bool:
    """Return whether, in frame 0, nothing but the root is turned, or limbs are straight and alike on both sides."""
    root = motion.orientations[0, 0]
    if np.abs(motion.orientations[0] - root).max() < 1e-3:
        return True
    at = {role: motion.positions_mm[0, joint] for role, joint in motion.joints.items()}
    across = _unit(at["hip_l"] - at["hip_r"])

    def bone(upper: str, lower: str, side: str) -> FloatArray:
        return _unit(at[f"{lower}_{side}"] - at[f"{upper}_{side}"])

    for first, middle, last in (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist")):
        for upper, lower in ((first, middle), (middle, last)):
            right = bone(upper, lower, "r")
            mirrored = right - 2 * across * (right @ across)
            if bone(upper, lower, "l") @ mirrored < _ALIKE:
                return False
        if any(bone(first, middle, side) @ bone(middle, last, side) < _STRAIGHT for side in "lr"):
            return False
    return True


def _unit(vector: FloatArray) -> FloatArray:
    unit: FloatArray = vector / max(float(np.linalg.norm(vector)), 1e-12)
    return unit
