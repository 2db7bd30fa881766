"""The four losses by hand."""

from __future__ import annotations

import torch
from kt3d_videopose import clips, losses

from kt3d_bench.skeletons import H36M17

NAN = float("nan")


def test_the_pose_loss_is_the_mean_distance_of_known_joints() -> None:
    pose = torch.zeros(2, 17, 3, requires_grad=True)
    truth = torch.full((2, 17, 3), NAN)
    truth[0, 3], truth[1, 5] = torch.tensor([3.0, 4.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
    loss = losses.pose_loss(pose, truth, truth.isfinite().all(-1))
    torch.testing.assert_close(loss, torch.tensor(3.0))
    loss.backward()
    assert pose.grad is not None
    assert pose.grad.isfinite().all()
    assert set(pose.grad.abs().sum(-1).nonzero()[:, 1].tolist()) == {3, 5}
    nothing = losses.pose_loss(pose, torch.full_like(truth, NAN), torch.zeros(2, 17, dtype=torch.bool))
    assert float(nothing.detach()) == 0.0


def test_the_trajectory_counts_less_far_away() -> None:
    hips = torch.tensor([[0.0, 0.0, 4.0], [0.0, 3.0, 10.0], [1.0, 1.0, 1.0]])
    truth = torch.tensor([[0.0, 0.0, 5.0], [4.0, 0.0, 10.0], [NAN, NAN, NAN]])
    torch.testing.assert_close(losses.trajectory_loss(hips, truth), torch.tensor((1 / 5 + 5 / 10) / 2))


def test_poses_are_projected_back() -> None:
    """A joint 1 m to the right at 4 m is seen at FOCAL / 4; it was found at 0."""
    pose, hip = torch.zeros(1, 17, 3), torch.tensor([[0.0, 0.0, 4.0]])
    pose[0, 2, 0] = 1.0
    loss = losses.projection_loss(pose, hip, torch.zeros(1, 17, 2))
    torch.testing.assert_close(loss, torch.tensor(clips.FOCAL / 4 / 17))
    truth = torch.randn(3, 17, 3) * 0.3
    where = torch.tensor([[0.1, -0.2, 4.0]]).expand(3, 3)
    seen = clips.projected(truth + where[:, None])
    assert float(losses.projection_loss(truth, where, seen)) == 0.0


def test_bones_are_as_long_on_average() -> None:
    """One bone of 16 is on average 0.1 m longer; poses of both batches may differ otherwise."""
    one, other = torch.zeros(2, 17, 3), torch.zeros(3, 17, 3)
    end = H36M17.index("head")
    one[:, end, 0] = torch.tensor([0.2, 0.4])
    other[:, end, 1] = torch.tensor([0.1, 0.2, 0.3])
    torch.testing.assert_close(losses.bone_loss(one, other), torch.tensor(0.1 / 16))
    assert float(losses.bone_loss(one, one.flip(0))) == 0.0
