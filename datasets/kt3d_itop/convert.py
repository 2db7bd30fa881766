"""ITOP's HDF5 files -> samples: depth, part ids, the common 17 joints and an exact crop camera.

Frames whose labels nobody approved (``is_valid`` 0) are never used. The background stays in the stored depth: finding
the person in it, without labels, is the benchmark's rule (``geometry.foreground``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import RawDataError
from kt3d_bench.geometry.cameras import project
from kt3d_bench.geometry.crops import box_from_mask, box_from_points, crop_person
from kt3d_bench.geometry.foreground import person_depth
from kt3d_bench.records import Camera, Sample, Skipped, WorkItem
from kt3d_bench.skeletons import JointMapping
from kt3d_itop.hdf5 import HEIGHT_PX, WIDTH_PX, check_same_ids, opened, read_ids, split_id
from kt3d_itop.layout import SPLITS, deferred, describe, find_files

JOINTS: tuple[str, ...] = (
    "Head", "Neck", "R Shoulder", "L Shoulder", "R Elbow", "L Elbow", "R Hand", "L Hand", "Torso", "R Hip", "L Hip",
    "R Knee", "L Knee", "R Foot", "L Foot",
)  # fmt: skip
"""In the order of ``real_world_coordinates``; the part ids of ``segmentation`` are the same numbers."""

MAPPING = JointMapping.of(
    JOINTS,
    exact={
        "right_hip": "R Hip", "right_knee": "R Knee", "left_hip": "L Hip", "left_knee": "L Knee",
        "left_shoulder": "L Shoulder", "left_elbow": "L Elbow",
        "right_shoulder": "R Shoulder", "right_elbow": "R Elbow",
    },
    derived={"hip": ("R Hip", "L Hip"), "spine": "Torso", "thorax": "Neck", "nose": ("Head", "Neck")},
    approximate={
        "right_ankle": "R Foot", "left_ankle": "L Foot", "head": "Head",
        "left_wrist": "L Hand", "right_wrist": "R Hand",
    },
)  # fmt: skip
"""In the data itself Neck is the middle of the shoulders, and Torso the middle between Neck and the hips."""

_SOURCES = tuple([JOINTS.index(name) for name in entry.sources] for entry in MAPPING.table)


def map_visible(flags: npt.NDArray[Any]) -> npt.NDArray[np.int8]:
    """Map (N, 15) ``visible_joints`` to (N, 17) 1, 0 or -1: a derived joint is visible where all of its sources are.

    Values other than 0 and 1 mean not known.
    """
    known = np.where((flags == 0) | (flags == 1), flags, -1).astype(np.int8)
    return np.stack([known[:, sources].min(axis=1) for sources in _SOURCES], axis=1)


__all__ = ["convert", "deferred", "describe", "plan"]

METRES_PER_PX = 0.0035
"""At 1 m: x = (u - 160) z 0.0035 and y = (120 - v) z 0.0035, y up; the inverse of the focal length."""
CENTER_PX = (160.0, 120.0)
ROWS_PER_ITEM = 256
SLAB_ROWS = 64
_MOST_ROWS = 1024
_GAP_ROWS = 8  # A gap of up to this many unused rows does not start another slab
CLIP_GAP_FRAMES = 30  # Used frames further apart than this (about a second) belong to different sequences
_NEAR_MM, _FAR_MM = 100.0, 10_000.0
_LONGEST_REACH_MM = 2500.0
FOREGROUND = "central-body"  # The rule by which ``boxes=detector`` finds the person in the full frame

_TOP_ROTATION = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
_TOP_POSITION_MM = np.array([0.0, -1500.0, 2850.0])
"""The top view's labels are the front view's moved by exactly this: 1.5 m up, 2.85 m ahead, looking straight down."""


@cache
def camera(view: str) -> Camera:
    """Return the full frame's camera; the world is the front camera's own frame, so that both views share it."""
    pose: dict[str, Any] = {"rotation": _TOP_ROTATION, "position_world_mm": _TOP_POSITION_MM} if view == "top" else {}
    return Camera.pinhole((1 / METRES_PER_PX, 1 / METRES_PER_PX), CENTER_PX, (WIDTH_PX, HEIGHT_PX), **pose)


def plan(raw: Path, split: str, options: Mapping[str, Any]) -> Sequence[WorkItem]:
    """Return one item per some hundred frames, with the numbers of those that are valid; the others are counted once.

    ``options``: ``boxes``. Raises ``MissingDataError`` when nothing of the split is there, ``RawDataError`` naming the
    file that is missing, damaged, or not what the format promises.
    """
    depth_path, labels_path = find_files(raw, split)
    with opened(labels_path, "labels") as labels, opened(depth_path, "depth_map") as depth:
        ids = read_ids(labels)
        check_same_ids(depth, labels, read_ids(depth), ids)
        valid = np.flatnonzero(labels.read("is_valid", 0, labels.frames) == 1)
        chunk = max(labels.chunk_rows, depth.chunk_rows)
        # a multiple of the file's chunks, so that no chunk is unpacked by two items
        block = ROWS_PER_ITEM if chunk > _MOST_ROWS else chunk * -(-ROWS_PER_ITEM // chunk)
    if not ids:
        raise RawDataError("holds no frames", where=labels_path, hint="download the file again")
    view, part = SPLITS[split]
    prefix = f"{view}_{part}"
    clips = _clips([ids[row] for row in valid])
    items = []
    for first in range(0, len(ids), block):
        chosen = slice(*np.searchsorted(valid, [first, first + block]))
        rows = valid[chosen].tolist()
        if rows:
            payload = {
                "depth": str(depth_path),
                "labels": str(labels_path),
                "view": view,
                "prefix": prefix,
                "boxes": options.get("boxes", "joints"),
                "rows": tuple(rows),
                "ids": tuple(ids[row] for row in rows),
                "clips": tuple(clips[chosen]),
            }
            items.append(WorkItem(f"{prefix}_rows_{first:05d}", len(rows), payload))
    if len(valid) < len(ids):
        left_out = f"{len(ids) - len(valid)} of {len(ids)} frames have no approved labels (is_valid is not 1)"
        items.append(WorkItem(f"{prefix}_not_valid", 0, {"skip": left_out}))
    return items


def _clips(ids: Sequence[str]) -> list[str]:
    """Return, per used frame, the id of its sequence's first frame: cut at another person and where numbers jump."""
    clips: list[str] = []
    before: tuple[str, int] | None = None
    for text in ids:
        person, frame = split_id(text)
        goes_on = before is not None and before[0] == person and 0 < frame - before[1] <= CLIP_GAP_FRAMES
        clips.append(clips[-1] if goes_on else text)
        before = person, frame
    return clips


