"""One frame and its joints -> a sample, whichever layout they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import RawDataError
from kt3d_bench.geometry.cameras import project
from kt3d_bench.geometry.crops import box_from_points, crop_person
from kt3d_bench.records import Camera, Sample, Skipped
from kt3d_bench.skeletons import NUM_JOINTS, Quality
from kt3d_h36m.sequences import Recording

STANDARD_17 = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
"""Indices of the evaluated joints among the 32 recorded ones."""
LARGEST_D2_ERROR_PX = 0.5
"""Between recorded image points and the projection of the 3D joints."""
_LARGEST_COORDINATE_MM = 20_000.0
_SIZE_TOLERANCE_PX = 2


def video_name(recording: Recording, camera_id: str) -> str:
    """What work items and keys of one recording seen by one camera begin with: ``s09_act02_sub1_54138969``."""
    return f"s{recording.subject:02d}_act{recording.action:02d}_sub{recording.subaction}_{camera_id}"


def plain_video(recording: Recording, camera_id: str, camera: Camera) -> dict[str, Any]:
    """What ``make_sample`` needs to know of one recording seen by one camera, as plain data."""
    return {
        "name": video_name(recording, camera_id),
        "subject": f"S{recording.subject}",
        "action": recording.action_name,
        "clip": recording.clip,
        "camera_id": camera_id,
        "camera": camera_to_plain(camera),
    }


def camera_to_plain(camera: Camera) -> dict[str, Any]:
    """``Camera(**plain)`` gives it back."""
    return {
        "intrinsics_px": tuple(map(tuple, camera.intrinsics_px.tolist())),
        "size_px": camera.size_px,
        "distortion": tuple(camera.distortion.tolist()),
        "tangential_factor": camera.tangential_factor,
        "rotation": tuple(map(tuple, camera.rotation.tolist())),
        "position_world_mm": tuple(camera.position_world_mm.tolist()),
    }


def fit_size(camera: Camera, size_px: tuple[int, int], where: str) -> Camera:
    """The camera with the image's size, which decides; the calibration's may be off by the two extra rows.

    Raises ``RawDataError`` for ``where`` when they differ by more.
    """
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
    official_box_px: npt.NDArray[np.float64] | None,
) -> Sample | Skipped:
    """The sample of one frame, or why there is none. Without ``image`` it is the pose and the camera of the same crop.

    ``load`` is ``plain_video``'s; ``joints_mm`` (17, 3) are in the camera's frame.
    """
    key = f"{load['name']}_{frame:06d}"
    joints_cam_mm = joints_mm.astype(np.float32)
    reason = _absurd(joints_cam_mm)
    if reason is not None:
        return Skipped(key, reason)
    joints_px = project(camera, joints_cam_mm)
    width, height = camera.size_px
    inside = ((joints_px > -0.5) & (joints_px < np.array([width, height]) - 0.5)).all(axis=-1)
    if not inside.any():
        return Skipped(key, "all joints lie outside the image")
    box_px = box_from_points(joints_px) if official_box_px is None else official_box_px
    if not np.isfinite(box_px).all():
        return Skipped(key, "the official box is empty")
    if (box_px[2:] - box_px[:2] > 3 * np.array([width, height])).any():
        return Skipped(key, "the box is more than three times as large as the image")
    crop = crop_person(camera, box_px, rgb=image)
    return Sample(
        key=key,
        camera=crop.camera,
        joints_px=project(crop.camera, joints_cam_mm).astype(np.float32),
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
    )


def _absurd(joints_cam_mm: npt.NDArray[np.float32]) -> str | None:
    if not np.isfinite(joints_cam_mm).all():
        return "a joint is not finite"
    if np.abs(joints_cam_mm).max() > _LARGEST_COORDINATE_MM:
        return f"a joint is more than {_LARGEST_COORDINATE_MM / 1000:g} m away from the camera"
    if joints_cam_mm[:, 2].min() <= 100.0:
        return "a joint is at or behind the camera"
    return None
