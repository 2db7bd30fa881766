from __future__ import annotations

from typing import Any

import pytest
import torch
from kt3d_integral_pose.method import IntegralPose

from kt3d_bench.loading.batches import LabelledBatch
from kt3d_bench.method import MethodContext, Progress
from kt3d_bench.plugins import registry
from kt3d_bench.testing import tiny_batch

INPUT_PX = 32


def build(modality: str = "rgb", **settings: Any) -> IntegralPose:
    torch.manual_seed(0)
    config = IntegralPose.Config(**{**IntegralPose.PRESETS["tiny"], "input_px": INPUT_PX, **settings})
    return IntegralPose(config, MethodContext(modality, 0, "full", True))


def batch(mask_2d: torch.Tensor, mask_3d: torch.Tensor, count: int = 4) -> LabelledBatch:
    return tiny_batch(
        count, ("rgb", "depth"), input_px=INPUT_PX, seed=1, mask_2d=mask_2d, mask_3d=mask_3d, surface_mm=3900.0
    )


ALL, NOTHING = torch.ones(17, dtype=torch.bool), torch.zeros(17, dtype=torch.bool)


def test_stages_by_modality() -> None:
    assert [stage.name for stage in build().stages()] == ["pretrain-2d", "supervised"]
    assert [stage.name for stage in build(pretrain_2d=False).stages()] == ["supervised"]
    (depth,) = build("depth").stages()
    assert depth.roles == {"target": ("depth",)}
    assert depth.trains == ("depth_net",)
    assert "none" not in registry.method("integral-pose").supervision


def test_the_loss_is_the_mean_absolute_error_in_64ths_over_three_axes() -> None:
    method = build(marginal_weight=0.0)
    data = batch(ALL, ALL)
    losses = method.step(method.stages()[-1], {"target": data}, Progress(0, 0.0)).losses
    from kt3d_bench.nn.images import rgb_input

    voxels = method.net(rgb_input(data.images["rgb"])).voxels
    x = (data.joints_px[..., 0] + 0.5) / 4 - 0.5
    y = (data.joints_px[..., 1] + 0.5) / 4 - 0.5
    z = (data.joints_root_mm[..., 2] / 2000 + 0.5) * 8 - 0.5
    expected = 8 * (voxels - torch.stack([x, y, z], -1)).abs().mean()
    torch.testing.assert_close(sum(losses.values()), expected)


@pytest.mark.parametrize("loss", ["l1", "smooth-l1"])
def test_only_granted_joints_teach(loss: str) -> None:
    method = build(loss=loss)
    few = NOTHING.clone()
    few[[0, 3]] = True
    stage = method.stages()[-1]
    planar = method.step(stage, {"target": batch(few, NOTHING)}, Progress(0, 0.0)).losses
    assert float(planar["z"].detach()) == 0.0
    assert float(planar["xy"].detach()) > 0
    sum(planar.values()).backward()  # type: ignore[union-attr]
    last = method.net.decoder.last  # type: ignore[union-attr]
    weight: torch.Tensor = last.weight.grad.view(17, -1)  # type: ignore[union-attr,operator,assignment]
    taught = weight.abs().amax(1) > 0
    assert taught.nonzero().flatten().tolist() == [0, 3]
    assert weight.isfinite().all()
    deep = method.step(stage, {"target": batch(NOTHING, few)}, Progress(0, 0.0)).losses
    assert float(deep["xy"].detach()) > 0
    assert float(deep["z"].detach()) > 0


def test_2d_images_are_mixed_into_the_supervised_stage() -> None:
    method = build()
    assert method.stages()[-1].roles == {"target": ("rgb",), "pretrain": ("rgb",)}
    assert build(mix_pretrain=0.0).stages()[-1].roles == {"target": ("rgb",)}
    assert build("depth").stages()[-1].roles == {"target": ("depth",)}
    seen = []
    method.rgb_net.register_forward_pre_hook(lambda _, images: seen.append(len(images[0])))
    flat = batch(ALL, ~ALL, 3)
    losses = method.step(method.stages()[-1], {"target": batch(ALL, ALL), "pretrain": flat}, Progress(0, 0.0)).losses
    assert seen == [4 + 3]
    assert float(losses["pretrain"]) > 0
    without = method.step(method.stages()[-1], {"target": batch(ALL, ALL)}, Progress(0, 0.0)).losses
    assert "pretrain" not in without


def test_it_learns_a_batch_by_heart() -> None:
    method = build("depth", learning_rate=3e-3)
    method.train()
    stage, data = method.stages()[-1], batch(ALL, ALL)
    optimizer = torch.optim.Adam(method.parameters(), 3e-3)
    totals = []
    for step in range(80):
        losses = method.step(stage, {"target": data}, Progress(step, step / 80)).losses
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.5 * totals[0]
    estimate = method.eval().predict(data)
    assert estimate.root_z_mm is not None
    assert float((estimate.root_z_mm.detach() - 4000).abs().mean()) < 90
    assert estimate.z_root_mm is not None
    assert estimate.z_root_mm[:, 0].abs().max() == 0


def test_rgb_estimates_no_absolute_depth() -> None:
    assert build().eval().predict(batch(ALL, ALL)).root_z_mm is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input_px": 50}, "multiple of 8"),
        ({"batch_size": 1}, "at least 2"),
        ({"mix_pretrain": -1.0}, "mix_pretrain is -1.0, expected a finite number from 0 on"),
        ({"weight_offset": float("nan")}, "weight_offset is nan"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IntegralPose.Config(**settings)
