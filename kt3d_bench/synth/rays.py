"""Which pixels to look at: the rays of a camera's pixels, and the pixels that a round cone may cover.

Shapes: H and W image rows and columns, C cones.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from kt3d_bench.geometry.cameras import undistort
from kt3d_bench.records import Camera

Array = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Window = tuple[int, int, int, int]
_PIECES = 6
_SHARES = np.linspace(0, 1, _PIECES + 1)
_STRAIGHT, _THROUGH_A_LENS = np.linspace(0, 1, 2), np.linspace(0, 1, 5)


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
    from kt3d_bench.synth import sparse_kernels

    return np.moveaxis(sparse_kernels.straight_rays(np.array(matrix), x0, y0, x1, y1), 0, -1)


def spans_px(cones: Array, radii: Array, camera: Camera) -> tuple[Window, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The window that holds all cones, and each cone's first and past-last column (C, rows of the window).

    A round cone is a chain of spheres: it is cut into pieces, and a piece lies in the hull of its two end spheres, so
    in the hull of their rectangles. An empty row has both bounds 0.
    """
    from kt3d_bench.synth import sparse_kernels

    steps = _THROUGH_A_LENS if camera.distortion.any() else _STRAIGHT
    window, start, stop = sparse_kernels.spans(
        np.ascontiguousarray(cones), np.ascontiguousarray(radii), np.array(camera.intrinsics_px),
        np.array(camera.distortion), camera.tangential_factor, steps, _SHARES, *camera.size_px,
    )  # fmt: skip
    x0, y0, x1, y1 = window.tolist()
    return (x0, y0, x1, y1), start, stop
