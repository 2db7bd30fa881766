"""Cameras against OpenCV, a hand-coded Human3.6M formula, and theorems."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from kt3d_bench.geometry.cameras import (
    cam_to_world,
    distort,
    project,
    project_arrays,
    undistort,
    unproject,
    unproject_arrays,
    warp_camera,
    world_to_cam,
)
from kt3d_bench.geometry.crops import transform_points
from kt3d_bench.records import Camera

FOCAL_PX = (1145.049, 1143.781)
CENTER_PX = (512.542, 515.451)
K = (-0.207099, 0.247775, -0.003075)
P = (-0.001424, -0.000976)
POSITION_MM = (1841.107, 4955.285, 1563.445)


def rotation(a: float, b: float, c: float) -> np.ndarray:
    ca, sa, cb, sb, cc, sc = np.cos(a), np.sin(a), np.cos(b), np.sin(b), np.cos(c), np.sin(c)
    rx = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    ry = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    rz = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    return rx @ ry @ rz


def studio_camera(tangential_factor: float, **more: object) -> Camera:
    """Subject S1's camera 54138969 of Human3.6M, by its published check values; the rotation is made up."""
    return Camera.pinhole(
        FOCAL_PX,
        CENTER_PX,
        (1000, 1002),
        distortion=np.array([K[0], K[1], P[0], P[1], K[2]]),
        tangential_factor=tangential_factor,
        **more,
    )


def studio_points(count: int = 500, seed: int = 0) -> np.ndarray:
    """Points that the camera sees, 2 to 8 m away, all over its image."""
    rng = np.random.default_rng(seed)
    z = rng.uniform(2000, 8000, count)
    return np.stack([rng.uniform(-0.44, 0.42, count) * z, rng.uniform(-0.45, 0.42, count) * z, z], axis=-1)


def studio_formula(points: np.ndarray) -> np.ndarray:
    """The data set's own projection, written out for one point at a time."""
    pixels = []
    for X, Y, Z in points:
        x, y = X / Z, Y / Z
        r2 = x * x + y * y
        radial = 1 + K[0] * r2 + K[1] * r2 * r2 + K[2] * r2 * r2 * r2
        tangential = P[0] * y + P[1] * x
        u = FOCAL_PX[0] * (x * (radial + tangential) + P[1] * r2) + CENTER_PX[0]
        v = FOCAL_PX[1] * (y * (radial + tangential) + P[0] * r2) + CENTER_PX[1]
        pixels.append((u, v))
    return np.array(pixels)


def test_factor_two_is_opencv() -> None:
    points = studio_points()
    matrix = np.array([[FOCAL_PX[0], 0, CENTER_PX[0]], [0, FOCAL_PX[1], CENTER_PX[1]], [0, 0, 1]])
    expected, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix, np.array([K[0], K[1], P[0], P[1], K[2]]))
    np.testing.assert_allclose(project(studio_camera(2.0), points), expected[:, 0], rtol=0, atol=1e-9)


def test_factor_one_is_the_studio_formula_and_differs_from_opencv() -> None:
    points = studio_points()
    ours = project(studio_camera(1.0), points)
    np.testing.assert_allclose(ours, studio_formula(points), rtol=0, atol=1e-9)
    difference = np.abs(ours - project(studio_camera(2.0), points)).max()
    assert 0.1 < difference < 1.0
    plain = project(Camera.pinhole(FOCAL_PX, CENTER_PX, (1000, 1002)), points)
    assert 1.0 < np.abs(ours - plain).max() < 30.0


def test_the_centre_ray_lands_on_the_principal_point() -> None:
    np.testing.assert_allclose(project(studio_camera(1.0), np.array([0.0, 0.0, 4000.0])), CENTER_PX)


def test_whole_chain_from_the_world_against_opencv() -> None:
    turned = rotation(1.9, 0.2, -1.3)
    camera = studio_camera(2.0, rotation=turned, position_world_mm=np.array(POSITION_MM))
    world = studio_points(200, 3) @ turned + POSITION_MM
    rvec, _ = cv2.Rodrigues(turned)
    matrix = np.vstack([camera.intrinsics_px, [0, 0, 1]])
    expected, _ = cv2.projectPoints(world, rvec, -turned @ np.array(POSITION_MM), matrix, camera.distortion)
    np.testing.assert_allclose(project(camera, world_to_cam(camera, world)), expected[:, 0], rtol=0, atol=1e-6)


