"""Prediction files: one ``.npz`` per model and benchmark, joined to the truth by sample key.

Members: ``keys`` (N,) text, ``joints_cam_mm`` (N, 17, 3) float32 or float64 mm in the camera frame, optional ``valid``
(N, 17) bool (false = the method gives no answer there), and optional ``meta``, a JSON object as one text scalar. No
pickles.
"""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import ArtefactError
from kt3d_bench.files import npz_bytes, write_whole
from kt3d_bench.skeletons import H36M17, NUM_JOINTS

_MEMBERS = ("keys", "joints_cam_mm", "valid", "meta")
_AGAIN = "write it again with 'kt3d predict' or kt3d_bench.metrics.predictions.write_predictions"
_MAX_BYTES = 2 << 30
"""Several times what all frames of the largest benchmark take."""
_NAMED = 3
_UNREADABLE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, KeyError, MemoryError, NotImplementedError,
               RuntimeError)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predicted poses of some samples; not finite = no answer."""

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


def write_predictions(
    path: Path,
    keys: Sequence[str] | npt.NDArray[np.str_],
    joints_cam_mm: npt.NDArray[Any],
    *,
    valid: npt.NDArray[np.bool_] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> None:
    """Write a prediction file whole or not at all; the same input gives the same bytes.

    ``joints_cam_mm`` (N, 17, 3) is stored as float32; ``valid`` (N, 17). Raises ``ValueError`` for shapes that do not
    fit or keys given twice, ``ArtefactError`` when the folder cannot be written.
    """
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
    write_whole(Path(path), npz_bytes(arrays))


def read_predictions(path: Path) -> Predictions:
    """Read and check a prediction file; joints marked not ``valid`` and infinite ones come back as NaN.

    Raises ``ArtefactError``, listing everything that is wrong at once, for a file that is missing or no npz, pickled
    content, missing or unknown arrays, wrong shapes or types, and keys given twice.
    """
    path = Path(path)
    arrays = load_npz(path)
    problems = [f"the array '{name}' is missing" for name in ("keys", "joints_cam_mm") if name not in arrays]
    problems += [f"the array '{name}' is not known" for name in sorted(set(arrays) - set(_MEMBERS))]
    keys, joints = arrays.get("keys"), arrays.get("joints_cam_mm")
    if keys is not None and (keys.dtype.kind != "U" or keys.ndim != 1):
        problems.append(f"'keys' is {keys.dtype} {keys.shape}, expected text (N,)")
    if joints is not None and joints.dtype not in (np.float32, np.float64):
        problems.append(f"'joints_cam_mm' is {joints.dtype}, expected float32 or float64")
    if joints is not None and (joints.ndim != 3 or joints.shape[1:] != (NUM_JOINTS, 3)):
        problems.append(f"'joints_cam_mm' is {joints.shape}, expected (N, {NUM_JOINTS}, 3)")
    if keys is not None and joints is not None and keys.shape[:1] != joints.shape[:1]:
        problems.append(f"{len(np.atleast_1d(keys))} keys for {len(np.atleast_1d(joints))} poses")
    valid = arrays.get("valid")
    if valid is not None and (valid.dtype != np.bool_ or (joints is not None and valid.shape != joints.shape[:2])):
        problems.append(f"'valid' is {valid.dtype} {valid.shape}, expected bool (N, {NUM_JOINTS})")
    meta: Any = {}
    if "meta" in arrays:
        meta, complaint = _parse_meta(arrays["meta"])
        problems += complaint
    if keys is not None and keys.dtype.kind == "U" and keys.ndim == 1:
        doubled = _doubled(keys)
        if doubled:
            problems.append(f"{len(doubled)} keys are given more than once ({some(doubled)})")
    if problems or keys is None or joints is None:
        raise ArtefactError("; ".join(problems), where=path, hint=_AGAIN)
    joints = joints.astype(np.float32)
    joints[~np.isfinite(joints)] = np.nan
    if valid is not None:
        joints[~valid] = np.nan
    return Predictions(keys, joints, meta)


def join(predictions: Predictions, keys: npt.NDArray[np.str_]) -> tuple[npt.NDArray[np.float32], list[str], list[str]]:
    """Predictions in the order of ``keys``: (M, 17, 3) with NaN where missing, the missing and the extra keys."""
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
    """Whether every bone's median length over (N, 17, 3) poses is about a thousandth of the true one: metres, not a
    collapsed pose."""
    children, parents = (list(column) for column in zip(*H36M17.bones, strict=True))

    def lengths(joints: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        bones = np.linalg.norm(np.asarray(joints, np.float64)[:, children] - joints[:, parents], axis=-1)
        known = np.isfinite(bones).any(axis=0)
        medians = np.full(len(children), np.nan)
        medians[known] = np.nanmedian(bones[:, known], axis=0)
        return medians

    if not len(pred_mm):
        return False
    with np.errstate(all="ignore"):
        ratio = lengths(pred_mm) / lengths(true_mm)
    ratio = ratio[np.isfinite(ratio)]
    return bool(len(ratio)) and bool(((ratio > 2e-4) & (ratio < 5e-3)).all())


def load_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Every array of an ``.npz``, bounded in size and never unpickled; ``ArtefactError`` naming what is wrong."""
    if not path.is_file():
        raise ArtefactError("there is no such prediction file", where=path, hint="run 'kt3d predict' first")
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist()]
            if len(names) != len(set(names)):
                raise ArtefactError("holds an array twice", where=path, hint=_AGAIN)
            if sum(info.file_size for info in archive.infolist()) > _MAX_BYTES:
                raise ArtefactError(f"would unpack to more than {_MAX_BYTES >> 30} GiB", where=path, hint=_AGAIN)
            return {info.filename.removesuffix(".npy"): _array(archive, info) for info in archive.infolist()}
    except ArtefactError:
        raise
    except ValueError as error:
        reason = "holds pickled objects, which are never loaded" if "pickle" in str(error) else f"is damaged ({error})"
        raise ArtefactError(reason, where=path, hint=_AGAIN) from error
    except _UNREADABLE as error:
        reason = f"is not a readable .npz file ({type(error).__name__}: {error})"
        raise ArtefactError(reason, where=path, hint=_AGAIN) from error


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> npt.NDArray[Any]:
    """One member, once its header is found to declare neither objects nor more than there is: a few bytes can declare
    any shape. Raises ``ValueError`` otherwise."""
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in _HEADERS:
            raise ValueError(f"{info.filename} has npy version {version}")
        shape, _, dtype = _HEADERS[version](stream)
        if dtype.hasobject:
            raise ValueError(f"{info.filename} holds pickled objects")
        count, left = math.prod(shape), info.file_size - stream.tell()
        if count * dtype.itemsize != left or count > max(left, 0):
            raise ValueError(f"{info.filename} declares {dtype} {shape} and holds {left} bytes")
    with archive.open(info) as stream:
        array: npt.NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return array


_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def _parse_meta(array: npt.NDArray[Any]) -> tuple[Any, list[str]]:
    if array.dtype.kind != "U" or array.shape != ():
        return {}, [f"'meta' is {array.dtype} {array.shape}, expected one text holding a JSON object"]
    try:
        meta = json.loads(str(array))
    except (ValueError, RecursionError) as error:
        return {}, [f"'meta' is not JSON ({error})"]
    return (meta, []) if isinstance(meta, dict) else ({}, ["'meta' is not a JSON object"])


def _doubled(keys: npt.NDArray[np.str_]) -> list[str]:
    unique, counts = np.unique(keys, return_counts=True)
    return [str(key) for key in unique[counts > 1]]


def some(names: Sequence[str]) -> str:
    """The first few of many names, and how many there are."""
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown}, ... ({len(names)} in all)"