def convert(item: WorkItem) -> Iterator[Sample | Skipped]:
    """Yield the samples of one item in the files' order; frames that cannot be used come as ``Skipped``.

    Raises ``RawDataError`` when a file is damaged.
    """
    load = item.payload
    if "skip" in load:
        yield Skipped(item.name, load["skip"])
        return
    names = dict(zip(load["rows"], load["ids"], strict=True))
    clips = dict(zip(load["rows"], load["clips"], strict=True))
    with opened(Path(load["labels"]), "labels") as labels, opened(Path(load["depth"]), "depth_map") as depth:
        longest = min(max(SLAB_ROWS, labels.chunk_rows, depth.chunk_rows), _MOST_ROWS)
        for first, stop in _slabs(load["rows"], longest):
            joints_mm = to_camera_mm(labels.read("real_world_coordinates", first, stop))
            joints_cam_mm = MAPPING.apply(joints_mm)
            slab = zip(
                range(first, stop),
                depth.read("data", first, stop),
                labels.read("segmentation", first, stop),
                joints_cam_mm,
                project(camera(load["view"]), joints_cam_mm),
                map_visible(labels.read("visible_joints", first, stop)),
                _implausible(joints_mm),
                strict=True,
            )
            for row, *content in slab:
                if row in names:
                    yield _sample(load, names[row], clips[row], *content)


def _slabs(rows: Sequence[int], longest: int) -> list[tuple[int, int]]:
    """Return (first, stop) ranges that cover ``rows``, at most ``longest`` rows each."""
    slabs: list[tuple[int, int]] = []
    for row in rows:
        if slabs and row - slabs[-1][1] <= _GAP_ROWS and row - slabs[-1][0] < longest:
            slabs[-1] = slabs[-1][0], row + 1
        else:
            slabs.append((row, row + 1))
    return slabs