def test_world_and_camera_frames() -> None:
    """A camera on the world's y axis looking back along it, upright: x_cam = -x, y_cam = -z, z_cam = -y + 5000."""
    camera = Camera.pinhole(
        (1000, 1000),
        (500, 500),
        (1000, 1000),
        rotation=np.array([[-1.0, 0, 0], [0, 0, -1.0], [0, -1.0, 0]]),
        position_world_mm=np.array([0.0, 5000.0, 1000.0]),
    )
    np.testing.assert_allclose(world_to_cam(camera, np.array([300.0, 1000.0, 1600.0])), [-300.0, -600.0, 4000.0])
    np.testing.assert_allclose(world_to_cam(camera, camera.position_world_mm), np.zeros(3))
    points = np.random.default_rng(1).normal(size=(2, 5, 3)) * 1000
    np.testing.assert_allclose(cam_to_world(camera, world_to_cam(camera, points)), points, atol=1e-9)


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_unproject_inverts_project_under_distortion(factor: float) -> None:
    camera = studio_camera(factor)
    rng = np.random.default_rng(2)
    pixels = rng.uniform(0, 1000, (400, 2))
    depth = rng.uniform(1000, 9000, 400)
    points = unproject(camera, pixels, depth)
    np.testing.assert_array_equal(points[:, 2], depth)
    np.testing.assert_allclose(project(camera, points), pixels, rtol=0, atol=1e-6)
    seen = studio_points(300, 4)
    np.testing.assert_allclose(unproject(camera, project(camera, seen), seen[:, 2]), seen, rtol=0, atol=1e-6)


def test_unproject_without_distortion_and_with_one_depth() -> None:
    camera = Camera.pinhole((100.0, 200.0), (10.0, 20.0), (64, 64))
    np.testing.assert_allclose(unproject(camera, np.array([[110.0, 20.0], [10.0, 220.0]]), 500.0),
                               [[500.0, 0, 500.0], [0, 500.0, 500.0]])  # fmt: skip


def test_nothing_is_seen_at_or_behind_the_camera() -> None:
    points = np.array([[100.0, 100.0, 1000.0], [100.0, 100.0, 0.0], [100.0, 100.0, -1000.0], [np.nan, 0.0, 1000.0]])
    pixels = project(studio_camera(2.0), points)
    assert np.isfinite(pixels[0]).all()
    assert np.isnan(pixels[1:3]).all()
    assert np.isnan(pixels[3]).any()


def test_absent_points_do_not_disturb_their_neighbours() -> None:
    camera = studio_camera(2.0)
    pixels = np.array([[200.0, 300.0], [np.nan, np.nan], [900.0, 100.0]])
    points = unproject(camera, pixels, np.full(3, 3000.0))
    np.testing.assert_allclose(project(camera, points)[[0, 2]], pixels[[0, 2]], atol=1e-6)
    assert np.isnan(points[1, :2]).all()


def test_no_inverse_where_the_distortion_folds_back() -> None:
    """r (1 - r^2 / 2) peaks at r = sqrt(2/3) with 0.544: nothing is imaged beyond."""
    barrel = np.array([-0.5, 0.0, 0.0, 0.0, 0.0])
    inside = np.random.default_rng(0).normal(size=(200, 2))
    inside *= np.linspace(0, 0.8, 200)[:, None] / np.linalg.norm(inside, axis=1, keepdims=True)
    np.testing.assert_allclose(undistort(distort(inside, barrel), barrel), inside, rtol=0, atol=1e-9)
    beyond = undistort(np.array([[0.9, 0.0], [0.0, -0.56], [3.0, 3.0]]), barrel)
    assert np.isnan(beyond).all()


def test_a_root_on_another_branch_is_no_inverse() -> None:
    """r - r^3 / 2 + 0.08 r^5 rises to 0.583 at r = 0.931, falls, and rises again through 0.7 near r = 2.2."""
    lens = np.array([-0.5, 0.08, 0.0, 0.0, 0.0])
    radius = np.linspace(0, 0.92, 50)
    inside = np.stack([radius * np.cos(radius * 9), radius * np.sin(radius * 9)], axis=-1)
    np.testing.assert_allclose(undistort(distort(inside, lens), lens), inside, rtol=0, atol=1e-7)
    assert np.isnan(undistort(np.array([[0.7, 0.0], [1.5, 1.5]]), lens, iterations=200)).all()


