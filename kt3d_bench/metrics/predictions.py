"""Prediction files of our own form, poses of other programs placed in the cameras, and both joined to the truth by key.

We write one ``.npz`` per model and benchmark; ``forms`` reads every accepted form. 17 joints in Human3.6M's order
throughout. Shapes: N poses.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic_core import from_json

from kt3d_bench.errors import ArtefactError
from kt3d_bench.files import npz_bytes, read_npz, write_whole
from kt3d_bench.skeletons import H36M17, NUM_JOINTS

OURS = "kt3d-npz"
_MEMBERS = ("keys", "joints_cam_mm", "valid", "meta")
_OURS_HINT = "write it again with 'kt3d predict' or kt3d_bench.metrics.predictions.write_predictions"
HINT = "leaderboards/SUBMITTING.md describes the accepted forms"
MAX_BYTES = 512 << 20
"""Twice what all frames of the largest dataset take."""
_MAX_META = 1 << 20
_MAX_KEY = 300
"""Characters of a sample key."""
_SHOWN = 3
_HIP = H36M17.root


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predicted poses of N samples; ``len(p)`` is N, ``p[i]`` the (17, 3) ``joints_cam_mm`` of sample ``i``."""

    keys: npt.NDArray[np.str_]
    """(N,) sample keys, each once."""
    joints_cam_mm: npt.NDArray[np.float32]
    """(N, 17, 3) mm, camera frame; NaN = no answer."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Free JSON: run, checkpoint digest, benchmark and the like."""

    def __post_init__(self) -> None:
        joints = np.asarray(self.joints_cam_mm)
        keys = np.asarray(self.keys)
        if joints.shape != (len(keys), NUM_JOINTS, 3) or joints.dtype not in (np.float32, np.float64):
            raise ValueError(f"expected joints ({len(keys)}, {NUM_JOINTS}, 3), found {joints.dtype} {joints.shape}")
        if keys.ndim != 1 or keys.dtype.kind != "U":
            raise ValueError(f"expected keys as (N,) text, found {keys.dtype} {keys.shape}")

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> npt.NDArray[np.float32]:
        pose: npt.NDArray[np.float32] = self.joints_cam_mm[index]
        return pose


@dataclass(frozen=True, eq=False)
class PredictionFile:
    """A prediction file of any accepted form, as it was written."""

    path: Path
    form: str
    names: npt.NDArray[np.str_]
    """(N,) what each pose is of: our sample keys, or image names of the program that predicted."""
    joints_mm: npt.NDArray[np.float64]
    """(N, 17, 3) mm; NaN = no answer."""
    frame: Literal["camera", "world"]
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Cameras:
    """What placing other programs' poses needs of the test samples."""

    keys: npt.NDArray[np.str_]
    joints_cam_mm: npt.NDArray[Any]
    """(N, 17, 3): of it the hip alone, and only for poses relative to it."""
    rotation: npt.NDArray[Any]
    """(N, 3, 3) world -> camera."""
    position_world_mm: npt.NDArray[Any]
    """(N, 3) camera centre."""


