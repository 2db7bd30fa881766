"""The derived layout of Moon et al. (3DMPPE_POSENET_RELEASE, ICCV 2019): images and JSON annotations.

``images/s_09_act_02_subact_01_ca_01/<same>_000001.jpg`` (image number = frame + 1) beside ``annotations/`` with
``Human36M_subject9_camera.json`` {"1".."4": R, t (camera centre, mm), f, c} and ``Human36M_subject9_joint_3d.json``
{action: {subaction: {frame: 17 x 3 world mm}}}. Its cameras leave the lens distortion out, so points in the image are
1 to 2 px off the official ones.
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
from kt3d_h36m.samples import camera_to_plain, fit_size, make_sample
from kt3d_h36m.selection import Selection
from kt3d_h36m.sequences import CAMERAS, recordings

_MEND = "download the annotations of 3DMPPE_POSENET_RELEASE again"
_NOMINAL_SIZE = (1000, 1002)
_LARGEST_SIDE_PX = 4096

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


def describe(found: MoonFolder) -> str:
    """One sentence for ``kt3d inspect``."""
    kinds = ("camera", "joint_3d")
    subjects = sorted({recording.subject for recording in recordings()})
    whole = [s for s in subjects if all(found.annotation(s, kind).is_file() for kind in kinds)]
    folders = sum(1 for path in found.images.glob("s_*_ca_*")) if found.images.is_dir() else 0
    return (
        f"The derived layout of Moon et al.: annotations of S{', S'.join(map(str, whole))}, {folders} "
        f"image folders in {found.images}. Its cameras leave out lens distortion; the official download is preferred."
    )


def plan(
    found: MoonFolder, subjects: Sequence[int], every: int, selection: Selection, *, partial: bool
) -> list[WorkItem]:
    """One item per image folder, by subject, action, subaction and camera.

    Raises ``RawDataError`` naming the annotation file or image folders that are missing.
    """
    items: list[WorkItem] = []
    missing: list[Path] = []
    for subject in subjects:
        if partial and not found.annotation(subject, "joint_3d").is_file():
            continue
        joints = read_joints(found.annotation(subject, "joint_3d"))
        cameras = read_moon_cameras(found.annotation(subject, "camera"))
        for recording in recordings():
            frames, _ = joints.get((recording.action, recording.subaction), (np.zeros(0, np.int64), None))
            if recording.subject != subject or not len(frames):
                continue
            for number, camera_id in enumerate(CAMERAS, start=1):
                stem = f"s{subject:02d}_act{recording.action:02d}_sub{recording.subaction}_{camera_id}"
                reason = selection.reason(recording, camera_id)
                if reason is not None:
                    items.append(WorkItem(stem, 0, {"name": stem, "skip": reason}))
                    continue
                folder = found.images / (
                    f"s_{subject:02d}_act_{recording.action:02d}_subact_{recording.subaction:02d}_ca_{number:02d}"
                )
                if not folder.is_dir():
                    missing.append(folder)
                    continue
                payload = {
                    "name": stem,
                    "every": every,
                    "subject": f"S{subject}",
                    "action": recording.action_name,
                    "clip": recording.clip,
                    "camera_id": camera_id,
                    "camera": camera_to_plain(cameras[number]),
                    "joints": str(found.annotation(subject, "joint_3d")),
                    "take": (recording.action, recording.subaction),
                    "folder": str(folder),
                }
                items.append(WorkItem(stem, int((frames % every == 0).sum()), payload))
    if missing and not partial:
        raise RawDataError(
            f"{len(missing)} image folders are missing, the first is {missing[0].name}",
            where=found.images,
            mend="unpack all parts of images.tar.gz, or accept a part of the dataset with --partial yes",
        )
    if not items:
        raise RawDataError(f"holds no annotations of S{', S'.join(map(str, subjects))}", where=found.annotations,
                           mend=_MEND)  # fmt: skip
    return items


def convert(load: Mapping[str, Any]) -> Iterator[Sample | Skipped]:
    """The samples of one image folder; images that are not there are skipped by name.

    Raises ``RawDataError`` when an image is damaged or rescaled, or none of them is there.
    """
    camera = Camera(**load["camera"])
    frames, joints_mm = read_joints(Path(load["joints"]))[tuple(load["take"])]
    folder = Path(load["folder"])
    chosen = np.flatnonzero(frames % load["every"] == 0)
    paths = [folder / f"{folder.name}_{frames[row] + 1:06d}.jpg" for row in chosen]
    if len(paths) and not any(path.is_file() for path in paths):
        raise RawDataError(
            f"holds none of the {len(paths)} images wanted, such as {paths[0].name}",
            where=folder,
            mend="unpack it again",
        )
    for row, path in zip(chosen, paths, strict=True):
        frame = int(frames[row])
        if not path.is_file():
            yield Skipped(f"{load['name']}_{frame:06d}", "the image is missing")
            continue
        image = _read_image(path)
        height, width = image.shape[:2]
        sized = fit_size(camera, (width, height), str(path))
        yield make_sample(load, sized, frame, image, world_to_cam(sized, joints_mm[row]), None)


def _read_image(path: Path) -> npt.NDArray[np.uint8]:
    import simplejpeg

    content = path.read_bytes()
    try:
        height, width = simplejpeg.decode_jpeg_header(content)[:2]
        if max(height, width) > _LARGEST_SIDE_PX:
            raise ValueError(f"{width} x {height} px")
        image: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(content, "RGB")
    except ValueError as error:
        raise RawDataError(f"cannot be decoded ({error})", where=path, mend="unpack the images again") from error
    return image


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise RawDataError("is missing", where=path, mend=_MEND) from error
    except (OSError, ValueError, RecursionError) as error:
        raise RawDataError(f"is not readable JSON ({error})", where=path, mend=_MEND) from error


@lru_cache(maxsize=1)
def read_joints(path: Path) -> Joints:
    """(action, subaction) -> frame numbers (n,), ascending, and joints (n, 17, 3) world mm. One file is remembered,
    as all items of a subject need it. Raises ``RawDataError`` for anything else."""
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
            f"is not action -> subaction -> frame -> {NUM_JOINTS} x 3 ({error})", where=path, mend=_MEND
        ) from error
    return joints


def read_moon_cameras(path: Path) -> dict[int, Camera]:
    """Camera number 1..4 -> pinhole camera. Raises ``RawDataError`` when one is missing or off."""
    content = _read_json(path)
    cameras = {}
    try:
        for number in range(1, 5):
            entry = content[str(number)]
            fx, fy = map(float, entry["f"])
            cx, cy = map(float, entry["c"])
            cameras[number] = Camera.pinhole(
                (fx, fy), (cx, cy), _NOMINAL_SIZE, rotation=entry["R"], position_world_mm=entry["t"]
            )
    except (KeyError, TypeError, ValueError) as error:
        raise RawDataError(
            f"is not four cameras of R, t, f and c ({type(error).__name__}: {error})", where=path, mend=_MEND
        ) from error
    return cameras
