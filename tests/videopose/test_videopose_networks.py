"""The temporal network: its published size, its receptive field, and that strides answer as dilations do."""

from __future__ import annotations

import math

import pytest
import torch
from kt3d_videopose.networks import TemporalNet
from torch import Tensor
from torch.nn import functional


def build(levels: int, width: int = 8) -> TemporalNet:
    torch.manual_seed(0)
    return TemporalNet(34, 51, levels=levels, width=width, dropout=0.25).eval()


@pytest.mark.parametrize(("levels", "parameters"), [(3, 8_555_571), (4, 12_753_971), (5, 16_952_371)])
def test_it_has_as_many_parameters_as_published(levels: int, parameters: int) -> None:
    """8.56, 12.75 and 16.95 million for 27, 81 and 243 frames of 17 joints, by hand: 34 w 3 + 2 w for the first layer,
    3 w w + w w + 4 w for each block, 51 w + 51 for the last, w = 1024."""
    width = 1024
    by_hand = 34 * width * 3 + 2 * width + (levels - 1) * (4 * width * width + 4 * width) + 51 * width + 51
    assert sum(one.numel() for one in build(levels, width).parameters()) == by_hand == parameters


@pytest.mark.parametrize(("levels", "frames"), [(2, 9), (3, 27), (5, 243)])
def test_every_frame_of_the_clip_is_seen_and_fewer_are_refused(levels: int, frames: int) -> None:
    net = build(levels, 16)
    clip = torch.randn(1, frames, 34, requires_grad=True)
    net(clip).square().sum().backward()
    assert clip.grad is not None
    assert (clip.grad[0].abs().sum(-1) > 0).all()
    changed = clip.detach().clone()
    changed[:, 0] += 1
    changed[:, -1] += 1
    assert not torch.equal(net(changed), net(clip))
    with pytest.raises(RuntimeError):
        net(clip[:, 1:])


def dilated(net: TemporalNet, video: Tensor) -> Tensor:
    """The network over a video as published: dilations of 3 ** level, the shortcut cut at both ends. (B, F, 34) ->
    (B, F - T + 1, 51)."""
    convolution, norm = net.first[0], net.first[1]
    x = functional.relu(norm(functional.conv1d(video.transpose(1, 2), convolution.weight)))
    for level, block in enumerate(net.blocks, 1):
        wide, norm_3, _, _, point, norm_1, _, _ = block  # type: ignore[misc]
        y = functional.relu(norm_3(functional.conv1d(x, wide.weight, dilation=3**level)))
        y = functional.relu(norm_1(functional.conv1d(y, point.weight)))
        x = x[..., 3**level : -(3**level)] + y
    return functional.conv1d(x, net.last.weight, net.last.bias).transpose(1, 2)


def test_strides_answer_for_each_frame_as_dilations_do_for_the_video() -> None:
    net, video = build(3), torch.randn(2, 31, 34)
    for one in net.modules():
        if isinstance(one, torch.nn.BatchNorm1d):
            torch.nn.init.uniform_(one.running_mean)
            torch.nn.init.uniform_(one.running_var, 0.5, 2)
    whole = dilated(net, video)
    assert whole.shape == (2, 5, 51)
    for frame in range(5):
        torch.testing.assert_close(net(video[:, frame : frame + 27]), whole[:, frame], rtol=1e-4, atol=1e-5)


def test_batch_norm_forgets_ever_more_slowly() -> None:
    net = build(2)
    for fraction, momentum in ((0.0, 0.1), (0.5, 0.01), (1.0, 0.001)):
        net.forget(fraction)
        assert [one.momentum for one in net.modules() if isinstance(one, torch.nn.BatchNorm1d)] == pytest.approx(
            [momentum] * 3
        )
    assert math.isclose(0.1 * math.exp(-0.5 * math.log(100)), 0.01)
