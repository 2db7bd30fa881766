"""The integral network: its published size, voxel units, the loss, and that it learns."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch.utils.flop_counter import FlopCounterMode

from kt3d_bench.errors import UsageError
from kt3d_bench.loading.batches import CameraBatch, LabelledBatch
from kt3d_bench.nn import softargmax
from kt3d_bench.nn.integral import (
    IntegralNet,
    from_voxels,
    marginal_loss,
    pose_loss,
    smooth_l1,
    smooth_l1_in_64ths,
    to_voxels,
)
from kt3d_bench.nn.pretrain2d import pretrain_2d_stage, pretrain_2d_step


def test_resnet50_has_the_papers_size() -> None:
    """Integral Pose at 256 px and 64 bins: 34.3 M parameters, 8.4 GMAC for one image."""
    net = IntegralNet(3).eval()
    assert round(sum(p.numel() for p in net.parameters()) / 1e6, 1) == 34.3
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        out = net(torch.zeros(1, 3, 256, 256))
    assert round(counter.get_total_flops() / 2e9, 1) == 8.4
    assert out.voxels.shape == (1, 17, 3)
    assert out.features.shape == (1, 2048)
    assert out.surface_offset_mm.shape == (1,)
    assert sum(p.numel() for p in net.offset.parameters()) == 2049


@pytest.mark.parametrize(("in_channels", "side"), [(1, 16), (3, 8), (44, 16)])
def test_tiny_is_tiny(in_channels: int, side: int) -> None:
    net = IntegralNet(in_channels, backbone="tiny", side=side)
    assert sum(p.numel() for p in net.parameters()) < 600_000
    out = net(torch.zeros(2, in_channels, 4 * side, 4 * side))
    assert out.voxels.shape == (2, 17, 3)
    assert out.features.shape == (2, net.feature_channels)


def test_wrong_names_and_sizes_are_refused() -> None:
    with pytest.raises(UsageError, match="did you mean 'resnet50'"):
        IntegralNet(3, backbone="resnet5")
    with pytest.raises(ValueError, match="reads 64 px"):
        IntegralNet(3, backbone="tiny", side=16)(torch.zeros(1, 3, 128, 128))


def test_voxels_by_hand_and_back() -> None:
    joints = torch.tensor([[[0.0, 255.0], [127.5, 1.5], [math.nan, 3.0]]])
    z = torch.tensor([[0.0, 1000.0, -1000.0]])
    voxels = to_voxels(joints, z, 256, 64)
    expected = torch.tensor([[[-0.375, 63.375, 31.5], [31.5, 0.0, 63.5], [math.nan, 0.375, -0.5]]])
    torch.testing.assert_close(voxels, expected, equal_nan=True)
    back_px, back_z = from_voxels(voxels, 256, 64)
    torch.testing.assert_close(back_px, joints, equal_nan=True, atol=1e-4, rtol=0)
    torch.testing.assert_close(back_z, z, atol=1e-3, rtol=0)


def test_smooth_l1_by_hand_with_hidden_targets() -> None:
    pred = torch.tensor([[[0.0, 0.5], [3.0, 3.0], [9.0, 9.0]]], requires_grad=True)
    target = torch.tensor([[[0.0, 0.0], [1.0, 3.0], [math.nan, math.nan]]])
    loss = smooth_l1(pred, target, torch.tensor([[True, True, False]]))
    assert loss.item() == pytest.approx((0 + 0.125 + 1.5 + 0) / 4)
    loss.backward()
    torch.testing.assert_close(pred.grad, torch.tensor([[[0.0, 0.125], [0.25, 0.0], [0.0, 0.0]]]))


def test_smooth_l1_of_nothing_is_zero_with_zero_gradient() -> None:
    pred = torch.ones(2, 3, 2, requires_grad=True)
    loss = smooth_l1(pred, torch.full((2, 3, 2), math.nan), torch.zeros(2, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    torch.testing.assert_close(pred.grad, torch.zeros(2, 3, 2))


def _gaussian(centre: float, side: int) -> np.ndarray:
    shares = stats.norm.pdf(np.arange(side), centre, 0.8)
    return shares / shares.sum()


def test_the_marginal_loss_is_the_divergence_from_a_gaussian() -> None:
    """By SciPy, for a flat marginal along x and the wanted one along y; hidden entries count nothing."""
    flat, wanted = torch.full((1, 2, 8), 1 / 8), torch.from_numpy(_gaussian(2.25, 8)).float().expand(1, 2, 8)
    target = torch.tensor([[[3.5, 2.25], [math.nan, math.nan]]])
    mask = torch.tensor([[[True, True], [False, False]]])
    found = marginal_loss((flat, wanted), target, mask)
    expected = special.rel_entr(_gaussian(3.5, 8), 1 / 8).sum() / 2
    assert float(found) == pytest.approx(expected, rel=1e-3)


def test_the_marginal_loss_pulls_a_split_volume_to_one_peak() -> None:
    """Two peaks around the truth have the right mean: soft-argmax is content, the marginals are not."""
    logits = torch.full((1, 1, 8, 8, 8), -20.0)
    logits[0, 0, 3, 3, [1, 5]] = 0.0
    logits.requires_grad_()
    truth = torch.tensor([[[3.0, 3.0, 3.0]]])
    known = torch.ones(1, 1, 3, dtype=torch.bool)
    torch.testing.assert_close(softargmax.soft_argmax(logits), truth)
    marginal_loss(softargmax.marginals(logits), truth, known).backward()
    assert logits.grad is not None
    assert bool((logits.grad[0, 0, 3, 3, [1, 5]] > 0).all())
    assert float(logits.grad[0, 0, 3, 3, 3]) < 0


def test_the_marginal_loss_of_nothing_is_zero_with_zero_gradient() -> None:
    shares = torch.rand(2, 3, 8).softmax(-1).requires_grad_()
    nothing = torch.zeros(2, 3, 1, dtype=torch.bool)
    loss = marginal_loss((shares,), torch.full((2, 3, 1), math.nan), nothing)
    loss.backward()
    assert loss.item() == 0
    torch.testing.assert_close(shares.grad, torch.zeros(2, 3, 8))


def test_a_target_outside_the_volume_pulls_to_its_edge() -> None:
    edge = torch.from_numpy(_gaussian(7.0, 8)).float().expand(1, 1, 8)
    one = torch.ones(1, 1, 1, dtype=torch.bool)
    assert float(marginal_loss((edge,), torch.full((1, 1, 1), 30.0), one)) == pytest.approx(0, abs=1e-5)


def test_the_pose_loss_is_its_two_parts_in_64ths() -> None:
    torch.manual_seed(0)
    net = IntegralNet(1, backbone="tiny", side=8)
    output = net(torch.rand(2, 1, 32, 32), with_marginals=True)
    target, mask = 8 * torch.rand(2, 17, 2), torch.rand(2, 17, 2) < 0.5
    loss = pose_loss(output, target, mask, marginal_weight=0.5)
    apart = (output.voxels[..., :2] - target).abs()[mask] * 8
    smooth = torch.where(apart < 1, 0.5 * apart**2, apart - 0.5).mean()
    assert output.along is not None
    torch.testing.assert_close(loss, smooth + 0.5 * marginal_loss(output.along[:2], target, mask))
    torch.testing.assert_close(smooth_l1_in_64ths(output.voxels[..., :2], target, mask, 8), smooth)
    without = net(torch.rand(2, 1, 32, 32))
    assert without.along is None
    assert bool(pose_loss(without, target, mask, marginal_weight=0.0).isfinite())


def _discs(count: int, side: int, joints: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """RGB images of ``joints`` discs, each of its own colour, whose brightness falls with z; and their voxels."""
    rng = np.random.default_rng(seed)
    px = 4 * side
    centers = rng.uniform(0.15 * px, 0.85 * px, (count, joints, 2))
    z = rng.uniform(-800, 800, (count, joints))
    rows, columns = np.mgrid[:px, :px]
    images = np.zeros((count, 3, px, px), np.float32)
    for joint in range(joints):
        d2 = (columns - centers[:, joint, :1, None]) ** 2 + (rows - centers[:, joint, 1:, None]) ** 2
        images[:, joint] = (d2 < (0.1 * px) ** 2) * (0.6 - z[:, joint, None, None] / 2000)
    target = to_voxels(torch.from_numpy(centers).float(), torch.from_numpy(z).float(), px, side)
    return torch.from_numpy(images), target


def test_tiny_learns_where_discs_are_in_three_dimensions() -> None:
    """60 steps of batch 32 on ever new images, judged on images never seen; guessing the middle errs by 4 voxels."""
    torch.manual_seed(0)
    net = IntegralNet(3, backbone="tiny", side=8, joints=3)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    mask = torch.ones(32, 3, dtype=torch.bool)
    for step in range(60):
        images, target = _discs(32, 8, 3, step)
        loss = smooth_l1(net(images).voxels, target, mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    images, target = _discs(64, 8, 3, 999)
    with torch.no_grad():
        error = (net.eval()(images).voxels - target).abs().mean((0, 1))
    assert error[:2].max() < 0.6
    assert error[2] < 1.0


def test_pretraining_masks_absent_joints_and_leaves_depth_alone() -> None:
    torch.manual_seed(0)
    net = IntegralNet(3, backbone="tiny", side=8)
    joints = torch.rand(4, 17, 2) * 32
    joints[:, [7, 9]] = math.nan
    annotated = joints.isfinite().all(-1)
    unknown = torch.full((4, 17, 3), math.nan)
    batch = LabelledBatch(
        {"rgb": torch.rand(4, 3, 32, 32)},
        CameraBatch(torch.zeros(4, 2, 3), torch.zeros(4, 5), 2.0),
        torch.full((4,), math.nan),
        joints,
        unknown,
        unknown,
        annotated,
        torch.zeros(4, 17, dtype=torch.bool),
        torch.eye(3).repeat(4, 1, 1),
    )
    result = pretrain_2d_step(net, batch, marginal_weight=0.75)
    assert list(result.losses) == ["2d"]
    result.losses["2d"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())
    assert result.losses["2d"] > 0
    assert 0 < result.logs["error_2d_px"] < 32


def test_pretraining_is_one_stage_for_methods_of_equal_sizes() -> None:
    first = pretrain_2d_stage(backbone="tiny", input_px=64, side=16, marginal_weight=0.0, steps=10)
    assert first == pretrain_2d_stage(backbone="tiny", input_px=64, side=16, marginal_weight=0.0, steps=10)
    smaller = pretrain_2d_stage(backbone="tiny", input_px=32, side=8, marginal_weight=0.0, steps=10)
    other_loss = pretrain_2d_stage(backbone="tiny", input_px=64, side=16, marginal_weight=0.5, steps=10)
    assert first.recipe != smaller.recipe
    assert first.recipe != other_loss.recipe
    assert (first.roles, first.trains) == ({"pretrain": ("rgb",)}, ("rgb_net",))


def test_a_look_is_the_forward_pass_without_joints() -> None:
    torch.manual_seed(0)
    net, images = IntegralNet(2, backbone="tiny", side=8).eval(), torch.randn(3, 2, 32, 32)
    torch.nn.init.normal_(net.offset.weight)
    whole, (features, offset_mm) = net(images), net.look(images)
    assert torch.equal(features, whole.features)
    assert torch.equal(offset_mm, whole.surface_offset_mm)
    assert float(offset_mm.detach().abs().max()) > 0
