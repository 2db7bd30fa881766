"""UBC3V's official tree -> samples: z-depth, 43 regions, the common 17 joints and an exact crop camera."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import RawDataError
from kt3d_bench.geometry.cameras import project, world_to_cam
from kt3d_bench.geometry.crops import box_from_mask, crop_person
from kt3d_bench.records import Camera, Sample, Skipped, WorkItem
from kt3d_ubc3v import cameras, regions
from kt3d_ubc3v.groundtruth import MAPPING, GroundTruth, read_ground_truth
from kt3d_ubc3v.layout import CAMERAS, PROTOCOL, Section, describe, find_sections, read_rgba

__all__ = ["convert", "describe", "plan"]

FRAMES_PER_ITEM = 100
NEAR_MM, RANGE_MM = 500.0, 7500.0
"""Depth of grey level 0, and the depth range that 255 levels span (near and far clip at 50 and 800 cm)."""
_PROBE_FRAMES = 3
_DILATION_PX = 6
_INSIDE_SHARE = 0.8
_BEHIND_SURFACE_MM = (-50.0, 300.0)
_STRAY_SHARE = 0.5
_LARGEST_COORDINATE_MM, _NEAREST_MM = 20_000.0, 100.0


def plan(raw: Path, split: str, options: Mapping[str, Any]) -> Sequence[WorkItem]:
    """Return one item per 100 frames of a section. ``options``: ``intrinsics``, ``depth_factor``.

    Raises ``RawDataError`` when the folder is not UBC3V.
    """
    items = []
    sections = find_sections(raw, *PROTOCOL[split])
    with_parts = any(section.frames("groundtruth") for section in sections)
    for section in sections:
        frames = section.frames("depthRender")
        blocks = sorted({(frame - 1) // FRAMES_PER_ITEM for frame in frames} | {0})
        for block in blocks:
            first = block * FRAMES_PER_ITEM + 1
            payload = {
                "folder": str(section.folder),
                "subset": section.subset,
                "split": section.split,
                "number": section.number,
                "first": first,
                "stop": None if block == blocks[-1] else first + FRAMES_PER_ITEM,
                "intrinsics": options.get("intrinsics", "maya"),
                "depth_factor": options.get("depth_factor", 1.0),
                "parts": with_parts,
            }
            count = sum(first <= frame < first + FRAMES_PER_ITEM for frame in frames)
            items.append(WorkItem(f"{section.sequence}_{first:06d}", count * len(CAMERAS), payload))
    return items


def convert(item: WorkItem) -> Iterator[Sample | Skipped]:
    """Yield the samples of one item, frame by frame and camera by camera; what cannot be used comes as ``Skipped``."""
    work = item.payload
    section = Section(Path(work["folder"]), work["subset"], work["split"], work["number"])
    try:
        loaded = _load(section, work["intrinsics"], work["depth_factor"])
        if work["parts"] and not loaded.has_parts:
            raise RawDataError("holds no class images, while other sections do", where=section.images("groundtruth"),
                               hint="unpack the archive again")  # fmt: skip
    except RawDataError as error:
        yield Skipped.damaged(item.name, error)
        return
    stop = work["stop"] or loaded.last_frame + 1
    for frame in range(work["first"], stop):
        if frame in loaded.images or any(loaded.pose(camera_id, frame) for camera_id in CAMERAS):
            for camera_id in CAMERAS:
                yield _sample(loaded, camera_id, frame)


@dataclass(frozen=True, eq=False)
class _Loaded:
    section: Section
    truth: GroundTruth
    images: frozenset[int]
    has_parts: bool
    last_frame: int
    intrinsics: str
    depth_factor: float

    def pose(self, camera_id: str, frame: int) -> tuple[Camera, npt.NDArray[np.float64]] | None:
        """Return full-frame camera and (18, 3) joints in its frame, mm; ``None`` when one of them is missing."""
        index, points = frame - 1, self.truth.joints_world_cm
        translate, rotate = self.truth.translate_cm[camera_id], self.truth.rotate_deg[camera_id]
        if index >= min(len(points), len(translate)):
            return None
        points_cm, translate_cm, rotate_deg = points[index], translate[index], rotate[index]
        if np.isnan(points_cm).all() or np.isnan(translate_cm).any() or np.isnan(rotate_deg).any():
            return None
        camera = cameras.camera(self.intrinsics, cameras.rotation(rotate_deg, translate_cm), translate_cm)
        return camera, world_to_cam(camera, points_cm * 10.0)


def _load(section: Section, intrinsics: str, depth_factor: float) -> _Loaded:
    """Read the ground truth of one section and check it against its first images.

    Raises ``RawDataError`` when they disagree.
    """
    if not section.ground_truth.is_file():
        raise RawDataError("is missing", where=section.ground_truth, hint="unpack the archive again")
    status = section.ground_truth.stat()
    return _load_once(section, intrinsics, depth_factor, (status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=2)
def _load_once(section: Section, intrinsics: str, depth_factor: float, version: tuple[int, int]) -> _Loaded:
    """Load a section; it is kept for the section's next item. ``version`` tells a changed file."""
    truth = read_ground_truth(section.ground_truth)
    images = section.frames("depthRender")
    if not images:
        raise RawDataError("holds no depth images", where=section.images("depthRender"),
                           hint="unpack the archive again")  # fmt: skip
    poses = max(len(truth.joints_world_cm), *map(len, truth.translate_cm.values()))
    loaded = _Loaded(
        section, truth, images, bool(section.frames("groundtruth")), max(poses, max(images)), intrinsics, depth_factor
    )
    _check(loaded, sorted(images))
    return loaded


