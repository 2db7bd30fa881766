"""Checks of labels and cameras alone: vectorised, all samples of a split at once. Shapes: N samples, J joints (17)."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.data.checks.findings import Check, Measured, measured
from kt3d_bench.data.format import MAX_SIDE_PX
from kt3d_bench.data.index import Labels
from kt3d_bench.geometry.cameras import project_arrays
from kt3d_bench.skeletons import H36M17, Quality

FloatArray = npt.NDArray[np.float64]

NUMBERS = Check("numbers", "labels and cameras are finite, or NaN where absent", "none", "bad numbers")
ROTATION = Check("rotation", "the camera's rotation is orthonormal and proper", "1e-4, as records.Camera", "")
LENS = Check("lens", "focal lengths are positive and the image has a size", "none", "wrong facts")
PROJECTION = Check("projection", "joints_cam_mm through the camera gives joints_px", "1 px: labels on whole px", "px")
IN_FRONT = Check("in front", "every joint lies in front of the camera, by 100 mm or more", "none", "joints")
BOX = Check("box", "the person's box is ordered and inside the crop", "1 px outside", "px")
IN_CROP = Check("in crop", "joints lie inside the stored crop", "1 px outside", "px", "note")
CODES = Check("codes", "visibility is -1, 0 or 1 and quality 0..3", "none", "codes")
ABSENT = Check("absent", "joints have a position where their quality says so, and none where it is absent", "none",
               "joints")  # fmt: skip

PROJECTION_PX = 1.0
"""Annotations rounded to whole pixels of the full frame lie up to 0.71 px off; a crop only shrinks that."""
NEAREST_MM = 100.0
"""No depth sensor measures closer, and no camera shows a whole person from there."""
ORTHONORMAL = 1e-4
"""The limit of ``records.Camera``."""


def label_checks(labels: Labels, tangential_factor: float) -> list[Measured]:
    """Run every check of this module on all samples."""
    return [
        *(check(labels) for check in (numbers, rotation, lens)),
        projection(labels, tangential_factor),
        *(check(labels) for check in (in_front, box, in_crop, codes, absent)),
    ]


def numbers(labels: Labels) -> Measured:
    """Count infinite numbers, points that are NaN in some coordinates only, and NaN in boxes and cameras."""
    count = np.zeros(len(labels), np.int64)
    for points in (labels.joints_px, labels.joints_cam_mm):
        whole = np.isfinite(points).all(axis=-1) | np.isnan(points).all(axis=-1)
        count += (~whole).sum(axis=1)
    for name in ("box_px", "intrinsics_px", "distortion", "rotation", "position_world_mm"):
        values = getattr(labels, name)
        count += (~np.isfinite(values)).reshape(len(labels), -1).sum(axis=1)
    return measured(NUMBERS, count, 0, lambda i: f"{count[i]} numbers are infinite, or NaN where they may not be")


def rotation(labels: Labels) -> Measured:
    """Measure the largest entry of |R R^T - 1|, at least 2 for a reflection."""
    product = labels.rotation @ np.swapaxes(labels.rotation, -1, -2)
    with np.errstate(invalid="ignore"):
        off = np.abs(product - np.eye(3)).max(axis=(1, 2))
        off = np.where(np.linalg.det(np.nan_to_num(labels.rotation)) < 0, np.maximum(off, 2.0), off)
    return measured(ROTATION, off, ORTHONORMAL, lambda i: f"not a proper rotation: off by {off[i]:.2g}")


def lens(labels: Labels) -> Measured:
    """Check that focal lengths and the determinant of the linear part are positive (a mirrored image exchanges left and
    right), and that the image has a size that a shard can hold."""
    matrix = labels.intrinsics_px
    focal = np.stack([matrix[:, 0, 0], matrix[:, 1, 1]], axis=-1)
    with np.errstate(invalid="ignore"):
        wrong = (~(focal > 0)).sum(axis=1) + ~(np.linalg.det(np.nan_to_num(matrix[:, :, :2])) > 0)
    sized = ((labels.size_px >= 1) & (labels.size_px <= MAX_SIDE_PX)).all(axis=1)
    wrong = wrong + ~sized
    return measured(
        LENS,
        wrong,
        0,
        lambda i: f"focal lengths {focal[i, 0]:.4g} and {focal[i, 1]:.4g} px, image {_size(labels.size_px[i])}",
    )


def _size(size_px: npt.NDArray[Any]) -> str:
    return f"{size_px[0]} x {size_px[1]} px"


def projection(labels: Labels, tangential_factor: float) -> Measured:
    """Measure the largest distance (px) between a joint's projection and its joints_px."""
    projected = project_arrays(labels.intrinsics_px, labels.distortion, tangential_factor, labels.joints_cam_mm)
    worst, joint = largest(np.linalg.norm(projected - labels.joints_px, axis=-1))
    return measured(
        PROJECTION,
        worst,
        PROJECTION_PX,
        lambda i: f"{H36M17.joints[joint[i]]} projects {worst[i]:.1f} px away from its image position",
    )


