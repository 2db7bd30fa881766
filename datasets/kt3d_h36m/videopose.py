"""The poses of VideoPose3D (Pavllo et al., CVPR 2019), without images: for methods that learn from poses.

The official ``data_3d_h36m.npz`` holds one pickled dictionary. Reading a pickle can run any code that its author put
there, so it is recognised by its header and refused with the command that turns it into the plain form, in an
environment where its owner trusts it. The plain form, ``data_3d_h36m_plain.npz``, is a .npz of plain arrays, one per
recording, named ``S1/Directions 1`` (canonical names, or the official file names): (n, 32, 3) float32 or float64,
metres, world; row i is frame i of the video at 50 Hz. Cameras come from the official ``metadata.xml``.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import RawDataError
from kt3d_bench.geometry.cameras import world_to_cam
from kt3d_bench.records import Camera, Sample, Skipped, WorkItem
from kt3d_h36m.samples import STANDARD_17, make_sample, plain_video, video_name
from kt3d_h36m.selection import Selection
from kt3d_h36m.sequences import CAMERAS, SPLITS, Recording, find_recording, recordings

LAYOUT = "videopose3d"
PLAIN_NAME = "data_3d_h36m_plain.npz"
CONVERSION = (
    'python -c "import numpy as np; '
    "p = np.load('data_3d_h36m.npz', allow_pickle=True)['positions_3d'].item(); "
    f"np.savez_compressed('{PLAIN_NAME}', "
    "**{f'{s}/{a}': x for s in p for a, x in p[s].items()})\""
)
"""Run by the user, where VideoPose3D is trusted; never by this project."""
_MEND = "make it again from VideoPose3D's file; the dataset's README has the command"
_ABSENT = "S11 Directions"
"""VideoPose3D leaves it out for all four cameras."""
_MOST_POSES = 100_000
_FARTHEST_M = 50.0
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, KeyError, NotImplementedError)


@dataclass(frozen=True)
class PlainPoses:
    """One file in the plain form."""

    path: Path


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool


def candidates(root: Path) -> list[Path]:
    """Files called like VideoPose3D's, at ``root`` or one folder deeper."""
    return sorted([*root.glob("data_3d_h36m*.npz"), *root.glob("*/data_3d_h36m*.npz")])


def find(root: Path) -> PlainPoses | None:
    """The first file in the plain form; ``None`` when there is none."""
    return next((PlainPoses(path) for path in candidates(root) if not is_pickled(path)), None)


def is_pickled(path: Path) -> bool:
    """Whether any array of the file holds objects. Reads headers only. A file that is no .npz is not pickled."""
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                with archive.open(entry) as file:
                    if _header(file).dtype.hasobject:
                        return True
    except _DAMAGE:
        return False
    return False


def refuse_pickled(path: Path) -> RawDataError:
    """The error for VideoPose3D's own file."""
    return RawDataError(
        "holds pickled Python objects, which can run any code when they are read, so it is not opened",
        where=path,
        hint=f"beside it, where you run VideoPose3D, convert it once: {CONVERSION}",
    )


def describe(found: PlainPoses) -> Iterator[str]:
    """Sentences for ``kt3d inspect``."""
    yield f"Layout: poses of VideoPose3D without images, in {found.path}; for methods that learn from poses alone."
    arrays = _arrays(found.path)
    for split, subjects in SPLITS.items():
        wanted = [one for one in recordings() if one.subject in subjects and one.title != _ABSENT]
        lacking = [f"{one.title.replace(' ', '/', 1)}" for one in wanted if one not in arrays]
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        yield f"Split {split}: {len(wanted) - len(lacking)} of {len(wanted)} recordings" + (
            f"; missing arrays: {', '.join(lacking[:3])}{more}." if lacking else "."
        )


