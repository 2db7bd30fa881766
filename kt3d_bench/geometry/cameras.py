"""Projection, inverse projection and world <-> camera, distortion included, exact under affine image warps.

Distortion is Brown's model in OpenCV's parameter order. With p = (p2, p1), x = (x, y) and r^2 = x^2 + y^2,

    x_d = x (1 + k1 r^2 + k2 r^4 + k3 r^6 + t p.x) + p r^2,    t = ``tangential_factor``

t = 2 is OpenCV, t = 1 the variant of Human3.6M (Ionescu et al., code release v1.2, ``project_point_radial``). Written
this way it is plain that rotating or mirroring the image plane by an orthogonal M turns p into M p.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.records import Camera

FloatArray = npt.NDArray[np.float64]


def world_to_cam(camera: Camera, points_world_mm: npt.NDArray[Any]) -> FloatArray:
    """(..., 3) world mm -> (..., 3) camera mm."""
    points: FloatArray = (np.asarray(points_world_mm, np.float64) - camera.position_world_mm) @ camera.rotation.T
    return points


def cam_to_world(camera: Camera, points_cam_mm: npt.NDArray[Any]) -> FloatArray:
    """(..., 3) camera mm -> (..., 3) world mm."""
    points: FloatArray = np.asarray(points_cam_mm, np.float64) @ camera.rotation + camera.position_world_mm
    return points


def distort(xy: npt.NDArray[Any], distortion: npt.NDArray[Any], tangential_factor: float = 2.0) -> FloatArray:
    """(..., 2) ideal normalised coordinates -> (..., 2) distorted ones; ``distortion`` (..., 5) broadcasts."""
    xy = np.asarray(xy, np.float64)
    given = np.asarray(distortion, np.float64)
    k1, k2, k3, p = given[..., 0], given[..., 1], given[..., 4], given[..., [3, 2]]
    r2 = (xy * xy).sum(axis=-1)
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)) + tangential_factor * (p * xy).sum(axis=-1)
    distorted: FloatArray = xy * radial[..., None] + p * r2[..., None]
    return distorted


def undistort(
    xy_distorted: npt.NDArray[Any], distortion: npt.NDArray[Any], tangential_factor: float = 2.0, iterations: int = 30
) -> FloatArray:
    """Inverse of ``distort`` by Newton's method with a numerical Jacobian, converged to about 1e-12.

    Outside the region around the centre where the radial model is one-to-one there is no inverse; such points come
    back as NaN, and so do roots that lie beyond the fold.
    """
    target = np.asarray(xy_distorted, np.float64)
    distortion = np.asarray(distortion, np.float64)
    if not distortion.any():
        return target.copy()
    xy = target.copy()
    with np.errstate(all="ignore"):
        for _ in range(iterations):
            error = distort(xy, distortion, tangential_factor) - target
            if not np.nanmax(np.abs(error), initial=0.0) > 1e-13:
                break
            dx, dy, determinant = _jacobian(xy, distortion, tangential_factor)
            xy = xy - np.stack(
                [
                    (dy[..., 1] * error[..., 0] - dy[..., 0] * error[..., 1]) / determinant,
                    (dx[..., 0] * error[..., 1] - dx[..., 1] * error[..., 0]) / determinant,
                ],
                axis=-1,
            )
        residual = np.abs(distort(xy, distortion, tangential_factor) - target).max(axis=-1)
        inverse = (residual < 1e-9) & _before_the_fold(xy, distortion)
    return np.where(inverse[..., None], xy, np.nan)


def _before_the_fold(xy: FloatArray, distortion: FloatArray) -> npt.NDArray[np.bool_]:
    """(...) whether the distorted radius still grows all the way from the centre to ``xy`` (..., 2)."""
    k1, k2, _, _, k3 = np.moveaxis(distortion, -1, 0)
    r2 = np.sum(xy * xy, axis=-1)
    grows = np.ones(r2.shape, bool)
    for fraction in np.linspace(1 / 16, 1, 16):
        s2 = r2 * fraction
        grows &= 1 + s2 * (3 * k1 + s2 * (5 * k2 + s2 * 7 * k3)) > 0
    return grows


def _jacobian(
    xy: FloatArray, distortion: FloatArray, tangential_factor: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Columns (..., 2) of the derivative of ``distort`` by x and by y, and its determinant (...)."""
    step = 1e-6
    dx, dy = (
        (distort(xy + aside, distortion, tangential_factor) - distort(xy - aside, distortion, tangential_factor))
        / (2 * step)
        for aside in (np.array([step, 0.0]), np.array([0.0, step]))
    )
    determinant: FloatArray = dx[..., 0] * dy[..., 1] - dx[..., 1] * dy[..., 0]
    return dx, dy, determinant


