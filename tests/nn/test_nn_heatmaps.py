"""Heat maps and their peaks, by hand, in an image and in a volume with three different sides."""

from __future__ import annotations

import math

import pytest
import torch

from kt3d_bench.nn.heatmaps import gaussian_maps, middles, peaks, squared_error

NAN = float("nan")


def test_gaussians_by_hand() -> None:
    flat = gaussian_maps(torch.tensor([[[2.0, 1.0], [2.5, NAN]]]), (5, 4), (1.0, 2.0))
    assert flat.shape == (1, 2, 4, 5), "rows are y"
    assert float(flat[0, 0, 1, 2]) == 1.0
    assert float(flat[0, 0, 3, 1]) == pytest.approx(math.exp(-1 / 2 - 4 / 8))
    assert flat[0, 1].isnan().all()
    solid = gaussian_maps(torch.tensor([[[2.0, 1.0, 5.0]]]), (5, 4, 7), (1.0, 2.0, 0.5))
    assert solid.shape == (1, 1, 7, 4, 5)
    assert float(solid[0, 0, 4, 3, 1]) == pytest.approx(math.exp(-1 / 2 - 4 / 8 - 2))


@pytest.mark.parametrize("place", [(2.0, 1.0), (2.0, 1.0, 5.0), (0.0, 3.0, 6.0), (4.0, 0.0)])
def test_a_peak_is_found_in_every_corner(place: tuple[float, ...]) -> None:
    maps = gaussian_maps(torch.tensor([[place]]), (5, 4, 7)[: len(place)], (1.0,) * len(place))
    assert peaks(maps, refine=False)[0, 0].tolist() == list(place)


def test_refined_peaks_by_hand() -> None:
    """The mean of the bins around the highest, weighted where positive; bins outside the map do not count."""
    image = torch.zeros(1, 1, 4, 5)
    image[0, 0, 1, 2], image[0, 0, 1, 3], image[0, 0, 2, 2], image[0, 0, 3, 2] = 2.0, 1.0, -5.0, 1.5
    assert peaks(image, refine=True)[0, 0].tolist() == pytest.approx([(2 * 2 + 3) / 3, 1.0])
    corner = torch.zeros(1, 1, 3, 3, 4)
    corner[0, 0, 2, 0, 3], corner[0, 0, 1, 0, 3] = 3.0, 1.0
    assert peaks(corner, refine=True)[0, 0].tolist() == pytest.approx([3.0, 0.0, 1.75])


def test_middles_by_hand() -> None:
    image = torch.zeros(1, 1, 3, 5)
    image[0, 0, 0, 4], image[0, 0, 2, 1], image[0, 0, 1, 1] = 2.0, 1.0, -9.0
    assert middles(image)[0, 0].tolist() == pytest.approx([(4 * 4 + 1) / 5, 2 / 5])
    solid = torch.zeros(1, 1, 7, 3, 5)
    solid[0, 0, 6, 1, 4], solid[0, 0, 2, 1, 0] = 1.0, 3.0
    assert middles(solid)[0, 0].tolist() == pytest.approx([0.4, 1.0, 2.4])
    assert middles(torch.full((1, 1, 3, 5), -1.0))[0, 0].tolist() == pytest.approx([2.0, 1.0]), (
        "nothing is positive: the centre"
    )


def test_a_squared_error_of_known_joints() -> None:
    maps = torch.ones(2, 3, 2, 2, requires_grad=True)
    truth = torch.full((2, 3, 2, 2), NAN)
    truth[0, 1] = 4.0
    known = torch.zeros(2, 3, dtype=torch.bool)
    known[0, 1] = True
    loss = squared_error(maps, truth, known)
    loss.backward()
    assert float(loss.detach()) == 9.0
    assert maps.grad is not None
    assert maps.grad[0, 1].tolist() == [[-1.5, -1.5], [-1.5, -1.5]]
    assert float(maps.grad.abs().sum()) == 6.0
    assert float(squared_error(maps, truth, known & False).detach()) == 0.0