def plan(
    found: PlainPoses,
    subjects: Sequence[int],
    every: int,
    selection: Selection,
    *,
    partial: bool,
    calibrated: Mapping[tuple[int, str], Camera],
) -> list[WorkItem]:
    """One item per recording and camera, without images. Raises ``RawDataError`` naming the array that is missing or
    of another shape."""
    arrays = _arrays(found.path)
    items: list[WorkItem] = []
    missing: list[str] = []
    for recording in recordings():
        if recording.subject not in subjects:
            continue
        held = arrays.get(recording)
        if held is None and recording.title != _ABSENT:
            missing.append(recording.title.replace(" ", "/", 1))
            continue
        for camera_id in CAMERAS:
            stem = video_name(recording, camera_id)
            reason = selection.reason(recording, camera_id)
            if reason is None and held is None:
                reason = "VideoPose3D leaves this recording out"
            if reason is not None or held is None:
                items.append(WorkItem(stem, 0, {"name": stem, "skip": reason}))
                continue
            member, poses = held
            payload = {
                **plain_video(recording, camera_id, calibrated[recording.subject, camera_id]),
                "layout": LAYOUT,
                "file": str(found.path),
                "member": member,
                "every": every,
            }
            items.append(WorkItem(stem, len(range(0, poses, every)), payload, poses_only=True))
    if missing and not partial:
        raise RawDataError(
            f"{len(missing)} arrays are missing, the first is '{missing[0]}'",
            where=found.path,
            hint=f"{_MEND}, or accept a part of the dataset with --partial yes",
        )
    if not any(item.expected_samples for item in items):
        raise RawDataError(f"holds no poses of S{', S'.join(map(str, subjects))}", where=found.path, hint=_MEND)
    return items


def convert(load: Mapping[str, Any]) -> Iterator[Sample | Skipped]:
    """The poses of one recording seen by one camera. Raises ``RawDataError`` for a damaged array, and for lengths that
    cannot be metres."""
    camera = Camera(**load["camera"])
    poses_mm = read_poses_mm(Path(load["file"]), load["member"])
    for frame in range(0, len(poses_mm), load["every"]):
        yield make_sample(load, camera, frame, None, world_to_cam(camera, poses_mm[frame, STANDARD_17]), None)


def read_poses_mm(path: Path, member: str) -> npt.NDArray[np.float64]:
    """(n, 32, 3) world mm of one member of the plain file."""
    with _opened(path) as archive, archive.open(member) as file:
        header = _checked(_header(file), archive.getinfo(member), path)
        size = header.dtype.itemsize * int(np.prod(header.shape))
        data = file.read(size + 1)
        if len(data) != size:
            raise EOFError(f"{member} holds {len(data)} bytes, expected {size}")
    metres = np.frombuffer(data, header.dtype).reshape(header.shape, order="F" if header.fortran else "C")
    if np.nanmax(np.abs(metres), initial=0.0) > _FARTHEST_M:
        raise RawDataError(
            f"{member} holds a coordinate of {np.nanmax(np.abs(metres)):.0f}, expected metres",
            where=path,
            hint="divide millimetres by 1000, as VideoPose3D does",
        )
    return np.asarray(metres, np.float64) * 1000.0


def _arrays(path: Path) -> dict[Recording, tuple[str, int]]:
    """Recording -> (member, number of poses), from names and headers alone; other arrays are ignored."""
    found: dict[Recording, tuple[str, int]] = {}
    with _opened(path) as archive:
        for entry in archive.infolist():
            match = re.fullmatch(r"S(\d{1,2})/([^/]+)\.npy", entry.filename)
            recording = find_recording(int(match[1]), match[2]) if match else None
            if recording is not None:
                with archive.open(entry) as file:
                    found[recording] = entry.filename, _checked(_header(file), entry, path).shape[0]
    return found


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except _DAMAGE as error:
        raise RawDataError(f"is damaged ({type(error).__name__}: {error})", where=path, hint=_MEND) from error


def _header(file: IO[bytes]) -> _Header:
    """Of version 1.0 only, whose headers are 64 kB at most; later ones may claim gigabytes."""
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"npy version {version}, expected (1, 0)")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    return _Header(shape, dtype, fortran)


def _checked(header: _Header, entry: zipfile.ZipInfo, path: Path) -> _Header:
    shape = header.shape
    if header.dtype.hasobject:
        raise refuse_pickled(path)
    if header.dtype.kind != "f" or len(shape) != 3 or shape[1:] != (32, 3) or not 0 < shape[0] <= _MOST_POSES:
        raise RawDataError(
            f"{entry.filename} is {header.dtype} {shape}, expected float (n, 32, 3) in metres",
            where=path,
            hint=_MEND,
        )
    return header
