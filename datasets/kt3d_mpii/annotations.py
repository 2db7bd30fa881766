"""The annotations of training images, from the official .mat file (or its .zip) or the JSON files of HRNet.

The JSON files (HRNet, Integral Pose, MMPose) hold a list of ``{"image", "center", "scale", "joints": 16 x 2,
"joints_vis": 16}``. A flag of 1 means "labelled" there, not "visible", so visibility is not known. Coordinates of both
are 1-based.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import RawDataError
from kt3d_bench.matfiles import load_mat
from kt3d_bench.rawfiles import (
    ZIP,
    BoundedReader,
    begins_with,
    copy_to_scratch,
    read_json,
    reading,
    scratch_folder,
)
from kt3d_bench.skeletons import JointMapping
from kt3d_mpii.layout import ARCHIVES, MAT_FILE, SITE

JOINTS: tuple[str, ...] = (
    "r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle", "pelvis", "thorax", "upper_neck", "head_top",
    "r_wrist", "r_elbow", "r_shoulder", "l_shoulder", "l_elbow", "l_wrist",
)  # fmt: skip
"""In the order of the annotation's ``id`` 0..15."""

MAPPING = JointMapping.of(
    JOINTS,
    exact={
        "hip": "pelvis", "right_hip": "r_hip", "right_knee": "r_knee", "right_ankle": "r_ankle",
        "left_hip": "l_hip", "left_knee": "l_knee", "left_ankle": "l_ankle",
        "left_shoulder": "l_shoulder", "left_elbow": "l_elbow", "left_wrist": "l_wrist",
        "right_shoulder": "r_shoulder", "right_elbow": "r_elbow", "right_wrist": "r_wrist",
    },
    approximate={"thorax": "upper_neck", "head": "head_top"},
)  # fmt: skip
"""MPII's own thorax (the shoulders' midpoint) is not used: the literature disagrees on what it corresponds to."""


_ZIP_BYTES, _MAT_BYTES, _JSON_BYTES = 256 << 20, 2 << 30, 256 << 20
_mat_reader = BoundedReader("kt3d_mpii.annotations:read_release", timeout_s=120.0, memory_mb=3 << 10)
"""25,000 images take 11 s and 1 GB."""

Points = tuple[tuple[float, float, int] | None, ...]
"""16 times x, y px (pixel centres at integers from 0) and visibility 1, 0 or -1 (unknown); ``None`` = not annotated."""


Place = tuple[str, float, float, float, float]
"""What the middle of must lie where: "head" (upper neck and head top) or "body" (all joints), and x0, y0, x1, y1 px."""


class AnnotatedImage(NamedTuple):
    """One training image with everybody in its ``annorect``, annotated or not; plain data."""

    name: str
    action: str  # Category of the activity; "" = not labelled
    video: int | None
    second: int
    persons: tuple[tuple[int, Points], ...]  # Place in the image's ``annorect`` (from 0) and joints
    places: tuple[Place | None, ...] = ()  # By person: where another annotation than the joints puts them


def read_annotations(paths: Sequence[Path]) -> Sequence[AnnotatedImage]:
    """Read the training images from what ``layout.find_annotations`` found, in the order of the .mat file or by name.

    Raises ``RawDataError`` for a damaged file or another structure. The .mat file is kept once read.
    """
    if paths[0].suffix.lower() == ".json":
        return _read_json(paths)
    (path,) = paths
    with reading(path, f"unpack {ARCHIVES['annotations']} again"):
        path.open("rb").close()
        status = path.stat()
    return _read_mat(path, status.st_mtime_ns, status.st_size)


def _points(joints: npt.NDArray[np.float64], visible: npt.NDArray[np.int8]) -> Points:
    """Return plain data from (16, 2) 1-based px, NaN = not annotated, and (16,) visibility."""
    return tuple(
        (float(x) - 1.0, float(y) - 1.0, int(seen)) if np.isfinite(x) else None
        for (x, y), seen in zip(joints, visible, strict=True)
    )


