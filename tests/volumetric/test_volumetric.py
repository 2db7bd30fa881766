"""Coarse to fine: the network's size and wiring by hand, heat maps and losses by hand, decoding, and that it learns."""

from __future__ import annotations

import math
from typing import Any

import kt3d_volumetric
import numpy as np
import pytest
import torch
from kt3d_volumetric.method import Volumetric, wanted_volumes
from kt3d_volumetric.networks import CoarseToFine, Hourglass, Residual

from kt3d_bench.errors import UsageError
from kt3d_bench.loading.batches import LabelledBatch
from kt3d_bench.method import MethodContext, Progress
from kt3d_bench.testing import tiny_batch
from kt3d_bench.training import exporting
from kt3d_bench.training.graph import Graph

INPUT_PX = 32
ALL, NOTHING = torch.ones(17, dtype=torch.bool), torch.zeros(17, dtype=torch.bool)


def build(modality: str = "rgb", **settings: Any) -> Volumetric:
    torch.manual_seed(0)
    config = Volumetric.Config(**{**Volumetric.PRESETS["tiny"], "input_px": INPUT_PX, "levels": 1, **settings})
    return Volumetric(config, MethodContext(modality, 0, "full", True))


def batch(mask_3d: torch.Tensor = ALL, count: int = 4) -> LabelledBatch:
    return tiny_batch(count, ("rgb",), input_px=INPUT_PX, seed=1, mask_2d=ALL, mask_3d=mask_3d)


def test_the_full_network_has_the_size_of_its_layers() -> None:
    """Four hourglasses for 1, 2, 4 and 64 bins as released; every convolution has a bias, every norm two numbers per
    channel."""

    def conv(given: int, channels: int, kernel: int = 1) -> int:
        return given * channels * kernel**2 + channels

    def residual(given: int, channels: int) -> int:
        half = channels // 2
        norms = 2 * (given + half + half)
        body = conv(given, half) + conv(half, half, 3) + conv(half, channels)
        return norms + body + (conv(given, channels) if given != channels else 0)

    def hourglass(given: int, levels: int) -> int:
        full = residual(given, 256) + residual(256, 256) + residual(256, 512)
        down = residual(given, 256) + 2 * residual(256, 256)
        inner = hourglass(256, levels - 1) if levels > 1 else residual(256, 512)
        return full + down + inner + residual(512, 512)

    def linear(given: int, channels: int) -> int:
        return conv(given, channels) + 2 * channels

    total = conv(3, 64, 7) + 2 * 64 + residual(64, 128) + 2 * residual(128, 128) + residual(128, 256)
    for given, bins in ((256, 1), (384, 2), (512, 4), (512, 64)):
        last = bins == 64
        total += hourglass(given, 4) + linear(512, 512) + linear(512, 512 if last else 256)
        total += conv(512 if last else 256, 17 * bins)
    total += sum(conv(wide, wide) + conv(17 * bins, wide) for wide, bins in ((384, 1), (512, 2), (512, 4)))
    with torch.device("meta"):
        net = CoarseToFine(17, (1, 2, 4, 64), levels=4, width=256)
        volumes = net(torch.empty(2, 3, 256, 256))
    assert sum(each.numel() for each in net.parameters()) == total == 53_585_847
    assert [tuple(each.shape) for each in volumes] == [(2, 17, bins, 64, 64) for bins in (1, 2, 4, 64)]


def test_an_hourglass_adds_its_two_branches() -> None:
    """Without its full-size branch, its answer is the same in every block of 2 x 2."""
    hourglass = Hourglass(4, 8, 1, 4).eval()
    x = torch.randn(1, 4, 8, 8)
    whole, half = hourglass(x), hourglass.up(hourglass.down(x))
    torch.testing.assert_close(whole - hourglass.full(x), half)
    assert torch.equal(half[..., ::2, ::2], half[..., 1::2, 1::2])
    assert float(half.std().detach()) > 0


