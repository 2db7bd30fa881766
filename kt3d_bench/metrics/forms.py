"""Every accepted form of a prediction file, told by content and never by name.

Other programs write pickles or one ``.npy`` per recording; each of their forms is the nearest plain one, and
``converting`` leads there. Nothing is ever unpickled. 17 joints in Human3.6M's order throughout; shapes: N poses, T
frames of one recording.

===================  ================================================================================================
form                 content
===================  ================================================================================================
``kt3d-npz``         ``keys`` (N,) text, ``joints_cam_mm`` (N, 17, 3) float32 or float64, mm, camera frame; optional
                     ``valid`` (N, 17) bool (false = no answer) and ``meta`` (a JSON object as one text scalar)
``mmpose-json``      ``{"unit": "m" | "mm", "predictions": [{"img_path": ..., "keypoints": [[x, y, z], ...]}, ...]}``;
                     camera frame, absolute or relative to the hip. Instead of ``img_path``: ``target_img_path`` (one
                     name or a list of them, with one pose each) or ``key``, our sample key
``videopose3d-npz``  one array ``<subject>/<recording>/<camera>`` (T, 17, 3) per recording, frame 0 first; metres,
                     camera frame, relative to the hip
``motionbert-npz``   one array ``s_<subject>_act_<action>_subact_<subaction>_ca_<camera>`` (T, 17, 3) per recording,
                     frame 0 first; mm, camera frame, relative to the hip
``posepile-npz``     ``image_path`` (N,) text and ``coords3d_pred_world`` (N, 17, 3); mm, world frame
===================  ================================================================================================
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic_core import from_json

from kt3d_bench.budgets import read_whole, require_values
from kt3d_bench.errors import ArtefactError
from kt3d_bench.files import CORRUPT, PickledObjectsError, decoded
from kt3d_bench.metrics.predictions import HINT, MAX_BYTES, OURS, PredictionFile, load_npz, ours, some
from kt3d_bench.skeletons import NUM_JOINTS

FORMS = (OURS, "mmpose-json", "videopose3d-npz", "motionbert-npz", "posepile-npz")
_MOTIONBERT = re.compile(r"s_\d\d_act_\d\d_subact_\d\d_ca_\d\d")
_HEADS = {b"PK": "zip", b"\x93NUMPY": "npy", b"\x1f\x8b": "gzip"}
_PICKLE = re.compile(
    rb"\x80[\x02-\x05]"  # the protocol, from 2 on
    rb"|[\]}]q"  # an empty list or dictionary of protocol 1
    rb"|\(+(?:[ld]p\d+\r?\n|[ld]q|[IL]-?\d+L?\r?\n|F-?\d\S*\r?\n|S['\"]|V.*\r?\np\d)"  # marks of protocol 0
    rb"|\(*c[A-Za-z_][\w.]*\r?\n[A-Za-z_]\w*\r?\n[(pq]"  # a class by module and name
)
"""How the opcodes of a pickle begin (Python's ``pickletools``): a letter alone is no pickle, since text has it too."""


class PlainFormError(ArtefactError):
    """A file as another program writes it, which is pickled or has no names: it needs a plain form first."""


def read_prediction_file(path: Path) -> PredictionFile:
    """Read a prediction file of any accepted form. Raises ``ArtefactError`` naming what is wrong with it, and
    ``PlainFormError`` for pickles and arrays without names."""
    path = Path(path)
    match content_of(path):
        case "pickle":
            raise needs_plain_form("is a pickle, and pickles are never loaded", path)
        case "npy":
            raise needs_plain_form("is one array without names of samples", path)
        case "gzip":
            raise ArtefactError("is packed with gzip", where=path, hint=f"unpack it first: gzip -d {path.name}")
        case "json":
            return _mmpose(path)
        case "nothing":
            raise ArtefactError("is empty and so not a readable .npz file or JSON", where=path, hint="write it again")
    try:
        arrays = load_npz(path)
    except ArtefactError as error:
        if isinstance(error.__cause__, PickledObjectsError):
            raise needs_plain_form(str(error.__cause__), path) from error
        raise
    if {"keys", "joints_cam_mm"} & set(arrays):
        found = ours(path, arrays)
        return PredictionFile(path, OURS, found.keys, found.joints_cam_mm.astype(np.float64), "camera", found.meta)
    if {"image_path", "coords3d_pred_world"} & set(arrays):
        return _posepile(path, arrays)
    if arrays and all(name.count("/") == 2 for name in arrays):
        return videopose3d(path, arrays)
    if arrays and all(_MOTIONBERT.fullmatch(name) for name in arrays):
        return _recordings(path, arrays, "motionbert-npz", 1.0, "{name}_{image:06d}.jpg")
    raise ArtefactError(f"holds the arrays {some(sorted(arrays))}, which no accepted form has", where=path, hint=HINT)


def needs_plain_form(what: str, path: Path) -> PlainFormError:
    """Return the error for a file that must become plain first."""
    hint = "kt3d convert FILE --from PROGRAM makes it plain, or prints the lines that do"
    return PlainFormError(what, where=path, hint=hint)


def content_of(path: Path) -> str:
    """Return what a file is by its first bytes: "zip", "npy", "gzip", "pickle", "json", "nothing", or "" = another."""
    if not path.is_file():
        return ""
    try:
        with path.open("rb") as file:
            head = file.read(64)
        if head.startswith(b"PK"):
            with suppress(*CORRUPT), zipfile.ZipFile(path) as archive:
                # torch.save writes a .zip with a pickle in it.
                return "pickle" if any(name.endswith("data.pkl") for name in archive.namelist()) else "zip"
    except OSError:
        return ""
    if not head.strip():
        return "nothing"
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"["):
        return "json"
    if _PICKLE.match(head):
        return "pickle"
    return next((kind for start, kind in _HEADS.items() if head.startswith(start)), "")


