"""What all layouts share: work items per recording and camera, and samples from frames and joints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import RawDataError
from kt3d_bench.geometry.cameras import project, to_image_plane, to_pixels
from kt3d_bench.geometry.crops import box_from_points, crop_person
from kt3d_bench.rawfiles import any_case, listed, read_jpeg
from kt3d_bench.records import Camera, Sample, Skipped, WorkItem
from kt3d_bench.skeletons import NUM_JOINTS, Quality
from kt3d_h36m.background import foreground
from kt3d_h36m.recordings import CAMERAS, SPLITS, Recording, recordings, video_name

STANDARD_17 = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
"""Indices of the evaluated joints among the 32 recorded ones."""
_LARGEST_D2_ERROR_PX, _LARGEST_MONO_ERROR_MM = 0.5, 1.0
_MOST_FRAMES = 0.95
_LARGEST_COORDINATE_MM = 20_000.0
_SIZE_TOLERANCE_PX = 2

Planned = tuple[int, dict[str, Any]] | str | None
"""Of one recording and camera: expected samples and what ``convert`` needs, or why it is skipped; ``None`` = absent."""


def plan_videos(
    takes: Iterable[tuple[Recording, Callable[[str], Planned]]],
    cameras: Mapping[tuple[int, str], Camera],
    *,
    poses_only: bool = False,
) -> list[WorkItem]:
    """Return one item per recording and camera of ``takes``: recordings that are there, and what to do per camera."""
    items: list[WorkItem] = []
    for recording, planned in takes:
        for camera_id in CAMERAS:
            name, found = video_name(recording, camera_id), planned(camera_id)
            if isinstance(found, str):
                items.append(WorkItem(name, 0, {"name": name, "skip": found}))
            elif found is not None:
                payload = {**_video_facts(recording, camera_id, cameras[recording.subject, camera_id]), **found[1]}
                items.append(WorkItem(name, found[0], payload, poses_only=poses_only))
    return items


def refuse_incomplete(
    items: Sequence[WorkItem],
    missing: Sequence[str],
    partial: bool,
    *,
    what: str,
    subjects: str,
    where: Path,
    hint: str,
) -> None:
    """Raise ``RawDataError`` when something is missing from a layout that is not ``partial``, or nothing is there.

    ``what`` is missing; ``subjects`` says of what there is none.
    """
    if missing and not partial:
        raise RawDataError(
            f"{len(missing)} {what} are missing, the first is {missing[0]}",
            where=where,
            hint=f"{hint}, or accept a part of the dataset with --partial yes",
        )
    if not any(item.expected_samples for item in items):
        raise RawDataError(f"holds no {subjects}", where=where, hint=hint)


def describe_splits(missing: Callable[[Recording], str | None], *, hint: str = "", without: str = "") -> Iterator[str]:
    """Yield a sentence per split with how many recordings are there, ``without`` one by its title; ``missing`` names
    what a recording lacks."""
    for split, subjects in SPLITS.items():
        lacking = [missing(one) for one in recordings() if one.subject in subjects and one.title != without]
        names = [name for name in lacking if name is not None]
        more = f"; missing: {listed(names)}{hint}" if names else ""
        yield f"Split {split}: {len(lacking) - len(names)} of {len(lacking)} recordings{more}."


def _video_facts(recording: Recording, camera_id: str, camera: Camera) -> dict[str, Any]:
    """Return what ``make_sample`` needs to know of one recording seen by one camera, as plain data."""
    return {
        "name": video_name(recording, camera_id),
        "subject": f"S{recording.subject}",
        "action": recording.action_name,
        "clip": recording.clip,
        "camera_id": camera_id,
        "camera": {
            "intrinsics_px": tuple(map(tuple, camera.intrinsics_px.tolist())),
            "size_px": camera.size_px,
            "distortion": tuple(camera.distortion.tolist()),
            "tangential_factor": camera.tangential_factor,
            "rotation": tuple(map(tuple, camera.rotation.tolist())),
            "position_world_mm": tuple(camera.position_world_mm.tolist()),
        },
    }


def check_projection(
    camera: Camera, joints_cam_mm: npt.NDArray[np.float64], joints_px: npt.NDArray[np.float64], where: str, hint: str
) -> None:
    """Raise ``RawDataError`` when recorded image points (n, 32, 2) are not the projection of the joints (n, 32, 3)."""
    apart_px = _apart(project(camera, joints_cam_mm), joints_px, where, hint)
    if apart_px > _LARGEST_D2_ERROR_PX:
        raise RawDataError(
            f"the recorded image points are {apart_px:.1f} px away from the projection of the 3D joints (at most "
            f"{_LARGEST_D2_ERROR_PX} px expected), so cameras, poses and this file do not belong together",
            where=where,
            hint=hint,
        )


def check_mono(joints_cam_mm: npt.NDArray[np.float64], mono_mm: npt.NDArray[np.float64], where: str, hint: str) -> None:
    """Raise ``RawDataError`` when the poses (n, 32, 3) of ``D3_Positions_mono`` are not the world's in that camera."""
    apart_mm = _apart(joints_cam_mm, mono_mm, where, hint)
    if apart_mm > _LARGEST_MONO_ERROR_MM:
        raise RawDataError(
            f"the poses are {apart_mm:.1f} mm away from those of D3_Positions seen by the camera (at most "
            f"{_LARGEST_MONO_ERROR_MM:g} mm expected), so cameras, poses and this file do not belong together",
            where=where,
            hint=hint,
        )