@lru_cache(maxsize=1)
def _read_mat(path: Path, mtime_ns: int, size: int) -> Sequence[AnnotatedImage]:
    hint = f"unpack {ARCHIVES['annotations']} again" if path.suffix.lower() == ".mat" else "download it again"
    with _unpacked(path) as local:
        found = json.loads(_mat_reader.read(local, where=path, hint=hint)["json"].tobytes())
    return [AnnotatedImage(*_as_tuples(image)) for image in found]


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """Yield the .mat file itself, or a temporary copy of the .zip's; the name inside the .zip decides nothing."""
    hint = f"download {ARCHIVES['annotations']} again, from {SITE}"
    with reading(path, hint):
        zipped = begins_with(path, ZIP)
    if not zipped:
        yield path
        return
    with scratch_folder() as folder:
        copy = folder / MAT_FILE
        if path.stat().st_size > _ZIP_BYTES:
            raise RawDataError("is larger than 256 MiB, the annotations are not", where=path, hint=hint)
        with reading(path, hint), zipfile.ZipFile(path) as archive:
            members = [entry for entry in archive.infolist() if PurePosixPath(entry.filename).name.lower() == MAT_FILE]
            if not members:
                raise RawDataError(f"holds no {MAT_FILE}", where=path, hint=hint)
            if members[0].file_size > _MAT_BYTES:
                raise RawDataError(
                    f"{MAT_FILE} in it claims {members[0].file_size} bytes, more than the {_MAT_BYTES} it may have",
                    where=path,
                    hint=hint,
                )
            with archive.open(members[0]) as packed:
                copy_to_scratch(packed, copy)
        yield copy


def _read_json(paths: Sequence[Path]) -> Sequence[AnnotatedImage]:
    hint = "download the annotations again, or use the official .mat file"
    persons: dict[str, list[tuple[int, Points]]] = {}
    places: dict[str, list[Place | None]] = {}
    for path in paths:
        content = read_json(path, _JSON_BYTES, hint)
        if not isinstance(content, list):
            raise RawDataError(f"holds a {type(content).__name__}, expected a list", where=path, hint=hint)
        for number, entry in enumerate(content):
            try:
                name = entry["image"]
                joints, labelled = np.array(entry["joints"], np.float64), np.array(entry["joints_vis"], np.float64)
                if not isinstance(name, str) or joints.shape != (len(JOINTS), 2) or labelled.shape != (len(JOINTS),):
                    raise ValueError(f"image {name!r}, joints {joints.shape}, joints_vis {labelled.shape}")
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                raise RawDataError(
                    f"entry {number} is not an image with 16 joints ({type(error).__name__}: {error})",
                    where=path,
                    hint=hint,
                ) from error
            known = (labelled > 0) & np.isfinite(joints).all(axis=1)
            points = _points(np.where(known[:, None], joints, np.nan), np.full(len(JOINTS), -1, np.int8))
            others = persons.setdefault(name, [])
            others.append((len(others), points))
            places.setdefault(name, []).append(_body(entry.get("center"), entry.get("scale")))
    return [
        AnnotatedImage(name, "", None, 0, tuple(found), tuple(places[name])) for name, found in sorted(persons.items())
    ]


