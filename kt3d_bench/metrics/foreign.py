"""Predictions as other programs write them, in plain forms: read, checked, and turned into our own.

None of these programs writes a plain file by itself (mmpose dumps a pickle, VideoPose3D one ``.npy`` per recording), so
each form is the nearest plain one. Nothing is ever unpickled. 17 joints in Human3.6M's order throughout; shapes: N
poses, T frames of one recording.

===================  ================================================================================================
form                 content
===================  ================================================================================================
``kt3d-npz``         ``scoring.predictions``: ``keys``, ``joints_cam_mm``; mm, camera frame
``mmpose-json``      ``{"unit": "m" | "mm", "predictions": [{"img_path": ..., "keypoints": [[x, y, z], ...]}, ...]}``;
                     camera frame, absolute or relative to the hip; ``key`` instead of ``img_path``: our sample key
``videopose3d-npz``  one array ``<subject>/<recording>/<camera>`` (T, 17, 3) per recording, frame 0 first; metres,
                     camera frame, relative to the hip
``posepile-npz``     ``image_path`` (N,) text and ``coords3d_pred_world`` (N, 17, 3); mm, world frame
===================  ================================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import ArtefactError
from kt3d_bench.metrics.predictions import Predictions, load_npz, read_predictions, some
from kt3d_bench.skeletons import H36M17, NUM_JOINTS

OURS = "kt3d-npz"
FORMS = (OURS, "mmpose-json", "videopose3d-npz", "posepile-npz")
_MAX_JSON_BYTES = 2 << 30
_MEND = "leaderboards/SUBMITTING.md describes the accepted forms"
_HIP = H36M17.root


@dataclass(frozen=True, eq=False)
class Handed:
    """A file as it was handed in."""

    form: str
    names: npt.NDArray[np.str_]
    """(N,) what each pose is of: our sample keys, or image names of the program's own."""
    joints_mm: npt.NDArray[np.float64]
    """(N, 17, 3) mm; NaN = no answer."""
    frame: Literal["camera", "world"]
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Cameras:
    """What placing foreign poses needs of the test samples."""

    keys: npt.NDArray[np.str_]
    joints_cam_mm: npt.NDArray[Any]
    """(N, 17, 3): of it the hip alone, and only for poses relative to it."""
    rotation: npt.NDArray[Any]
    """(N, 3, 3) world -> camera."""
    position_world_mm: npt.NDArray[Any]
    """(N, 3) camera centre."""


def read_foreign(path: Path) -> Handed:
    """Read a file of any accepted form. Raises ``ArtefactError`` naming what is wrong with it."""
    path = Path(path)
    if path.suffix.lower() in (".pkl", ".pickle", ".pt", ".pth", ".npy"):
        raise ArtefactError(f"'{path.suffix}' files may hold pickles, which are never loaded", where=path, hint=_MEND)
    if path.suffix.lower() == ".json":
        return _mmpose(path)
    arrays = load_npz(path)
    if {"keys", "joints_cam_mm"} & set(arrays):
        ours = read_predictions(path)
        return Handed(OURS, ours.keys, ours.joints_cam_mm.astype(np.float64), "camera", ours.meta)
    if {"image_path", "coords3d_pred_world"} & set(arrays):
        return _posepile(path, arrays)
    if arrays and all(name.count("/") == 2 for name in arrays):
        return _videopose3d(path, arrays)
    raise ArtefactError(f"holds the arrays {some(sorted(arrays))}, which no accepted form has", where=path, hint=_MEND)