def videopose3d(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> PredictionFile:
    """Return the poses of VideoPose3D's arrays, (T, 17, 3) metres by ``<subject>/<recording>/<camera>``."""
    return _recordings(path, arrays, "videopose3d-npz", 1000.0, "{name}/{frame:06d}")


def _mmpose(path: Path) -> PredictionFile:
    try:
        content = read_whole(path, MAX_BYTES)
        require_values(content)
        document = from_json(decoded(content))
    except (OSError, ValueError) as error:
        raise ArtefactError(f"is not readable JSON ({error})", where=path, hint=HINT) from error
    if not isinstance(document, dict) or not isinstance(document.get("predictions"), list):
        raise ArtefactError("expected an object with the list 'predictions'", where=path, hint=HINT)
    scale = {"m": 1000.0, "mm": 1.0}.get(str(document.get("unit")))
    if scale is None:
        raise ArtefactError(f'\'unit\' is {document.get("unit")!r}, expected "m" or "mm"', where=path, hint=HINT)
    names: list[str] = []
    poses = [np.empty((0, NUM_JOINTS, 3))]
    for number, row in enumerate(document["predictions"]):
        try:
            name = row.get("key") or row.get("target_img_path") or row["img_path"]
            own = name if isinstance(name, list) else [name]
            pose = np.array(row["keypoints"], np.float64).reshape(len(own), NUM_JOINTS, 3)
            if not all(isinstance(one, str) for one in own):
                raise TypeError
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            raise ArtefactError(
                f"prediction {number} is not an object with 'img_path', 'target_img_path' or 'key', and {NUM_JOINTS} "
                "'keypoints' [x, y, z]",
                where=path,
                hint=HINT,
            ) from None
        names += own
        poses.append(pose * scale)
    return PredictionFile(path, "mmpose-json", np.array(names, np.str_), _poses(path, np.concatenate(poses)), "camera")


def _posepile(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> PredictionFile:
    names, joints = arrays.get("image_path"), arrays.get("coords3d_pred_world")
    if names is None or joints is None:
        raise ArtefactError("needs both 'image_path' and 'coords3d_pred_world'", where=path, hint=HINT)
    if names.dtype.kind not in "US" or names.ndim != 1:
        raise ArtefactError(f"'image_path' is {names.dtype} {names.shape}, expected text (N,)", where=path, hint=HINT)
    poses = _poses(path, joints)
    if len(poses) != len(names):
        raise ArtefactError(f"{len(names)} image paths for {len(poses)} poses", where=path, hint=HINT)
    try:
        return PredictionFile(path, "posepile-npz", names.astype(np.str_), poses, "world")
    except UnicodeDecodeError as error:
        raise ArtefactError(f"'image_path' is not ASCII text ({error})", where=path, hint=HINT) from error


def _recordings(
    path: Path, arrays: Mapping[str, npt.NDArray[Any]], form: str, mm_per_unit: float, pattern: str
) -> PredictionFile:
    """One array per recording; ``pattern`` names a frame: ``frame`` counts from 0, ``image`` from 1."""
    recordings = {name: _poses(path, array) * mm_per_unit for name, array in sorted(arrays.items())}
    names = [
        pattern.format(name=name, frame=frame, image=frame + 1)
        for name, poses in recordings.items()
        for frame in range(len(poses))
    ]
    return PredictionFile(path, form, np.array(names, np.str_), np.concatenate(list(recordings.values())), "camera")


def _poses(path: Path, array: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    if array.dtype not in (np.float32, np.float64):
        raise ArtefactError(f"the poses are {array.dtype}, expected float32 or float64", where=path, hint=HINT)
    if array.ndim != 3 or array.shape[1:] != (NUM_JOINTS, 3):
        raise ArtefactError(f"the poses are {array.shape}, expected (N, {NUM_JOINTS}, 3)", where=path, hint=HINT)
    poses = array.astype(np.float64)
    poses[~np.isfinite(poses).all(axis=-1)] = np.nan
    return poses