def read_release(path: str) -> dict[str, npt.NDArray[np.uint8]]:
    """Read the .mat file in a child process: the JSON text of its training images, fields as in ``AnnotatedImage``.

    Raises ``RawDataError`` when the file is not MPII's.
    """
    variables = load_mat(Path(path), ["RELEASE"])
    release = next(_records(variables.get("RELEASE")), None)
    images = list(_records(_field(release, "annolist")))
    train = _field(release, "img_train")
    if release is None or not images or not isinstance(train, np.ndarray):
        raise RawDataError("is not MPII's annotation file: expected a struct RELEASE with annolist and img_train")
    if train.size != len(images):
        raise RawDataError(f"is not MPII's annotation file: annolist has {len(images)} images, img_train {train.size}")
    activities = list(_records(_field(release, "act")))
    found = []
    for row in np.flatnonzero(train.ravel(order="F").astype(np.int64) == 1):
        image = images[row]
        activity = activities[row] if len(activities) == len(images) else None
        labelled = _number(_field(activity, "act_id")) >= 0
        video, second = _number(_field(image, "vidx")), _number(_field(image, "frame_sec"))
        people = list(_records(_field(image, "annorect")))
        found.append(
            AnnotatedImage(
                name=_text(_field(next(_records(_field(image, "image")), None), "name")),
                action=_text(_field(activity, "cat_name")) if labelled else "",
                video=int(video) if np.isfinite(video) else None,
                second=int(second) if np.isfinite(second) else 0,
                persons=tuple(enumerate(map(_person, people))),
                places=tuple(map(_place, people)),
            )
        )
    return {"json": np.frombuffer(json.dumps(found).encode(), np.uint8)}


def _person(record: Any) -> Points:
    joints, visible = np.full((len(JOINTS), 2), np.nan), np.full(len(JOINTS), -1, np.int8)
    for container in _records(_field(record, "annopoints")):
        for point in _records(_field(container, "point")):
            joint = _number(_field(point, "id"))
            x, y = _number(_field(point, "x")), _number(_field(point, "y"))
            if joint in range(len(JOINTS)) and np.isfinite(x) and np.isfinite(y):
                seen = _number(_field(point, "is_visible"))
                joints[int(joint)] = x, y
                visible[int(joint)] = int(seen) if seen in (0, 1) else -1
    return _points(joints, visible)


_HEIGHT_PX = 200.0
"""Height of a person of ``scale`` 1."""
_ABOUT = 0.25
"""Share of a person's height within which the middle of the joints lies from the rough centre."""


def _place(record: Any) -> Place | None:
    """Return where the head's rectangle, or else centre and scale, put a person; ``None`` without both."""
    edges = np.array([_number(_field(record, name)) for name in ("x1", "y1", "x2", "y2")]) - 1.0
    low, high = np.minimum(edges[:2], edges[2:]), np.maximum(edges[:2], edges[2:])
    if np.isfinite(edges).all() and (high > low).all():
        slack = (high - low) / 2
        x0, y0, x1, y1 = (float(one) for one in (*(low - slack), *(high + slack)))
        return "head", x0, y0, x1, y1
    center = next(_records(_field(record, "objpos")), None)
    return _body([_number(_field(center, "x")), _number(_field(center, "y"))], _number(_field(record, "scale")))


def _body(center: Any, scale: Any) -> Place | None:
    try:
        x, y, about = (float(one) - 1.0 for one in (*center, _ABOUT * _HEIGHT_PX * float(scale) + 1.0))
    except (TypeError, ValueError, OverflowError):
        return None
    known = np.isfinite([x, y, about]).all() and min(x, y, about) > 0  # -1 and 0 stand for "not given"
    return ("body", x - about, y - about, x + about, y + about) if known else None


def _records(value: Any) -> Iterator[Any]:
    """Yield the elements of a struct array of any shape, or of a cell array of structs; nothing for anything else."""
    if isinstance(value, np.ndarray) and value.dtype.names:
        yield from value.ravel(order="F")
    elif isinstance(value, np.ndarray) and value.dtype == object:
        for item in value.ravel(order="F"):
            yield from _records(item)


def _field(record: Any, name: str) -> Any:
    return record[name] if record is not None and name in (record.dtype.names or ()) else None


def _number(value: Any) -> float:
    """Return a number stored as number, character or 1 x 1 cell; NaN when it is absent, empty or anything else."""
    if isinstance(value, np.ndarray):
        return _number(value.ravel()[0]) if value.size == 1 else float("nan")
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _text(value: Any) -> str:
    """Return a char array (or a cell that holds one) as ``str``; "" when it is absent."""
    while isinstance(value, np.ndarray) and value.size == 1:
        value = value.ravel()[0]
    return str(value) if isinstance(value, str) else ""
