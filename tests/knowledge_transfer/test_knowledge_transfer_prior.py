"""The pose prior, the noise that it learns from, and what the method asks of it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from kt3d_knowledge_transfer.prior import PosePrior, depths_hidden, flattened, jittered, pose_size
from kt3d_knowledge_transfer.views import View
from torch.nn import functional

from kt3d_bench.method import Progress
from kt3d_bench.nn.integral import to_voxels

Make = Callable[..., Any]
SIDE = 16


def _stirred() -> PosePrior:
    """A prior with random weights, in prediction mode."""
    prior = PosePrior(side=SIDE, width=32).eval()
    torch.nn.init.normal_(prior.last.weight, std=0.1)
    return prior


def test_an_untrained_prior_keeps_x_and_y_and_lays_the_pose_flat() -> None:
    pose = SIDE * torch.rand(3, 17, 2)
    out = PosePrior(side=SIDE, width=32).eval()(pose)
    assert torch.equal(out[..., :2], pose)
    assert bool((out[..., 2] == (SIDE - 1) / 2).all())


def test_the_prior_follows_place_and_scale_and_does_not_see_depth() -> None:
    prior, pose = _stirred(), SIDE * torch.rand(3, 17, 3)
    out = prior(pose)
    assert torch.equal(prior(torch.cat([pose[..., :2], torch.rand(3, 17, 1)], -1)), out)
    moved = torch.cat([2 * pose[..., :2] + torch.tensor([3.0, -1.0]), pose[..., 2:]], -1)
    expected = torch.cat([2 * out[..., :2] + torch.tensor([3.0, -1.0]), out[..., 2:]], -1)
    assert torch.allclose(prior(moved), expected, atol=1e-4)
    assert float((out[..., :2] - pose[..., :2]).abs().max()) > 0.1


def test_mixed_precision_does_not_round_depths() -> None:
    prior, pose = _stirred(), SIDE * torch.rand(8, 17, 2)
    with torch.autocast("cpu", torch.bfloat16):
        depth = prior(pose)[..., 2]
    assert depth.dtype == torch.float32
    assert not torch.equal(depth, depth.to(torch.bfloat16).float())


def test_samples_without_a_hip_do_not_poison_the_prior(build: Make, batch: Make) -> None:
    method, source = build("rgb"), batch()
    source.joints_px[0, 0], source.joints_root_mm[0] = float("nan"), float("nan")
    source.mask_2d[0, 0], source.mask_3d[0] = False, False
    method._prior_step(source).losses["prior"].backward()
    assert all(bool(weight.grad.isfinite().all()) for weight in method.prior.parameters())
    assert all(bool(value.isfinite().all()) for value in method.prior.state_dict().values())


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


def test_depths_are_hidden_for_the_share_asked_for() -> None:
    pose = 1 + SIDE * torch.rand(4000, 17, 3)
    hidden = depths_hidden(pose, 0.5, SIDE)
    assert torch.equal(hidden[..., :2], pose[..., :2])
    gone = hidden[..., 2] != pose[..., 2]
    assert bool((hidden[..., 2][gone] == (SIDE - 1) / 2).all())
    assert float(gone.all(1).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert float((gone.any(1) & ~gone.all(1)).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.equal(depths_hidden(pose, 1e-9, SIDE), pose)
    assert bool((flattened(pose, SIDE)[..., 2] == 7.5).all())


def test_the_prior_learns_to_clean_and_to_lift() -> None:
    """Poses of one parameter, whose depth follows from the image: noise must go and the depth come."""

    def poses(count: int) -> torch.Tensor:
        bend = torch.rand(count, 1) * 3 - 1.5
        along = torch.linspace(0, 4, 17)
        joints = [along * torch.sin(bend), along * torch.cos(bend), along * bend]
        return torch.stack(joints, -1) + (SIDE - 1) / 2

    prior = PosePrior(side=SIDE, width=256)
    optimizer = torch.optim.Adam(prior.parameters(), lr=3e-3)
    for _ in range(300):
        truth = poses(64)
        functional.smooth_l1_loss(prior(jittered(truth, 0.3)), truth).backward()
        optimizer.step()
        optimizer.zero_grad()
    truth = poses(500)
    noisy = truth + 0.4 * torch.randn(truth.shape)
    found = prior.eval()(noisy)
    assert float((found - truth)[..., :2].abs().mean()) < 0.7 * float((noisy - truth)[..., :2].abs().mean())
    flat = float((flattened(truth, SIDE) - truth)[..., 2].abs().mean())
    assert float((found - truth)[..., 2].abs().mean()) < 0.35 * flat


def _shaken(method: Any) -> Any:
    torch.nn.init.normal_(method.prior.last.weight, std=0.1)
    return method.eval()


@pytest.mark.parametrize("whose", ["student", "teacher"])
def test_the_lifted_anchor_cleans_the_starts_2d_and_lifts(build: Make, whose: str) -> None:
    method = _shaken(build("rgb", anchor="lifted-2d", anchor_confidence_vox=0.0, lifted_pose=whose))
    image, pose = torch.rand(3, 3, 32, 32), 8 * torch.rand(3, 17, 3)
    start = method.start_net(image).voxels
    held = method._anchor(image, None, pose, None)
    assert torch.allclose(held.voxels[..., :2], method.prior(start)[..., :2])
    lifted = {"student": pose, "teacher": start}[whose]
    assert torch.allclose(held.voxels[..., 2], method.prior(lifted)[..., 2], atol=1e-5)
    assert bool((held.weight == 1).all())
    view = View.mirrored(3, image.device)
    mirrored = method._anchor(image, view, pose, None)
    assert torch.allclose(mirrored.voxels[..., :2], method.prior(view.pose(start, 8))[..., :2], atol=1e-5)


def test_granted_labels_take_their_place_in_the_lifted_anchor(build: Make, batch: Make) -> None:
    method = _shaken(build("rgb", supervision="partial-2d", anchor_confidence_vox=0.0))
    granted, nothing = torch.zeros(17, dtype=torch.bool), torch.zeros(17, dtype=torch.bool)
    granted[[10, 13]] = True
    labels = method._granted(batch("rgb", mask_2d=granted, mask_3d=nothing), None)
    image, pose = torch.rand(4, 3, 32, 32), 8 * torch.rand(4, 17, 3)
    held = method._anchor(image, None, pose, labels)
    start, own = (
        torch.where(granted[:, None], labels.voxels[..., :2], guess[..., :2])
        for guess in (method.start_net(image).voxels, pose)
    )
    assert torch.allclose(held.voxels[..., :2], method.prior(start)[..., :2], atol=1e-5)
    assert torch.allclose(held.voxels[..., 2], method.prior(own)[..., 2], atol=1e-5)
    assert not held.weight[:, granted, :2].any()
    assert bool((held.weight[:, granted, 2] == 1).all())
    assert bool((held.weight[:, ~granted] == 1).all())


def test_labelled_2d_images_learn_their_depths_from_the_prior(build: Make, batch: Make) -> None:
    method = _shaken(build("rgb"))
    mixed = batch("rgb", mask_3d=torch.zeros(17, dtype=torch.bool))
    truth = to_voxels(mixed.joints_px, mixed.joints_px[..., 0], 32, 8)[..., :2]
    right = method.prior(truth)
    perfect = torch.cat([truth, right[..., 2:]], -1)
    assert float(method._mixed_loss(perfect, mixed)) == pytest.approx(0, abs=1e-6)
    assert float(method._mixed_loss(perfect[:1], mixed)) == pytest.approx(0, abs=1e-6)
    assert float(method._mixed_loss(perfect + torch.tensor([0, 0, 0.5]), mixed)) > 0
    plain = build("rgb", anchor="frozen-2d")
    assert float(plain._mixed_loss(perfect + torch.tensor([0, 0, 0.5]), mixed)) == 0


def test_depths_at_test_may_be_the_priors(build: Make, batch: Make) -> None:
    images = batch("rgb", labelled=False)
    method = _shaken(build("rgb", depth_at_test="prior"))
    found = method.predict(images)
    voxels = method.rgb_net(method._target_image(images)).voxels
    lifted = method.prior(voxels)[..., 2]
    expected_mm = (lifted - lifted[:, :1]) * 2000 / 8
    assert torch.allclose(found.z_root_mm, expected_mm, atol=1e-2)
    method.config = build("rgb").config
    assert not torch.allclose(method.predict(images).z_root_mm, expected_mm, atol=1.0)


def test_the_generator_learns_from_the_cycles_error(build: Make, batch: Make) -> None:
    """G gets the gradient; the frozen mask network only passes it on."""
    source = batch("parts")
    method = build("rgb", weight_lift=1.0).eval()
    method.mask_net.requires_grad_(False)
    stage = next(stage for stage in method.stages() if stage.name == "generator")
    assert "synthetic" in stage.after
    method.step(stage, {"source": source}, Progress(0, 0.0)).losses["lift"].backward()
    assert all(weight.grad is not None for weight in method.generator.parameters())
    assert all(weight.grad is None for weight in method.mask_net.parameters())
    without = build("rgb", weight_lift=0.0)
    stage = next(stage for stage in without.stages() if stage.name == "generator")
    assert stage.after == ()
    assert set(without.step(stage, {"source": source}, Progress(0, 0.0)).losses) == {"reconstruction"}


def test_a_share_of_the_labelled_2d_images_is_seen(build: Make, batch: Make) -> None:
    method = build("rgb", mix_share=0.5).eval()
    stage = next(stage for stage in method.stages() if stage.name == "adapt")
    seen = []
    method.rgb_net.register_forward_pre_hook(lambda _, images: seen.append(len(images[0])))
    batches = {"target": batch("rgb", labelled=False), "source": batch("parts"), "pretrain": batch("rgb")}
    method.step(stage, batches, Progress(0, 0.0))
    assert seen == [4 + 2]