def _apart(expected: npt.NDArray[np.float64], recorded: npt.NDArray[np.float64], where: str, hint: str) -> float:
    """Return how far apart the worst joint is in all but the worst twentieth of the frames; joints that are not finite
    in ``expected`` are left out, since their frames become no samples. Raises ``RawDataError`` for another number of
    frames, and where ``recorded`` lacks joints in more than a twentieth."""
    if len(recorded) != len(expected):
        raise RawDataError(f"has {len(recorded)} poses, expected {len(expected)}", where=where, hint=hint)
    with np.errstate(invalid="ignore"):
        error = np.linalg.norm(expected - recorded, axis=-1)
    known = np.isfinite(expected).all(axis=-1)
    error = np.where(known, np.where(np.isfinite(error), error, np.inf), 0.0)
    apart = float(np.quantile(error.max(axis=1), _MOST_FRAMES, method="lower"))
    if np.isinf(apart):
        lacking = int(np.isinf(error).any(axis=1).sum())
        what = f"joints are not finite in {lacking} of {len(recorded)} poses, though the 3D joints are"
        raise RawDataError(what, where=where, hint=hint)
    return apart


def still_samples(
    load: Mapping[str, Any], camera: Camera, joints_cam_mm: Mapping[int, npt.NDArray[np.float64]], image_name: str
) -> Iterator[Sample | Skipped]:
    """Yield the samples of one folder of JPEG images; those that are missing or damaged are skipped by name.

    ``load`` is a work item's payload with ``folder``; ``joints_cam_mm`` maps frame -> (17, 3), in order; ``image_name``
    is a %-format of the image's number, the frame's plus 1. Raises ``RawDataError`` when an image was rescaled, or none
    of them is there.
    """
    folder, hint = Path(load["folder"]), "unpack the images again"
    paths = {frame: any_case(folder / (image_name % (frame + 1))) for frame in joints_cam_mm}
    if paths and not any(path.is_file() for path in paths.values()):
        first = next(iter(paths.values())).name
        raise RawDataError(f"holds none of the {len(paths)} images wanted, such as {first}", where=folder, hint=hint)
    for frame, path in paths.items():
        if not path.is_file():
            yield Skipped(f"{load['name']}_{frame:06d}", "the image is missing", str(path))
            continue
        try:
            image = read_jpeg(path, hint)
        except RawDataError as error:
            yield Skipped.damaged(f"{load['name']}_{frame:06d}", error)
            continue
        yield make_sample(load, fit_size(camera, image, str(path)), frame, image, joints_cam_mm[frame])


def fit_size(camera: Camera, image: npt.NDArray[np.uint8], where: str) -> Camera:
    """Return the camera with the image's size, which decides; the calibration's may be off by the two extra rows.

    Raises ``RawDataError`` for ``where`` when they differ by more.
    """
    size_px = (image.shape[1], image.shape[0])
    if max(abs(size_px[0] - camera.size_px[0]), abs(size_px[1] - camera.size_px[1])) > _SIZE_TOLERANCE_PX:
        raise RawDataError(
            f"is {size_px[0]} x {size_px[1]} px, but calibrated are {camera.size_px[0]} x {camera.size_px[1]} px: "
            "it was rescaled",
            where=where,
            hint="use the file of the official archive",
        )
    return replace(camera, size_px=size_px)


def make_sample(
    load: Mapping[str, Any],
    camera: Camera,
    frame: int,
    image: npt.NDArray[np.uint8] | None,
    joints_mm: npt.NDArray[np.float64],
    official_box_px: npt.NDArray[np.float64] | None = None,
) -> Sample | Skipped:
    """Return the sample of one frame, or why there is none. Without ``image`` it has the pose and the crop's camera.

    ``load`` is a work item's payload; ``joints_mm`` (17, 3) are in the camera's frame.
    """
    key = f"{load['name']}_{frame:06d}"
    joints_cam_mm = joints_mm.astype(np.float32)
    reason = _implausible(joints_cam_mm)
    if reason is not None:
        return Skipped(key, reason)
    plane = to_image_plane(camera, joints_cam_mm)
    joints_px = to_pixels(camera, plane)
    size = np.array(camera.size_px)
    inside = ((joints_px > -0.5) & (joints_px < size - 0.5)).all(axis=-1)
    if not inside.any():
        return Skipped(key, "all joints lie outside the image")
    box_px = box_from_points(joints_px) if official_box_px is None else official_box_px
    if not np.isfinite(box_px).all():
        return Skipped(key, "the official box is empty")
    if (box_px[2:] - box_px[:2] > 3 * size).any():
        return Skipped(key, "the box is more than three times as large as the image")
    crop = crop_person(camera, box_px, rgb=image)
    return Sample(
        key=key,
        camera=crop.camera,
        joints_px=to_pixels(crop.camera, plane).astype(np.float32),
        joints_cam_mm=joints_cam_mm,
        visible=np.where(inside, -1, 0).astype(np.int8),
        quality=np.full(NUM_JOINTS, Quality.EXACT, np.uint8),
        box_px=crop.to_crop(box_px.reshape(2, 2)).reshape(4).astype(np.float32),
        subject=load["subject"],
        action=load["action"],
        camera_id=load["camera_id"],
        sequence=load["clip"],
        frame=frame,
        rgb=crop.rgb,
        foreground=None if crop.rgb is None else foreground(load, camera, box_px, crop.rgb),
    )


def _implausible(joints_cam_mm: npt.NDArray[np.float32]) -> str | None:
    if not np.isfinite(joints_cam_mm).all():
        return "a joint is not finite"
    if np.abs(joints_cam_mm).max() > _LARGEST_COORDINATE_MM:
        return f"a joint is more than {_LARGEST_COORDINATE_MM / 1000:g} m away from the camera"
    if joints_cam_mm[:, 2].min() <= 100.0:
        return "a joint is at or behind the camera"
    return None
