"""How far away somebody is: against poses whose place is known."""

from __future__ import annotations

import numpy as np
import pytest

from kt3d_bench.pictures.scale import root_depth_mm, translation_mm, usual_lengths_mm
from kt3d_bench.skeletons import H36M17

ALL = np.ones(17, bool)


def somebody(seed: int, hip_mm: tuple[float, float, float]) -> np.ndarray:
    """(17, 3) mm: bones of usual lengths in random directions, from the hip on."""
    rng = np.random.default_rng(seed)
    joints = np.tile(np.array(hip_mm), (17, 1))
    for (child, parent), length in zip(H36M17.bones, usual_lengths_mm(1800.0), strict=True):
        direction = rng.normal(size=3)
        joints[child] = joints[parent] + length * direction / np.linalg.norm(direction)
    return joints


@pytest.mark.parametrize("hip_mm", [(0.0, 0.0, 2500.0), (900.0, -300.0, 4000.0), (-2000.0, 500.0, 12000.0)])
def test_known_bones_give_the_true_depth(hip_mm: tuple[float, float, float]) -> None:
    for seed in range(5):
        joints = somebody(seed, hip_mm)
        rays, z_root = joints[:, :2] / joints[:, 2:], joints[:, 2] - joints[0, 2]
        assert root_depth_mm(rays, z_root, usual_lengths_mm(1800.0), ALL) == pytest.approx(hip_mm[2], abs=0.01)


def test_one_bone_by_hand() -> None:
    rays, used = np.zeros((17, 2)), np.zeros(17, bool)
    rays[1, 0], used[[0, 1]] = 0.05, True
    lengths = np.full(16, 150.0)
    assert root_depth_mm(rays, np.zeros(17), lengths, used) == pytest.approx(3000)
    used[1] = False
    assert np.isnan(root_depth_mm(rays, np.zeros(17), lengths, used))
    used[1], rays[1] = True, 0
    assert np.isnan(root_depth_mm(rays, np.zeros(17), lengths, used)), "a bone of no extent has no depth"


def test_depths_longer_than_the_bone_give_its_shortest_view() -> None:
    rays, used, z_root = np.zeros((17, 2)), np.zeros(17, bool), np.zeros(17)
    used[[0, 1]], rays[0, 0], rays[1, 0], z_root[1] = True, 0.1, -0.1, 400.0
    # (x, z) of the bone: (-0.1 (Z + 400) - 0.1 Z, 400): shortest where x is 0, at Z = -200, which is behind the camera
    assert root_depth_mm(rays, z_root, np.full(16, 100.0), used) == pytest.approx(200)


def test_a_pose_of_known_size_is_put_on_its_rays() -> None:
    joints = somebody(3, (700.0, -200.0, 5000.0))
    seen = np.arange(17) % 3 > 0
    rays = np.where(seen[:, None], joints[:, :2] / joints[:, 2:], 0.3)
    np.testing.assert_allclose(translation_mm(rays, joints - joints[0], seen), joints[0], atol=1e-6)
    assert np.isnan(translation_mm(rays, joints, np.arange(17) == 4)).all()


def test_usual_proportions() -> None:
    lengths = dict(zip((H36M17.joints[child] for child, _ in H36M17.bones), usual_lengths_mm(1000.0), strict=True))
    assert lengths["left_knee"] + lengths["left_ankle"] == pytest.approx(491)
    assert lengths["right_elbow"] + lengths["right_wrist"] == pytest.approx(332)
    assert lengths["spine"] + lengths["thorax"] == pytest.approx(288)
    assert 2 * lengths["left_shoulder"] == pytest.approx(259)
    joints = somebody(0, (0.0, 0.0, 3000.0))
    joints[5] = np.nan
    found = H36M17.bone_lengths(joints)
    assert np.isnan(found[[4, 5]]).all()
    np.testing.assert_allclose(np.delete(found, [4, 5]), np.delete(usual_lengths_mm(1800.0), [4, 5]))
