"""``groundtruth.mat`` of one section as plain arrays: camera poses and the toolkit's 18 joints, frame by frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import RawDataError
from kt3d_ubc3v.joints import FIELDS
from kt3d_ubc3v.layout import CAMERAS
from kt3d_ubc3v.matfile import Cells, Structs, read_mat

_FAR_CM = 1e5
"""Coordinates beyond a kilometre are damage, not a pose."""
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CameraPath:
    """Poses of one camera, T frames; NaN where a frame has none."""

    translate_cm: FloatArray
    """(T, 3) position, Maya's world."""
    rotate_deg: FloatArray
    """(T, 3) Euler angles X, Y, Z."""


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """One section: T frames of joints, and one path per camera (each of its own length)."""

    joints_world_cm: FloatArray
    """(T, 18, 3) cm, Maya's world (Y up); NaN = no pose in that frame or no such matrix."""
    cameras: Mapping[str, CameraPath]


def read_ground_truth(path: Path) -> GroundTruth:
    """Raises ``RawDataError`` for a missing or damaged file, or one without the documented variables."""
    variables = read_mat(path)
    joints, cameras = variables.get("joints"), _only(variables.get("cameras"))
    if joints is None or cameras is None:
        found = ", ".join(sorted(variables)) or "nothing"
        raise RawDataError(
            f"expected the variables 'joints' and 'cameras' (a struct), found {found}",
            where=path,
            hint="this is not a section's ground truth; unpack the archive again",
        )
    missing = [name for name in CAMERAS if _only(cameras.get(name)) is None]
    if missing:
        raise RawDataError(
            f"'cameras' lacks {', '.join(missing)}, found {', '.join(sorted(cameras))}",
            where=path,
            hint="unpack the archive again",
        )
    poses = [_joints(entry) for entry in _entries(joints)]
    return GroundTruth(
        np.array(poses, np.float64).reshape(-1, len(FIELDS), 3),
        {name: _path(_only(cameras[name]) or {}) for name in CAMERAS},
    )


def _only(value: Any) -> Mapping[str, Any] | None:
    """The one element of a 1 x 1 struct; ``None`` for anything else."""
    return value.items[0] if isinstance(value, Structs) and len(value.items) == 1 else None


def _entries(value: Any) -> list[Mapping[str, Any] | None]:
    """Elements of a cell array of structs (or of a struct array, as some exports have it); ``None`` = no struct."""
    if isinstance(value, Structs):
        return list(value.items)
    return [_only(item) for item in value.items] if isinstance(value, Cells) else []


def _joints(entry: Mapping[str, Any] | None) -> FloatArray:
    points = np.full((len(FIELDS), 3), np.nan)
    for row, (_, field) in enumerate(FIELDS):
        matrix = None if entry is None else entry.get(field)
        if isinstance(matrix, np.ndarray) and matrix.size == 16:
            points[row] = matrix.ravel(order="F")[12:15]
    return np.where(np.abs(points) < _FAR_CM, points, np.nan)


def _path(camera: Mapping[str, Any]) -> CameraPath:
    frames = _entries(camera.get("frames"))
    translate, rotate = (
        np.array([_three(None if frame is None else frame.get(field)) for frame in frames], np.float64).reshape(-1, 3)
        for field in ("translate", "rotate")
    )
    return CameraPath(translate, rotate)


def _three(value: Any) -> FloatArray:
    if isinstance(value, np.ndarray) and value.size == 3 and np.isfinite(value).all():
        return np.asarray(value, np.float64).ravel()
    return np.full(3, np.nan)