def in_front(labels: Labels) -> Measured:
    """Count joints that lie behind the camera or nearer than ``NEAREST_MM``."""
    depth = labels.joints_cam_mm[:, :, 2]
    count = (depth < NEAREST_MM).sum(axis=1)
    return measured(
        IN_FRONT,
        count,
        0,
        lambda i: (
            f"{count[i]} joints lie behind the camera or nearer than {NEAREST_MM:g} mm "
            f"({H36M17.joints[int(np.nanargmin(depth[i]))]} at {np.nanmin(depth[i]):.0f} mm)"
        ),
        tested=~np.isnan(depth).all(axis=1),
    )


def box(labels: Labels) -> Measured:
    """Measure how far (px) the box extends beyond the crop; infinite when its corners are exchanged."""
    edges = labels.box_px.astype(np.float64)
    last = labels.size_px - 1
    beyond = np.maximum(-edges[:, :2], edges[:, 2:] - last).max(axis=1)
    value = np.where((edges[:, :2] <= edges[:, 2:]).all(axis=1), np.maximum(beyond, 0), np.inf)

    def say(i: int) -> str:
        shown = ", ".join(f"{edge:.1f}" for edge in edges[i])
        return f"the box ({shown}) is not inside the crop of {_size(labels.size_px[i])}, or its corners are exchanged"

    return measured(BOX, value, 1.0, say, tested=np.isfinite(edges).all(axis=1))


def in_crop(labels: Labels) -> Measured:
    """Measure how far (px) the outermost joint lies outside the crop."""
    points = labels.joints_px.astype(np.float64)
    outside = np.maximum(-points, points - (labels.size_px[:, None, :] - 1)).max(axis=-1)
    worst, joint = largest(np.maximum(outside, 0))
    return measured(
        IN_CROP, worst, 1.0, lambda i: f"{H36M17.joints[joint[i]]} lies {worst[i]:.0f} px outside the stored crop"
    )


def codes(labels: Labels) -> Measured:
    """Count visibility and quality codes that are not defined."""
    wrong = (~np.isin(labels.visible, (-1, 0, 1))).sum(axis=1) + (labels.quality > max(Quality)).sum(axis=1)
    return measured(CODES, wrong, 0, lambda i: f"{wrong[i]} visibility or quality codes are not defined")


def absent(labels: Labels) -> Measured:
    """Count joints that contradict their quality: with a position though absent, or without a 3D position though
    present in a sample that has others. In a 2D dataset a joint that is not annotated may be NaN."""
    has_px, has_mm = (~np.isnan(points[..., 0]) for points in (labels.joints_px, labels.joints_cam_mm))
    named = labels.quality > Quality.ABSENT
    labelled = np.logical_or.reduce(has_mm, axis=1, keepdims=True)
    wrong = (~named & (has_px | has_mm)) | (named & labelled & ~has_mm)

    def say(i: int) -> str:
        names = ", ".join(H36M17.joints[joint] for joint in np.flatnonzero(wrong[i])[:4])
        return f"{wrong[i].sum()} joints ({names}) contradict their quality"

    return measured(ABSENT, wrong.sum(axis=1), 0, say)


def largest(values: FloatArray) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Return the largest entry of each row of (N, J), NaN ignored (NaN for rows of NaN), and its column."""
    filled = np.where(np.isnan(values), -np.inf, values)
    at = filled.argmax(axis=1)
    best = filled[np.arange(len(values)), at]
    return np.where(np.isneginf(best), np.nan, best), at


_KEY = re.compile(r"[A-Za-z0-9_\-]+")


def bad_keys(keys: npt.NDArray[Any]) -> list[tuple[int, str]]:
    """Return (index, sentence) for every key that was used before in the split or that WebDataset would truncate."""
    seen: dict[str, int] = {}
    wrong: list[tuple[int, str]] = []
    for number, key in enumerate(keys.tolist()):
        if not _KEY.fullmatch(key):
            wrong.append((number, "the key may hold letters, digits, '_' and '-' only"))
        elif key in seen:
            wrong.append((number, f"the key is used twice: samples {seen[key]} and {number} of the split"))
        seen.setdefault(key, number)
    return wrong
