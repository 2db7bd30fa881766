"""DANN: the ramp and the losses by hand, whose gradient is turned round, and what the target tells."""

from __future__ import annotations

import math
from typing import Any

import kt3d_dann
import pytest
import torch
from kt3d_dann.method import Dann, ramp

from kt3d_bench.errors import UsageError
from kt3d_bench.loading.batches import UnlabelledBatch
from kt3d_bench.method import MethodContext, Progress
from kt3d_bench.testing import tiny_batch, unlabelled

INPUT_PX = 32


def build(modality: str = "depth", **settings: Any) -> Dann:
    torch.manual_seed(0)
    config = Dann.Config(**{**Dann.PRESETS["tiny"], "input_px": INPUT_PX, "hidden": 8, **settings})
    return Dann(config, MethodContext(modality, 0, "none", True))


def batches() -> dict[str, UnlabelledBatch]:
    source, target = (
        tiny_batch(count, ("depth",), input_px=INPUT_PX, seed=count, surface_mm=3900.0) for count in (4, 3)
    )
    return {"source": source, "target": unlabelled(target)}


def test_the_ramp() -> None:
    assert ramp(0.0) == 0.0
    assert ramp(0.5) == pytest.approx(math.tanh(2.5))
    assert ramp(1.0) == pytest.approx(math.tanh(5))


def test_the_classifier_learns_and_the_features_hide_by_hand() -> None:
    """The classifier's gradient is the loss's own; the encoder's is minus weight times ramp of what it would be."""
    method, given = build(weight_domain=0.3), batches()
    method.eval()
    stage = method.stages()[0]
    assert stage.roles == {"source": ("depth",), "target": ("depth",)}
    losses = method.step(stage, given, Progress(0, 0.2)).losses
    features = torch.cat([method.net.look(method._input(given[role]))[0] for role in ("source", "target")])
    logits = method.classifier(features)[:, 0]
    expected = (functional_log(logits[:4]).sum() + functional_log(-logits[4:]).sum()) / 7
    torch.testing.assert_close(losses["domain"], expected)
    (plain,) = torch.autograd.grad(expected, method.net.encoder.stem[0][0].weight, retain_graph=True)  # type: ignore[union-attr,index]
    own = torch.autograd.grad(expected, list(method.classifier.parameters()))
    (turned, *same) = torch.autograd.grad(
        losses["domain"],
        [method.net.encoder.stem[0][0].weight, *method.classifier.parameters()],  # type: ignore[union-attr,index]
    )
    torch.testing.assert_close(turned, -0.3 * ramp(0.2) * plain)
    for one, other in zip(same, own, strict=True):
        torch.testing.assert_close(one, other)


def functional_log(logits: torch.Tensor) -> torch.Tensor:
    """-log of the probability that an image is not of the target."""
    return torch.log1p(torch.exp(logits))


def test_the_pose_is_learned_from_the_source_alone() -> None:
    method, given = build(marginal_weight=0.0), batches()
    method.eval()
    losses = method.step(method.stages()[0], given, Progress(0, 0.0)).losses
    source = given["source"]
    voxels = method.net(method._input(source)).voxels
    xy = (source.joints_px + 0.5) / 4 - 0.5  # type: ignore[attr-defined]
    z = (source.joints_root_mm[..., 2:] / 2000 + 0.5) * 8 - 0.5  # type: ignore[attr-defined]
    apart = 8 * (voxels - torch.cat([xy, z], -1)).abs()
    torch.testing.assert_close(losses["pose"], torch.where(apart < 1, apart.square() / 2, apart - 0.5).mean())
    others = {**given, "target": unlabelled(tiny_batch(3, ("depth",), input_px=INPUT_PX, seed=9, surface_mm=3900.0))}
    again = method.step(method.stages()[0], others, Progress(0, 0.0)).losses
    assert torch.equal(again["pose"], losses["pose"])
    assert torch.equal(again["offset"], losses["offset"])
    assert not torch.equal(again["domain"], losses["domain"])


def test_predictions_are_absolute() -> None:
    with torch.no_grad():
        estimate = build().eval().predict(batches()["target"])
    assert estimate.joints_px is not None
    assert estimate.z_root_mm is not None
    assert estimate.root_z_mm is not None
    assert estimate.joints_px.shape == (3, 17, 2)
    assert float(estimate.z_root_mm[:, 0].abs().max()) == 0.0
    assert estimate.root_z_mm.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "message"), [({"input_px": 36}, "multiple of 8"), ({"weight_domain": -1.0}, "not negative")]
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**settings)


def test_it_needs_depth_images_and_no_labels_of_the_target() -> None:
    with pytest.raises(UsageError, match="dann needs depth targets"):
        build("rgb")
    [plugin] = kt3d_dann.kt3d_methods()
    assert set(plugin.presets) == set(Dann.PRESETS)
    assert plugin.supervision == ("none",)