def _sample(
    load: Mapping[str, Any],
    name: str,
    clip: str,
    depth_m: npt.NDArray[np.float16],
    segmentation: npt.NDArray[np.int8],
    joints_cam_mm: npt.NDArray[np.float64],
    joints_px: npt.NDArray[np.float64],
    visible: npt.NDArray[np.int8],
    problem: str | None,
) -> Sample | Skipped:
    """Return one frame's sample from its depth and parts as stored, -1 = background, and its 17 joints."""
    key = f"{load['prefix']}_{name}"
    problem = problem or _unknown_part(segmentation)
    if problem is not None:
        return Skipped(key, problem)
    depth_mm = to_depth_mm(depth_m)
    if load["boxes"] == "detector":
        person = person_depth(depth_mm, FOREGROUND) > 0
        if not person.any():
            return Skipped(key, "nobody found in the depth image")
        box_px = box_from_mask(person)
    else:
        box_px = box_from_points(joints_px)
    parts = (segmentation + np.int8(1)).view(np.uint8)
    crop = crop_person(camera(load["view"]), box_px, depth_mm=depth_mm, parts=parts)
    if crop.depth_mm is None or not crop.depth_mm.any():
        return Skipped(key, "no depth reading around the person")
    subject, number = split_id(name)
    return Sample(
        key=key,
        camera=crop.camera,
        joints_px=crop.to_crop(joints_px).astype(np.float32),
        joints_cam_mm=joints_cam_mm.astype(np.float32),
        visible=visible,
        quality=MAPPING.quality,
        box_px=crop.to_crop(box_px.reshape(2, 2)).ravel().astype(np.float32),
        subject=subject,
        action="",
        camera_id=load["view"],
        sequence=f"{load['prefix']}_{clip}",
        frame=number,
        depth_mm=crop.depth_mm,
        parts=crop.parts,
    )


def to_camera_mm(joints_m: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Convert (..., 3) metres with y up, a left-handed frame, to mm with y down. float16 is widened first."""
    points: npt.NDArray[np.float64] = np.asarray(joints_m).astype(np.float32).astype(np.float64) * [1e3, -1e3, 1e3]
    return points


@cache
def _depth_table() -> npt.NDArray[np.uint16]:
    """Return (65536,) mm of every float16 in metres, by its bits: 0 for negative, not finite, or beyond 65.535 m."""
    metres = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        rounded = np.rint(metres * np.float32(1000))
        usable = np.isfinite(rounded) & (rounded > 0) & (rounded < 1 << 16)
    return np.where(usable, rounded, 0).astype(np.uint16)


def to_depth_mm(depth_m: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    """Convert (H, W) float16 metres to mm, 0 = no reading."""
    bits = np.ascontiguousarray(depth_m, np.float16).view(np.uint16)
    return _depth_table().take(bits)


def _implausible(joints_mm: npt.NDArray[np.float64]) -> list[str | None]:
    """Return what is wrong with each of (N, 15) joints, if anything."""
    distance_mm = joints_mm[..., 2]
    with np.errstate(invalid="ignore"):
        reach_mm = np.linalg.norm(joints_mm - joints_mm[:, [JOINTS.index("Torso")]], axis=-1)
        faults = (
            ("joints without finite coordinates", ~np.isfinite(joints_mm).all(axis=-1)),
            ("joints nearer than 0.1 m or further than 10 m", (distance_mm < _NEAR_MM) | (distance_mm > _FAR_MM)),
            ("joints more than 2.5 m from Torso", reach_mm > _LONGEST_REACH_MM),
        )
    found: list[str | None] = [None] * len(joints_mm)
    for words, at_fault in reversed(faults):
        for frame in np.flatnonzero(at_fault.any(axis=1)):
            found[frame] = f"{words}: {', '.join(JOINTS[joint] for joint in np.flatnonzero(at_fault[frame]))}"
    return found


def _unknown_part(segmentation: npt.NDArray[np.int8]) -> str | None:
    low, high = int(segmentation.min()), int(segmentation.max())
    if low < -1 or high >= len(JOINTS):
        return f"segmentation holds {low if low < -1 else high}, expected -1..{len(JOINTS) - 1}"
    return None
