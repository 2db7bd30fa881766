"""Poses before virtual cameras: against SciPy's rotations, by hand, and the vertical of a world."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from kt3d_bench.nn.prior import virtual_views
from kt3d_bench.nn.virtual_cameras import VirtualCameras, up_sum, upright, vertical
from kt3d_bench.skeletons import H36M17
from kt3d_bench.testing import tiny_batch

HEAD, RIGHT_ANKLE, LEFT_ANKLE = (H36M17.index(name) for name in ("head", "right_ankle", "left_ankle"))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _standing(count: int, up: np.ndarray) -> torch.Tensor:
    """People whose heads are 800 mm above the hip along ``up``, with their ankles 800 mm below."""
    joints = torch.zeros(count, 17, 3)
    direction = torch.from_numpy(up).float()
    joints[:, HEAD] = 800 * direction
    joints[:, [RIGHT_ANKLE, LEFT_ANKLE]] = -800 * direction
    return joints


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_every_world_is_set_upright_whatever_its_cameras(axis: int, sign: float) -> None:
    up = np.zeros(3)
    up[axis] = sign
    rotation = torch.from_numpy(Rotation.random(5, random_state=1).as_matrix()).float()
    cam = torch.einsum("bij,bkj->bki", rotation, _standing(5, up))
    found = vertical(up_sum(cam, rotation))
    torch.testing.assert_close(found, torch.from_numpy(up).float())
    stood = upright(cam, rotation, found)
    torch.testing.assert_close(stood[:, HEAD], torch.tensor([0.0, -800.0, 0.0]).expand(5, 3), atol=1e-2, rtol=0)


def test_setting_upright_is_a_proper_rotation() -> None:
    joints, rotation = 500 * torch.randn(4, 17, 3), torch.eye(3).expand(4, 3, 3)
    stood = upright(joints, rotation, torch.tensor([0.0, 0.0, 1.0]))
    for before, after in zip(joints.numpy(), stood.numpy(), strict=True):
        found, rest = Rotation.align_vectors(after, before)
        assert rest == pytest.approx(0, abs=1e-1)
        np.testing.assert_allclose(found.apply([0.0, 0.0, 1.0]), [0, -1, 0], atol=1e-4)


def test_mixed_precision_does_not_round_millimetres() -> None:
    joints, rotation = 500 * torch.randn(4, 17, 3), torch.eye(3).expand(4, 3, 3)
    up = torch.tensor([0.0, 0.0, 1.0])
    with torch.autocast("cpu", torch.bfloat16):
        found = upright(joints, rotation, up)
    torch.testing.assert_close(found, upright(joints, rotation, up), rtol=0, atol=0)


def test_lying_and_unknown_people_do_not_turn_the_world() -> None:
    cam = torch.cat([_standing(5, np.array([0.0, -1, 0])), _standing(2, np.array([1.0, 0, 0]))])
    cam[0, HEAD] = math.nan
    rotation = torch.eye(3).expand(7, 3, 3)
    assert vertical(up_sum(cam, rotation)).tolist() == [0.0, -1.0, 0.0]


def test_a_camera_above_sees_the_head_nearer_and_the_projection_is_a_pinholes() -> None:
    """One camera 30 degrees above the hip at 4 m, by hand: the head, 800 mm up, is 400 mm nearer."""
    cameras = VirtualCameras(elevation_deg=(30.0, 30.0), roll_deg=0.0, distance_mm=(4000.0, 4000.0))
    xy, z_mm, hip_mm = cameras.see(_standing(6, np.array([0.0, -1, 0])))
    assert hip_mm.tolist() == [4000.0] * 6
    torch.testing.assert_close(z_mm[:, HEAD], torch.full((6,), -400.0), atol=0.1, rtol=0)
    expected = torch.tensor([0.0, -800 * math.cos(math.radians(30)) / 3600])
    torch.testing.assert_close(xy[:, HEAD], expected.expand(6, 2), atol=1e-5, rtol=0)
    assert not xy[:, 0].any()


def test_views_are_rotations_of_the_body_or_of_its_mirror_image() -> None:
    joints = 500 * torch.randn(64, 17, 3)
    joints[:, 0] = 0
    xy, z_mm, _ = VirtualCameras(distance_mm=(5000.0, 5000.0)).see(joints)
    seen = torch.cat([xy * (z_mm + 5000)[..., None], z_mm[..., None]], -1).numpy()
    mirrored, elevations = [], []
    for before, after in zip(joints.numpy().astype(np.float64), seen.astype(np.float64), strict=True):
        flipped = before[H36M17.mirror] * [-1, 1, 1]
        rests = [Rotation.align_vectors(after, one) for one in (before, flipped)]
        found, rest = min(rests, key=lambda pair: pair[1])
        assert rest < 1.0
        mirrored.append(rests[1][1] < rests[0][1])
        elevations.append(math.degrees(math.asin(-found.apply([0.0, -1.0, 0.0])[2])))
    assert 16 < sum(mirrored) < 48
    assert -5 <= min(elevations) < 2
    assert 15 < max(elevations) <= 20


def test_a_sample_that_augmentation_mirrored_is_turned_back() -> None:
    """A mirrored sample's rotation is none; virtual cameras must not see people with exchanged sides."""
    batch, up = tiny_batch(8), torch.tensor([0.0, -1.0, 0.0])
    flip = torch.tensor([-1.0, 1.0, 1.0])
    mirrored = replace(
        batch,
        joints_root_mm=batch.joints_root_mm[:, torch.from_numpy(H36M17.mirror)] * flip,
        world_to_cam=batch.world_to_cam * flip[:, None],
    )
    torch.manual_seed(0)
    expected = virtual_views(batch, up, 16).voxels
    torch.manual_seed(0)
    torch.testing.assert_close(virtual_views(mirrored, up, 16).voxels, expected)


def test_virtual_poses_fill_the_crop_as_the_loader_does() -> None:
    batch = tiny_batch(8)
    unknown = H36M17.index("spine")
    batch.joints_root_mm[:, unknown] = math.nan
    poses = virtual_views(batch, torch.tensor([0.0, -1.0, 0.0]), 16).voxels
    assert poses.isnan().any(-1).nonzero()[:, 1].tolist() == [unknown] * 8
    seen = poses[:, torch.arange(17) != unknown, :2]
    low, high = seen.amin(1), seen.amax(1)
    torch.testing.assert_close((high - low).amax(-1), torch.full((8,), 16 / 1.25), atol=1e-3, rtol=0)
    torch.testing.assert_close((high + low) / 2, torch.full((8, 2), 7.5), atol=1e-3, rtol=0)
    assert bool((poses[:, 0, 2] == 7.5).all())