def test_a_residual_by_hand() -> None:
    unit = Residual(2, 4).eval()
    x = torch.randn(3, 2, 1, 1)
    norm, mid = (1 + 1e-5) ** -0.5, x[..., 0, 0]
    weights = [unit.body[index].weight for index in (2, 5, 8)]  # type: ignore[union-attr]
    biases = [unit.body[index].bias for index in (2, 5, 8)]  # type: ignore[union-attr]
    for weight, bias in zip(weights, biases, strict=True):
        middle = weight.shape[-1] // 2
        mid = torch.relu(mid * norm) @ weight[:, :, middle, middle].T + bias  # type: ignore[operator,union-attr,index]
    assert isinstance(unit.shortcut, torch.nn.Conv2d)
    assert unit.shortcut.bias is not None
    around = x[..., 0, 0] @ unit.shortcut.weight[..., 0, 0].T + unit.shortcut.bias
    torch.testing.assert_close(unit(x)[..., 0, 0], mid + around)


def test_an_hourglass_sees_what_the_one_before_it_said() -> None:
    net = CoarseToFine(17, (1, 2, 4), levels=1, width=8).eval()
    image = torch.rand(1, 3, 32, 32)
    before = net(image)
    with torch.no_grad():
        net.again[0].weight.mul_(3.0)  # type: ignore[operator,union-attr]
    after = net(image)
    assert [torch.equal(one, other) for one, other in zip(before, after, strict=True)] == [True, False, False]


def test_wanted_volumes_by_hand() -> None:
    """A cube of 8: with 16 bins of depth a Gaussian is twice as wide along z; with 2 bins the joint's bin counts."""
    places = torch.tensor([[[2.0, 5.0, 3.5], [1.5, 0.0, 9.0]]])
    fine = wanted_volumes(places, 8, 16, 1.0)
    assert fine.shape == (1, 2, 16, 8, 8)
    assert float(fine[0, 0, 8, 5, 3]) == pytest.approx(math.exp(-(1 + (0.5 / 2) ** 2) / 2))
    coarse = wanted_volumes(places, 8, 2, 1.0)
    assert coarse[0, 0, :, 5, 2].tolist() == pytest.approx([1.0, math.exp(-1 / (2 * 0.25**2))])
    assert coarse[0, 1, :, 0, 1].tolist() == pytest.approx([math.exp(-(1 / 0.25**2 + 0.25) / 2), math.exp(-0.125)])
    flat = wanted_volumes(places, 8, 1, 1.0)
    assert float(flat[0, 0, 0, 5, 2]) == 1.0


def test_the_losses_are_mean_squared_errors_of_known_joints() -> None:
    few = NOTHING.clone()
    few[[0, 3]] = True
    method, data = build().eval(), batch(few)
    losses = method.step(method.stages()[0], {"target": data}, Progress(0, 0.0)).losses
    assert list(losses) == ["hourglass 1", "hourglass 2"]
    volume = method.net((data.images["rgb"] - IMAGENET[0]) / IMAGENET[1])[1].detach()
    total = []
    for sample in range(4):
        for joint in (0, 3):
            x, y = (float(data.joints_px[sample, joint, axis] + 0.5) / 4 - 0.5 for axis in (0, 1))
            z = (float(data.joints_root_mm[sample, joint, 2]) / 2000 + 0.5) * 16 - 0.5
            at = torch.meshgrid(torch.arange(16.0), torch.arange(8.0), torch.arange(8.0), indexing="ij")
            apart = ((at[0] - z) / 2) ** 2 + (at[1] - y) ** 2 + (at[2] - x) ** 2
            total.append((volume[sample, joint] - torch.exp(-apart / 2)).square().mean())
    torch.testing.assert_close(losses["hourglass 2"].detach(), torch.stack(total).mean())
    torch.stack(list(losses.values())).sum().backward()
    for output, bins in zip(method.net.outputs, (1, 16), strict=True):
        gradient = output.weight.grad.view(17, bins, -1).abs().amax((1, 2))  # type: ignore[union-attr,operator]
        own = gradient.nonzero().flatten().tolist()
        assert own == ([0, 3] if bins == 16 else list(range(17))), "the first is also told what the second needs"
    nothing = method.step(method.stages()[0], {"target": batch(NOTHING)}, Progress(0, 0.0)).losses
    assert [float(each.detach()) for each in nothing.values()] == [0.0, 0.0]


