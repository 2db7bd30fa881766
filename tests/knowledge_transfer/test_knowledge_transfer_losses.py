"""Losses against the paper's equations written out, and against theorems."""

import math

import numpy as np
import pytest
import torch
from kt3d_knowledge_transfer.losses import (
    domain_loss,
    reconstruction,
    scale_invariant,
    weighted_smooth_l1,
)


def test_scale_invariant_equals_both_forms_of_the_paper() -> None:
    rng = np.random.default_rng(1)
    truth, image = rng.uniform(0.01, 1, (2, 5, 12)), rng.uniform(0.01, 1, (2, 5, 12))
    for n in range(5):
        log_truth, log_image = np.log(truth[0, n]), np.log(image[0, n])
        d, k = log_truth - log_image, 12
        pairs = (log_truth[:, None] - log_truth[None]) - (log_image[:, None] - log_image[None])
        equation_6 = (pairs**2).sum() / (2 * k**2)
        equation_7 = (d**2).sum() / k - np.outer(d, d).sum() / k**2
        ours = float(scale_invariant(torch.from_numpy(d)[None])[0])
        assert ours == pytest.approx(equation_6, rel=1e-12)
        assert ours == pytest.approx(equation_7, rel=1e-12)


def test_si_log_is_blind_to_a_global_factor_and_mse_is_not() -> None:
    truth = 0.02 + 0.4 * torch.rand(3, 4, 8, 8)
    assert float(reconstruction("si-log", 2.0 * truth, truth, floor=1e-3)) == pytest.approx(0, abs=1e-6)
    assert float(reconstruction("mse", 2.0 * truth, truth, floor=1e-3)) > 0.01
    assert float(reconstruction("si-log", truth.square(), truth, floor=1e-3)) > 0.01


def test_si_is_blind_to_a_global_shift() -> None:
    truth = torch.rand(2, 4, 8, 8)
    assert float(reconstruction("si", truth + 0.3, truth, floor=1e-3)) == pytest.approx(0, abs=1e-6)
    assert float(reconstruction("si-log", truth + 0.3, truth, floor=1e-3)) > 0.01


def test_si_log_survives_the_zeros_of_a_one_hot_mask() -> None:
    truth = torch.nn.functional.one_hot(torch.randint(0, 4, (2, 8, 8)), 4).movedim(-1, 1).float()
    drawn = torch.rand(2, 4, 8, 8, requires_grad=True)
    loss = reconstruction("si-log", drawn.softmax(1), truth, floor=1e-3)
    loss.backward()
    assert math.isfinite(loss.item())
    assert drawn.grad is not None
    assert bool(drawn.grad.isfinite().all())
    assert float(drawn.grad.abs().max()) > 0


def test_the_floor_decides_what_si_log_can_see() -> None:
    """Two pixels, one of them 0 in the drawing: d = (0, log(1 / floor)), whose variance is (log floor)^2 / 4."""
    truth, drawn = torch.ones(1, 1, 1, 2), torch.tensor([[[[1.0, 0.0]]]])
    for floor in (0.1, 1e-3):
        found = reconstruction("si-log", drawn, truth, floor=floor)
        assert float(found) == pytest.approx(math.log(floor) ** 2 / 4, rel=1e-5)


def test_cross_entropy_by_hand() -> None:
    truth = torch.tensor([1.0, 0.0, 0.0])[None, :, None, None]
    drawn = torch.tensor([0.5, 0.25, 0.25])[None, :, None, None]
    assert float(reconstruction("cross-entropy", drawn, truth, floor=1e-3)) == pytest.approx(math.log(2))


def test_domain_loss_by_hand() -> None:
    blind = torch.zeros(3, 2)
    assert float(domain_loss(blind, blind)) == pytest.approx(math.log(2))
    sure = torch.tensor([[9.0, -9.0]])
    assert float(domain_loss(sure, -sure)) < 1e-6
    assert float(domain_loss(-sure, sure)) == pytest.approx(18, rel=1e-3)


def test_weighted_smooth_l1_by_hand_and_without_weight() -> None:
    predicted = torch.tensor([[[0.5, 0.5], [3.0, 3.0]]], requires_grad=True)
    target = torch.zeros(1, 2, 2)
    weight = torch.tensor([[[1.0, 1.0], [3.0, 1.0]]])
    half = weighted_smooth_l1(predicted / 2, target, weight, 32)
    assert half.item() == pytest.approx((2 * 0.125 + (3 + 1) * 2.5) / 6)
    assert weighted_smooth_l1(predicted, target, weight, 64).item() == pytest.approx((2 * 0.125 + (3 + 1) * 2.5) / 6)
    unknown = torch.tensor([[[0.0, 0.0], [0.0, float("nan")]]])
    weight = torch.tensor([[[1.0, 1.0], [2.0, 0.0]]])
    assert weighted_smooth_l1(predicted, unknown, weight, 64).item() == pytest.approx((2 * 0.125 + 2 * 2.5) / 4)
    nothing = weighted_smooth_l1(predicted, unknown, torch.zeros(1, 2, 2), 64)
    nothing.backward()
    assert float(nothing.detach()) == 0
    assert predicted.grad is not None
    assert float(predicted.grad.abs().max()) == 0
