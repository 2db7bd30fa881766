from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from kt3d_floor.martinez import DEPTH_UNIT_MM, Martinez, normalised
from kt3d_floor.mean_pose import MeanPose, MeanPoseOracle

from kt3d_bench.errors import UsageError
from kt3d_bench.method import Method, MethodContext, Progress
from kt3d_bench.nn.images import rgb_input
from kt3d_bench.nn.layers import ResidualMlp
from kt3d_bench.plugins import registry
from kt3d_bench.testing import tiny_batch, tiny_people, unlabelled


def build(kind: type[Method], modality: str = "rgb", supervision: str = "none", **settings: Any) -> Method:
    torch.manual_seed(0)
    preset = dict(kind.PRESETS["tiny"])
    return kind(kind.Config(**{**preset, **settings}), MethodContext(modality, 3, supervision, transfers=True))


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
    assert registry.method("mean-pose").supervision == ("none",)
    for name in ("mean-pose", "martinez"):
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


def test_the_lifter_has_the_published_size() -> None:
    """Martinez et al.: 16 joints, 32 numbers in and 48 out, by hand: 4.29 M."""
    linear, hidden = 33 * 1024 + 1025 * 48, 4 * 1025 * 1024
    lifter = ResidualMlp(32, 48, width=1024, dropout=0.5)
    assert sum(each.numel() for each in lifter.parameters()) == linear + hidden + 5 * 2 * 1024 == 4_291_632


@pytest.mark.parametrize(
    ("level", "stages"),
    [
        ("none", ["pretrain-2d", "lift"]),
        ("partial", ["pretrain-2d", "lift", "supervised"]),
        ("partial-3d", ["pretrain-2d", "lift", "supervised"]),
        ("full", ["pretrain-2d", "supervised"]),
        ("full-3d", ["pretrain-2d", "supervised"]),
    ],
)
def test_martinez_reads_what_its_level_needs(level: str, stages: list[str]) -> None:
    assert level in registry.method("martinez").supervision
    found = build(Martinez, supervision=level).stages()
    assert [stage.name for stage in found] == stages
    assert {stage.name: stage for stage in build(Martinez).stages()}.items() >= {
        stage.name: stage for stage in found if stage.name != "supervised"
    }.items()
    assert found[-1].after == (() if level == "none" else tuple(stages[:-1]))


def test_labels_of_the_target_teach_both_networks_by_hand() -> None:
    """The 2D loss as the 2D stage has it; the lifter's input is what the network finds, and tells it nothing back."""
    method = build(Martinez, supervision="full", width=16, dropout=0.0, marginal_weight=0.0, input_px=32)
    assert isinstance(method, Martinez)
    few = torch.zeros(17, dtype=torch.bool)
    few[[0, 3]] = True
    batch = tiny_batch(4, ("rgb",), input_px=32, seed=1, mask_2d=few & False, mask_3d=few)
    method.eval()
    stage = method.stages()[-1]
    losses = method.step(stage, {"target": batch}, Progress(0, 0.0)).losses
    voxels = method.rgb_net(rgb_input(batch.images["rgb"])).voxels
    apart = 8 * ((voxels[..., :2] + 0.5) * 4 - 0.5 - batch.joints_px)[:, [0, 3]].abs() / 4
    expected = torch.where(apart < 1, apart.square() / 2, apart - 0.5).mean()
    torch.testing.assert_close(losses["2d"], expected)
    depth = method.lifter(normalised((voxels[..., :2] + 0.5) * 4 - 0.5))
    off = (depth - batch.joints_root_mm[..., 2] / 100)[:, [0, 3]].abs()
    torch.testing.assert_close(losses["depth"], torch.where(off < 1, off.square() / 2, off - 0.5).mean())
    losses["depth"].backward()
    assert all(parameter.grad is None for parameter in method.rgb_net.parameters())
    gradient = method.lifter.last.weight.grad
    assert gradient is not None
    assert gradient.abs().amax(1).nonzero().flatten().tolist() == [0, 3]


def test_martinez_needs_rgb() -> None:
    with pytest.raises(UsageError, match="needs RGB targets"):
        build(Martinez, "depth")


@pytest.mark.parametrize("settings", [{"input_px": 50}, {"dropout": 1.0}, {"noise": -1.0}, {"marginal_weight": -1.0}])
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected a multiple|dropout lies|not negative"):
        Martinez.Config(**settings)


def test_the_recipes_of_all_methods_leave_none_out() -> None:
    recipes = [registry.recipe(name) for name in ("depth-methods", "rgb-methods")]
    untrained = {"blazepose", "mean-pose-oracle"}
    ours = {name for name, plugin in registry.methods().items() if plugin.load.startswith("kt3d_")}
    assert {row.method for recipe in recipes for row in recipe.rows} == ours - untrained
