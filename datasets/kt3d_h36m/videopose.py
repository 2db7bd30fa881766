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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from kt3d_bench import rawfiles
from kt3d_bench.errors import RawDataError
from kt3d_bench.geometry.cameras import world_to_cam
from kt3d_bench.records import Camera, Sample, Skipped, WorkItem
from kt3d_h36m.complete import missing_recordings
from kt3d_h36m.recordings import Recording, Selection, find_recording
from kt3d_h36m.samples import STANDARD_17, Planned, describe_splits, make_sample, plan_videos, refuse_incomplete

LAYOUT = "videopose3d"
PLAIN_NAME = "data_3d_h36m_plain.npz"
CONVERSION = (
    'python -c "import numpy as np; '
    "p = np.load('data_3d_h36m.npz', allow_pickle=True)['positions_3d'].item(); "
    f"np.savez_compressed('{PLAIN_NAME}', "
    "**{f'{s}/{a}': x for s in p for a, x in p[s].items()})\""
)
"""A command for users who trust VideoPose3D's file; this project never runs it."""
PICKLED = "holds pickled Python objects, which can run any code when they are read, so it is not opened"
_HINT = "make it again from VideoPose3D's file; the dataset's README has the command"
_ABSENT = "S11 Directions"  # VideoPose3D leaves it out for all four cameras
_MOST_POSES = 100_000
_FARTHEST_M = 50.0


@dataclass(frozen=True)
class PlainPoses:
    """One file in the plain form."""

    path: Path

    def describe(self, calibrated: bool) -> Iterator[str]:
        """Yield sentences for ``kt3d inspect``."""
        yield f"Layout: poses of VideoPose3D without images, in {self.path}; for methods that learn from poses alone."
        arrays = _arrays(self.path)
        yield from describe_splits(lambda one: None if one in arrays else self._missing(one), without=_ABSENT)

    def plan(
        self, selection: Selection, every: int, partial: bool, cameras: Mapping[tuple[int, str], Camera]
    ) -> list[WorkItem]:
        """Return one item per recording and camera, without images. Raises ``RawDataError`` naming the array that is
        missing or of another shape."""
        arrays = _arrays(self.path)
        missing = missing_recordings(selection, lambda one: None if one in arrays else self._missing(one))
        there = [one for one in selection.recordings() if one in arrays or self._missing(one) is None]

        def planned(recording: Recording) -> Callable[[str], Planned]:
            member, poses = arrays.get(recording, ("", 0))
            more = {"layout": LAYOUT, "file": str(self.path), "member": member, "every": every}
            found: Planned = (len(range(0, poses, every)), more) if poses else "VideoPose3D leaves this recording out"
            return lambda camera_id: selection.reason(recording, camera_id) or found

        items = plan_videos(((one, planned(one)) for one in there), cameras, poses_only=True)
        subjects = f"poses of S{', S'.join(map(str, selection.subjects))}"
        refuse_incomplete(items, missing, partial, what="arrays", subjects=subjects, where=self.path, hint=_HINT)
        return items

    def counts(self) -> dict[Recording, tuple[str, int]]:
        """Return recording -> name of its array and number of poses."""
        return _arrays(self.path)

    @staticmethod
    def _missing(recording: Recording) -> str | None:
        """Return the name of the array that a recording should have; ``None`` for the one that is left out."""
        return None if recording.title == _ABSENT else recording.title.replace(" ", "/", 1)


def candidates(root: Path) -> list[Path]:
    """Return the files called like VideoPose3D's, at ``root`` or one folder deeper."""
    return sorted(rawfiles.find(root, "data_3d_h36m*.npz"))


def find(root: Path) -> PlainPoses | None:
    """Return the first file in the plain form; ``None`` when there is none."""
    return next((PlainPoses(path) for path in candidates(root) if not is_pickled(path)), None)


def is_pickled(path: Path) -> bool:
    """Return whether any array of the file holds objects. Reads headers only. A file that is no .npz is not pickled."""
    try:
        with _opened(path) as archive:
            for entry in archive.infolist():
                with archive.open(entry) as file:
                    if _header(file)[2].hasobject:
                        return True
    except RawDataError:
        return False
    return False


def refuse_pickled(path: Path) -> RawDataError:
    """Return the error for VideoPose3D's own file."""
    hint = f"beside it, where you run VideoPose3D, convert it once: {CONVERSION}"
    return RawDataError(PICKLED, where=path, hint=hint)


def convert(load: Mapping[str, Any]) -> Iterator[Sample | Skipped]:
    """Yield the poses of one recording seen by one camera. Raises ``RawDataError`` for a damaged array, and for lengths
    that cannot be metres."""
    camera = Camera(**load["camera"])
    poses_mm = read_poses_mm(Path(load["file"]), load["member"])
    for frame in range(0, len(poses_mm), load["every"]):
        yield make_sample(load, camera, frame, None, world_to_cam(camera, poses_mm[frame, STANDARD_17]))


def read_poses_mm(path: Path, member: str) -> npt.NDArray[np.float64]:
    """Read (n, 32, 3) world mm of one member of the plain file."""
    with _opened(path) as archive, archive.open(member) as file:
        shape, fortran, dtype = _checked(_header(file), member, path)
        size = dtype.itemsize * int(np.prod(shape))
        data = file.read(size + 1)
        if len(data) != size:
            raise EOFError(f"{member} holds {len(data)} bytes, expected {size}")
    metres = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    if np.nanmax(np.abs(metres), initial=0.0) > _FARTHEST_M:
        raise RawDataError(
            f"{member} holds a coordinate of {np.nanmax(np.abs(metres)):.0f}, expected metres",
            where=path,
            hint="divide millimetres by 1000, as VideoPose3D does",
        )
    return np.asarray(metres, np.float64) * 1000.0


def _arrays(path: Path) -> dict[Recording, tuple[str, int]]:
    """Return recording -> (member, number of poses), from names and headers alone; other arrays are ignored."""
    found: dict[Recording, tuple[str, int]] = {}
    with _opened(path) as archive:
        for entry in archive.infolist():
            match = re.fullmatch(r"S(\d{1,2})/([^/]+)\.npy", entry.filename)
            recording = find_recording(int(match[1]), match[2]) if match else None
            if recording is not None:
                with archive.open(entry) as file:
                    found[recording] = entry.filename, _checked(_header(file), entry.filename, path)[0][0]
    return found


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    with rawfiles.reading(path, _HINT), zipfile.ZipFile(path) as archive:
        yield archive


_Header = tuple[tuple[int, ...], bool, np.dtype[Any]]  # Shape, Fortran order and type of an array


def _header(file: IO[bytes]) -> _Header:
    """Read a header of version 1.0 only: those are 64 kB at most; later ones may claim gigabytes."""
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"npy version {version}, expected (1, 0)")
    header: _Header = np.lib.format.read_array_header_1_0(file)
    return header


def _checked(header: _Header, member: str, path: Path) -> _Header:
    shape, _, dtype = header
    if dtype.hasobject:
        raise refuse_pickled(path)
    if dtype.kind != "f" or len(shape) != 3 or shape[1:] != (32, 3) or not 0 < shape[0] <= _MOST_POSES:
        raise RawDataError(f"{member} is {dtype} {shape}, expected float (n, 32, 3) in metres", where=path, hint=_HINT)
    return header
