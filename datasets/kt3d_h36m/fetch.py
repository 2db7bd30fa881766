"""The derived layout of h36m-fetch (github.com/anibali/h36m-fetch): chosen frames and HDF5 annotations.

``processed/S1/Phoning-1/imageSequence/<camera>/img_000001.jpg`` (image number = frame + 1) beside ``annot.h5``: rows
for all cameras, with ``frame`` (1-based), ``camera``, ``subject``, ``action``, ``subaction``, ``pose/3d`` (n, 32, 3)
camera mm and ``pose/2d`` (n, 32, 2) px. Its ``intrinsics`` are a pinhole fitted to distorted points, so cameras come
from the official ``metadata.xml``, which the tool needs too and keeps one folder up.

Of S9 and S11 it keeps every 64th frame, of the others the frames in which a joint moved by 40 mm, unless told to keep
all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import RawDataError
from kt3d_bench.geometry.cameras import project
from kt3d_bench.records import Camera, Sample, Skipped, WorkItem
from kt3d_h36m.samples import LARGEST_D2_ERROR_PX, STANDARD_17, plain_video, video_name
from kt3d_h36m.selection import Selection
from kt3d_h36m.sequences import CAMERAS, SPLITS, Recording, recordings
from kt3d_h36m.stills import still_samples

LAYOUT = "fetch"
_MEND = "process the recording again with h36m-fetch (process_all.py)"
_COLUMNS = ("frame", "camera", "subject", "action", "subaction")
_TEST_EVERY = 64
_MOST_ROWS = 100_000
"""More than four cameras of the longest recording have, all frames kept."""
_OTHER_NAMES = {"Photo": "TakingPhoto", "WalkDog": "WalkingDog", "WalkTogether": "WalkingTogether"}


@dataclass(frozen=True)
class FetchTree:
    """The folder that holds ``S1``, ``S5``, ..."""

    root: Path

    def recording(self, recording: Recording) -> Path:
        """The recording's folder under the name it has there, or would have."""
        names = (recording.action_name, _OTHER_NAMES.get(recording.action_name, recording.action_name))
        folders = [self.root / f"S{recording.subject}" / f"{name}-{recording.subaction}" for name in names]
        return next((folder for folder in folders if folder.is_dir()), folders[0])


@dataclass(frozen=True, eq=False)
class Annotation:
    """The rows of one ``annot.h5``."""

    frame: npt.NDArray[np.int64]
    """(n,) from 0."""
    camera: npt.NDArray[np.int64]
    """(n,) identifiers."""
    joints_cam_mm: npt.NDArray[np.float64]
    """(n, 32, 3)"""
    joints_px: npt.NDArray[np.float64]
    """(n, 32, 2)"""


def find(root: Path) -> FetchTree | None:
    """The layout at ``root`` or up to two folders deeper; ``None`` when it is not there."""
    for pattern in ("", "*", "*/*"):
        for folder in sorted(path for path in (root.glob(pattern) if pattern else [root]) if path.is_dir()):
            if any(folder.glob("S*/*-[12]/annot.h5")):
                return FetchTree(folder)
    return None


def describe(found: FetchTree) -> Iterator[str]:
    """Sentences for ``kt3d inspect``."""
    yield f"Layout: processed frames of h36m-fetch in {found.root}."
    for split, subjects in SPLITS.items():
        wanted = [recording for recording in recordings() if recording.subject in subjects]
        lacking = [path for path in (found.recording(one) / "annot.h5" for one in wanted) if not path.is_file()]
        yield f"Split {split}: {len(wanted) - len(lacking)} of {len(wanted)} recordings" + (
            f"; missing: {', '.join(str(path.relative_to(found.root)) for path in lacking[:3])}"
            f"{f' and {len(lacking) - 3} more' if len(lacking) > 3 else ''}: {_MEND}."
            if lacking
            else "."
        )


def plan(
    found: FetchTree,
    subjects: Sequence[int],
    every: int,
    selection: Selection,
    *,
    partial: bool,
    calibrated: Mapping[tuple[int, str], Camera],
) -> list[WorkItem]:
    """One item per recording and camera. Of a recording of which every frame was kept every ``every``-th is used, of
    others those that are multiples of 64 when ``every`` is 64, else all.

    Raises ``RawDataError`` naming the recording that is missing; of a damaged one ``convert`` says what is wrong.
    """
    items: list[WorkItem] = []
    missing: list[Path] = []
    for recording in recordings():
        if recording.subject not in subjects:
            continue
        folder = found.recording(recording)
        path = folder / "annot.h5"
        if not path.is_file():
            missing.append(path)
            continue
        counts = _counts(path, recording, every)
        for camera_id in CAMERAS:
            stem = video_name(recording, camera_id)
            reason = selection.reason(recording, camera_id)
            if reason is None and not counts[camera_id]:
                reason = "h36m-fetch kept no frame of this camera"
            if reason is not None:
                items.append(WorkItem(stem, 0, {"name": stem, "skip": reason}))
                continue
            payload = {
                **plain_video(recording, camera_id, calibrated[recording.subject, camera_id]),
                "layout": LAYOUT,
                "annotation": str(path),
                "take": (recording.subject, recording.action, recording.subaction),
                "every": every,
                "folder": str(folder / "imageSequence" / camera_id),
            }
            items.append(WorkItem(stem, counts[camera_id], payload))
    if missing and not partial:
        raise RawDataError(
            f"{len(missing)} recordings are missing, the first is {missing[0].relative_to(found.root)}",
            where=found.root,
            hint=f"{_MEND}, or accept a part of the dataset with --partial yes",
        )
    if not items:
        raise RawDataError(f"holds no recording of S{', S'.join(map(str, subjects))}", where=found.root, hint=_MEND)
    return items