def test_arrays_of_cameras_equal_cameras_one_by_one() -> None:
    rng = np.random.default_rng(5)
    cameras = [studio_camera(1.0), Camera.pinhole((500, 510), (320, 240), (640, 480))]
    cameras.append(warp_camera(cameras[0], np.array([[0.3, 0.1, 5], [-0.1, 0.3, 80]]), (300, 300)))
    points = np.stack([studio_points(17, seed) for seed in range(3)])
    intrinsics = np.stack([camera.intrinsics_px for camera in cameras])
    distortion = np.stack([camera.distortion for camera in cameras])
    pixels = project_arrays(intrinsics, distortion, 1.0, points)
    for camera, one, many in zip(cameras, points, pixels, strict=True):
        single = Camera(camera.intrinsics_px, camera.size_px, camera.distortion, 1.0)
        np.testing.assert_allclose(many, project(single, one), rtol=0, atol=1e-9)
    back = unproject_arrays(intrinsics, distortion, 1.0, pixels, points[..., 2])
    np.testing.assert_allclose(back, points, rtol=0, atol=1e-6)
    assert project(cameras[0], rng.normal(size=(2, 3, 4, 3))).shape == (2, 3, 4, 2)


TURN = np.deg2rad(33.0)
AFFINES = {
    "crop": [[1, 0, -120.0], [0, 1, -80.0]],
    "shrink": [[0.31, 0, 3.5], [0, 0.27, -2.25]],
    "rotation": [[np.cos(TURN), -np.sin(TURN), 40], [np.sin(TURN), np.cos(TURN), -60]],
    "flip": [[-1, 0, 999.0], [0, 1, 0]],
    "rotation, scale and flip": [
        [-0.4 * np.cos(TURN), 0.4 * np.sin(TURN), 400], [0.4 * np.sin(TURN), 0.4 * np.cos(TURN), 9]],
    "shear": [[0.5, 0.2, 1.0], [-0.1, 0.8, 2.0]],
}  # fmt: skip


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_a_warped_camera_is_exact(name: str, factor: float) -> None:
    camera, points = studio_camera(factor), studio_points(100, 6)
    affine = np.array(AFFINES[name], float)
    warped = warp_camera(camera, affine, (256, 256))
    expected = project(camera, points) @ affine[:, :2].T + affine[:, 2]
    np.testing.assert_allclose(project(warped, points), expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(unproject(warped, expected, points[:, 2]), points, rtol=0, atol=1e-6)
    assert warped.size_px == (256, 256)
    np.testing.assert_array_equal(warped.distortion, camera.distortion)


def test_warps_compose() -> None:
    camera = studio_camera(1.0)
    first, second = np.array(AFFINES["shrink"], float), np.array(AFFINES["rotation, scale and flip"], float)
    both = np.hstack([second[:, :2] @ first[:, :2], (second[:, :2] @ first[:, 2] + second[:, 2])[:, None]])
    twice = warp_camera(warp_camera(camera, first, (9, 9)), second, (8, 8))
    np.testing.assert_allclose(twice.intrinsics_px, warp_camera(camera, both, (8, 8)).intrinsics_px, atol=1e-9)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_rotating_the_image_plane_rotates_the_tangential_pair(mirrored: bool, factor: float) -> None:
    """distort(M x; M p) = M distort(x; p) for orthogonal M and p = (p2, p1)."""
    M = np.array([[np.cos(TURN), -np.sin(TURN)], [np.sin(TURN), np.cos(TURN)]]) @ np.diag(
        [-1.0 if mirrored else 1.0, 1]
    )
    xy = np.random.default_rng(7).uniform(-0.4, 0.4, (50, 2))
    p2, p1 = M @ [P[1], P[0]]
    turned = distort(xy @ M.T, np.array([K[0], K[1], p1, p2, K[2]]), factor)
    straight = distort(xy, np.array([K[0], K[1], P[0], P[1], K[2]]), factor)
    np.testing.assert_allclose(turned, straight @ M.T, rtol=0, atol=1e-13)


def test_transform_points_by_hand() -> None:
    np.testing.assert_allclose(
        transform_points(np.array([[2, 0, 1], [0, 3, -1]]), np.array([[10.0, 10.0]])), [[21, 29]]
    )
