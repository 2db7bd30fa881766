"""The pose prior, the noise that it learns from, and its stage."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kt3d_bench.errors import UsageError
from kt3d_bench.nn.prior import VIRTUAL, PosePrior, depth_loss, jittered, pose_size, prior_stage, prior_step
from kt3d_bench.nn.virtual_cameras import VirtualCameras
from kt3d_bench.testing import tiny_batch

SIDE = 16


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _stirred() -> PosePrior:
    """A prior with random weights, in prediction mode."""
    prior = PosePrior(side=SIDE, width=32).eval()
    torch.nn.init.normal_(prior.last.weight, std=0.1)
    return prior


def test_a_prior_keeps_x_and_y_and_an_untrained_one_lays_the_pose_flat() -> None:
    pose = SIDE * torch.rand(3, 17, 2)
    out = PosePrior(side=SIDE, width=32).eval()(pose)
    assert torch.equal(out[..., :2], pose)
    assert bool((out[..., 2] == (SIDE - 1) / 2).all())
    assert torch.equal(_stirred()(pose)[..., :2], pose)


def test_the_prior_follows_place_and_scale_and_does_not_see_depth() -> None:
    prior, pose = _stirred(), SIDE * torch.rand(3, 17, 3)
    out = prior(pose)
    assert torch.equal(prior(torch.cat([pose[..., :2], torch.rand(3, 17, 1)], -1)), out)
    moved = torch.cat([2 * pose[..., :2] + torch.tensor([3.0, -1.0]), pose[..., 2:]], -1)
    expected = torch.cat([2 * out[..., :2] + torch.tensor([3.0, -1.0]), out[..., 2:]], -1)
    assert torch.allclose(prior(moved), expected, atol=1e-4)
    assert float((out[..., 2] - (SIDE - 1) / 2).detach().abs().max()) > 0.1


def test_mixed_precision_does_not_round_depths() -> None:
    prior, pose = _stirred(), SIDE * torch.rand(8, 17, 2)
    with torch.autocast("cpu", torch.bfloat16):
        depth = prior(pose)[..., 2]
    assert depth.dtype == torch.float32
    assert not torch.equal(depth, depth.to(torch.bfloat16).float())


@pytest.mark.parametrize("cameras", [VIRTUAL, None], ids=["virtual", "source"])
def test_samples_without_a_hip_do_not_poison_the_prior(cameras: VirtualCameras | None) -> None:
    prior, source = PosePrior(side=8, width=32), tiny_batch(4, input_px=32)
    source.joints_px[0, 0], source.joints_root_mm[0] = float("nan"), float("nan")
    source.mask_2d[0, 0], source.mask_3d[0] = False, False
    prior_step(prior, source, noise=0.3, cameras=cameras, input_px=32).losses["prior"].backward()
    assert all(bool(weight.grad.isfinite().all()) for weight in prior.parameters())
    assert all(bool(value.isfinite().all()) for value in prior.state_dict().values())


def test_virtual_cameras_learn_the_worlds_vertical_as_they_go() -> None:
    prior, source = PosePrior(side=8, width=32), tiny_batch(4)
    prior_step(prior, source, noise=0.3, cameras=None, input_px=64)
    assert not prior.up_total.any()
    prior_step(prior, source, noise=0.3, cameras=VIRTUAL, input_px=64)
    assert bool(prior.up_total.any())


def test_the_stage_is_shared_by_options_and_turns_no_image() -> None:
    options: dict[str, Any] = {"input_px": 64, "width": 32, "noise": 0.3, "steps": 10}
    virtual, own = (prior_stage(cameras=name, **options) for name in ("virtual", "source"))
    assert virtual == prior_stage(cameras="virtual", **options)
    assert virtual.recipe != own.recipe
    assert (virtual.augment, own.augment) == (False, True)
    assert virtual.roles == {"source": ()}
    with pytest.raises(UsageError, match="did you mean 'virtual'"):
        prior_stage(cameras="virtua", **options)


def test_the_size_of_a_pose_by_hand() -> None:
    pose = torch.tensor([[[1.0, 1.0, 9.0], [7.0, 9.0, 0.0]], [[2.0, 2.0, 0.0], [2.0, 2.0, 5.0]]])
    assert pose_size(pose).flatten().tolist() == pytest.approx([5.0, 1e-3])


def test_noise_has_each_samples_own_strength() -> None:
    pose = torch.randn(4000, 17, 3)
    share = ((jittered(pose, 0.3) - pose) / pose_size(pose)).flatten(1).std(1)
    assert 0.29 < float(share.max()) < 0.42
    assert float(share.min()) < 0.01
    assert float(share.mean()) == pytest.approx(0.15, abs=0.01)
    assert torch.equal(jittered(pose, 0.0), pose)


def test_the_loss_of_depths_by_hand() -> None:
    """A volume of 20 bins spans 2000 mm, so a bin is 100 mm, the threshold."""
    pred = torch.tensor([[[9.0, 9.0, 1.0], [9.0, 9.0, 5.0], [0.0, 0.0, 8.0]]])
    target = torch.tensor([[[0.0, 0.0, 0.5], [0.0, 0.0, 2.0], [0.0, 0.0, float("nan")]]])
    loss = depth_loss(pred, target, torch.tensor([[True, True, False]]), side=20)
    assert float(loss) == pytest.approx((0.5 * 0.5**2 + (3 - 0.5)) / 2)


def test_the_prior_learns_to_lift() -> None:
    """Poses of one parameter, whose depth follows from the image, noise or not."""

    def poses(count: int) -> torch.Tensor:
        bend = torch.rand(count, 1) * 3 - 1.5
        along = torch.linspace(0, 4, 17)
        joints = [along * torch.sin(bend), along * torch.cos(bend), along * bend]
        return torch.stack(joints, -1) + (SIDE - 1) / 2

    prior = PosePrior(side=SIDE, width=256)
    optimizer = torch.optim.Adam(prior.parameters(), lr=3e-3)
    everywhere = torch.ones(64, 17, dtype=torch.bool)
    for _ in range(300):
        truth = poses(64)
        depth_loss(prior(jittered(truth, 0.3)), truth, everywhere, SIDE).backward()
        optimizer.step()
        optimizer.zero_grad()
    truth = poses(500)
    with torch.no_grad():
        found = prior.eval()(truth + 0.4 * torch.randn(truth.shape))
    flat = float((truth[..., 2] - (SIDE - 1) / 2).abs().mean())
    assert float((found - truth)[..., 2].abs().mean()) < 0.35 * flat
