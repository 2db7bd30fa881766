"""The Triton kernels, on a GPU or else in Triton's own interpreter, against the definition in float64."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kt3d_bench.nn.softargmax import soft_argmax_plain

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    # Read when Triton is imported, which nothing else does where there is no GPU.
    os.environ["TRITON_INTERPRET"] = "1"
pytest.importorskip("triton", reason="Triton is not installed (it comes with CUDA builds of torch)")


@pytest.fixture
def kernel() -> Callable[[Tensor], Tensor]:
    from kt3d_bench.nn.softargmax_triton import soft_argmax_triton

    return soft_argmax_triton


def _volumes(layout: str, shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(len(layout))
    batch, joints, depth, rows, columns = shape
    if layout == "channels last":
        maps = 4 * torch.randn(batch, joints * depth, rows, columns, generator=generator) + 200
        return maps.contiguous(memory_format=torch.channels_last).view(shape).to(DEVICE)
    values = 4 * torch.randn(shape, generator=generator) - 90
    if layout == "gaps":
        return torch.stack([values, values], dim=-1)[..., 0].to(DEVICE)
    return values.to(DEVICE)


@pytest.mark.parametrize("layout", ["plain", "channels last", "gaps"])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5, 6), (1, 2, 32, 32, 32)])
def test_values_and_gradients_are_the_definitions(
    kernel: Callable[[Tensor], Tensor], layout: str, shape: tuple[int, ...]
) -> None:
    volumes = _volumes(layout, shape)
    exact = volumes.double().requires_grad_()
    logits = volumes.clone(memory_format=torch.preserve_format).requires_grad_()
    found, expected = kernel(logits), soft_argmax_plain(exact)
    assert found.dtype == torch.float32
    assert float((found - expected).detach().abs().max()) < 1e-5
    slope = torch.randn(found.shape, generator=torch.Generator().manual_seed(0)).to(found)
    (gradient,) = torch.autograd.grad((found * slope).sum(), logits)
    (true,) = torch.autograd.grad((expected * slope).sum(), exact)
    assert gradient.stride() == logits.stride()
    assert float((gradient - true).abs().max()) < 1e-5 * float(true.abs().max())


def test_half_precision_is_averaged_in_single(kernel: Callable[[Tensor], Tensor]) -> None:
    logits = torch.randn(1, 2, 8, 8, 8).bfloat16().to(DEVICE).requires_grad_()
    found = kernel(logits)
    assert float((found - soft_argmax_plain(logits.detach().double())).abs().max()) < 1e-5
    found.sum().backward()
    assert logits.grad is not None
    assert logits.grad.dtype == torch.bfloat16