def write_predictions(
    path: Path,
    keys: Sequence[str] | npt.NDArray[np.str_],
    joints_cam_mm: npt.NDArray[Any],
    *,
    valid: npt.NDArray[np.bool_] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> None:
    """Write a prediction file of our own form, whole or not at all; the same input gives the same bytes.

    ``joints_cam_mm`` (N, 17, 3) is stored as float32; ``valid`` (N, 17). Raises ``ValueError`` for shapes that do not
    fit or keys given twice, ``ArtefactError`` when the folder cannot be written.
    """
    write_whole(Path(path), prediction_bytes(keys, joints_cam_mm, valid=valid, meta=meta))


def prediction_bytes(
    keys: Sequence[str] | npt.NDArray[np.str_],
    joints_cam_mm: npt.NDArray[Any],
    *,
    valid: npt.NDArray[np.bool_] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> bytes:
    """Return the content of the file that ``write_predictions`` writes; raises ``ValueError`` as that does."""
    names = np.asarray(keys, dtype=np.str_).reshape(-1)
    joints = np.asarray(joints_cam_mm, np.float32)
    Predictions(names, joints)
    doubled = _doubled(names)
    if doubled:
        raise ValueError(f"keys given twice: {some(doubled)}")
    arrays: dict[str, npt.NDArray[Any]] = {"keys": names, "joints_cam_mm": joints}
    if valid is not None:
        arrays["valid"] = np.asarray(valid, bool)
        if arrays["valid"].shape != joints.shape[:2]:
            raise ValueError(f"expected valid {joints.shape[:2]}, found {arrays['valid'].shape}")
    arrays["meta"] = np.array(json.dumps(dict(meta or {}), sort_keys=True, allow_nan=False))
    return npz_bytes(arrays)


def read_predictions(path: Path) -> Predictions:
    """Read a prediction file of our own form; joints marked not ``valid`` and infinite ones become NaN.

    Raises ``ArtefactError``, listing everything that is wrong at once, for a file that is missing or no npz, pickled
    content, missing or unknown arrays, wrong shapes or types, and keys given twice.
    """
    return ours(Path(path), load_npz(Path(path)))


def placed(
    file: PredictionFile,
    cameras: Cameras,
    key_of: Callable[[str], str | None],
    *,
    root: int | None,
    names_of: Callable[[str], Sequence[str]] | None = None,
) -> Predictions:
    """Return the poses of a file by sample key, (N, 17, 3) mm in the cameras' frames.

    ``key_of`` turns an image name into the sample key it means (``None`` = no sample's), ``names_of`` a key into the
    names it may have, for errors. Poses relative to their hip
    are moved to the true one where the benchmark aligns at a ``root``, and refused otherwise. Frames that are no test
    samples are left out. Raises ``ArtefactError`` for names that mean nothing or the same sample, and where no pose is
    of a test sample.
    """

    def refused(what: str, hint: str = HINT) -> ArtefactError:
        return ArtefactError(what, where=file.path, hint=hint)

    if file.form == OURS:
        return Predictions(file.names, file.joints_mm.astype(np.float32), file.meta)
    row_of = {str(key): row for row, key in enumerate(cameras.keys)}
    keys = [str(name) if str(name) in row_of else key_of(str(name)) for name in file.names]
    strange = [str(name) for name, key in zip(file.names, keys, strict=True) if key is None]
    if strange:
        raise refused(
            f"{len(strange)} names mean no sample ({some(strange)}){nearest(strange[0], cameras.keys, names_of)}"
        )
    kept = np.array([number for number, key in enumerate(keys) if key in row_of], np.int64)
    if not len(kept):
        raise refused(f"no pose is of a test sample ({some([str(key) for key in keys])})")
    names = np.array([keys[number] for number in kept], np.str_)
    if doubled := _doubled(names):
        raise refused(f"{len(doubled)} samples are answered twice ({some(doubled)})")
    rows = np.array([row_of[key] for key in names])
    joints = file.joints_mm[kept]
    if file.frame == "world":
        joints = np.einsum("nij,nkj->nki", cameras.rotation[rows], joints - cameras.position_world_mm[rows][:, None])
    elif np.nanmax(np.abs(joints[:, _HIP]), initial=0.0) <= 1.0:
        if root is None:
            raise refused(
                "the poses are relative to the hip, and this benchmark measures absolute positions",
                "add the hip's predicted position",
            )
        joints = joints + np.asarray(cameras.joints_cam_mm, np.float64)[rows][:, [_HIP]]
    return Predictions(names, joints.astype(np.float32), file.meta)


def join(predictions: Predictions, keys: npt.NDArray[np.str_]) -> tuple[npt.NDArray[np.float32], list[str], list[str]]:
    """Return the poses in the order of ``keys``, (M, 17, 3) with NaN where missing; the missing and the extra keys."""
    order = np.argsort(predictions.keys)
    ordered = predictions.keys[order]
    joined = np.full((len(keys), NUM_JOINTS, 3), np.nan, np.float32)
    if not len(ordered):
        return joined, [str(key) for key in keys], []
    place = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
    found = ordered[place] == keys
    joined[found] = predictions.joints_cam_mm[order[place[found]]]
    extra = np.setdiff1d(predictions.keys, keys, assume_unique=True)
    return joined, [str(key) for key in keys[~found]], [str(key) for key in extra]


def looks_like_metres(pred_mm: npt.NDArray[Any], true_mm: npt.NDArray[Any]) -> bool:
    """Return whether every bone's median length over (N, 17, 3) poses is about a thousandth of the true one: metres,
    not a collapsed pose."""
    children, parents = (list(column) for column in zip(*H36M17.bones, strict=True))

    def lengths(joints: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        bones = np.linalg.norm(np.asarray(joints, np.float64)[:, children] - joints[:, parents], axis=-1)
        known = np.isfinite(bones).any(axis=0)
        medians = np.full(len(children), np.nan)
        medians[known] = [np.median(bone[np.isfinite(bone)]) for bone in bones.T[known]]
        return medians

    if not len(pred_mm):
        return False
    with np.errstate(all="ignore"):
        ratio = lengths(pred_mm) / lengths(true_mm)
    ratio = ratio[np.isfinite(ratio)]
    return bool(len(ratio)) and bool(((ratio > 2e-4) & (ratio < 5e-3)).all())


def load_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read every array of an ``.npz`` of predictions or scores. Raises ``ArtefactError`` naming what is wrong."""
    if not path.is_file():
        raise ArtefactError("there is no such prediction file", where=path, hint="run 'kt3d predict' first")
    return read_npz(path, max_bytes=MAX_BYTES, hint=_OURS_HINT)


def nearest(name: str, keys: npt.NDArray[np.str_], names_of: Callable[[str], Sequence[str]] | None = None) -> str:
    """Return "; the nearest accepted name is ..." for an unknown name; "" where none is near.

    One sample of each clip and camera stands for all of them: keys end with the number of the frame.
    """
    clips = {str(key).rstrip("0123456789"): str(key) for key in keys[::-1]}
    known = [*clips.values(), *(other for key in clips.values() for other in (names_of(key) if names_of else ()))]
    ends = (name, name.rpartition("/")[2])
    found = [one for end in ends for one in difflib.get_close_matches(end, known, n=1, cutoff=0.7)]
    return f"; the nearest accepted name is {found[0]}" if found else ""


def some(names: Sequence[str]) -> str:
    """Return the first few of many names, what cannot be printed escaped, and how many there are."""
    shown = ", ".join(name if name.isprintable() else ascii(name) for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown}, ... ({len(names)} in all)"


def ours(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> Predictions:
    """Return the predictions in the arrays of our own form. Raises ``ArtefactError`` listing everything wrong."""
    problems = [f"the array '{name}' is missing" for name in ("keys", "joints_cam_mm") if name not in arrays]
    problems += [f"the array '{name}' is not known" for name in sorted(set(arrays) - set(_MEMBERS))]
    keys, joints, valid, meta = (arrays.get(name) for name in _MEMBERS)
    if keys is not None and (keys.dtype.kind != "U" or keys.ndim != 1 or keys.dtype.itemsize > 4 * _MAX_KEY):
        problems.append(f"'keys' is {keys.dtype} {keys.shape}, expected text (N,) of at most {_MAX_KEY} characters")
    elif keys is not None and (doubled := _doubled(keys)):
        problems.append(f"{len(doubled)} keys are given more than once ({some(doubled)})")
    if joints is not None and joints.dtype not in (np.float32, np.float64):
        problems.append(f"'joints_cam_mm' is {joints.dtype}, expected float32 or float64")
    if joints is not None and (joints.ndim != 3 or joints.shape[1:] != (NUM_JOINTS, 3)):
        problems.append(f"'joints_cam_mm' is {joints.shape}, expected (N, {NUM_JOINTS}, 3)")
    if keys is not None and joints is not None and keys.shape[:1] != joints.shape[:1]:
        problems.append(f"{len(np.atleast_1d(keys))} keys for {len(np.atleast_1d(joints))} poses")
    if valid is not None and (valid.dtype != np.bool_ or (joints is not None and valid.shape != joints.shape[:2])):
        problems.append(f"'valid' is {valid.dtype} {valid.shape}, expected bool (N, {NUM_JOINTS})")
    described: Any = {}
    if meta is not None and (meta.dtype.kind != "U" or meta.shape != () or meta.nbytes > 4 * _MAX_META):
        problems.append(f"'meta' is {meta.dtype} {meta.shape}, expected one text holding a JSON object")
    elif meta is not None:
        try:
            described = from_json(str(meta).encode())
        except ValueError as error:
            problems.append(f"'meta' is not JSON ({error})")
        if not isinstance(described, dict):
            problems.append("'meta' is not a JSON object")
    if problems or keys is None or joints is None:
        raise ArtefactError("; ".join(problems), where=path, hint=_OURS_HINT)
    joints = joints.astype(np.float32)
    joints[~np.isfinite(joints)] = np.nan
    if valid is not None:
        joints[~valid] = np.nan
    return Predictions(keys, joints, described)


def _doubled(keys: npt.NDArray[np.str_]) -> list[str]:
    unique, counts = np.unique(keys, return_counts=True)
    return [str(key) for key in unique[counts > 1]]
