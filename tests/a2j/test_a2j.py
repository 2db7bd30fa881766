"""A2J: parameters of the published network, anchors and votes by hand, losses by hand, and that it learns."""

from __future__ import annotations

from typing import Any

import kt3d_a2j
import pytest
import torch
from kt3d_a2j.method import A2J, smooth_l1_over
from kt3d_a2j.networks import AnchorNet, Votes, anchors_px

from kt3d_bench.errors import UsageError
from kt3d_bench.loading.batches import LabelledBatch
from kt3d_bench.method import MethodContext, Progress
from kt3d_bench.testing import tiny_batch

INPUT_PX = 32
ALL, NOTHING = torch.ones(17, dtype=torch.bool), torch.zeros(17, dtype=torch.bool)


def build(modality: str = "depth", **settings: Any) -> A2J:
    torch.manual_seed(0)
    config = A2J.Config(**{**A2J.PRESETS["tiny"], "input_px": INPUT_PX, **settings})
    return A2J(config, MethodContext(modality, 0, "full", True))


def batch(mask_3d: torch.Tensor = ALL, count: int = 4) -> LabelledBatch:
    return tiny_batch(count, ("depth",), input_px=INPUT_PX, seed=1, mask_2d=ALL, mask_3d=mask_3d, surface_mm=3900.0)


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_full_network_has_the_published_size() -> None:
    """15 joints and three channels, as released: 42.8 M parameters, 19.3 M of them in the heads, by hand from layers of
    3 x 3 convolutions with bias and batch norm."""
    with torch.device("meta"):
        net = AnchorNet(3, 15, backbone="resnet50", width=256, layers=4)
        votes = net(torch.empty(1, 3, 288, 288))
    deep, middle = (9 * channels * 256 + 256 + 2 * 256 for channels in (2048, 1024))
    hidden = 3 * (9 * 256 * 256 + 256 + 2 * 256)
    last = {channels: 9 * 256 * channels + channels for channels in (16 * 15, 16 * 30)}
    heads = deep + hidden + last[480] + deep + hidden + last[240] + middle + hidden + last[240]
    assert count(net) - count(net.encoder) == heads
    assert round(heads / 1e6, 1) == 19.3
    assert count(net.encoder) == 25_557_032 - 2_049_000, "torchvision's ResNet-50 without its classifier"
    assert round(count(net) / 1e6, 1) == 42.8
    assert votes.offsets_px.shape == (1, 72 * 72, 15, 2)
    assert votes.depths.shape == votes.weights.shape == (1, 72 * 72, 15)


def test_anchors_are_the_middles_of_four_by_four_pixels() -> None:
    found = anchors_px(8)
    assert found.tolist() == [[1.5, 1.5], [5.5, 1.5], [1.5, 5.5], [5.5, 5.5]]


@pytest.mark.parametrize("backbone", ["tiny", "resnet50"])
def test_a_vote_belongs_to_the_cell_of_its_anchor(backbone: str) -> None:
    """A head whose output lies in one cell alone moves the anchors inside that cell and no others."""
    net = AnchorNet(2, 3, backbone=backbone, width=8, layers=1)
    side = 64 // net.stride
    k = net.stride // 4
    maps = torch.zeros(1, k * k * 3 * 2, side, side)
    maps[..., 1, 0] = 1.0
    moved = net._per_anchor(maps)[0].abs().sum((1, 2)) > 0
    places = anchors_px(64)
    inside = (places[:, 1] >= net.stride) & (places[:, 1] < 2 * net.stride) & (places[:, 0] < net.stride)
    assert torch.equal(moved, inside)
    maps = torch.arange(k * k * 3 * 2.0).view(1, -1, 1, 1)
    assert torch.equal(net._per_anchor(maps), maps.view(1, k * k, 3, 2))


def test_votes_are_weighted_means() -> None:
    votes = Votes(
        anchors_px=torch.tensor([[0.0, 0.0], [8.0, 4.0]]),
        offsets_px=torch.tensor([[[[2.0, 0.0]], [[-2.0, 4.0]]]]),
        depths=torch.tensor([[[10.0], [30.0]]]),
        weights=torch.tensor([[[0.25], [0.75]]]),
    )
    assert votes.anchors().tolist() == [[[6.0, 3.0]]]
    assert votes.joints_px().tolist() == [[[5.0, 6.0]]]
    assert votes.depth().tolist() == [[25.0]]