IMAGENET = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, None, :, None, None]


@pytest.mark.parametrize(("decode", "px", "mm"), [("peak", 2.0, 62.6), ("mean", 1.6, 50.0)])
def test_a_place_and_back(decode: str, px: float, mm: float) -> None:
    """Volumes that are what is wanted predict the labels to half a bin, 2 px and 62.5 mm, or less."""
    method, data = build(decode=decode), batch()
    places = torch.cat([(data.joints_px + 0.5) / 4 - 0.5, (data.joints_root_mm[..., 2:] / 2000 + 0.5) * 8 - 0.5], -1)
    volumes = [wanted_volumes(places, 8, bins, 1.0) for bins in (1, 16)]
    method.net.forward = lambda image: volumes  # type: ignore[method-assign]
    estimate = method.predict(data)
    assert estimate.joints_px is not None
    assert estimate.z_root_mm is not None
    inside = ((places > 0.5) & (places < 6.5)).all(-1) & (places[:, :1] > 0).all(-1)
    assert int(inside.sum()) > 20
    assert float((estimate.joints_px - data.joints_px).abs()[inside].max()) <= px + 1e-3
    depth = estimate.z_root_mm - data.joints_root_mm[..., 2]
    assert float(depth.abs()[inside].max()) <= 2 * mm, "the hip is off by as much"
    assert float(estimate.z_root_mm[:, 0].abs().max()) == 0.0
    assert estimate.root_z_mm is None


def test_it_learns_a_batch_by_heart() -> None:
    method, data = build(width=64, depths=(1, 8)), batch(count=2)
    stage, optimizer = method.stages()[0], torch.optim.Adam(method.parameters())
    method.train()
    for step in range(60):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / 60)
        losses = method.step(stage, {"target": data}, Progress(step, step / 60)).losses
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    with torch.no_grad():
        found = method.predict(data)
    assert found.joints_px is not None
    assert found.z_root_mm is not None
    assert float((found.joints_px - data.joints_px).norm(dim=-1).median()) < 2.0
    assert float((found.z_root_mm - data.joints_root_mm[..., 2]).abs().median()) < 125


@pytest.mark.parametrize("decode", ["peak", "mean"])
def test_it_becomes_an_onnx_graph(decode: str) -> None:
    """Traced with two images, asked about five."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    method, data = build(width=8, decode=decode).eval(), batch(count=5)
    for output in method.net.outputs:
        torch.nn.init.normal_(output.weight)  # type: ignore[arg-type]
    names = ("joints_px", "z_root_mm")
    traced = exporting._traced(Graph(method, ("rgb",)), {"rgb": data.images["rgb"][:2]}, "run")
    found = exporting.run_onnx(exporting._onnx_bytes(traced, ("rgb",), names, {}), {"rgb": data.images["rgb"].numpy()})
    with torch.no_grad():
        expected = method.predict(data)
    for name in names:
        np.testing.assert_allclose(found[name], getattr(expected, name), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input_px": 36}, "multiple of 8"),
        ({"input_px": 96, "levels": 4}, "multiple of 64"),
        ({"width": 30}, "multiple of 4"),
        ({"depths": ()}, "number of bins"),
        ({"depths": (1, 0)}, "at least 1"),
        ({"batch_size": 1}, "at least 2"),
        ({"sigma": float("nan")}, "sigma above 0"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**settings)


def test_it_needs_rgb_images_and_3d_labels() -> None:
    with pytest.raises(UsageError, match="volumetric needs RGB targets"):
        build("depth")
    [plugin] = kt3d_volumetric.kt3d_methods()
    assert set(plugin.presets) == set(Volumetric.PRESETS)
    assert not {"none", "partial-2d", "full-2d"} & set(plugin.supervision)
