"""Clips of 2D joints: rays by a camera matrix, mirroring, drawn motion and noise, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from kt3d_videopose import clips

from kt3d_bench.geometry.cameras import unproject_arrays
from kt3d_bench.loading.batches import CameraBatch
from kt3d_bench.skeletons import H36M17
from kt3d_bench.testing import tiny_batch


def test_image_coordinates_are_rays_whatever_the_crop() -> None:
    matrix = torch.tensor([[[50.0, 3.0, 31.0], [-3.0, 50.0, 30.0]], [[20.0, 0.0, 5.0], [0.0, 25.0, 6.0]]])
    points = torch.rand(2, 17, 2) * 64
    found = clips.screen(points, CameraBatch(matrix, torch.zeros(2, 5), 2.0)) / clips.FOCAL
    rays = unproject_arrays(matrix.numpy(), np.zeros((2, 5)), 2.0, points.numpy(), np.ones((2, 17)))
    np.testing.assert_allclose(found, rays[..., :2], atol=1e-5)


def test_true_joints_and_their_image_agree() -> None:
    batch = tiny_batch(3)
    seen = clips.screen(batch.joints_px, batch.cameras)
    torch.testing.assert_close(clips.projected(batch.joints_cam_mm / 1000), seen, rtol=0, atol=1e-5)


def test_nothing_is_projected_from_behind_the_camera() -> None:
    point = torch.tensor([[[1.0, 2.0, -3.0]]])
    torch.testing.assert_close(clips.projected(point), clips.FOCAL * point[..., :2] / 0.5)


def test_a_clip_around_the_person_has_neither_place_nor_size() -> None:
    """The middle pose's hip is 0 and its size 1; moving and scaling the whole clip changes nothing."""
    seen = torch.randn(2, 3, 17, 2)
    found = clips.around_person(seen)
    torch.testing.assert_close(found, clips.around_person(3 * seen + torch.tensor([5.0, -2.0])), rtol=1e-4, atol=1e-5)
    assert float(found[:, 1, 0].abs().max()) == 0.0
    torch.testing.assert_close(found[:, 1].square().sum(-1).mean(-1), torch.ones(2))
    one = torch.zeros(1, 3, 17, 2)
    one[0, 1, 5, 0], one[0, 2, 0, 1] = 17**0.5, 3.0
    torch.testing.assert_close(clips.around_person(one), one)


def test_mirroring_exchanges_sides_and_is_its_own_inverse() -> None:
    pose = torch.randn(2, 5, 17, 3)
    found = clips.mirrored(pose)
    left, right = H36M17.index("left_wrist"), H36M17.index("right_wrist")
    torch.testing.assert_close(found[..., left, :], pose[..., right, :] * torch.tensor([-1.0, 1.0, 1.0]))
    assert torch.equal(clips.mirrored(found), pose)
    torch.manual_seed(0)
    one, other = clips.half_mirrored(pose.expand(200, 2, 5, 17, 3), pose[0, 0].expand(200, 17, 3))
    flipped = (other == clips.mirrored(pose[0, 0])).all(-1).all(-1)
    assert 70 < int(flipped.sum()) < 130
    assert torch.equal(one[flipped][0], found)
    assert torch.equal(one[~flipped][0], pose)


def test_between_two_postures_bones_keep_their_lengths() -> None:
    """A shoulder and an elbow by hand: half way between two directions at a right angle lies the diagonal."""
    one, other = torch.randn(4, 1, 17, 3), torch.randn(4, 1, 17, 3)
    one, other = (pose - pose[:, :, :1] for pose in (one, other))
    share = torch.tensor([[0.0, 0.5, 1.0]]).expand(4, 3)
    found = clips.between(one, other, share)
    torch.testing.assert_close(found[:, 0], one[:, 0])
    lengths = H36M17.bone_lengths(one.numpy())
    for frame in range(3):
        np.testing.assert_allclose(H36M17.bone_lengths(found[:, frame].numpy()), lengths[:, 0], rtol=1e-4)
    child, parent = H36M17.bones[1]
    ways = found[..., child, :] - found[..., parent, :]
    goal = other[..., child, :] - other[..., parent, :]
    reached, wanted = (way / way.norm(dim=-1, keepdim=True) for way in (ways[:, 2], goal[:, 0]))
    torch.testing.assert_close(reached, wanted)
    first, second = torch.zeros(1, 1, 17, 3), torch.zeros(1, 1, 17, 3)
    first[..., child, 0], second[..., child, 1] = 0.3, 0.4
    diagonal = clips.between(first, second, torch.full((1, 1), 0.5))[0, 0, child]
    torch.testing.assert_close(diagonal, torch.tensor([0.3, 0.3, 0.0]) / 2**0.5)