def _counts(path: Path, recording: Recording, every: int) -> dict[str, int]:
    """Camera -> frames to use; of a damaged file as many as the official recording gives."""
    try:
        annotation = read_annotation(path, (recording.subject, recording.action, recording.subaction))
    except RawDataError:
        return dict.fromkeys(CAMERAS, len(range(0, recording.poses, every)))
    return {
        camera_id: len(_chosen(annotation.frame[annotation.camera == int(camera_id)], every)) for camera_id in CAMERAS
    }


def convert(load: Mapping[str, Any]) -> Iterator[Sample | Skipped]:
    """The samples of one recording and camera; images that are missing or damaged are skipped by name.

    Raises ``RawDataError`` when the annotation is damaged, images were rescaled, none of them is there, or ``pose/2d``
    contradicts the projection of ``pose/3d`` through the official camera.
    """
    camera = Camera(**load["camera"])
    path = Path(load["annotation"])
    annotation = read_annotation(path, tuple(load["take"]))
    rows = np.flatnonzero(annotation.camera == int(load["camera_id"]))
    if not len(rows):
        return iter([Skipped(load["name"], "h36m-fetch kept no frame of this camera", str(path))])
    error = np.linalg.norm(project(camera, annotation.joints_cam_mm[rows[0]]) - annotation.joints_px[rows[0]], axis=-1)
    worst = float(error[np.isfinite(error)].max(initial=0.0))
    if worst > LARGEST_D2_ERROR_PX:
        raise RawDataError(
            f"pose/2d is {worst:.1f} px away from the projection of pose/3d (at most {LARGEST_D2_ERROR_PX} px "
            "expected), so metadata.xml and this file do not belong together",
            where=path,
            hint="use the official metadata.xml",
        )
    row_of = {int(annotation.frame[row]): row for row in rows}
    joints = {
        frame: annotation.joints_cam_mm[row_of[frame], STANDARD_17]
        for frame in _chosen(annotation.frame[rows], load["every"])
    }
    return still_samples(load, camera, joints, "img_%06d.jpg")


def _chosen(frames: npt.NDArray[np.int64], every: int) -> list[int]:
    """The frames to use, ascending."""
    kept = np.unique(frames)
    if not len(kept):
        return []
    thinned = len(kept) <= kept[-1] - kept[0]
    return [int(frame) for frame in kept if frame % every == 0 or (thinned and every != _TEST_EVERY)]


@lru_cache(maxsize=1)
def read_annotation(path: Path, take: tuple[int, int, int]) -> Annotation:
    """The rows of one file; it is remembered, as four cameras need it. ``take``: its subject, action and subaction.

    Raises ``RawDataError`` for a file that is damaged, incomplete, of another recording, or whose values lie elsewhere.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            columns = {name: _values(file, name, path, ()) for name in _COLUMNS}
            poses = {name: _values(file, name, path, (32, d)) for name, d in (("pose/3d", 3), ("pose/2d", 2))}
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise RawDataError(f"cannot be read ({type(error).__name__}: {error})", where=path, hint=_MEND) from error
    rows = len(columns["frame"])
    if not rows or any(len(values) != rows for values in (*columns.values(), *poses.values())):
        raise RawDataError("has columns of different lengths, or none", where=path, hint=_MEND)
    for name, number in zip(("subject", "action", "subaction"), take, strict=True):
        if (columns[name] != number).any():
            raise RawDataError(
                f"is of {name} {int(columns[name][columns[name] != number][0])}, expected {number} in this folder",
                where=path,
                hint=_MEND,
            )
    if columns["frame"].min() < 1:
        raise RawDataError("has a frame below 1, and frames are counted from 1", where=path, hint=_MEND)
    return Annotation(
        columns["frame"].astype(np.int64) - 1, columns["camera"].astype(np.int64), poses["pose/3d"], poses["pose/2d"]
    )


def _values(file: Any, name: str, path: Path, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    import h5py

    if name not in file:
        old = name == "pose/3d" and "pose/3d-univ" in file
        raise RawDataError(
            f"holds no {name}" + (" (the universal skeleton does not fit the images)" if old else ""),
            where=path,
            hint="process it again with the present version of h36m-fetch",
        )
    dataset = file[name]
    if (
        not isinstance(dataset, h5py.Dataset)
        or dataset.file != file
        or dataset.external
        or dataset.is_virtual
        or dataset.shape[1:] != shape
        or dataset.ndim != 1 + len(shape)
        or len(dataset) > _MOST_ROWS
        or dataset.dtype.kind not in ("f" if shape else "iu")
    ):
        raise RawDataError(f"{name} is not (n{''.join(f', {n}' for n in shape)}) numbers of its own", where=path,
                           hint=_MEND)  # fmt: skip
    return np.asarray(dataset[()], np.float64) if shape else np.asarray(dataset[()])
