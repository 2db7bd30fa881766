"""Official videos, pose CDFs and cameras -> samples: one work item is one video.

Poses come from ``D3_Positions`` (world, one file for four cameras) where it is there, else from
``D3_Positions_mono`` (camera frame): the second is the first seen through ``metadata.xml``'s cameras, so the labels
are the same, and the world file is a quarter of the download. ``D3_Positions_mono_universal`` has other bone lengths
and does not project with the true intrinsics: it is never used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.budgets import json_value, read_whole
from kt3d_bench.errors import RawDataError, UsageError
from kt3d_bench.geometry.cameras import world_to_cam
from kt3d_bench.rawfiles import find
from kt3d_bench.records import Camera, Recorded, Sample, Skipped, WorkItem
from kt3d_bench.standins import MARKER
from kt3d_h36m import fetch, layout, moon, videopose
from kt3d_h36m.archives import Source, local_file, local_files
from kt3d_h36m.background import with_background
from kt3d_h36m.cdf import read_pose
from kt3d_h36m.complete import announced_poses, check_counts
from kt3d_h36m.recordings import Recording, Selection, select
from kt3d_h36m.samples import STANDARD_17, Planned, check_mono, check_projection, fit_size, make_sample, plan_videos
from kt3d_h36m.video import frames_rgb, read_boxes

OtherLayout = moon.MoonFolder | fetch.FetchFolder | videopose.PlainPoses
_CONVERT = {moon.LAYOUT: moon.convert, fetch.LAYOUT: fetch.convert, videopose.LAYOUT: videopose.convert}
_INSTEAD = "use the official download, or images and JSON of Moon et al., beside metadata.xml"
_REFUSED = {
    "data_2d_h36m_*.npz": (
        "holds image points of VideoPose3D, which follow from poses and cameras and are not read",
        "use its data_3d_h36m.npz",
    ),
    "human36m-multiview-labels*.npy": (
        videopose.PICKLED, "use the annot.h5 files that h36m-fetch writes beside the same images"
    ),
    "cameras.pkl": (videopose.PICKLED, _INSTEAD),
    "h36m_t*.npz": ("holds annotations of MMPose's layout, which is not read", _INSTEAD),
    "fps*/h36m_t*.npz": ("holds annotations of MMPose's layout, which is not read", _INSTEAD),
    "annot/s_*/matlab_meta.txt": (
        "belongs to the annotations of Integral Human Pose, which are not read", _INSTEAD
    ),
    "images.tar.gza?": ("is one of several parts of packed images", moon.UNPACK_IMAGES),
}  # fmt: skip
"""Files of layouts that are not read, or packed parts of those that are -> what to say of each, and the hint."""


def find_other(raw: Path) -> OtherLayout | None:
    """Return the other layout to read ``raw`` as, images before poses alone; ``None`` = official, or nothing."""
    if not raw.is_dir() or layout.holds_videos(raw):
        return None
    return fetch.find(raw) or moon.find(raw) or videopose.find(raw)


def plan_other(
    found: OtherLayout, raw: Path, selection: Selection, every: int, *, partial: bool, official_boxes: bool
) -> list[WorkItem]:
    """Return the work items of another layout. Raises ``RawDataError`` naming what is missing, ``UsageError`` for
    official boxes, which go with the official videos."""
    if official_boxes:
        raise UsageError("the official boxes go with the official videos", where=raw, hint="leave --boxes at joints")
    metadata = layout.find_metadata(raw)
    if isinstance(found, moon.MoonFolder):
        calibrated = None if metadata is None else layout.cameras_of(metadata, raw)
        return found.plan(selection, every, partial, calibrated, metadata)
    kept = " (h36m-fetch keeps it beside its folder processed: point --raw one folder up)"
    cameras = layout.cameras_of(metadata, raw, kept)
    items = found.plan(selection, every, partial, cameras)
    if isinstance(found, videopose.PlainPoses):
        check_counts(found.counts(), metadata, selection, raw)
    return items


def describe_other(found: OtherLayout, raw: Path) -> Iterator[str]:
    """Yield sentences for ``kt3d inspect``: the layout, what of it is here, and what is missing."""
    calibrated = layout.find_metadata(raw) is not None
    yield from found.describe(calibrated)
    if calibrated:
        yield "Cameras are those of the official metadata.xml, with lens distortion."
    elif not isinstance(found, moon.MoonFolder):
        yield f"metadata.xml is missing: {layout.METADATA_HINT}."


def refusals(root: Path) -> Iterator[RawDataError]:
    """Yield one error for each thing under ``root`` that somebody may take for a layout that is read."""
    for path in videopose.candidates(root):
        if videopose.is_pickled(path):
            yield videopose.refuse_pickled(path)
    for pattern, (what, hint) in _REFUSED.items():
        yield from (RawDataError(what, where=path, hint=hint) for path in islice(find(root, pattern), 1))


TEST_EVERY = 64
"""What the benchmark scores (``frames_every``), so that every stored split has these frames."""
_FEWEST_POSES = 11
"""In fewer, nobody is elsewhere in another frame: 0.2 s."""


def plan(raw: Path, split: str, options: Mapping[str, Any]) -> Sequence[WorkItem]:
    """Return one item per video of the split's subjects, by subject, action, subaction and camera.

    Raises ``RawDataError`` naming the file that is missing, damaged or does not fit, ``UsageError`` for an unknown
    recording in ``drop`` or ``keep``, and for impossible steps between frames.
    """
    every, test_every = options.get("train_every", 5), options.get("test_every", TEST_EVERY)
    if every < 1:
        raise UsageError(f"--train-every is {every}, expected 1 or more", hint="use 5 for every fifth frame")
    if test_every < 1 or TEST_EVERY % test_every:
        raise UsageError(
            f"--test-every is {test_every}, which does not divide {TEST_EVERY}: scored frames would be missing",
            hint="use 1, 2, 4, 8, 16, 32 or 64",
        )
    every = test_every if split == "test" else every
    selection = select(split, **{name: options.get(name, "") for name in ("subjects", "drop", "keep")})
    items = _items(raw, selection, every, options)
    return with_background(items) if options.get("foreground", True) else items


def _items(raw: Path, selection: Selection, every: int, options: Mapping[str, Any]) -> list[WorkItem]:
    official_boxes, partial = options.get("boxes", "joints") == "official", options.get("partial", False)
    other = find_other(raw)
    if other is not None:
        return plan_other(other, raw, selection, every, partial=partial, official_boxes=official_boxes)
    found = layout.scan(raw, subjects=selection.subjects, without=() if official_boxes else ("ground_truth_bb",))
    if not any(found.files.values()) and (refused := next(refusals(raw), None)) is not None:
        raise refused
    layout.check_complete(found, selection, partial=partial, boxes=official_boxes)
    counts = _pose_counts(found)
    files = {one: (str(found.files[found.poses_from][one, camera_id]), count)
             for (one, camera_id), count in counts.items()}  # fmt: skip
    check_counts(files, found.metadata, selection, raw)
    takes = ((one, _planned(one, found, counts, selection, every, official_boxes)) for one in selection.recordings())
    return plan_videos(takes, layout.cameras_of(found.metadata, raw))


def _planned(
    recording: Recording,
    found: layout.RawFolder,
    counts: Mapping[tuple[Recording, str], int],
    selection: Selection,
    every: int,
    official_boxes: bool,
) -> Callable[[str], Planned]:
    in_world = found.poses_from == "D3_Positions"

    def planned(camera_id: str) -> Planned:
        key, pose_key = (recording, camera_id), (recording, "" if in_world else camera_id)
        has_pose = pose_key in found.files[found.poses_from]
        reason = selection.reason(recording, camera_id)
        if reason is not None and (has_pose or key in found.files["Videos"]):
            return reason
        if reason is not None or not has_pose:
            return None
        return len(range(0, counts[pose_key], every)), {
            "every": every,
            "poses": counts[pose_key],
            "title": f"{recording.title} {camera_id}",
            "video": _plain(found.files["Videos"][key]),
            "d3": _plain(found.files[found.poses_from][pose_key]),
            "d3_in_world": in_world,
            "d2": _plain(found.files["D2_Positions"].get(key)),
            "mono": _plain(found.files["D3_Positions_mono"].get(key)) if in_world else None,
            "boxes": _plain(found.files["ground_truth_bb"][key]) if official_boxes else None,
        }

    return planned


def _pose_counts(found: layout.RawFolder) -> dict[tuple[Recording, str], int]:
    """Return the number of poses in each file. Of a damaged file it is what ``metadata.xml`` announces, so that the
    plan is the same once the file is repaired; ``convert`` reports it, and skips this recording alone."""
    keys = {source: key for key, source in found.files[found.poses_from].items()}
    counts: dict[tuple[Recording, str], int] = {}
    for source, path in local_files(keys):
        try:
            counts[keys[source]] = len(read_pose(path, 3, where=str(source)))
        except RawDataError:
            counts[keys[source]] = _announced_poses(found, keys[source][0])
    return counts


def _announced_poses(found: layout.RawFolder, recording: Recording) -> int:
    assert found.metadata is not None
    try:
        return announced_poses(found.metadata)[recording.subject, recording.action, recording.subaction]
    except (RawDataError, KeyError):
        return recording.poses


def _plain(source: Source | None) -> tuple[str, str | None] | None:
    return None if source is None else (source.path, source.member)


def convert(item: WorkItem) -> Iterator[Sample | Skipped]:
    """Yield the samples of one video, in the order of its frames.

    Raises ``RawDataError`` when the video is damaged, shorter than its poses, of another size than its calibration,
    or when ``D2_Positions``, or else ``D3_Positions_mono``, contradicts the 3D joints.
    """
    load = item.payload
    if load.get("skip"):
        yield Skipped(load["name"], load["skip"])
        return
    if "layout" in load:
        yield from _CONVERT[load["layout"]](load)
        return
    camera = Camera(**load["camera"])
    poses_mm = _read(Source(*load["d3"]), 3)
    if len(poses_mm) != load["poses"]:
        raise RawDataError(
            f"has {len(poses_mm)} poses, and had {load['poses']} when planned", where=str(Source(*load["d3"]))
        )
    with np.errstate(invalid="ignore"):
        joints_cam_mm = world_to_cam(camera, poses_mm) if load["d3_in_world"] else poses_mm
    hint = "unpack the three archives of this subject again and use the official metadata.xml"
    if load["d2"] is not None:
        d2 = Source(*load["d2"])
        check_projection(camera, joints_cam_mm, _read(d2, 2), str(d2), hint)
    elif load["mono"] is not None:
        mono = Source(*load["mono"])
        check_mono(joints_cam_mm, _read(mono, 3), str(mono), hint)
    boxes = _official_boxes(load)
    video = Source(*load["video"])
    with local_file(video) as path:
        for frame, image in frames_rgb(path, load["poses"], load["every"], where=str(video), name=load["title"]):
            sized = fit_size(camera, image, str(video))
            yield make_sample(load, sized, frame, image, joints_cam_mm[frame, STANDARD_17], boxes.get(frame))


def recorded(item: WorkItem) -> Recorded | None:
    """Return the labels of all frames of one video; ``None`` where its layout keeps those of samples alone, or has too
    few. Raises ``RawDataError`` when the poses are damaged."""
    load = item.payload
    if load.get("skip") or load.get("poses", _FEWEST_POSES) < _FEWEST_POSES:
        return None
    if "layout" in load:
        return moon.recorded(load) if load["layout"] == moon.LAYOUT else None
    camera, poses_mm = Camera(**load["camera"]), _poses(Source(*load["d3"]))[:, STANDARD_17]
    with np.errstate(invalid="ignore"):
        joints_cam_mm = world_to_cam(camera, poses_mm) if load["d3_in_world"] else poses_mm
    return Recorded(np.arange(len(poses_mm)), joints_cam_mm)


@lru_cache(maxsize=1)
def _poses(source: Source) -> npt.NDArray[np.float64]:
    """Return (n, 32, 3) mm; the last file is remembered, as the four cameras of a recording share it."""
    return _read(source, 3)


def _official_boxes(load: Mapping[str, Any]) -> dict[int, npt.NDArray[np.float64]]:
    if load["boxes"] is None:
        return {}
    frames, source = range(0, load["poses"], load["every"]), Source(*load["boxes"])
    with local_file(source) as path:
        return dict(zip(frames, read_boxes(path, frames, where=str(source)), strict=True))


def _read(source: Source, dimensions: int) -> npt.NDArray[np.float64]:
    with local_file(source) as path:
        return read_pose(path, dimensions, where=str(source))


def describe(raw: Path) -> list[str]:
    """Return sentences for ``kt3d inspect``. Raises ``RawDataError`` when ``raw`` is no folder or a file is damaged."""
    other = find_other(raw)
    lines = list(layout.describe_official(layout.scan(raw)) if other is None else describe_other(other, raw))
    lines += [f"Not read: {error.message}" for error in refusals(raw)]
    try:
        facts = json_value(read_whole(raw / MARKER))
        return [f"A generated stand-in, version {facts['version']}, seed {facts['seed']}.", *lines]
    except FileNotFoundError:
        return lines
    except (OSError, ValueError, KeyError, TypeError):
        return ["A generated stand-in (its marker cannot be read).", *lines]
