"""Bodies (bone lengths and round cones) and posed figures.

Proportions follow the usual anthropometric tables (Drillis and Contini 1966, as printed by Winter, "Biomechanics and
Motor Control of Human Movement"): everything is a fraction of standing height, then varied per person.
Shapes: N figures, R rig joints, L landmarks, C cones, P parts.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from kt3d_bench.synth.rig import PARENTS, RIG, RIG_INDEX, Clip, FloatArray, forward_kinematics

Point = tuple[float, float, float]

PARTS: tuple[str, ...] = (
    "head", "neck", "chest", "abdomen", "pelvis", "shoulder_l", "shoulder_r", "upper_arm_l", "upper_arm_r",
    "forearm_l", "forearm_r", "hand_l", "hand_r", "thigh_l", "thigh_r", "shank_l", "shank_r", "foot_l", "foot_r",
)  # fmt: skip
"""Body parts; a part's id in images is its index + 1. Left and right are the person's own."""


def _both(table: Sequence[tuple[Any, ...]]) -> tuple[tuple[Any, ...], ...]:
    """Return the table with the mirror image added after each row whose first name ends in ``_l``."""

    def mirrored(value: Any) -> Any:
        if isinstance(value, str):
            return value[:-2] + "_r" if value.endswith("_l") else value
        return (value[0], -value[1], value[2]) if isinstance(value, tuple) else value

    rows: list[tuple[Any, ...]] = []
    for row in table:
        rows.append(row)
        if row[0].endswith("_l"):
            rows.append(tuple(mirrored(value) for value in row))
    return tuple(rows)


_OFFSETS: dict[str, Point] = {
    row[0]: row[1]
    for row in _both(
        [
            ("pelvis", (0, 0, 0)), ("spine_low", (-0.006, 0, 0.060)), ("spine_mid", (-0.004, 0, 0.085)),
            ("spine_high", (-0.002, 0, 0.085)), ("neck", (-0.006, 0, 0.075)), ("head", (0.012, 0, 0.052)),
            ("clavicle_l", (0.014, 0.018, 0.058)), ("shoulder_l", (-0.018, 0.085, 0.000)),
            ("elbow_l", (0, 0, -0.182)), ("wrist_l", (0, 0, -0.147)),
            ("hip_l", (0, 0.053, 0)), ("knee_l", (0, 0, -0.245)), ("ankle_l", (0, 0, -0.243)),
            ("ball_l", (0.083, 0.004, -0.028)),
        ]
    )
}  # fmt: skip

_LANDMARKS: dict[str, tuple[str, Point]] = {
    row[0]: (row[1], row[2])
    for row in _both(
        [
            ("pelvis", "pelvis", (0, 0, 0)), ("hip_l", "hip_l", (0, 0, 0)), ("knee_l", "knee_l", (0, 0, 0)),
            ("ankle_l", "ankle_l", (0, 0, 0)), ("heel_l", "ankle_l", (-0.034, 0, -0.026)),
            ("ball_l", "ball_l", (0, 0, 0)), ("toe_l", "ball_l", (0.042, 0, -0.002)),
            ("spine_low", "spine_low", (0, 0, 0)), ("spine_mid", "spine_mid", (0, 0, 0)),
            ("spine_high", "spine_high", (0, 0, 0)), ("thorax", "neck", (0, 0, 0)),
            ("neck_mid", "neck", (0.006, 0, 0.030)), ("jaw", "head", (0, 0, 0)),
            ("nose", "head", (0.074, 0, 0.040)), ("head_top", "head", (0.004, 0, 0.113)),
            ("clavicle_l", "clavicle_l", (0, 0, 0)), ("shoulder_l", "shoulder_l", (0, 0, 0)),
            ("elbow_l", "elbow_l", (0, 0, 0)), ("wrist_l", "wrist_l", (0, 0, 0)),
            ("hand_l", "wrist_l", (0, 0, -0.054)), ("hand_end_l", "wrist_l", (0, -0.004, -0.104)),
            ("thumb_l", "wrist_l", (0.032, -0.004, -0.058)),
        ]
    )
}  # fmt: skip
LANDMARKS: tuple[str, ...] = tuple(_LANDMARKS)
"""Anatomical points: ``thorax`` is the base of the neck, ``jaw`` the base of the skull, ``head_top`` the crown,
``hand`` the knuckles, ``ball`` the ball of the foot."""
LANDMARK_INDEX: dict[str, int] = {name: index for index, name in enumerate(LANDMARKS)}
_LANDMARK_JOINT = np.array([RIG_INDEX[joint] for joint, _ in _LANDMARKS.values()])

# part, joint and point of one end, its radius, joint and point of the other end, its radius
_CONES: tuple[tuple[Any, ...], ...] = _both(
    [
        ("head", "head", (0.020, 0, 0.067), 0.0425, "head", (-0.012, 0, 0.068), 0.0450),
        ("head", "head", (0.026, 0, 0.056), 0.0370, "head", (0.036, 0, 0.010), 0.0230),
        ("head", "head", (0.060, 0, 0.056), 0.0060, "head", (0.069, 0, 0.038), 0.0085),
        ("neck", "neck", (-0.004, 0, -0.012), 0.0350, "head", (0.000, 0, 0.020), 0.0310),
        ("shoulder_l", "neck", (-0.008, 0.012, 0.010), 0.0290, "shoulder_l", (0.000, -0.010, -0.004), 0.0330),
        ("shoulder_l", "shoulder_l", (0, 0, 0.000), 0.0340, "shoulder_l", (0, 0.002, -0.030), 0.0330),
        ("chest", "spine_mid", (0.010, 0.030, 0.010), 0.0540, "spine_high", (0.008, 0.036, 0.028), 0.0560),
        ("chest", "spine_mid", (0.010, -0.030, 0.010), 0.0540, "spine_high", (0.008, -0.036, 0.028), 0.0560),
        ("chest", "spine_mid", (0.010, 0, 0.004), 0.0555, "spine_high", (0.008, 0, 0.030), 0.0565),
        ("abdomen", "pelvis", (0.006, 0.028, 0.040), 0.0560, "spine_mid", (0.008, 0.026, -0.010), 0.0520),
        ("abdomen", "pelvis", (0.006, -0.028, 0.040), 0.0560, "spine_mid", (0.008, -0.026, -0.010), 0.0520),
        ("abdomen", "pelvis", (0.008, 0, 0.040), 0.0575, "spine_mid", (0.010, 0, -0.010), 0.0545),
        ("pelvis", "pelvis", (0.002, 0.036, 0.012), 0.0590, "pelvis", (0.002, -0.036, 0.012), 0.0590),
        ("pelvis", "pelvis", (-0.020, 0.038, -0.014), 0.0500, "pelvis", (-0.020, -0.038, -0.014), 0.0500),
        ("upper_arm_l", "shoulder_l", (0, 0.002, -0.030), 0.0310, "elbow_l", (0, 0, 0), 0.0235),
        ("forearm_l", "elbow_l", (0, 0, 0), 0.0235, "elbow_l", (0.003, 0, -0.036), 0.0255),
        ("forearm_l", "elbow_l", (0.003, 0, -0.036), 0.0255, "wrist_l", (0, 0, 0), 0.0165),
        ("hand_l", "wrist_l", (0.004, 0, -0.006), 0.0150, "wrist_l", (0.011, 0, -0.050), 0.0135),
        ("hand_l", "wrist_l", (-0.004, 0, -0.006), 0.0150, "wrist_l", (-0.011, 0, -0.050), 0.0130),
        ("hand_l", "wrist_l", (0.010, 0, -0.052), 0.0115, "wrist_l", (0.007, -0.004, -0.098), 0.0075),
        ("hand_l", "wrist_l", (-0.010, 0, -0.052), 0.0115, "wrist_l", (-0.007, -0.004, -0.092), 0.0075),
        ("hand_l", "wrist_l", (0.012, 0, -0.016), 0.0110, "wrist_l", (0.031, -0.004, -0.054), 0.0075),
        ("thigh_l", "hip_l", (0.000, 0.004, -0.016), 0.0520, "knee_l", (0, 0, 0), 0.0330),
        ("shank_l", "knee_l", (0, 0, 0), 0.0325, "knee_l", (-0.008, 0, -0.070), 0.0330),
        ("shank_l", "knee_l", (-0.008, 0, -0.070), 0.0330, "ankle_l", (-0.002, 0, 0.008), 0.0205),
        ("foot_l", "ankle_l", (-0.026, 0, -0.022), 0.0200, "ball_l", (0.004, 0.006, 0.001), 0.0150),
        ("foot_l", "ankle_l", (0.000, 0, -0.006), 0.0220, "ball_l", (0, -0.004, 0.002), 0.0160),
        ("foot_l", "ball_l", (0, -0.008, 0.000), 0.0145, "ball_l", (0.034, -0.005, -0.003), 0.0105),
        ("foot_l", "ball_l", (0, 0.009, 0.000), 0.0140, "ball_l", (0.024, 0.008, -0.003), 0.0105),
    ]
)  # fmt: skip
CONE_PART = np.array([PARTS.index(row[0]) for row in _CONES])
"""(C,) index into ``PARTS`` of each cone."""
_CONE_JOINT = np.array([[RIG_INDEX[row[1]], RIG_INDEX[row[4]]] for row in _CONES])
_GIRTH_POWER = {"head": 0.12, "neck": 0.7, "hand": 0.25, "foot": 0.25, "chest": 0.9, "abdomen": 1.25, "pelvis": 0.9}

# part, joint and point of each end of its axis, joint whose frame says front and left, local front
_X, _Z = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
_AXES: dict[str, tuple[Any, ...]] = {
    row[0]: row[1:]
    for row in _both(
        [
            ("head", "head", (0.004, 0, 0.0), "head", (0.0, 0, 0.113), "head", _X),
            ("neck", "neck", (0, 0, 0), "head", (0, 0, 0), "neck", _X),
            ("chest", "spine_mid", (0.010, 0, 0), "neck", (0.012, 0, 0), "spine_high", _X),
            ("abdomen", "spine_low", (0.010, 0, -0.020), "spine_mid", (0.010, 0, 0), "spine_low", _X),
            ("pelvis", "pelvis", (0, 0, -0.050), "pelvis", (0, 0, 0.060), "pelvis", _X),
            ("shoulder_l", "neck", (-0.008, 0.012, 0), "shoulder_l", (0, 0, 0), "clavicle_l", _X),
            ("upper_arm_l", "shoulder_l", (0, 0, 0), "elbow_l", (0, 0, 0), "shoulder_l", _X),
            ("forearm_l", "elbow_l", (0, 0, 0), "wrist_l", (0, 0, 0), "elbow_l", _X),
            ("hand_l", "wrist_l", (0, 0, 0), "wrist_l", (0, 0, -0.104), "wrist_l", _X),
            ("thigh_l", "hip_l", (0, 0, 0), "knee_l", (0, 0, 0), "hip_l", _X),
            ("shank_l", "knee_l", (0, 0, 0), "ankle_l", (0, 0, 0), "knee_l", _X),
            ("foot_l", "ankle_l", (-0.044, 0, -0.030), "ball_l", (0.044, 0, -0.002), "ankle_l", _Z),
        ]
    )
}  # fmt: skip
_AXIS_JOINT = np.array([[RIG_INDEX[_AXES[part][0]], RIG_INDEX[_AXES[part][2]]] for part in PARTS])
_AXIS_FRAME = np.array([RIG_INDEX[_AXES[part][4]] for part in PARTS])
_AXIS_FRONT = np.array([_AXES[part][5] for part in PARTS], np.float64)


@dataclass(frozen=True, eq=False)
class _Table:
    """Arrays of N rows each, one per person: ``table[i]`` and ``take`` return smaller tables."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def take(self, indices: npt.ArrayLike) -> Self:
        """Return the rows at ``indices`` (M,), in that order; an index may be repeated."""
        rows = np.asarray(indices, np.int64)
        return type(self)(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def __getitem__(self, index: int) -> Self:
        return self.take([range(len(self))[index]])

    def __iter__(self) -> Iterator[Self]:
        return (self[index] for index in range(len(self)))


@dataclass(frozen=True, eq=False)
class Bodies(_Table):
    """People at rest: lengths only, no pose."""

    height_mm: FloatArray
    """(N,) standing height."""
    offsets_mm: FloatArray
    """(N, R, 3) each rig joint from its parent, rest pose."""
    landmarks_mm: FloatArray
    """(N, L, 3) landmarks in the frame of their rig joint."""
    cones_mm: FloatArray
    """(N, C, 2, 3) cone ends, each in the frame of its rig joint."""
    radii_mm: FloatArray
    """(N, C, 2)."""
    axes_mm: FloatArray
    """(N, P, 2, 3) ends of the parts' axes, each in the frame of its rig joint."""

    def joints(self, rotations: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Pose a single body with its pelvis at the origin: (F, R, 3, 3) parent-relative rotations -> world (F, R, 3)
        mm and orientations (F, R, 3, 3)."""
        return forward_kinematics(self.offsets_mm[:1], rotations, np.zeros((len(rotations), 3)))

    @property
    def leg_mm(self) -> FloatArray:
        """(N,) length from hip to ankle."""
        lengths = np.linalg.norm(self.offsets_mm, axis=-1)
        total: FloatArray = lengths[:, RIG_INDEX["knee_l"]] + lengths[:, RIG_INDEX["ankle_l"]]
        return total


def _group(joint: str) -> str:
    name = joint.removesuffix("_l").removesuffix("_r")
    groups = {"elbow": "arm", "wrist": "forearm", "knee": "thigh", "ankle": "shank", "hip": "hip_width",
              "clavicle": "shoulder_width", "shoulder": "shoulder_width", "ball": "foot", "pelvis": "trunk",
              "neck": "trunk", "head": "neck"}  # fmt: skip
    return groups.get(name, "trunk")


_SPREAD = {"trunk": 0.03, "neck": 0.05, "shoulder_width": 0.05, "arm": 0.03, "forearm": 0.03, "hip_width": 0.06,
           "thigh": 0.03, "shank": 0.03, "foot": 0.03, "head": 0.025}  # fmt: skip


def sample_bodies(
    rng: np.random.Generator,
    count: int,
    *,
    height_mm: tuple[float, float] = (1500, 1950),
    girth: tuple[float, float] = (0.85, 1.25),
) -> Bodies:
    """Draw ``count`` people: normally distributed heights within the range, varied girths and segment proportions, left
    equal to right."""
    low, high = height_mm
    heights = np.clip(rng.normal((low + high) / 2, (high - low) / 5, count), low, high)
    girths = np.clip(np.exp(rng.normal(np.log(girth[0] * girth[1]) / 2, 0.11, count)), girth[0], girth[1])
    scales = {name: np.clip(rng.normal(1.0, sd, count), 1 - 2 * sd, 1 + 2 * sd) for name, sd in _SPREAD.items()}
    build = {part: np.exp(rng.normal(0, 0.04, count)) for part in sorted({_stem(part) for part in PARTS})}
    belly = np.exp(rng.normal(0, 0.06, count))

    offsets = np.array([_OFFSETS[joint] for joint in RIG])
    offsets_mm = np.empty((count, len(RIG), 3))
    for joint, name in enumerate(RIG):
        offsets_mm[:, joint] = offsets[joint] * scales[_group(name)][:, None]
    head = scales["head"]
    standing = (
        0.042
        - offsets_mm[:, RIG_INDEX["knee_l"], 2]
        - offsets_mm[:, RIG_INDEX["ankle_l"], 2]
        + sum(offsets_mm[:, RIG_INDEX[name], 2] for name in ("spine_low", "spine_mid", "spine_high", "neck", "head"))
        + 0.113 * head
    )
    unit = heights / standing

    def local(joint: str, point: Point) -> FloatArray:
        scale = head if joint == "head" else scales["foot"] if joint.startswith(("ankle", "ball")) else np.ones(count)
        return np.asarray(point) * (scale * unit)[:, None]

    landmarks = np.stack([local(joint, point) for joint, point in _LANDMARKS.values()], axis=1)
    axes = np.stack(
        [np.stack([local(_AXES[p][0], _AXES[p][1]), local(_AXES[p][2], _AXES[p][3])], axis=1) for p in PARTS], axis=1
    )
    cones = np.empty((count, len(_CONES), 2, 3))
    radii = np.empty((count, len(_CONES), 2))
    for index, (part, joint_a, a, radius_a, joint_b, b, radius_b) in enumerate(_CONES):
        stem = _stem(part)
        thick = girths ** _GIRTH_POWER.get(stem, 1.0) * (build[stem] if stem not in ("head", "foot") else 1.0)
        if stem == "abdomen":
            thick = thick * belly
        if stem == "head":
            thick = thick * head
        for end, (joint, point, radius) in enumerate(((joint_a, a, radius_a), (joint_b, b, radius_b))):
            cones[:, index, end] = local(joint, point)
            if stem in ("chest", "abdomen", "pelvis"):
                cones[:, index, end, 1] *= thick
            radii[:, index, end] = radius * unit * (thick if stem != "foot" else scales["foot"])
    return Bodies(heights, offsets_mm * unit[:, None, None], landmarks, cones, radii, axes)


@functools.cache
def mean_body() -> Bodies:
    """Return one body of mean proportions."""
    many = sample_bodies(np.random.default_rng(0), 64)
    return Bodies(**{field.name: getattr(many, field.name).mean(axis=0, keepdims=True) for field in fields(Bodies)})


def _stem(part: str) -> str:
    return part.removesuffix("_l").removesuffix("_r")


@dataclass(frozen=True, eq=False)
class Figures(_Table):
    """Posed people in the world (mm, z up, floor z = 0): landmarks and what rendering needs."""

    landmarks_world_mm: FloatArray
    """(N, L, 3) in ``LANDMARKS`` order."""
    cones_world_mm: FloatArray
    """(N, C, 2, 3) ends of the round cones."""
    radii_mm: FloatArray
    """(N, C, 2)."""
    axes_world_mm: FloatArray
    """(N, P, 2, 3) each part's axis, from where its bone starts to where it ends."""
    front_world: FloatArray
    """(N, P, 3) unit vector to each part's own front (the instep for feet)."""
    left_world: FloatArray
    """(N, P, 3) unit vector to each part's own left."""

    @classmethod
    def concatenate(cls, groups: Sequence[Figures]) -> Self:
        return cls(**{field.name: np.concatenate([getattr(g, field.name) for g in groups]) for field in fields(cls)})

    def landmark(self, name: str) -> FloatArray:
        """Return (N, 3) world mm of one landmark."""
        points: FloatArray = self.landmarks_world_mm[:, LANDMARK_INDEX[name]]
        return points

    def moved(self, yaw_rad: npt.ArrayLike = 0.0, offset_mm: npt.ArrayLike = (0.0, 0.0, 0.0)) -> Self:
        """Return the people turned about the world's z axis by ``yaw_rad`` (scalar or (N,)), then shifted by
        ``offset_mm`` ((3,) or (N, 3))."""
        yaw = np.broadcast_to(np.asarray(yaw_rad, np.float64), (len(self),))
        offset = np.broadcast_to(np.asarray(offset_mm, np.float64), (len(self), 3))
        turn = np.zeros((len(self), 3, 3))
        turn[:, 0, 0] = turn[:, 1, 1] = np.cos(yaw)
        turn[:, 1, 0], turn[:, 0, 1] = np.sin(yaw), -np.sin(yaw)
        turn[:, 2, 2] = 1.0

        def turned(points: FloatArray, shift: bool) -> FloatArray:
            flat = np.einsum("nij,nkj->nki", turn, points.reshape(len(self), -1, 3))
            moved: FloatArray = (flat + offset[:, None] if shift else flat).reshape(points.shape)
            return moved

        return replace(
            self,
            landmarks_world_mm=turned(self.landmarks_world_mm, True),
            cones_world_mm=turned(self.cones_world_mm, True),
            axes_world_mm=turned(self.axes_world_mm, True),
            front_world=turned(self.front_world, False),
            left_world=turned(self.left_world, False),
        )


def pose(bodies: Bodies, clip: Clip) -> Figures:
    """Return one figure per frame of ``clip``. ``bodies`` holds one body (used for all frames) or one per frame.

    The lowest point of the surface touches the floor, raised by ``clip.lift`` leg lengths when running or jumping.
    Raises ``ValueError`` for another number of bodies.
    """
    import kt3d_bench.synth.pose_kernels as kernels

    count = len(clip.rotations)
    if len(bodies) not in (1, count):
        raise ValueError(f"{len(bodies)} bodies for a clip of {count} frames: expected one or {count}")
    leg = bodies.leg_mm
    root = np.concatenate([clip.travel * leg[:, None], np.zeros((count, 1))], axis=1)
    positions, frames = forward_kinematics(bodies.offsets_mm, clip.rotations, root)

    def placed(joints: npt.NDArray[np.int64], points: FloatArray) -> FloatArray:
        local = kernels.float_rows(points.reshape(len(points), -1, 3))
        return kernels.placed(positions, frames, joints.ravel(), local).reshape(count, *points.shape[1:])

    cones = placed(_CONE_JOINT, bodies.cones_mm)
    lowest = (cones[..., 2] - bodies.radii_mm).min(axis=(1, 2))
    up = np.zeros((count, 3))
    up[:, 2] = clip.lift * leg - lowest
    part_frames = frames[:, _AXIS_FRAME]
    return Figures(
        placed(_LANDMARK_JOINT, bodies.landmarks_mm) + up[:, None],
        cones + up[:, None, None],
        np.broadcast_to(bodies.radii_mm, (count, *bodies.radii_mm.shape[1:])).copy(),
        placed(_AXIS_JOINT, bodies.axes_mm) + up[:, None, None],
        (part_frames * _AXIS_FRONT[:, None]).sum(axis=-1),
        part_frames[..., 1].copy(),
    )


assert len(_OFFSETS) == len(PARENTS)
