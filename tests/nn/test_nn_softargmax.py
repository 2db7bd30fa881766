"""Soft-argmax against its definition in float64, SciPy's moments and numerical gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import special

from kt3d_bench.nn import softargmax
from kt3d_bench.nn.softargmax import marginals, soft_argmax, soft_argmax_plain


def _definition(logits: np.ndarray) -> np.ndarray:
    shares = special.softmax(logits.astype(np.float64), axis=(2, 3, 4))
    depth, rows, columns = np.indices(logits.shape[2:])
    return np.stack([(shares * axis).sum((2, 3, 4)) for axis in (columns, rows, depth)], axis=-1)


@pytest.mark.parametrize("function", [soft_argmax, soft_argmax_plain])
def test_a_sharp_peak_is_found_in_the_order_x_y_z(function: object) -> None:
    logits = torch.zeros(1, 1, 4, 5, 6)
    logits[0, 0, 1, 2, 5] = 100.0
    torch.testing.assert_close(function(logits), torch.tensor([[[5.0, 2.0, 1.0]]]))  # type: ignore[operator]


@pytest.mark.parametrize("shape", [(2, 3, 4, 5, 6), (1, 2, 64, 64, 64), (3, 17, 8, 8, 8)])
def test_values_are_exact_to_1e_5_voxels(shape: tuple[int, ...]) -> None:
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 5 + 300
    np.testing.assert_allclose(soft_argmax(logits).numpy(), _definition(logits.numpy()), rtol=0, atol=1e-5)


@pytest.mark.parametrize("block", [1, 1 << 18])
def test_gradients_are_right_whatever_the_block(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softargmax, "_BLOCK_VOXELS", block)
    logits = torch.randn(2, 3, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(soft_argmax, (logits,))
    target = torch.randn(2, 3, 3, dtype=torch.float64)
    gradients = []
    for function in (soft_argmax, soft_argmax_plain):
        (gradient,) = torch.autograd.grad((function(logits) * target).sum(), logits)
        gradients.append(gradient)
    torch.testing.assert_close(*gradients)


def test_single_precision_gradients_of_large_volumes_are_exact_to_1e_5_of_the_largest() -> None:
    logits = torch.randn(1, 2, 64, 64, 64, generator=torch.Generator().manual_seed(0)) * 3
    gradients = []
    for function, given in ((soft_argmax, logits), (soft_argmax_plain, logits.double())):
        given.requires_grad_()
        (gradient,) = torch.autograd.grad(function(given).square().sum(), given)
        gradients.append(gradient.double())
    own, exact = gradients
    assert float((own - exact).abs().max()) < 1e-5 * float(exact.abs().max())


def test_marginals_are_sums_of_the_softmax() -> None:
    logits = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    shares = special.softmax(logits.detach().numpy(), axis=(2, 3, 4))
    for found, others in zip(marginals(logits), ((2, 3), (2, 4), (3, 4)), strict=True):
        np.testing.assert_allclose(found.detach().numpy(), shares.sum(others), atol=1e-12)
    assert torch.autograd.gradcheck(marginals, (logits,))


def test_mixed_precision_does_not_round_places() -> None:
    logits = 5 * torch.randn(2, 3, 16, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        found = soft_argmax(logits)
    torch.testing.assert_close(found, soft_argmax(logits), rtol=0, atol=0)


def test_half_precision_logits_are_averaged_in_single() -> None:
    logits = torch.randn(1, 2, 16, 16, 16).bfloat16().requires_grad_()
    found = soft_argmax(logits)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.detach().numpy(), _definition(logits.detach().float().numpy()), atol=1e-5)
    found.sum().backward()
    assert logits.grad is not None
    assert logits.grad.dtype == torch.bfloat16


def test_logits_need_not_be_contiguous() -> None:
    maps = torch.randn(2, 3 * 4, 5, 6).contiguous(memory_format=torch.channels_last)
    volumes = maps.view(2, 3, 4, 5, 6)
    torch.testing.assert_close(soft_argmax(volumes), soft_argmax(volumes.contiguous()), rtol=0, atol=0)
