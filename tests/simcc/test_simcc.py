"""SimCC in three axes: size and attention by hand, the loss against SciPy, decoding, and that it learns."""

from __future__ import annotations

from typing import Any

import kt3d_simcc
import numpy as np
import pytest
import torch
from kt3d_simcc.method import SimCC3D, divergence
from kt3d_simcc.networks import GatedAttention, ScaleNorm, SimCCNet
from scipy.special import softmax
from scipy.stats import entropy

from kt3d_bench.errors import UsageError
from kt3d_bench.loading.batches import LabelledBatch
from kt3d_bench.method import MethodContext, Progress
from kt3d_bench.testing import tiny_batch

INPUT_PX = 32
ALL, NOTHING = torch.ones(17, dtype=torch.bool), torch.zeros(17, dtype=torch.bool)


def build(modality: str = "rgb", **settings: Any) -> SimCC3D:
    torch.manual_seed(0)
    config = SimCC3D.Config(**{**SimCC3D.PRESETS["tiny"], "input_px": INPUT_PX, "width": 32, **settings})
    return SimCC3D(config, MethodContext(modality, 0, "full", True))


def batch(mask_2d: torch.Tensor = ALL, mask_3d: torch.Tensor = ALL, count: int = 4) -> LabelledBatch:
    return tiny_batch(count, ("rgb",), input_px=INPUT_PX, seed=1, mask_2d=mask_2d, mask_3d=mask_3d)


def test_the_heads_size_by_hand() -> None:
    """256 px: 8 x 8 cells, vectors of 256, 512 hidden, 128 for keys, 512 bins along each axis."""
    with torch.device("meta"):
        net = SimCCNet(17, 256, backbone="resnet50", width=256, bins=512)
        logits = net(torch.empty(2, 3, 256, 256))
    maps, embed = 2048 * 17 * 49 + 2 * 17, 1 + 64 * 256
    attention = 2 * 256 + 256 * (512 + 512 + 128) + 4 * 128 + 512 * 256 + 256
    total = sum(each.numel() for each in net.parameters())
    assert total - sum(each.numel() for each in net.encoder.parameters()) == maps + embed + attention + 3 * 256 * 512
    assert logits.shape == (2, 17, 3, 512)


def test_attention_and_norm_by_hand() -> None:
    torch.manual_seed(0)
    unit = GatedAttention(4, 8)
    x = torch.randn(1, 3, 4)
    normed = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    given = normed @ unit.given.weight.T
    given = given * torch.sigmoid(given)
    gate, value, base = given[..., :8], given[..., 8:16], given[..., 16:]
    query, key = (base * unit.gamma[row] + unit.beta[row] for row in (0, 1))
    expected = x.clone()
    for one in range(3):
        pulled = sum(torch.relu(query[0, one] @ key[0, other] / 128**0.5) ** 2 * value[0, other] for other in range(3))
        expected[0, one] += unit.out.weight @ (gate[0, one] * pulled)
    torch.testing.assert_close(unit(x), expected, rtol=1e-4, atol=1e-5)
    assert ScaleNorm(2)(torch.tensor([3.0, 4.0])).tolist() == pytest.approx([3 / 12.5**0.5, 4 / 12.5**0.5])


def test_the_divergence_is_scipys() -> None:
    rng = np.random.default_rng(0)
    logits, places = rng.normal(size=(1, 2, 3, 20)), np.array([[[4.0, 7.3, 19.0], [0.0, np.nan, 25.0]]])
    known = np.array([[[True, True, True], [False, True, True]]])
    expected = []
    for joint, axis in ((0, 0), (0, 1), (0, 2)):
        label = np.exp(-((np.arange(20) - places[0, joint, axis]) ** 2) / (2 * 1.5**2))
        expected.append(entropy(softmax(10 * label), softmax(10 * logits[0, joint, axis])))
    found = divergence(torch.tensor(logits), torch.tensor(places), torch.tensor(known), 1.5)
    assert float(found) == pytest.approx(np.mean(expected)), "unknown, NaN and outside do not count"
    assert float(divergence(torch.tensor(logits), torch.tensor(places), torch.tensor(known & False), 1.5)) == 0.0


def test_a_place_and_back() -> None:
    """Logits that peak where the labels lie predict the labels to half a bin: a quarter pixel and 16 mm."""
    method, data = build(), batch()
    places = method._places(data)
    peaks = -(torch.arange(method.config.bins) - places[..., None]).square()
    method.net.forward = lambda image: peaks  # type: ignore[method-assign]
    estimate = method.predict(data)
    assert estimate.joints_px is not None
    assert estimate.z_root_mm is not None
    inside = (data.joints_px > 0) & (data.joints_px < INPUT_PX - 1)
    assert float((estimate.joints_px - data.joints_px).abs()[inside].max()) <= 0.25
    assert float((estimate.z_root_mm - data.joints_root_mm[..., 2]).abs().max()) <= 2000 / 64 + 1e-2
    assert estimate.root_z_mm is None


def test_flat_labels_teach_no_depth() -> None:
    method = build()
    stage = method.stages()[0]
    assert stage.roles == {"target": ("rgb",), "pretrain": ("rgb",)}
    assert build(mix_pretrain=0.0).stages()[0].roles == {"target": ("rgb",)}
    few = NOTHING.clone()
    few[[0, 3]] = True
    given = {"target": batch(ALL, NOTHING), "pretrain": batch(ALL, NOTHING, 3)}
    losses = method.step(stage, given, Progress(0, 0.0)).losses
    (losses["target"] + losses["pretrain"]).backward()
    assert [bool(along.weight.grad.any()) for along in method.net.along] == [True, True, False]  # type: ignore[union-attr]
    method.step(stage, {"target": batch(NOTHING, few)}, Progress(0, 0.0)).losses["target"].backward()
    assert bool(method.net.along[2].weight.grad.any())  # type: ignore[union-attr]
    assert all(each.grad is None or each.grad.isfinite().all() for each in method.parameters())


def test_it_learns_a_batch_by_heart() -> None:
    """The first steps are small, as in the method's schedule."""
    method, data = build(mix_pretrain=0.0, width=128), batch()
    stage, optimizer = method.stages()[0], torch.optim.Adam(method.parameters())
    method.train()
    for step in range(70):
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1, (step + 1) / 10)
        losses = method.step(stage, {"target": data}, Progress(step, step / 70)).losses
        optimizer.zero_grad()
        losses["target"].backward()
        optimizer.step()
    estimate = method.eval().predict(data)
    assert estimate.joints_px is not None
    assert estimate.z_root_mm is not None
    assert float((estimate.joints_px - data.joints_px).norm(dim=-1).mean()) < 1.0
    assert float((estimate.z_root_mm - data.joints_root_mm[..., 2]).abs().mean()) < 60


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input_px": 40}, "multiple of 32"),
        ({"batch_size": 1}, "at least 2"),
        ({"sigma": 0.0}, "sigma is above 0"),
        ({"sigma": float("nan")}, "sigma is above 0"),
        ({"mix_pretrain": -1.0}, "mix_pretrain not negative"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**settings)


def test_it_needs_rgb_images_and_3d_labels() -> None:
    with pytest.raises(UsageError, match="simcc-3d needs RGB targets"):
        build("depth")
    [plugin] = kt3d_simcc.kt3d_methods()
    assert set(plugin.presets) == set(SimCC3D.PRESETS)
    assert not {"none", "partial-2d", "full-2d"} & set(plugin.supervision)
