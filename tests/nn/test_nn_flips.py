"""An image and its mirror image through one network."""

from __future__ import annotations

import pytest
import torch

from kt3d_bench.nn.flips import both_ways, mirrored_voxels
from kt3d_bench.nn.integral import IntegralNet, IntegralOutput
from kt3d_bench.skeletons import H36M17

LEFT, RIGHT = H36M17.index("left_wrist"), H36M17.index("right_wrist")


def test_mirroring_by_hand_and_twice() -> None:
    voxels = torch.rand(2, 17, 3)
    voxels[0, LEFT] = torch.tensor([1.0, 2.0, 3.0])
    mirrored = mirrored_voxels(voxels, 8)
    assert mirrored[0, RIGHT].tolist() == [6.0, 2.0, 3.0]
    torch.testing.assert_close(mirrored_voxels(mirrored, 8), voxels)
    assert mirrored_voxels(voxels[..., :2], 8).shape == (2, 17, 2)


def test_the_mean_of_both_ways_is_the_same_for_the_mirrored_image() -> None:
    torch.manual_seed(0)
    net, images = IntegralNet(3, backbone="tiny", side=8).eval(), torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        (first, apart), (second, again) = both_ways(net, images), both_ways(net, images.flip(-1))
        straight = net(images)
    torch.testing.assert_close(mirrored_voxels(first.voxels, 8), second.voxels)
    torch.testing.assert_close(first.surface_offset_mm, second.surface_offset_mm)
    torch.testing.assert_close(apart[:, LEFT], again[:, RIGHT])
    difference = 2 * (straight.voxels - first.voxels)[..., :2]
    torch.testing.assert_close(difference.norm(dim=-1), apart, atol=1e-4, rtol=1e-4)


def test_a_network_that_answers_the_middle_agrees_with_itself() -> None:
    def net(images: torch.Tensor) -> IntegralOutput:
        return IntegralOutput(torch.full((2, 17, 3), 3.5), torch.zeros(2, 4), torch.tensor([10.0, 20.0]), 8)

    mean, apart = both_ways(net, torch.rand(2, 3, 32, 32))
    assert not apart.any()
    assert mean.surface_offset_mm.tolist() == pytest.approx([10.0, 20.0])
