"""The derived layout of Moon et al. (3DMPPE_POSENET_RELEASE, ICCV 2019): images and JSON annotations.

``images/s_09_act_02_subact_01_ca_01/<same>_000001.jpg`` (image number = frame + 1) beside ``annotations/`` with
``Human36M_subject9_camera.json`` {"1".."4": R, t (camera centre, mm), f, c} and ``Human36M_subject9_joint_3d.json``
{action: {subaction: {frame: 17 x 3 world mm}}}. Its cameras leave the lens distortion out, so points in the image are
1 to 2 px off the official ones, unless the official ``metadata.xml`` lies there too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import RawDataError
from kt3d_bench.geometry.cameras import world_to_cam
from kt3d_bench.records import Camera, Sample, Skipped, WorkItem
from kt3d_bench.skeletons import NUM_JOINTS
from kt3d_h36m.samples import plain_video, video_name
from kt3d_h36m.selection import Selection
from kt3d_h36m.sequences import CAMERAS, SPLITS, recordings
from kt3d_h36m.stills import still_samples

_MEND = "download the annotations of 3DMPPE_POSENET_RELEASE again"
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
        return self.annotations / f"Human36M_subject{subject}_{kind}.json"


def find(root: Path) -> MoonFolder | None:
    """The layout at ``root``, in a folder of it, or one level deeper; ``None`` when it is not there."""
    for folder in (root, *sorted(path for path in root.glob("*") if path.is_dir())):
        for place, images in ((folder / "annotations", folder / "images"), (folder, folder / "images")):
            if any(place.glob("Human36M_subject*_joint_3d.json")):
                return MoonFolder(place, images)
    return None


def describe(found: MoonFolder, *, calibrated: bool) -> Iterator[str]:
    """Sentences for ``kt3d inspect``; ``calibrated``: the official cameras lie there too."""
    yield f"Layout: images and JSON of Moon et al. (3DMPPE_POSENET_RELEASE), annotations in {found.annotations}."
    folders = sum(1 for path in found.images.glob("s_*_ca_*")) if found.images.is_dir() else 0
    yield f"{folders} image folders in {found.images}."
    parts = sorted(path.name for place in {found.images.parent, found.images} for path in place.glob("images.tar.gz*"))
    if parts:
        yield f"Packed images ({', '.join(parts)}) are not read: {UNPACK_IMAGES}."
    if calibrated:
        yield "Cameras are those of the official metadata.xml, lens distortion included."
    else:
        yield (
            "Its cameras leave out lens distortion, so image points are 1 to 2 px off, more near the border; with the "
            "official metadata.xml put there they are exact."
        )
    kinds = ("joint_3d",) if calibrated else ("camera", "joint_3d")
    for split, subjects in SPLITS.items():
        needed = [found.annotation(subject, kind) for subject in subjects for kind in kinds]
        lacking = [path.name for path in needed if not path.is_file()]
        lacking += [f"images/s_{s:02d}_*" for s in subjects if not any(found.images.glob(f"s_{s:02d}_*"))]
        yield (
            f"Split {split} lacks {', '.join(lacking)}: see {SITE}."
            if lacking
            else f"Split {split} has all of its subjects."
        )


def plan(
    found: MoonFolder,
    subjects: Sequence[int],
    every: int,
    selection: Selection,
    *,
    partial: bool,
    calibrated: Mapping[tuple[int, str], Camera] | None,
) -> list[WorkItem]:
    """One item per image folder, by subject, action, subaction and camera.

    ``calibrated``: the official cameras, taken instead of the layout's own where they are at hand. Raises
    ``RawDataError`` naming the annotation file or image folders that are missing.
    """
    items: list[WorkItem] = []
    missing: list[Path] = []
    for subject in subjects:
        if partial and not found.annotation(subject, "joint_3d").is_file():
            continue
        joints = read_joints(found.annotation(subject, "joint_3d"))
        cameras = (
            read_moon_cameras(found.annotation(subject, "camera"))
            if calibrated is None
            else {camera_id: calibrated[subject, camera_id] for camera_id in CAMERAS}
        )
        for recording in recordings():
            frames, _ = joints.get((recording.action, recording.subaction), (np.zeros(0, np.int64), None))
            if recording.subject != subject or not len(frames):
                continue
            for number, camera_id in enumerate(CAMERAS, start=1):
                reason = selection.reason(recording, camera_id)
                if reason is not None:
                    stem = video_name(recording, camera_id)
                    items.append(WorkItem(stem, 0, {"name": stem, "skip": reason}))
                    continue
                folder = found.images / (
                    f"s_{subject:02d}_act_{recording.action:02d}_subact_{recording.subaction:02d}_ca_{number:02d}"
                )
                if not folder.is_dir():
                    missing.append(folder)
                    continue
                payload = {
                    **plain_video(recording, camera_id, cameras[camera_id]),
                    "layout": LAYOUT,
                    "every": every,
                    "joints": str(found.annotation(subject, "joint_3d")),
                    "take": (recording.action, recording.subaction),
                    "folder": str(folder),
                }
                items.append(WorkItem(payload["name"], int((frames % every == 0).sum()), payload))
    if missing and not partial:
        raise RawDataError(
            f"{len(missing)} image folders are missing, the first is {missing[0].name}",
            where=found.images,
            hint=f"{UNPACK_IMAGES}, or accept a part of the dataset with --partial yes",
        )
    if not items:
        raise RawDataError(f"holds no annotations of S{', S'.join(map(str, subjects))}", where=found.annotations,
                           hint=_MEND)  # fmt: skip
    return items


def convert(load: Mapping[str, Any]) -> Iterator[Sample | Skipped]:
    """The samples of one image folder; images that are not there are skipped by name.

    Raises ``RawDataError`` when an image is damaged or rescaled, or none of them is there.
    """
    camera = Camera(**load["camera"])
    frames, joints_mm = read_joints(Path(load["joints"]))[tuple(load["take"])]
    chosen = np.flatnonzero(frames % load["every"] == 0)
    joints_cam_mm = {int(frames[row]): world_to_cam(camera, joints_mm[row]) for row in chosen}
    return still_samples(load, camera, joints_cam_mm, f"{Path(load['folder']).name}_%06d.jpg")


def _read_json(path: Path) -> Any:
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise ValueError("larger than 1 GiB")
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise RawDataError("is missing", where=path, hint=_MEND) from error
    except (OSError, ValueError, RecursionError) as error:
        raise RawDataError(f"is not readable JSON ({error})", where=path, hint=_MEND) from error


def read_joints(path: Path) -> Joints:
    """(action, subaction) -> frame numbers (n,), ascending, and joints (n, 17, 3) world mm. One file is remembered,
    as all items of a subject need it. Raises ``RawDataError`` for anything else."""
    try:
        status = path.stat()
    except OSError as error:
        raise RawDataError("is missing", where=path, hint=_MEND) from error
    return _read_joints(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1)
def _read_joints(path: Path, mtime_ns: int, size: int) -> Joints:
    content = _read_json(path)
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
            f"is not action -> subaction -> frame -> {NUM_JOINTS} x 3 ({error})", where=path, hint=_MEND
        ) from error
    return joints


def read_moon_cameras(path: Path) -> dict[str, Camera]:
    """Camera identifier -> pinhole camera. Raises ``RawDataError`` when one is missing or off."""
    content = _read_json(path)
    cameras = {}
    try:
        for number, camera_id in enumerate(CAMERAS, start=1):
            entry = content[str(number)]
            fx, fy = map(float, entry["f"])
            cx, cy = map(float, entry["c"])
            cameras[camera_id] = Camera.pinhole(
                (fx, fy), (cx, cy), _NOMINAL_SIZE, rotation=entry["R"], position_world_mm=entry["t"]
            )
    except (KeyError, TypeError, ValueError) as error:
        raise RawDataError(
            f"is not four cameras of R, t, f and c ({type(error).__name__}: {error})", where=path, hint=_MEND
        ) from error
    return cameras
