"""The layout of Moon et al. (3DMPPE_POSENET_RELEASE, ICCV 2019): images and JSON annotations.

``images/s_09_act_02_subact_01_ca_01/<same>_000001.jpg`` (image number = frame + 1) beside ``annotations/`` with
``Human36M_subject9_camera.json`` {"1".."4": R, t (camera centre, mm), f, c} and ``Human36M_subject9_joint_3d.json``
{action: {subaction: {frame: 17 x 3 world mm}}}. Its cameras leave the lens distortion out, so points in the image are
1 to 2 px off the official ones, unless the official ``metadata.xml`` lies there too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import RawDataError
from kt3d_bench.geometry.cameras import world_to_cam
from kt3d_bench.rawfiles import either_case, inside, read_json, reading
from kt3d_bench.records import Camera, Recorded, Sample, Skipped, WorkItem
from kt3d_bench.skeletons import NUM_JOINTS
from kt3d_h36m.archives import Source
from kt3d_h36m.complete import check_counts, missing_recordings
from kt3d_h36m.recordings import CAMERAS, SPLITS, Recording, Selection
from kt3d_h36m.samples import Planned, describe_splits, plan_videos, refuse_incomplete, still_samples

_HINT = "download the annotations of 3DMPPE_POSENET_RELEASE again"
_NOMINAL_SIZE = (1000, 1002)
_LARGEST_BYTES = 1 << 30
LAYOUT = "moon"
UNPACK_IMAGES = "unpack the parts in one go: cat images.tar.gz* | tar -xz"
SITE = "https://github.com/mks0601/3DMPPE_POSENET_RELEASE"

Joints = Mapping[tuple[int, int], tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]


@dataclass(frozen=True)
class MoonFolder:
    """Where the two halves of the layout lie."""

    annotations: Path
    images: Path

    def annotation(self, subject: int, kind: str) -> Path:
        return inside(self.annotations, f"Human36M_subject{subject}_{kind}.json")

    def describe(self, calibrated: bool) -> Iterator[str]:
        """Yield sentences for ``kt3d inspect``; ``calibrated``: the official cameras lie there too."""
        yield f"Layout: images and JSON of Moon et al. (3DMPPE_POSENET_RELEASE), annotations in {self.annotations}."
        folders = sum(1 for path in self.images.glob(either_case("s_*_ca_*"))) if self.images.is_dir() else 0
        yield f"{folders} image folders in {self.images}."
        places = {self.images.parent, self.images}
        if parts := sorted(path.name for place in places for path in place.glob("images.tar.gz*")):
            yield f"Packed images ({', '.join(parts)}) are not read: {UNPACK_IMAGES}."
        if not calibrated:
            yield (
                "Its cameras leave out lens distortion, so image points are 1 to 2 px off, more near the border; with "
                "the official metadata.xml put there they are exact."
            )
        kinds = ("joint_3d",) if calibrated else ("camera", "joint_3d")
        for split, subjects in SPLITS.items():
            needed = [self.annotation(subject, kind) for subject in subjects for kind in kinds]
            lacking = [path.name for path in needed if not path.is_file()]
            lacking += [
                f"images/s_{s:02d}_*" for s in subjects if not any(self.images.glob(either_case(f"s_{s:02d}_*")))
            ]
            lacks = f"lacks {', '.join(lacking)}: see {SITE}" if lacking else "has files of all its subjects"
            yield f"Split {split} {lacks}."
        yield from describe_splits(self._without_images, without="S11 Directions", hint=f": {UNPACK_IMAGES}")
        yield "That every recording has its poses is checked by kt3d prepare."

    def _without_images(self, recording: Recording) -> str | None:
        """Return the first image folder of a recording that is not there."""
        folders = (_folder(recording, camera_id) for camera_id in CAMERAS)
        return next((name for name in folders if not inside(self.images, name).is_dir()), None)

    def plan(
        self,
        selection: Selection,
        every: int,
        partial: bool,
        calibrated: Mapping[tuple[int, str], Camera] | None,
        metadata: Source | None,
    ) -> list[WorkItem]:
        """Return one item per image folder, by subject, action, subaction and camera.

        ``calibrated``: the official cameras, which replace the layout's own; ``metadata``: the file that they are from.
        Raises ``RawDataError`` naming what is missing: annotation files, recordings in them, image folders; and for
        other numbers of poses than ``metadata`` announces.
        """
        items: list[WorkItem] = []
        missing: list[str] = []
        counts: dict[Recording, tuple[str, int]] = {}
        annotated: set[int] = set()
        for subject in selection.subjects:
            if partial and not self.annotation(subject, "joint_3d").is_file():
                continue
            joints = read_joints(self.annotation(subject, "joint_3d"))
            cameras = calibrated or read_moon_cameras(self.annotation(subject, "camera"), subject)
            annotated.add(subject)
            takes = [
                one
                for one in selection.recordings()
                if one.subject == subject and (one.action, one.subaction) in joints
            ]
            for one in takes:
                name = f"{self.annotation(subject, 'joint_3d').name}: {one.title}"
                counts[one] = name, len(joints[one.action, one.subaction][0])
            items += plan_videos(
                ((one, self._planned(one, joints, selection, every, missing)) for one in takes), cameras
            )
        lacking = {one: f"the poses of {one.title}" for one in selection.recordings() if one.subject in annotated}
        missing += missing_recordings(selection, lambda one: None if one in counts else lacking.get(one))
        refuse_incomplete(
            items, missing, partial, what="image folders or recordings", where=self.images,
            hint=f"{UNPACK_IMAGES}; {_HINT}",
            subjects=f"annotations of S{', S'.join(map(str, selection.subjects))}",
        )  # fmt: skip
        check_counts(counts, metadata, selection, self.annotations)
        return items

    def _planned(
        self, recording: Recording, joints: Joints, selection: Selection, every: int, missing: list[str]
    ) -> Callable[[str], Planned]:
        take = (recording.action, recording.subaction)

        def planned(camera_id: str) -> Planned:
            folder = inside(self.images, _folder(recording, camera_id))
            if (reason := selection.reason(recording, camera_id)) is not None:
                return reason
            if not folder.is_dir():
                missing.append(folder.name)
                return None
            path = str(self.annotation(recording.subject, "joint_3d"))
            more = {"layout": LAYOUT, "every": every, "joints": path, "take": take, "folder": str(folder)}
            return int((joints[take][0] % every == 0).sum()), more

        return planned


def _folder(recording: Recording, camera_id: str) -> str:
    take = f"s_{recording.subject:02d}_act_{recording.action:02d}_subact_{recording.subaction:02d}"
    return f"{take}_ca_{CAMERAS.index(camera_id) + 1:02d}"


def find(root: Path) -> MoonFolder | None:
    """Return the layout at ``root``, in a folder of it, or one level deeper; ``None`` when it is not there."""
    for folder in (root, *sorted(root.glob("*/"))):
        for place in (inside(folder, "annotations"), folder):
            if any(place.glob(either_case("Human36M_subject*_joint_3d.json"))):
                return MoonFolder(place, inside(folder, "images"))
    return None


def convert(load: Mapping[str, Any]) -> Iterator[Sample | Skipped]:
    """Return the samples of one image folder; images that are not there are skipped by name.

    Raises ``RawDataError`` when an image is damaged or rescaled, or none of them is there.
    """
    camera = Camera(**load["camera"])
    frames, joints_mm = read_joints(Path(load["joints"]))[tuple(load["take"])]
    chosen = np.flatnonzero(frames % load["every"] == 0)
    joints_cam_mm = {int(frames[row]): world_to_cam(camera, joints_mm[row]) for row in chosen}
    return still_samples(load, camera, joints_cam_mm, f"{Path(load['folder']).name}_%06d.jpg")


def recorded(load: Mapping[str, Any]) -> Recorded:
    """Return the labels of all frames of one image folder. Raises ``RawDataError`` when they are damaged."""
    frames, joints_mm = read_joints(Path(load["joints"]))[tuple(load["take"])]
    return Recorded(frames, world_to_cam(Camera(**load["camera"]), joints_mm))


def read_joints(path: Path) -> Joints:
    """Read (action, subaction) -> frame numbers (n,), ascending, and joints (n, 17, 3) world mm. One file is
    remembered, as all items of a subject need it. Raises ``RawDataError`` for anything else."""
    with reading(path, _HINT):
        status = path.stat()
    return _read_joints(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1)
def _read_joints(path: Path, mtime_ns: int, size: int) -> Joints:
    content = read_json(path, _LARGEST_BYTES, _HINT)
    joints = {}
    try:
        for action, takes in content.items():
            for take, poses in takes.items():
                numbers = sorted(poses, key=int)
                values = np.array([poses[number] for number in numbers], np.float64).reshape(len(numbers), -1, 3)
                if values.shape[1] != NUM_JOINTS:
                    raise ValueError(f"{values.shape[1]} joints")
                joints[int(action), int(take)] = (np.array([int(number) for number in numbers], np.int64), values)
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise RawDataError(
            f"is not action -> subaction -> frame -> {NUM_JOINTS} x 3 ({error})", where=path, hint=_HINT
        ) from error
    return joints


def read_moon_cameras(path: Path, subject: int) -> dict[tuple[int, str], Camera]:
    """Read (subject, camera identifier) -> pinhole camera. Raises ``RawDataError`` when one is missing or wrong."""
    content = read_json(path, _LARGEST_BYTES, _HINT)
    cameras = {}
    try:
        for number, camera_id in enumerate(CAMERAS, start=1):
            entry = content[str(number)]
            fx, fy = map(float, entry["f"])
            cx, cy = map(float, entry["c"])
            pose = {"rotation": entry["R"], "position_world_mm": entry["t"]}
            cameras[subject, camera_id] = Camera.pinhole((fx, fy), (cx, cy), _NOMINAL_SIZE, **pose)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RawDataError(
            f"is not four cameras of R, t, f and c ({type(error).__name__}: {error})", where=path, hint=_HINT
        ) from error
    return cameras