def _check(loaded: _Loaded, frames: Sequence[int]) -> None:
    """Check choice of fields, rotation rule, intrinsics and depth on the section's first usable frames.

    Raises ``RawDataError`` when joints and images disagree.
    """
    inside, behind_mm, probed = [], [], 0
    for frame in frames:
        if probed == _PROBE_FRAMES:
            break
        posed = [(camera_id, loaded.pose(camera_id, frame)) for camera_id in CAMERAS]
        for camera_id, pose in posed:
            path = loaded.section.image("depthRender", camera_id, frame)
            if pose is None or not path.is_file():
                continue
            rotate_deg, translate_cm = loaded.truth.rotate_deg[camera_id], loaded.truth.translate_cm[camera_id]
            if not cameras.rules_agree(rotate_deg[frame - 1], translate_cm[frame - 1]):
                raise RawDataError(
                    f"frame {frame}, {camera_id}: the two rules for the camera's rotation disagree",
                    where=loaded.section.ground_truth,
                    hint="its cameras are not roll-free or do not look down at the origin; the section cannot be used",
                )
            try:
                depth_mm = depth_of(read_rgba(path), loaded.depth_factor)
            except RawDataError:
                continue
            frame_inside, frame_behind = _agreement(*pose, depth_mm)
            inside += frame_inside
            behind_mm += frame_behind
        probed += any(pose is not None for _, pose in posed)
    if not inside:
        return
    share, median_mm = float(np.mean(inside)), float(np.median(behind_mm)) if behind_mm else 0.0
    if share < _INSIDE_SHARE or not _BEHIND_SURFACE_MM[0] <= median_mm <= _BEHIND_SURFACE_MM[1]:
        raise RawDataError(
            f"joints and images disagree: {share:.0%} of the first frames' joints fall on the person, "
            f"at a median of {median_mm:.0f} mm behind the surface",
            where=loaded.section.ground_truth,
            hint="images and groundtruth.mat are not of one section, or of another camera: unpack the archive again",
        )


def _agreement(
    camera: Camera, joints_cam_mm: npt.NDArray[np.float64], depth_mm: npt.NDArray[np.uint16]
) -> tuple[list[bool], list[float]]:
    """Return whether each joint in the frame lies on the dilated silhouette, and how far behind the surface, mm."""
    import cv2

    size = 2 * _DILATION_PX + 1
    near = cv2.dilate((depth_mm > 0).astype(np.uint8), np.ones((size, size), np.uint8))
    height, width = depth_mm.shape
    inside, behind = [], []
    for (u, v), z in zip(project(camera, joints_cam_mm), joints_cam_mm[:, 2], strict=True):
        if not (-0.5 <= u < width - 0.5 and -0.5 <= v < height - 0.5):
            continue
        column, row = round(u), round(v)
        inside.append(bool(near[row, column]))
        if depth_mm[row, column]:
            behind.append(float(z) - float(depth_mm[row, column]))
    return inside, behind


def depth_of(rgba: npt.NDArray[np.uint8], factor: float) -> npt.NDArray[np.uint16]:
    """Return (H, W) z-depth, mm, from the red channel; 0 where the pixel is not opaque."""
    levels = np.arange(256) / 255.0
    table = np.rint((levels * RANGE_MM + NEAR_MM) * factor).astype(np.uint16)
    pixels, colours = regions.opaque_pixels(rgba)
    depth_mm = np.zeros(rgba.shape[:2], np.uint16)
    depth_mm.ravel()[pixels] = table[colours & 255]
    return depth_mm


