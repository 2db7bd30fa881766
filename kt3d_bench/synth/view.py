"""A posed person in a camera's frame, the rays of the camera's pixels, and the pixels that each round cone may cover.

Shapes: N figures, H and W image rows and columns, C cones, P parts.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.geometry.cameras import undistort
from kt3d_bench.records import Camera
from kt3d_bench.synth.body import Figures

Array = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Maps = dict[str, npt.NDArray[Any]]
Window = tuple[int, int, int, int]
_PIECES = 6
_SHARES = np.linspace(0, 1, _PIECES + 1)
_STRAIGHT, _THROUGH_A_LENS = np.linspace(0, 1, 2), np.linspace(0, 1, 5)


@dataclass(frozen=True, eq=False)
class Person:
    """One posed figure in its camera's frame, mm, float64, contiguous."""

    cones: Array  # (C, 2, 3) ends; no sphere contains the other unless they are equal
    radii: Array  # (C, 2)
    axes: Array  # (P, 2, 3)
    front: Array  # (P, 3)
    left: Array  # (P, 3)


def people_in_cameras(figures: Figures, cameras: Sequence[Camera]) -> list[Person]:
    """Transform each figure into its own camera's frame. Raises ``ValueError`` unless there is one camera for each."""
    if len(cameras) != len(figures):
        raise ValueError(f"{len(figures)} figures and {len(cameras)} cameras: one camera per figure is needed")
    rotation = np.stack([camera.rotation for camera in cameras])
    centre = np.stack([camera.position_world_mm for camera in cameras])[:, None, None]
    cones, radii = _without_nested_spheres(
        np.einsum("nij,ncej->ncei", rotation, figures.cones_world_mm - centre), figures.radii_mm
    )
    tables = (
        cones,
        radii,
        np.einsum("nij,ncej->ncei", rotation, figures.axes_world_mm - centre),
        np.einsum("nij,npj->npi", rotation, figures.front_world),
        np.einsum("nij,npj->npi", rotation, figures.left_world),
    )
    return [Person(*(np.ascontiguousarray(table[index]) for table in tables)) for index in range(len(cameras))]


def _without_nested_spheres(cones: Array, radii: Array) -> tuple[Array, Array]:
    """Replace both spheres of a cone by the larger one where it contains the other: the same body."""
    length = np.linalg.norm(cones[..., 1, :] - cones[..., 0, :], axis=-1)
    nested = (length <= np.abs(radii[..., 1] - radii[..., 0]))[..., None]
    if not nested.any():
        return cones, radii
    larger = radii.argmax(axis=-1)[..., None]
    alone = np.take_along_axis(cones, larger[..., None], axis=-2)
    return (
        np.where(nested[..., None], alone, cones),
        np.where(nested, np.take_along_axis(radii, larger, axis=-1), radii),
    )


def blank_maps(width: int, height: int, normals: bool) -> Maps:
    """Return the maps of a window that shows nobody; see ``render.RenderedFigure``."""
    maps: Maps = {name: np.zeros((height, width), np.float32) for name in ("depth_mm", "along", "front", "left")}
    maps["part"] = np.zeros((height, width), np.uint8)
    if normals:
        maps["normal_cam"] = np.zeros((height, width, 3), np.float32)
    return maps


@functools.lru_cache(maxsize=16)
def _distorted_rays(key: tuple[bytes, bytes, float, tuple[int, int]]) -> Float32:
    intrinsics, distortion, tangential_factor, size = key
    matrix = np.frombuffer(intrinsics).reshape(2, 3)
    xy = _undistorted_rays(matrix, (0, 0, *size))
    rays: Float32 = undistort(xy, np.frombuffer(distortion), tangential_factor).astype(np.float32)
    rays.setflags(write=False)
    return rays


def _undistorted_rays(matrix: Array, window: Window) -> Array:
    x0, y0, x1, y1 = window
    pixels = np.stack(np.meshgrid(np.arange(x0, x1), np.arange(y0, y1)), axis=-1) - matrix[:, 2]
    rays: Array = pixels @ np.linalg.inv(matrix[:, :2]).T
    return rays


def camera_rays(camera: Camera, window_px: Window | None = None) -> Float32:
    """Return (H, W, 2) float32 x, y of the rays (x, y, 1) through the centres of the window's pixels, undistorted.

    NaN where the distortion has no inverse. Full-frame tables of distorted cameras are cached.
    """
    x0, y0, x1, y1 = window_px or (0, 0, *camera.size_px)
    if camera.distortion.any():
        key = (camera.intrinsics_px.tobytes(), camera.distortion.tobytes(), camera.tangential_factor, camera.size_px)
        return _distorted_rays(key)[y0:y1, x0:x1]
    matrix = camera.intrinsics_px
    if matrix[0, 1] or matrix[1, 0]:
        return _undistorted_rays(matrix, (x0, y0, x1, y1)).astype(np.float32)
    from kt3d_bench.synth.render_kernels import straight_rays

    return np.moveaxis(straight_rays(np.array(matrix), x0, y0, x1, y1), 0, -1)


def spans_px(cones: Array, radii: Array, camera: Camera) -> tuple[Window, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the window that holds all cones, and each cone's first and past-last column (C, rows of the window).

    A round cone is a chain of spheres. It is cut into pieces, and each piece lies within the hull of its two end
    spheres, so within the hull of their rectangles. An empty row has both bounds 0.
    """
    from kt3d_bench.synth.render_kernels import spans

    steps = _THROUGH_A_LENS if camera.distortion.any() else _STRAIGHT
    window, start, stop = spans(
        cones, radii, np.array(camera.intrinsics_px), np.array(camera.distortion), camera.tangential_factor, steps,
        _SHARES, *camera.size_px,
    )  # fmt: skip
    x0, y0, x1, y1 = window.tolist()
    return (x0, y0, x1, y1), start, stop
