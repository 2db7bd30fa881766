from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from kt3d_floor.martinez import DEPTH_UNIT_MM, Martinez, normalised
from kt3d_floor.mean_pose import MeanPose, MeanPoseOracle

from kt3d_bench.errors import UsageError
from kt3d_bench.method import Method, MethodContext, Progress
from kt3d_bench.plugins import registry
from kt3d_bench.testing import tiny_batch, tiny_people, unlabelled


def context(modality: str = "rgb") -> MethodContext:
    return MethodContext(target_modality=modality, num_parts=3, supervision="none", transfers=True)


def build(kind: type[Method], modality: str = "rgb", **settings: Any) -> Method:
    torch.manual_seed(0)
    preset = dict(kind.PRESETS["tiny"])
    return kind(kind.Config(**{**preset, **settings}), context(modality))


def test_mean_pose_is_the_mean_of_what_is_labelled() -> None:
    joints = tiny_people(7)
    joints[2, 5] = float("nan")
    joints[:, 9] = float("nan")
    method = build(MeanPose)
    (stage,) = method.stages()
    assert stage.roles == {"source": ()}
    for rows in (joints[:3], joints[3:]):
        result = method.step(stage, {"source": tiny_batch(joints_cam_mm=rows)}, Progress(0, 0.0))
        assert not result.losses
    expected = np.nanmean((joints - joints[:, :1])[:, [*range(9), *range(10, 17)]].numpy(), axis=0)
    estimate = method.predict(unlabelled(tiny_batch(2, seed=4)))
    assert estimate.joints_root_mm is not None
    found = estimate.joints_root_mm.numpy()
    assert found.shape == (2, 17, 3)
    np.testing.assert_allclose(found[1][[*range(9), *range(10, 17)]], expected, atol=1e-3)
    assert np.isnan(found[:, 9]).all(), "a joint that was never seen is no answer"
    assert estimate.root_z_mm is None, "RGB shows no surface"


def test_mean_pose_learns_how_deep_the_hip_lies_behind_the_surface() -> None:
    method = build(MeanPose, "depth")
    (stage,) = method.stages()
    assert stage.roles == {"source": ("depth",)}
    method.step(stage, {"source": tiny_batch(6, surface_mm=3880.0)}, Progress(0, 0.0))
    estimate = method.predict(unlabelled(tiny_batch(2, surface_mm=2000.0)))
    assert estimate.root_z_mm is not None
    assert estimate.root_z_mm.tolist() == pytest.approx([2120.0, 2120.0])


def test_the_oracle_says_what_it_is() -> None:
    (stage,) = build(MeanPoseOracle).stages()
    assert set(stage.roles) == {"target"}
    assert registry.method("mean-pose-oracle").supervision == ("full",)
    for name in ("mean-pose", "martinez"):
        assert registry.method(name).supervision == ("none",)
        assert "target" not in {role for s in plugin_stages(name) for role in s.roles}


def plugin_stages(name: str) -> Any:
    return build(registry.load(registry.method(name).load)).stages()


def test_normalised_poses_forget_place_and_scale() -> None:
    joints = torch.randn(4, 17, 2)
    moved = 3.7 * joints + torch.tensor([20.0, -5.0])
    torch.testing.assert_close(normalised(moved), normalised(joints))
    assert normalised(joints)[:, 0].abs().max() == 0
    assert normalised(joints).square().sum(-1).mean(-1).tolist() == pytest.approx([1.0] * 4)


def test_the_lifter_learns_a_depth_that_the_image_tells() -> None:
    method = build(Martinez, width=64, dropout=0.0, noise=0.0, cameras="source")
    assert isinstance(method, Martinez)
    _, stage = method.stages()
    assert stage.roles == {"source": ()}
    method.train()
    optimizer = torch.optim.Adam(method.lifter.parameters(), 1e-3)
    losses = []
    for step in range(200):
        result = method.step(stage, {"source": tiny_batch(64, seed=step)}, Progress(step, step / 200))
        optimizer.zero_grad()
        result.losses["depth"].backward()
        optimizer.step()
        losses.append(float(result.losses["depth"].detach()))
    assert np.mean(losses[-10:]) < 0.5 * losses[0]
    method.eval()
    joints = tiny_people(32, seed=999)
    with torch.no_grad():
        depth = method.lifter(normalised(tiny_batch(joints_cam_mm=joints).joints_px)) * DEPTH_UNIT_MM
    truth = (joints - joints[:, :1])[..., 2]
    assert float((depth - truth).abs().mean()) < 0.6 * float(truth.abs().mean())


def test_hidden_joints_do_not_teach_the_lifter() -> None:
    method = build(Martinez, width=16, dropout=0.0, noise=0.0, cameras="source")
    joints = tiny_people(8)
    joints[:, 4] = float("nan")
    loss = method.step(method.stages()[1], {"source": tiny_batch(joints_cam_mm=joints)}, Progress(0, 0.0)).losses[
        "depth"
    ]
    loss.backward()
    assert torch.isfinite(loss)
    assert isinstance(method, Martinez)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.lifter.parameters())
    assert method.lifter.last.weight.grad is not None
    assert method.lifter.last.weight.grad[4].abs().max() == 0
    assert method.lifter.last.weight.grad[5].abs().max() > 0


def test_virtual_cameras_need_unturned_images_and_a_stage_of_their_own() -> None:
    virtual, own = (build(Martinez, cameras=name).stages()[1] for name in ("virtual", "source"))
    assert (virtual.augment, own.augment) == (False, True)
    assert virtual.recipe != own.recipe


def test_hidden_joints_do_not_teach_the_lifter_before_virtual_cameras_either() -> None:
    method = build(Martinez, width=16, dropout=0.0, noise=0.0)
    joints = tiny_people(8)
    spine = 7  # Its own mirror image
    joints[:, spine] = float("nan")
    losses = method.step(method.stages()[1], {"source": tiny_batch(joints_cam_mm=joints)}, Progress(0, 0.0)).losses
    losses["depth"].backward()
    assert isinstance(method, Martinez)
    assert bool(method.lifter.up_total.any())
    gradient = method.lifter.last.weight.grad
    assert gradient is not None
    assert gradient[spine].abs().max() == 0
    assert gradient[5].abs().max() > 0


def test_martinez_predicts_and_shares_the_2d_stage() -> None:
    method = build(Martinez, width=16).eval()
    with torch.no_grad():
        estimate = method.predict(unlabelled(tiny_batch(3)))
    assert estimate.joints_px is not None
    assert estimate.z_root_mm is not None
    assert estimate.joints_px.shape == (3, 17, 2)
    assert estimate.z_root_mm[:, 0].abs().max() == 0
    other = build(registry.load("kt3d_integral_pose.method:IntegralPose"))
    shared, same = method.stages()[0], other.stages()[0]
    assert shared == same
    ours, theirs = method.state_dict(), other.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs if name.startswith("rgb_net."))


def test_martinez_needs_rgb() -> None:
    with pytest.raises(UsageError, match="needs RGB targets"):
        build(Martinez, "depth")


@pytest.mark.parametrize("settings", [{"input_px": 50}, {"dropout": 1.0}, {"noise": -1.0}])
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected a multiple|dropout lies"):
        Martinez.Config(**settings)
