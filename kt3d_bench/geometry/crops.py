"""Person boxes and the stored crops: how a full frame becomes the image a shard holds, with its exact camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.geometry.cameras import warp_camera
from kt3d_bench.records import Camera

FloatArray = npt.NDArray[np.float64]

MARGIN = 1.5
"""Side of the stored square crop over the longer side of the person's box: room for augmentation."""
LONGEST_PX = 320
"""Side of a stored crop at most; larger crops are shrunk, smaller ones kept."""


@dataclass(frozen=True, eq=False)
class Crop:
    """A cut-out: its camera, its images, and the affine map (2, 3) from full-frame px to crop px."""

    camera: Camera
    affine_px: FloatArray
    rgb: npt.NDArray[np.uint8] | None = None
    depth_mm: npt.NDArray[np.uint16] | None = None
    parts: npt.NDArray[np.uint8] | None = None

    def to_crop(self, points_px: npt.NDArray[Any]) -> FloatArray:
        """(..., 2) full-frame px -> (..., 2) crop px."""
        return transform_points(self.affine_px, points_px)


def transform_points(affine_px: npt.NDArray[Any], points_px: npt.NDArray[Any]) -> FloatArray:
    """Apply a (2, 3) affine map to (..., 2) points."""
    affine = np.asarray(affine_px, np.float64)
    moved: FloatArray = np.asarray(points_px, np.float64) @ affine[:, :2].T + affine[:, 2]
    return moved


def box_from_points(points_px: npt.NDArray[Any]) -> FloatArray:
    """(N, 2) px, NaN ignored -> (4,) x0, y0, x1, y1. Raises ``ValueError`` when fewer than two points are finite."""
    points = np.asarray(points_px, np.float64)
    points = points[np.isfinite(points).all(axis=-1)]
    if len(points) < 2:
        raise ValueError(f"a box needs two finite points, found {len(points)}")
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def box_from_mask(mask: npt.NDArray[np.bool_]) -> FloatArray:
    """(H, W) bool -> (4,) x0, y0, x1, y1 of its true pixels' centres. Raises ``ValueError`` for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise ValueError("the mask is empty")
    return np.array([columns[0], rows[0], columns[-1], rows[-1]], np.float64)


def crop_person(
    camera: Camera,
    box_px: npt.NDArray[Any],
    *,
    rgb: npt.NDArray[np.uint8] | None = None,
    depth_mm: npt.NDArray[np.uint16] | None = None,
    parts: npt.NDArray[np.uint8] | None = None,
    margin: float = MARGIN,
    longest_px: int = LONGEST_PX,
) -> Crop:
    """Cut a square around the person out of full-frame images and shrink it to ``longest_px``.

    The square's side is ``margin`` times the longer side of the box: an upright box would cut through the body of
    somebody who turns, and the black bars it leaves beside a square network input would tell how wide the joints
    spread. The cut has whole-pixel borders; what lies outside the frame is black (RGB), 0 (depth, parts). Shrinking
    averages areas for RGB and takes the nearest reading for depth and parts, so that no depth or part is invented. With
    scale s, crop px = (full px - corner + 0.5) * s - 0.5: pixel centres stay at integer coordinates.
    """
    import cv2

    x0, y0, x1, y1 = np.asarray(box_px, np.float64)
    half = max(x1 - x0, y1 - y0, 1.0) * margin / 2
    left, top = int(np.floor((x0 + x1) / 2 - half)), int(np.floor((y0 + y1) / 2 - half))
    width = height = int(np.ceil(2 * half)) + 1
    right, bottom = left + width, top + height
    side = min(width, longest_px)
    size = (side, side)
    scale = side / width
    affine = np.array([[scale, 0, (0.5 - left) * scale - 0.5], [0, scale, (0.5 - top) * scale - 0.5]])

    def cut(image: npt.NDArray[Any] | None, interpolation: int) -> npt.NDArray[Any] | None:
        if image is None:
            return None
        rows, columns = image.shape[:2]
        rest = max(-top, 0), max(bottom - rows, 0), max(-left, 0), max(right - columns, 0)
        seen = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        if not seen.size:
            return np.zeros((side, side, *image.shape[2:]), image.dtype)
        if any(rest):
            seen = cv2.copyMakeBorder(seen, *rest, cv2.BORDER_CONSTANT, value=0)
        return seen.copy() if size == (width, height) else cv2.resize(seen, size, interpolation=interpolation)

    return Crop(
        camera=warp_camera(camera, affine, size),
        affine_px=affine,
        rgb=cut(rgb, cv2.INTER_AREA),
        depth_mm=cut(depth_mm, cv2.INTER_NEAREST_EXACT),
        parts=cut(parts, cv2.INTER_NEAREST_EXACT),
    )
