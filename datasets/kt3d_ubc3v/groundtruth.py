"""``groundtruth.mat`` of one section as plain arrays: camera poses and the toolkit's 18 joints, frame by frame.

Also where these joints lie in the file, and how they become the common 17.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import RawDataError
from kt3d_bench.matfiles import is_matlab_73, load_mat, variables_of
from kt3d_bench.rawfiles import BoundedReader, listed
from kt3d_bench.skeletons import JointMapping
from kt3d_ubc3v.layout import CAMERAS

FIELDS: tuple[tuple[str, str], ...] = (
    ("Head", "HeadPGX"), ("Neck", "Neck1PGX"),
    ("Spine2", "RightShoulderPGX"), ("Spine1", "Spine1PGX"), ("Spine", "SpinePGX"), ("Hip", "RightUpLegPGX"),
    ("RHip", "RightLegPGX"), ("RKnee", "RightFootPGX"), ("RFoot", "RightToeBasePGX"),
    ("LHip", "LeftLegPGX"), ("LKnee", "LeftFootPGX"), ("LFoot", "LeftToeBasePGX"),
    ("RShoulder", "RightForeArmPGX"), ("RElbow", "RightHandPGX"), ("RHand", "RightFingerBasePGX"),
    ("LShoulder", "LeftForeArmPGX"), ("LElbow", "LeftHandPGX"), ("LHand", "LeftFingerBasePGX"),
)  # fmt: skip
"""(joint, matrix field): the toolkit's ``get_pose.m``. The field is one bone further out than the joint, because each
``<Bone>PGX`` matrix sits at the position of that bone's parent joint."""

JOINTS: tuple[str, ...] = tuple(name for name, _ in FIELDS)

MAPPING = JointMapping.of(
    JOINTS,
    exact={
        "right_hip": "RHip", "right_knee": "RKnee", "right_ankle": "RFoot",
        "left_hip": "LHip", "left_knee": "LKnee", "left_ankle": "LFoot",
        "left_shoulder": "LShoulder", "left_elbow": "LElbow", "left_wrist": "LHand",
        "right_shoulder": "RShoulder", "right_elbow": "RElbow", "right_wrist": "RHand",
    },
    derived={"hip": ("RHip", "LHip")},
    approximate={"spine": "Spine2", "thorax": "Neck", "nose": ("Neck", "Head"), "head": "Head"},
)  # fmt: skip
"""Rig joints stand where Human3.6M has marker-based ones, so even "exact" joints differ by the definition of a rig."""


_FAR_CM = 1e5  # Coordinates beyond a kilometre are damage, not a pose
FloatArray = npt.NDArray[np.float64]
_reader = BoundedReader("kt3d_ubc3v.groundtruth:read_section", timeout_s=30.0, memory_mb=2 << 10)
"""A section of 1,000 frames takes 0.3 s and 30 MB."""


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """One section: T frames of joints, and the poses of each camera (of its own length). NaN = none in that frame."""

    joints_world_cm: FloatArray  # (T, 18, 3) cm, Maya's world (Y up)
    translate_cm: Mapping[str, FloatArray]  # Camera -> (T, 3) position, Maya's world
    rotate_deg: Mapping[str, FloatArray]  # Camera -> (T, 3) Euler angles X, Y, Z


def read_ground_truth(path: Path) -> GroundTruth:
    """Read the file in a child process. Raises ``RawDataError`` when it is missing, damaged or another kind of file."""
    arrays = _reader.read(path, where=path, hint="download or unpack the archive again")
    translate, rotate = ({name: arrays[f"{name} {field}"] for name in CAMERAS} for field in ("translate", "rotate"))
    return GroundTruth(arrays["joints"], translate, rotate)


def read_section(path: str) -> dict[str, FloatArray]:
    """Read the file as flat arrays, in the child process. Raises ``RawDataError`` when it is no section's."""
    with Path(path).open("rb") as file:
        header = file.read(128)
    if (len(header) < 128 or not header.startswith(b"MATLAB 5.0")) and not is_matlab_73(Path(path)):
        raise RawDataError("is not a MATLAB file of version 5 to 7.3")
    variables = load_mat(Path(path), ["joints", "cameras"])
    joints, cameras = variables.get("joints"), _struct(variables.get("cameras"))
    if joints is None or cameras is None:
        found = listed(sorted(variables_of(Path(path))), 8)
        raise RawDataError(f"is no section's ground truth: expected 'joints' and a struct 'cameras', found {found}")
    points = np.array([_joints(frame) for frame in _frames(joints)], np.float64)
    arrays: dict[str, FloatArray] = {"joints": points.reshape(-1, len(FIELDS), 3)}
    for name in CAMERAS:
        if (camera := _struct(cameras.get(name))) is None:
            raise RawDataError(f"'cameras' lacks {name}, found {', '.join(sorted(cameras))}")
        frames = _frames(camera.get("frames"))
        for field in ("translate", "rotate"):
            values = [_three({} if frame is None else frame.get(field)) for frame in frames]
            arrays[f"{name} {field}"] = np.array(values, np.float64).reshape(-1, 3)
    return arrays


def _struct(value: Any) -> dict[str, Any] | None:
    """Return the one element of a 1 x 1 struct; ``None`` for anything else."""
    names = value.dtype.names if isinstance(value, np.ndarray | np.void) else None
    return {name: value.item(0)[at] for at, name in enumerate(names)} if names and value.size == 1 else None


def _frames(value: Any) -> list[dict[str, Any] | None]:
    """Return the elements of a cell array of structs, or of a struct array as some exports have it.

    ``None`` stands for an element that is no struct: a frame without a pose.
    """
    if isinstance(value, np.ndarray) and (value.dtype.names or value.dtype == object):
        return [_struct(item) for item in value.ravel(order="F")]
    return []


def _joints(frame: Mapping[str, Any] | None) -> FloatArray:
    points = np.full((len(FIELDS), 3), np.nan)
    for row, (_, field) in enumerate(FIELDS):
        matrix = None if frame is None else frame.get(field)
        if isinstance(matrix, np.ndarray) and matrix.size == 16 and matrix.dtype.kind in "fiu":
            points[row] = matrix.ravel(order="F")[12:15]
    return np.where(np.abs(points) < _FAR_CM, points, np.nan)


def _three(value: Any) -> FloatArray:
    if isinstance(value, np.ndarray) and value.size == 3 and value.dtype.kind in "fiu" and np.isfinite(value).all():
        return np.asarray(value, np.float64).ravel()
    return np.full(3, np.nan)
