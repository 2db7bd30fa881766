"""The layout of h36m-fetch (github.com/anibali/h36m-fetch): chosen frames and HDF5 annotations.

``processed/S1/Phoning-1/imageSequence/<camera>/img_000001.jpg`` (image number = frame + 1) beside ``annot.h5``: rows
for all cameras, with ``frame`` (1-based), ``camera``, ``subject``, ``action``, ``subaction``, ``pose/3d`` (n, 32, 3)
camera mm and ``pose/2d`` (n, 32, 2) px. Its ``intrinsics`` are a pinhole fitted to distorted points, so cameras come
from the official ``metadata.xml``, which the tool needs too and keeps one folder up.

Of S9 and S11 it keeps every 64th frame, of the others the frames in which a joint moved by 40 mm, unless told to keep
all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import RawDataError
from kt3d_bench.rawfiles import either_case, inside, own_dataset, reading
from kt3d_bench.records import Camera, Sample, Skipped, WorkItem
from kt3d_h36m import samples
from kt3d_h36m.complete import missing_recordings
from kt3d_h36m.recordings import CAMERAS, SPLITS, Recording, Selection

LAYOUT = "fetch"
_HINT = "process the recording again with h36m-fetch (process_all.py)"
_COLUMNS = ("frame", "camera", "subject", "action", "subaction")
_ANNOTATIONS = either_case("S*/*-[12]/annot.h5")
_MOST_ROWS = 100_000  # More than the longest recording has under four cameras when all frames are kept
_OTHER_NAMES = {"Photo": "TakingPhoto", "WalkDog": "WalkingDog", "WalkTogether": "WalkingTogether"}


@dataclass(frozen=True)
class FetchFolder:
    """The folder that holds ``S1``, ``S5``, ..."""

    root: Path

    def recording(self, recording: Recording) -> Path:
        """Return the recording's folder under the name it has there, or would have."""
        names = (recording.action_name, _OTHER_NAMES.get(recording.action_name, recording.action_name))
        folders = [inside(self.root, f"S{recording.subject}", f"{name}-{recording.subaction}") for name in names]
        return next((folder for folder in folders if folder.is_dir()), folders[0])

    def missing(self, recording: Recording) -> str | None:
        """Return the recording's annotation file where it is missing."""
        path = inside(self.recording(recording), "annot.h5")
        return None if path.is_file() else str(path.relative_to(self.root))

    def describe(self, calibrated: bool) -> Iterator[str]:
        """Yield sentences for ``kt3d inspect``."""
        yield f"Layout: processed frames of h36m-fetch in {self.root}."
        yield from samples.describe_splits(self.missing, hint=f": {_HINT}")

    def plan(
        self, selection: Selection, every: int, partial: bool, cameras: Mapping[tuple[int, str], Camera]
    ) -> list[WorkItem]:
        """Return one item per recording and camera. Every ``every``-th frame is used, where it was kept; of a training
        recording of which not every frame was kept, all that were.

        Raises ``RawDataError`` naming the recording that is missing; of a damaged one ``convert`` says what is wrong.
        """
        missing = missing_recordings(selection, self.missing)
        there = [recording for recording in selection.recordings() if self.missing(recording) is None]
        items = samples.plan_videos(((one, self._planned(one, selection, every)) for one in there), cameras)
        subjects = f"recording of S{', S'.join(map(str, selection.subjects))}"
        samples.refuse_incomplete(
            items, missing, partial, what="recordings", subjects=subjects, where=self.root, hint=_HINT
        )
        return items

    def _planned(self, recording: Recording, selection: Selection, every: int) -> Callable[[str], samples.Planned]:
        folder = self.recording(recording)
        path, take = inside(folder, "annot.h5"), (recording.subject, recording.action, recording.subaction)
        try:
            annotation = read_annotation(path, take)
            frames = {name: annotation.frame[annotation.camera == int(name)] for name in CAMERAS}
            counts = {name: len(_chosen(frames[name], every, recording.subject)) for name in CAMERAS}
        except RawDataError:
            counts = dict.fromkeys(CAMERAS, len(range(0, recording.poses, every)))

        def planned(camera_id: str) -> samples.Planned:
            if (reason := selection.reason(recording, camera_id)) is not None:
                return reason
            if not counts[camera_id]:
                return "h36m-fetch kept no frame of this camera"
            images = str(inside(folder, "imageSequence", camera_id))
            more = {"layout": LAYOUT, "annotation": str(path), "take": take, "every": every, "folder": images}
            return counts[camera_id], more

        return planned


