"""Which pixels to look at: the rays of a camera's pixels, and the pixels that a round cone may cover.

Shapes: H and W image rows and columns, C cones.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from kt3d_bench.geometry.cameras import distort, undistort
from kt3d_bench.records import Camera

Array = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Window = tuple[int, int, int, int]
_MARGIN_PX = 1.0


@functools.lru_cache(maxsize=16)
def _distorted_rays(key: tuple[bytes, bytes, float, tuple[int, int]]) -> Float32:
    intrinsics, distortion, tangential_factor, size = key
    matrix = np.frombuffer(intrinsics).reshape(2, 3)
    xy = _ideal(matrix, (0, 0, *size))
    rays: Float32 = undistort(xy, np.frombuffer(distortion), tangential_factor).astype(np.float32)
    rays.setflags(write=False)
    return rays


def _ideal(matrix: npt.NDArray[np.float64], window: Window) -> npt.NDArray[np.float64]:
    x0, y0, x1, y1 = window
    pixels = np.stack(np.meshgrid(np.arange(x0, x1), np.arange(y0, y1)), axis=-1) - matrix[:, 2]
    rays: npt.NDArray[np.float64] = pixels @ np.linalg.inv(matrix[:, :2]).T
    return rays


def camera_rays(camera: Camera, window_px: Window | None = None) -> Float32:
    """(H, W, 2) float32 x, y of the rays (x, y, 1) through the centres of the window's pixels, distortion undone.

    NaN where the distortion has no inverse. Full-frame tables of distorted cameras are kept for the next call.
    """
    x0, y0, x1, y1 = window_px or (0, 0, *camera.size_px)
    if camera.distortion.any():
        key = (camera.intrinsics_px.tobytes(), camera.distortion.tobytes(), camera.tangential_factor, camera.size_px)
        return _distorted_rays(key)[y0:y1, x0:x1]
    matrix = camera.intrinsics_px
    if matrix[0, 1] or matrix[1, 0]:
        return _ideal(matrix, (x0, y0, x1, y1)).astype(np.float32)
    inverse = np.linalg.inv(matrix[:, :2])
    rays = np.empty((y1 - y0, x1 - x0, 2), np.float32)
    rays[..., 0] = ((np.arange(x0, x1) - matrix[0, 2]) * inverse[0, 0]).astype(np.float32)
    rays[..., 1] = ((np.arange(y0, y1) - matrix[1, 2]) * inverse[1, 1]).astype(np.float32)[:, None]
    return rays


def _tangents(
    across: npt.NDArray[np.float64], depth: npt.NDArray[np.float64], radius: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Bounds of spheres in one normalised coordinate; infinite when the camera's plane cuts the sphere."""
    ahead = depth > radius
    square = np.where(ahead, depth**2 - radius**2, 1.0)
    root = radius * np.sqrt(np.maximum(across**2 + depth**2 - radius**2, 0))
    low = (across * depth - root) / square
    high = (across * depth + root) / square
    return np.where(ahead, low, -np.inf), np.where(ahead, high, np.inf)


def _boxes_px(centres: Array, radii: Array, camera: Camera) -> npt.NDArray[np.int64]:
    """Spheres (..., 3), (...) -> (..., 4) half-open pixel rectangles that hold their images."""
    width, height = camera.size_px
    x_low, x_high = _tangents(centres[..., 0], centres[..., 2], radii)
    y_low, y_high = _tangents(centres[..., 1], centres[..., 2], radii)
    low, high = np.stack([x_low, y_low], axis=-1), np.stack([x_high, y_high], axis=-1)
    everywhere = ~np.isfinite(low).all(-1) | ~np.isfinite(high).all(-1)
    distorted = bool(camera.distortion.any())
    steps = np.linspace(0, 1, 5 if distorted else 2)
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    with np.errstate(invalid="ignore"):
        points = low[..., None, :] + grid * (high - low)[..., None, :]
        if distorted:
            points = distort(points, camera.distortion, camera.tangential_factor)
        pixels = points @ camera.intrinsics_px[:, :2].T + camera.intrinsics_px[:, 2]
        margin = _MARGIN_PX + (0.05 * np.ptp(pixels, axis=-2) if distorted else 0.0)
        boxes = np.concatenate([pixels.min(-2) - margin, pixels.max(-2) + margin + 1], axis=-1)
    boxes[everywhere] = (0, 0, width, height)
    inside: npt.NDArray[np.int64] = np.clip(np.ceil(np.nan_to_num(boxes)), 0, [width, height, width, height]).astype(
        np.int64
    )
    return inside


_PIECES = 6


def spans_px(cones: Array, radii: Array, camera: Camera) -> tuple[Window, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The window that holds all cones, and each cone's first and past-last column (C, rows of the window).

    A round cone is a chain of spheres: it is cut into pieces, and a piece lies in the hull of its two end spheres, so
    in the hull of their rectangles. An empty row has both bounds 0.
    """
    share = np.linspace(0, 1, _PIECES + 1)[:, None]
    centres = cones[:, None, 0] * (1 - share) + cones[:, None, 1] * share
    between = radii[:, :1] * (1 - share.T) + radii[:, 1:] * share.T
    boxes = _boxes_px(centres, between, camera)
    low = np.minimum(boxes[:, :-1, :2], boxes[:, 1:, :2])
    high = np.maximum(boxes[:, :-1, 2:], boxes[:, 1:, 2:])
    ahead = np.maximum(centres[:, :-1, 2], centres[:, 1:, 2]) + radii.max(axis=1)[:, None] > 0
    used = ahead & (high > low).all(-1)
    if not used.any():
        none = np.zeros((len(cones), 0), np.int64)
        return (0, 0, 0, 0), none, none
    x0, y0 = low[used].min(0)
    x1, y1 = high[used].max(0)
    small = np.int16 if max(camera.size_px) < np.iinfo(np.int16).max else np.int64
    rows = np.arange(y0, y1, dtype=small)
    left, top = np.moveaxis(low.astype(small)[..., None], 2, 0)
    right, bottom = np.moveaxis(high.astype(small)[..., None], 2, 0)
    bottom[~used] = y0
    start = np.full((len(cones), len(rows)), x1, small)
    stop = np.full((len(cones), len(rows)), x0, small)
    for piece in range(_PIECES):
        inside = (rows >= top[:, piece]) & (rows < bottom[:, piece])
        np.minimum(start, np.where(inside, left[:, piece], small(x1)), out=start)
        np.maximum(stop, np.where(inside, right[:, piece], small(x0)), out=stop)
    empty = stop <= start
    return (
        (int(x0), int(y0), int(x1), int(y1)),
        np.where(empty, 0, start - small(x0)).astype(np.int64),
        np.where(empty, 0, stop - small(x0)).astype(np.int64),
    )