def test_drawn_clips_move_smoothly_around_their_posture() -> None:
    torch.manual_seed(0)
    pose = torch.randn(50, 17, 3) * 0.3
    pose -= pose[:, :1].clone()
    found = clips.drawn_clips(pose, torch.full((50,), 4.0), 9, 5)
    assert found.shape == (50, 9, 17, 3)
    hips = found[:, :, 0]
    torch.testing.assert_close(hips[:, 4, 2], torch.full((50,), 4.0))
    assert (hips[:, 4, :2].abs() <= 4 * torch.tensor(clips.ASIDE) + 1e-5).all()
    steps = hips.diff(dim=1)
    torch.testing.assert_close(steps, steps[:, :1].expand_as(steps), rtol=0, atol=1e-5)
    assert float(steps.abs().max()) <= 5 * clips.WALK_M + 1e-5
    lengths = torch.from_numpy(H36M17.bone_lengths(found.numpy()))
    torch.testing.assert_close(lengths, lengths[:, :1].expand_as(lengths), rtol=1e-3, atol=1e-4)
    moving = (found - hips[:, :, None]).diff(dim=1).norm(dim=-1).amax((1, 2))
    assert float(moving.max()) > 0.02


def test_noise_has_the_stated_size_and_half_of_it_stays() -> None:
    torch.manual_seed(0)
    pose = torch.zeros(1, 1, 17, 2)
    pose[..., 1:, 0] = 1.0
    size = (16 / 17) ** 0.5
    still = pose.expand(4000, 3, 17, 2)
    apart = clips.noisy(still, 0.3) - still
    # A uniform deviation up to s has a mean square of s^2 / 3.
    assert float(apart.var()) == pytest.approx((0.3 * size) ** 2 / 3, rel=0.05)
    assert float(apart.mean(1).var()) == pytest.approx((0.3 * size) ** 2 / 3 * (0.5 + 0.5 / 3), rel=0.05)
    assert torch.equal(clips.noisy(still, 0.0), still)


def test_what_hangs_from_an_absent_joint_hangs_from_its_nearest_known_ancestor() -> None:
    """Without spine and thorax, shoulders and head are bones from the hip: at a right angle to the other posture's,
    half way between the two."""
    spine, thorax, head, elbow, shoulder = (
        H36M17.index(name) for name in ("spine", "thorax", "head", "left_elbow", "left_shoulder")
    )
    one, other = torch.zeros(2, 1, 17, 3), torch.zeros(2, 1, 17, 3)
    one[..., head, 0], other[..., head, 1] = 0.6, 0.2
    one[..., shoulder, 0], other[..., shoulder, 1] = 0.4, 0.4
    one[..., elbow, 0], other[..., elbow, 1] = 0.7, 0.7
    one[0, :, spine], other[0, :, thorax], one[0, :, H36M17.index("nose")] = torch.nan, torch.nan, torch.nan
    found = clips.between(one, other, torch.full((2, 1), 0.5))
    way = torch.tensor([1.0, 1.0, 0.0]) / 2**0.5
    torch.testing.assert_close(found[0, 0, [head, shoulder, elbow]], torch.tensor([[0.6], [0.4], [0.7]]) * way)
    absent = ~found.isfinite().all(-1)
    assert absent[0, 0].nonzero().ravel().tolist() == sorted([spine, thorax, H36M17.index("nose")])
    assert not absent[1].any()