def _sample(loaded: _Loaded, camera_id: str, frame: int) -> Sample | Skipped:
    section = loaded.section
    key = f"{section.sequence}_{camera_id.lower()}_{frame:06d}"
    pose = loaded.pose(camera_id, frame)
    if pose is None:
        return Skipped(key, "no pose in groundtruth.mat")
    camera, points_mm = pose
    reason = _implausible(camera, points_mm)
    if reason is not None:
        return Skipped(key, reason)
    part_ids = None
    try:
        rgba = read_rgba(section.image("depthRender", camera_id, frame))
        mask = rgba[..., 3] == 255
        if loaded.has_parts:
            part_image = section.image("groundtruth", camera_id, frame)
            part_rgba = read_rgba(part_image)
            found = regions.read_regions(part_rgba)
            if found.problem is not None:
                raise RawDataError(f"is no class image: {found.problem}", where=part_image,
                                   hint="unpack the archive again")  # fmt: skip
            part_ids, mask = found.ids, part_rgba[..., 3] == 255
    except RawDataError as error:
        return Skipped.damaged(key, error)
    depth_mm = depth_of(rgba, loaded.depth_factor)
    depth_mm[~mask] = 0
    return person(
        key, camera, points_mm, depth_mm, part_ids,
        subject=section.subset, camera_id=camera_id.lower(), sequence=section.sequence, frame=frame,
    )  # fmt: skip


def person(
    key: str,
    camera: Camera,
    points_mm: npt.NDArray[np.float64],
    depth_mm: npt.NDArray[np.uint16],
    part_ids: npt.NDArray[np.uint8] | None,
    *,
    subject: str,
    camera_id: str,
    sequence: str,
    frame: int,
) -> Sample | Skipped:
    """Return the sample of one full-frame image: (H, W) depth and part ids, both 0 off the person, and the toolkit's
    (18, 3) joints in the camera's frame, mm."""
    if not depth_mm.any():
        return Skipped(key, "nobody in the image")
    box_px = box_from_mask(depth_mm > 0)
    if _stray(project(camera, points_mm), box_px):
        return Skipped(key, "joints and silhouette disagree")
    crop = crop_person(camera, box_px, depth_mm=depth_mm, parts=part_ids)
    joints_cam_mm = MAPPING.apply(points_mm)
    return Sample(
        key=key,
        camera=crop.camera,
        joints_px=project(crop.camera, joints_cam_mm).astype(np.float32),
        joints_cam_mm=joints_cam_mm.astype(np.float32),
        visible=np.full(len(joints_cam_mm), -1, np.int8),
        quality=MAPPING.quality,
        box_px=crop.to_crop(box_px.reshape(2, 2)).ravel().astype(np.float32),
        subject=subject,
        action="",
        camera_id=camera_id,
        sequence=sequence,
        frame=frame,
        depth_mm=crop.depth_mm,
        parts=crop.parts,
    )


def _implausible(camera: Camera, joints_cam_mm: npt.NDArray[np.float64]) -> str | None:
    """Return why these (18, 3) joints cannot be anybody's; NaN = absent."""
    known = joints_cam_mm[np.isfinite(joints_cam_mm).all(axis=1)]
    if np.abs(known).max(initial=0.0) > _LARGEST_COORDINATE_MM:
        return f"a joint is more than {_LARGEST_COORDINATE_MM / 1000:g} m away from the camera"
    if known[:, 2].min(initial=np.inf) <= _NEAREST_MM:
        return "a joint is at or behind the camera"
    points_px, (width, height) = project(camera, known), cameras.SIZE_PX
    if not ((points_px >= 0) & (points_px <= (width - 1, height - 1))).all(axis=1).any():
        return "all joints lie outside the image"
    return None


def _stray(points_px: npt.NDArray[np.float64], box_px: npt.NDArray[np.float64]) -> bool:
    """Return whether most of the joints in the frame lie off the silhouette's box."""
    width, height = cameras.SIZE_PX
    points = points_px[np.isfinite(points_px).all(axis=1)]
    points = points[((points >= 0) & (points <= (width - 1, height - 1))).all(axis=1)]
    off = ((points < box_px[:2] - _DILATION_PX) | (points > box_px[2:] + _DILATION_PX)).any(axis=1)
    return len(points) > 0 and float(off.mean()) > _STRAY_SHARE
