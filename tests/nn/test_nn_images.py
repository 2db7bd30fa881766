from __future__ import annotations

import torch

from kt3d_bench.nn.images import depth_input, parts_input, relief_input, rgb_input


def test_rgb_is_normalised_as_torchvision_does() -> None:
    white = rgb_input(torch.ones(1, 3, 2, 2))
    torch.testing.assert_close(white[0, :, 0, 0], torch.tensor([2.2489, 2.4286, 2.6400]), atol=1e-3, rtol=0)


def test_depth_is_nearer_larger_clipped_and_zero_without_a_reading() -> None:
    depth = torch.tensor([[[[2000.0, 1500.0, 2500.0, 100.0, 9000.0, 0.0]]]])
    found = depth_input(depth, torch.tensor([2000.0]))
    torch.testing.assert_close(found.flatten(), torch.tensor([1.5, 2.0, 1.0, 2.5, 0.5, 0.0]))
    moved = depth_input(torch.where(depth > 0, depth + 700, depth), torch.tensor([2700.0]))
    torch.testing.assert_close(found, moved)


def test_relief_is_five_units_per_metre_beside_the_foreground() -> None:
    depth = torch.tensor([[[[2000.0, 1500.0, 2200.0, 100.0, 9000.0, 0.0]]]])
    found = relief_input(depth, torch.tensor([2000.0]))
    assert found.shape == (1, 2, 1, 6)
    torch.testing.assert_close(found[0, 0, 0], torch.tensor([0.0, 2.5, -1.0, 5.0, -5.0, 0.0]))
    torch.testing.assert_close(found[0, 1, 0], torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 0.0]))
    assert not relief_input(depth, torch.tensor([float("nan")])).any()


def test_an_image_without_a_reference_is_zero_not_nan() -> None:
    depth = torch.tensor([[[[0.0, 1000.0]]], [[[0.0, 1000.0]]]])
    found = depth_input(depth, torch.tensor([float("nan"), 1000.0]))
    torch.testing.assert_close(found.flatten(1), torch.tensor([[0.0, 0.0], [0.0, 1.5]]))


def test_parts_become_one_hot() -> None:
    found = parts_input(torch.tensor([[[0, 2], [1, 2]]]), 3)
    assert found.shape == (1, 3, 2, 2)
    torch.testing.assert_close(found[0, 2], torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    torch.testing.assert_close(found.sum(1), torch.ones(1, 2, 2))