def test_the_losses_by_hand() -> None:
    """Thresholds 1 px and 3 units of 20 mm; offsets and depth count five times."""
    found = torch.tensor([[[0.5, 3.0], [7.0, 7.0]]])
    truth = torch.tensor([[[0.0, 0.0], [float("nan"), 0.0]]])
    known = torch.tensor([[True, False]])
    assert float(smooth_l1_over(found, truth, known, 1.0)) == pytest.approx((0.125 + 2.5) / 2)
    assert float(smooth_l1_over(torch.tensor([[2.0, 9.0]]), torch.zeros(1, 2), torch.tensor([[True, True]]), 3.0)) == (
        pytest.approx((4 / 6 + 7.5) / 2)
    )
    assert float(smooth_l1_over(found, truth, known & False, 1.0)) == 0.0
    method, data = build(), batch()
    votes = method.net(method._input(data))
    losses = method.step(method.stages()[0], {"target": data}, Progress(0, 0.0)).losses
    depth = (data.joints_cam_mm[..., 2] - 3900) / 20
    expected = {
        "anchors": huber(votes.anchors() - data.joints_px, 1.0),
        "offsets": 5 * huber(votes.joints_px() - data.joints_px, 1.0),
        "depth": 5 * huber(votes.depth() - depth, 3.0),
    }
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)


def huber(apart: torch.Tensor, threshold: float) -> torch.Tensor:
    size = apart.abs()
    return torch.where(size <= threshold, size.square() / (2 * threshold), size - threshold / 2).mean()


def test_only_joints_with_3d_labels_teach() -> None:
    few = NOTHING.clone()
    few[[0, 3]] = True
    method = build(layers=1)
    losses = method.step(method.stages()[0], {"target": batch(few)}, Progress(0, 0.0)).losses
    torch.stack(list(losses.values())).sum().backward()
    for head, per_vote in ((method.net.offset_head, 2), (method.net.depth_head, 1), (method.net.weight_head, 1)):
        gradient = head[-1].weight.grad.view(4, 17, per_vote, -1).abs().amax((0, 2, 3))  # type: ignore[union-attr,operator]
        assert gradient.nonzero().flatten().tolist() == [0, 3]


def test_it_learns_a_batch_by_heart() -> None:
    method, data = build(), batch()
    stage, optimizer = method.stages()[0], torch.optim.Adam(method.parameters(), 3e-3)
    method.train()
    for step in range(60):
        losses = torch.stack(list(method.step(stage, {"target": data}, Progress(step, step / 60)).losses.values()))
        optimizer.zero_grad()
        losses.sum().backward()
        optimizer.step()
    estimate = method.eval().predict(data)
    assert estimate.joints_px is not None
    assert estimate.z_root_mm is not None
    assert estimate.root_z_mm is not None
    assert float((estimate.joints_px - data.joints_px).norm(dim=-1).mean().detach()) < 2.0
    depth = estimate.root_z_mm[:, None] + estimate.z_root_mm
    assert float((depth - data.joints_cam_mm[..., 2]).abs().mean().detach()) < 60
    assert float(estimate.z_root_mm[:, 0].abs().max().detach()) == 0.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input_px": 36}, "multiple of 8"),
        ({"input_px": 40, "backbone": "resnet50"}, "multiple of 16"),
        ({"batch_size": 1}, "at least 2"),
        ({"regression_weight": -5.0}, "from 0 on"),
        ({"regression_weight": float("nan")}, "from 0 on"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**settings)


def test_it_needs_depth_images_and_3d_labels() -> None:
    with pytest.raises(UsageError, match="a2j needs depth targets"):
        build("rgb")
    [plugin] = kt3d_a2j.kt3d_methods()
    assert set(plugin.presets) == set(A2J.PRESETS)
    assert not {"none", "partial-2d", "full-2d"} & set(plugin.supervision)
