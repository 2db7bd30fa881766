"""UBC3V's camera rules against SciPy and against one another."""

from __future__ import annotations

import numpy as np
import pytest
from kt3d_ubc3v import cameras
from scipy.spatial.transform import Rotation
from ubc3v_sections import aim

from kt3d_bench.geometry.cameras import unproject


def test_both_rules_agree_on_cameras_that_look_down_at_the_origin() -> None:
    rng = np.random.default_rng(0)
    for _ in range(10_000):
        x, z = rng.uniform(-300, 300, 2)
        translate = (float(x), float(rng.uniform(5, 300)), float(z))
        rotate = aim(translate)
        difference = cameras.closed_form_rotation(rotate) - cameras.toolkit_rotation(rotate, np.array(translate))
        assert np.abs(difference).max() < 1e-12
        assert cameras.rules_agree(rotate, np.array(translate))


def test_the_closed_form_is_mayas_xyz_order() -> None:
    rng = np.random.default_rng(1)
    for angles in rng.uniform(-180, 180, (50, 3)):
        maya = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
        np.testing.assert_allclose(cameras.closed_form_rotation(angles), np.diag([1, -1, -1]) @ maya.T, atol=1e-12)


def test_the_camera_looks_at_the_origin_upright() -> None:
    translate = np.array([120.0, 90.0, -200.0])
    rotation = cameras.rotation(aim(tuple(translate)), translate)
    np.testing.assert_allclose(rotation @ -translate, [0, 0, np.linalg.norm(translate)], atol=1e-9)
    right, down, _ = rotation
    assert abs(right[1]) < 1e-12
    assert down[1] < 0


def test_a_lost_z_angle_falls_back_to_the_toolkits_branches() -> None:
    translate = np.array([90.0, 90.0, -220.0])
    whole = aim(tuple(translate))
    assert abs(whole[2]) == 180
    lost = whole * [1, 1, 0] + [0, 0, 37.0]
    np.testing.assert_allclose(cameras.rotation(lost, translate), cameras.rotation(whole, translate), atol=1e-12)
    assert not cameras.rules_agree(whole * [1, 1, 0], translate)


def test_the_kinect_table_spans_what_the_toolkits_file_spans() -> None:
    """mapper.mat: x in [-0.7718, 0.7528] before it is mirrored, y in [-0.6521, 0.6054] upwards, row 0 is +0.605."""
    camera = cameras.camera("kinect2", np.eye(3), np.zeros(3))
    pixels = np.stack(np.meshgrid(np.arange(512), np.arange(424)), axis=-1)
    rays = unproject(camera, pixels, 1.0)[..., :2]
    toolkit_x, toolkit_y = -rays[..., 0], -rays[..., 1]
    assert toolkit_x.max() == pytest.approx(0.7528, abs=5e-5)
    assert toolkit_x.min() == pytest.approx(-0.7718, abs=5e-5)
    assert toolkit_y.max() == pytest.approx(0.6054, abs=5e-5)
    assert toolkit_y.min() == pytest.approx(-0.6521, abs=5e-5)
    assert toolkit_y[0].mean() > 0
    assert (np.diff(toolkit_x, axis=1) < 0).all()


def test_the_rendering_camera_has_mayas_focal_length() -> None:
    camera = cameras.camera("maya", np.eye(3), np.array([1.0, 2.0, 3.0]))
    assert camera.focal_px == pytest.approx((361.56, 361.56), abs=0.01)
    assert camera.center_px == (255.5, 211.5)
    assert camera.position_world_mm.tolist() == [10.0, 20.0, 30.0]