def project_arrays(
    intrinsics_px: npt.NDArray[Any],
    distortion: npt.NDArray[Any],
    tangential_factor: float,
    points_cam_mm: npt.NDArray[Any],
) -> FloatArray:
    """Many cameras at once: (N, 2, 3), (N, 5) and (N, J, 3) mm -> (N, J, 2) px; NaN at or behind the camera."""
    return _pixels(intrinsics_px, _distorted(distortion, tangential_factor, points_cam_mm))


def _distorted(distortion: npt.NDArray[Any], tangential_factor: float, points_cam_mm: npt.NDArray[Any]) -> FloatArray:
    points = np.asarray(points_cam_mm, np.float64)
    depth = points[..., 2:]
    with np.errstate(divide="ignore", invalid="ignore"):
        xy = np.where(depth > 0, points[..., :2] / depth, np.nan)
    return distort(xy, np.asarray(distortion)[..., None, :], tangential_factor)


def _pixels(intrinsics_px: npt.NDArray[Any], xy: FloatArray) -> FloatArray:
    matrix = np.asarray(intrinsics_px, np.float64)
    pixels: FloatArray = xy @ np.swapaxes(matrix[..., :2], -1, -2) + matrix[..., None, :, 2]
    return pixels


def unproject_arrays(
    intrinsics_px: npt.NDArray[Any],
    distortion: npt.NDArray[Any],
    tangential_factor: float,
    points_px: npt.NDArray[Any],
    depth_mm: npt.NDArray[Any],
) -> FloatArray:
    """Inverse of ``project_arrays``: (N, J, 2) px and (N, J) z-depth mm -> (N, J, 3) mm, camera frame."""
    matrix = np.asarray(intrinsics_px, np.float64)
    shifted = np.asarray(points_px, np.float64) - matrix[..., None, :, 2]
    xy = shifted @ np.swapaxes(np.linalg.inv(matrix[..., :2]), -1, -2)
    xy = undistort(xy, np.asarray(distortion)[..., None, :], tangential_factor)
    depth = np.asarray(depth_mm, np.float64)[..., None]
    return np.concatenate([xy * depth, np.broadcast_to(depth, (*xy.shape[:-1], 1))], axis=-1)


def project(camera: Camera, joints_cam_mm: npt.NDArray[Any]) -> FloatArray:
    """(..., 3) mm, camera frame -> (..., 2) px of ``camera``'s image; NaN at or behind the camera."""
    return to_pixels(camera, to_image_plane(camera, joints_cam_mm))


def to_image_plane(camera: Camera, joints_cam_mm: npt.NDArray[Any]) -> FloatArray:
    """(..., 3) mm, camera frame -> (..., 2) distorted normalised coordinates, which all crops of an image share."""
    points = np.asarray(joints_cam_mm, np.float64)
    flat = _distorted(camera.distortion[None], camera.tangential_factor, points.reshape(1, -1, 3))
    return flat.reshape(*points.shape[:-1], 2)


def to_pixels(camera: Camera, xy: FloatArray) -> FloatArray:
    """(..., 2) distorted normalised coordinates -> (..., 2) px of ``camera``'s image."""
    return _pixels(camera.intrinsics_px[None], xy.reshape(1, -1, 2)).reshape(xy.shape)


def unproject(camera: Camera, points_px: npt.NDArray[Any], depth_mm: npt.NDArray[Any] | float) -> FloatArray:
    """(..., 2) px and their z-depth (...) mm -> (..., 3) mm, camera frame; inverts ``project`` to 1e-6 px."""
    points = np.asarray(points_px, np.float64)
    depth = np.broadcast_to(np.asarray(depth_mm, np.float64), points.shape[:-1])
    flat = unproject_arrays(
        camera.intrinsics_px[None],
        camera.distortion[None],
        camera.tangential_factor,
        points.reshape(1, -1, 2),
        depth.reshape(1, -1),
    )
    return flat.reshape(*points.shape[:-1], 3)


def warp_camera(camera: Camera, affine_px: npt.NDArray[Any], size_px: tuple[int, int]) -> Camera:
    """The camera of the image after ``affine_px`` (2, 3), old px -> new px; same world pose, same distortion."""
    affine = np.asarray(affine_px, np.float64)
    square = np.vstack([camera.intrinsics_px, [0.0, 0.0, 1.0]])
    return replace(camera, intrinsics_px=affine @ square, size_px=size_px)