class Annotation(NamedTuple):
    """The n rows of one ``annot.h5``; frames count from 0."""

    frame: npt.NDArray[np.int64]
    camera: npt.NDArray[np.int64]
    joints_cam_mm: npt.NDArray[np.float64]  # (n, 32, 3)
    joints_px: npt.NDArray[np.float64]  # (n, 32, 2)


def find(root: Path) -> FetchFolder | None:
    """Return the layout at ``root`` or up to two folders deeper; ``None`` when it is not there."""
    folders = (root, *sorted(root.glob("*/")), *sorted(root.glob("*/*/")))
    return next((FetchFolder(folder) for folder in folders if any(folder.glob(_ANNOTATIONS))), None)


def convert(load: Mapping[str, Any]) -> Iterator[Sample | Skipped]:
    """Return the samples of one recording and camera; images that are missing or damaged are skipped by name.

    Raises ``RawDataError`` when the annotation is damaged, images were rescaled, none of them is there, or ``pose/2d``
    contradicts the projection of ``pose/3d`` through the official camera.
    """
    camera = Camera(**load["camera"])
    path = Path(load["annotation"])
    annotation = read_annotation(path, tuple(load["take"]))
    rows = np.flatnonzero(annotation.camera == int(load["camera_id"]))
    if not len(rows):
        return iter([Skipped(load["name"], "h36m-fetch kept no frame of this camera", str(path))])
    joints_mm, joints_px = annotation.joints_cam_mm[rows], annotation.joints_px[rows]
    samples.check_projection(camera, joints_mm, joints_px, str(path), "use the official metadata.xml")
    row_of = {int(annotation.frame[row]): row for row in rows}
    frames = _chosen(annotation.frame[rows], load["every"], load["take"][0])
    joints = {frame: annotation.joints_cam_mm[row_of[frame], samples.STANDARD_17] for frame in frames}
    return samples.still_samples(load, camera, joints, "img_%06d.jpg")


def _chosen(frames: npt.NDArray[np.int64], every: int, subject: int) -> list[int]:
    """Return the frames of a subject to use, ascending."""
    kept = np.unique(frames)
    if not len(kept):
        return []
    thinned = len(kept) <= kept[-1] - kept[0] and subject in SPLITS["train"]
    return [int(frame) for frame in kept if thinned or frame % every == 0]


@lru_cache(maxsize=1)
def read_annotation(path: Path, take: tuple[int, int, int]) -> Annotation:
    """Read the rows of one file; it is remembered, as four cameras need it. ``take``: its subject, action, subaction.

    Raises ``RawDataError`` for a file that is damaged, incomplete, of another recording, or whose values lie elsewhere.
    """
    import h5py

    with reading(path, _HINT), h5py.File(path, "r") as file:
        columns = {name: _values(file, name, path, ()) for name in _COLUMNS}
        poses = {name: _values(file, name, path, (32, d)) for name, d in (("pose/3d", 3), ("pose/2d", 2))}
    rows = len(columns["frame"])
    if not rows or any(len(values) != rows for values in (*columns.values(), *poses.values())):
        raise RawDataError("has columns of different lengths, or none", where=path, hint=_HINT)
    for name, number in zip(("subject", "action", "subaction"), take, strict=True):
        if (columns[name] != number).any():
            other = int(columns[name][columns[name] != number][0])
            raise RawDataError(f"is of {name} {other}, expected {number} in this folder", where=path, hint=_HINT)
    if columns["frame"].min() < 1:
        raise RawDataError("has a frame below 1, and frames are counted from 1", where=path, hint=_HINT)
    return Annotation(
        columns["frame"].astype(np.int64) - 1, columns["camera"].astype(np.int64), poses["pose/3d"], poses["pose/2d"]
    )


def _values(file: Any, name: str, path: Path, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    if name not in file:
        old = name == "pose/3d" and "pose/3d-univ" in file
        raise RawDataError(
            f"holds no {name}" + (" (the universal skeleton does not fit the images)" if old else ""),
            where=path,
            hint="process it again with the present version of h36m-fetch",
        )
    dataset = own_dataset(file, name, path, _HINT)
    fits = dataset.ndim == 1 + len(shape) and dataset.shape[1:] == shape and len(dataset) <= _MOST_ROWS
    if not fits or dataset.dtype.kind not in ("f" if shape else "iu"):
        expected = f"(n{''.join(f', {n}' for n in shape)}) {'floats' if shape else 'integers'}"
        raise RawDataError(f"{name} is {dataset.dtype} {dataset.shape}, expected {expected}", where=path, hint=_HINT)
    return np.asarray(dataset[()], np.float64) if shape else np.asarray(dataset[()])
