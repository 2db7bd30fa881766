"""Official videos, pose CDFs and cameras -> samples: one work item is one video.

Poses come from ``D3_Positions`` (world, one file for four cameras) where it is there, else from
``D3_Positions_mono`` (camera frame): the second is the first seen through ``metadata.xml``'s cameras, so the labels
are the same, and the world file is a quarter of the download. ``D3_Positions_mono_universal`` has other bone lengths
and does not project with the true intrinsics: it is never used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import RawDataError, UsageError
from kt3d_bench.geometry.cameras import project, world_to_cam
from kt3d_bench.records import Camera, Sample, Skipped, WorkItem
from kt3d_h36m.boxes import read_boxes
from kt3d_h36m.cdf import PoseReader, shared_reader
from kt3d_h36m.completeness import check_complete
from kt3d_h36m.describe import describe
from kt3d_h36m.layout import RawFolder, Source, local_file, local_files, scan
from kt3d_h36m.layouts import convert_derived, find_derived, plan_derived
from kt3d_h36m.metadata import announced_counts, read_cameras
from kt3d_h36m.samples import (
    LARGEST_D2_ERROR_PX,
    STANDARD_17,
    fit_size,
    make_sample,
    plain_video,
    video_name,
)
from kt3d_h36m.selection import chosen_subjects, dropped
from kt3d_h36m.sequences import CAMERAS, SPLITS, Recording, recordings
from kt3d_h36m.video import frames_rgb

__all__ = ["STANDARD_17", "TEST_EVERY", "convert", "describe", "plan"]

TEST_EVERY = 64


def plan(raw: Path, split: str, options: Mapping[str, Any]) -> Sequence[WorkItem]:
    """One item per video of the split's subjects, by subject, action, subaction and camera.

    Raises ``RawDataError`` naming the file that is missing, damaged or does not fit, ``UsageError`` for an unknown
    recording in ``drop`` or ``keep``.
    """
    if split not in SPLITS:
        raise UsageError(f"Human3.6M has no split '{split}'", hint=f"use one of {', '.join(SPLITS)}")
    every = TEST_EVERY if split == "test" else int(options.get("train_every", 5))
    if every < 1:
        raise UsageError(f"--train-every is {every}, expected 1 or more", hint="use 5 for every fifth frame")
    subjects = chosen_subjects(split, str(options.get("subjects", "")))
    selection = dropped(str(options.get("drop", "")), str(options.get("keep", "")))
    official_boxes = options.get("boxes", "joints") == "official"
    partial = bool(options.get("partial", False))
    derived = find_derived(raw)
    if derived is not None:
        return plan_derived(derived, raw, subjects, every, selection, partial=partial, official_boxes=official_boxes)
    found = scan(raw, subjects=subjects, without=() if official_boxes else ("ground_truth_bb",))
    poses_from = check_complete(found, subjects, selection, partial=partial, boxes=official_boxes)
    assert found.metadata is not None
    with local_file(found.metadata) as path:
        cameras = read_cameras(path)
    counts = _pose_counts(found, poses_from)
    items = []
    for recording in recordings():
        if recording.subject not in subjects:
            continue
        for camera_id in CAMERAS:
            pose_key = (recording, "" if poses_from == "D3_Positions" else camera_id)
            name = video_name(recording, camera_id)
            reason = selection.reason(recording, camera_id)
            if reason is not None:
                if pose_key in found.files[poses_from] or (recording, camera_id) in found.files["Videos"]:
                    items.append(WorkItem(name, 0, {"name": name, "skip": reason}))
                continue
            if pose_key not in found.files[poses_from]:
                continue
            payload = {
                **plain_video(recording, camera_id, cameras[recording.subject, camera_id]),
                "every": every,
                "poses": counts[pose_key],
                "title": f"{recording.title} {camera_id}",
                "video": _plain(found.files["Videos"][recording, camera_id]),
                "d3": _plain(found.files[poses_from][pose_key]),
                "d3_in_world": poses_from == "D3_Positions",
                "d2": _plain(found.files["D2_Positions"].get((recording, camera_id))),
                "boxes": _plain(found.files["ground_truth_bb"][recording, camera_id]) if official_boxes else None,
            }
            items.append(WorkItem(name, len(range(0, counts[pose_key], every)), payload))
    return items


def _pose_counts(found: RawFolder, feature: str) -> dict[tuple[Recording, str], int]:
    """Poses in each file of ``feature``. Of a damaged file it is what ``metadata.xml`` announces, so that the plan is
    the same once it is mended; ``convert`` says what is wrong with it, and this recording alone is lost."""
    keys = {source: key for key, source in found.files[feature].items()}
    counts: dict[tuple[Recording, str], int] = {}
    with PoseReader() as reader, local_files(keys) as files:
        for source, path in files:
            try:
                counts[keys[source]] = len(reader.read(path, 3, where=str(source)))
            except RawDataError:
                recording, camera_id = keys[source]
                counts[recording, camera_id] = _announced_poses(found, recording)
    return counts


def _announced_poses(found: RawFolder, recording: Recording) -> int:
    assert found.metadata is not None
    with local_file(found.metadata) as path:
        counts = announced_counts(path)
    announced = counts.get((recording.subject, recording.action, recording.subaction))
    return recording.poses if announced is None else announced.poses


def _plain(source: Source | None) -> tuple[str, str | None] | None:
    return None if source is None else (source.path, source.member)


def convert(item: WorkItem) -> Iterator[Sample | Skipped]:
    """The samples of one video, in the order of its frames.

    Raises ``RawDataError`` when the video is damaged, shorter than its poses, of another size than its calibration,
    or when ``D2_Positions`` contradicts the projection of the 3D joints.
    """
    load = item.payload
    if load.get("skip"):
        yield Skipped(load["name"], load["skip"])
        return
    if "layout" in load:
        yield from convert_derived(load)
        return
    camera = Camera(**load["camera"])
    d3 = Source(*load["d3"])
    poses_mm = _read(d3, 3)
    if len(poses_mm) != load["poses"]:
        raise RawDataError(f"has {len(poses_mm)} poses, and had {load['poses']} when planned", where=str(d3))
    with np.errstate(invalid="ignore"):
        joints_cam_mm = world_to_cam(camera, poses_mm) if load["d3_in_world"] else poses_mm
    if load["d2"] is not None:
        _check_d2(camera, joints_cam_mm, Source(*load["d2"]))
    boxes = _official_boxes(load)
    video = Source(*load["video"])
    with local_file(video) as path:
        frames = frames_rgb(path, load["poses"], load["every"], where=str(video), name=load["title"])
        for frame, image in frames:
            height, width = image.shape[:2]
            sized = fit_size(camera, (width, height), str(video))
            yield make_sample(load, sized, frame, image, joints_cam_mm[frame, STANDARD_17], boxes.get(frame))


def _official_boxes(load: Mapping[str, Any]) -> dict[int, npt.NDArray[np.float64]]:
    """Frame -> box; empty where boxes come from joints."""
    if load["boxes"] is None:
        return {}
    frames = range(0, load["poses"], load["every"])
    source = Source(*load["boxes"])
    with local_file(source) as path:
        return dict(zip(frames, read_boxes(path, frames, where=str(source)), strict=True))


def _read(source: Source, dimensions: int) -> npt.NDArray[np.float64]:
    with local_file(source) as path:
        return shared_reader().read(path, dimensions, where=str(source))


def _check_d2(camera: Camera, joints_cam_mm: npt.NDArray[np.float64], d2: Source) -> None:
    joints_px = _read(d2, 2)
    error = np.linalg.norm(project(camera, joints_cam_mm[0]) - joints_px[0], axis=-1)
    worst = float(error[np.isfinite(error)].max(initial=0.0))
    if worst > LARGEST_D2_ERROR_PX:
        raise RawDataError(
            f"is {worst:.1f} px away from the projection of the 3D joints in frame 0 (at most {LARGEST_D2_ERROR_PX} "
            "px expected), so cameras, poses and this file do not belong together",
            where=str(d2),
            hint="unpack the three archives of this subject again and use the official metadata.xml",
        )