def placed(
    handed: Handed, cameras: Cameras, key_of: Callable[[str], str | None], *, root: int | None, where: object = None
) -> Predictions:
    """The poses by sample key, in the cameras' frames.

    ``key_of`` turns an image name into the sample key it means (``None`` = no sample's). Poses relative to their hip
    are moved to the true one, which a benchmark that aligns at ``root`` does not notice; others refuse them. Frames
    that are no test samples are left out. Raises ``ArtefactError`` for names that mean nothing or the same, and where
    nothing fits.
    """
    file = None if where is None else str(where)
    if handed.form == OURS:
        return Predictions(handed.names, handed.joints_mm.astype(np.float32), handed.meta)
    row_of = {str(key): row for row, key in enumerate(cameras.keys)}
    keys = [str(name) if str(name) in row_of else key_of(str(name)) for name in handed.names]
    strange = [str(name) for name, key in zip(handed.names, keys, strict=True) if key is None]
    if strange:
        raise ArtefactError(f"{len(strange)} names mean no sample ({some(strange)})", where=file, hint=_MEND)
    kept = np.array([number for number, key in enumerate(keys) if key in row_of], np.int64)
    if not len(kept):
        raise ArtefactError(f"no pose is of a test sample ({some([str(key) for key in keys])})", where=file, hint=_MEND)
    names = np.array([keys[number] for number in kept], np.str_)
    doubled = [str(key) for key, count in zip(*np.unique(names, return_counts=True), strict=True) if count > 1]
    if doubled:
        raise ArtefactError(f"{len(doubled)} samples are answered twice ({some(doubled)})", where=file, hint=_MEND)
    rows = np.array([row_of[key] for key in names])
    joints = handed.joints_mm[kept]
    if handed.frame == "world":
        joints = np.einsum("nij,nkj->nki", cameras.rotation[rows], joints - cameras.position_world_mm[rows][:, None])
    elif np.nanmax(np.abs(joints[:, _HIP]), initial=0.0) <= 1.0:
        if root is None:
            raise ArtefactError(
                "the poses are relative to the hip, and this benchmark measures absolute positions",
                where=file,
                hint="add the hip's predicted position",
            )
        joints = joints + np.asarray(cameras.joints_cam_mm, np.float64)[rows][:, [_HIP]]
    return Predictions(names, joints.astype(np.float32), handed.meta)


def _mmpose(path: Path) -> Handed:
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise ArtefactError(f"is larger than {_MAX_JSON_BYTES >> 30} GiB", where=path, hint=_MEND)
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ArtefactError(f"is not readable JSON ({error})", where=path, hint=_MEND) from error
    if not isinstance(document, dict) or not isinstance(document.get("predictions"), list):
        raise ArtefactError("expected an object with the list 'predictions'", where=path, hint=_MEND)
    scale = {"m": 1000.0, "mm": 1.0}.get(str(document.get("unit")))
    if scale is None:
        raise ArtefactError(f'\'unit\' is {document.get("unit")!r}, expected "m" or "mm"', where=path, hint=_MEND)
    names, poses = [], []
    for number, row in enumerate(document["predictions"]):
        name = (row.get("key") or row.get("img_path")) if isinstance(row, dict) else None
        try:
            pose = np.array(row["keypoints"], np.float64).reshape(-1, NUM_JOINTS, 3) if name else np.empty(0)
        except (KeyError, TypeError, ValueError):
            pose = np.empty(0)
        if not isinstance(name, str) or len(pose) != 1:
            raise ArtefactError(
                f"prediction {number} is no object with 'img_path' or 'key', and {NUM_JOINTS} 'keypoints' [x, y, z]",
                where=path,
                hint=_MEND,
            )
        names.append(name)
        poses.append(pose[0] * scale)
    return Handed("mmpose-json", np.array(names, np.str_), _poses(path, np.array(poses)), "camera")


def _posepile(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> Handed:
    names, joints = arrays.get("image_path"), arrays.get("coords3d_pred_world")
    if names is None or joints is None:
        raise ArtefactError("needs both 'image_path' and 'coords3d_pred_world'", where=path, hint=_MEND)
    if names.dtype.kind not in "US" or names.ndim != 1:
        raise ArtefactError(f"'image_path' is {names.dtype} {names.shape}, expected text (N,)", where=path, hint=_MEND)
    poses = _poses(path, joints)
    if len(poses) != len(names):
        raise ArtefactError(f"{len(names)} image paths for {len(poses)} poses", where=path, hint=_MEND)
    return Handed("posepile-npz", names.astype(np.str_), poses, "world")


def _videopose3d(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> Handed:
    recordings = {name: _poses(path, array) * 1000.0 for name, array in sorted(arrays.items())}
    names = [f"{name}/{frame:06d}" for name, poses in recordings.items() for frame in range(len(poses))]
    return Handed("videopose3d-npz", np.array(names, np.str_), np.concatenate(list(recordings.values())), "camera")


def _poses(path: Path, array: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    if array.dtype not in (np.float32, np.float64):
        raise ArtefactError(f"the poses are {array.dtype}, expected float32 or float64", where=path, hint=_MEND)
    if array.ndim != 3 or array.shape[1:] != (NUM_JOINTS, 3):
        raise ArtefactError(f"the poses are {array.shape}, expected (N, {NUM_JOINTS}, 3)", where=path, hint=_MEND)
    poses = array.astype(np.float64)
    poses[~np.isfinite(poses).all(axis=-1)] = np.nan
    return poses
