"""Gradient reversal (Ganin and Lempitsky, ICML 2015): identity forward, gradient times ``-factor`` backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return -ctx.factor * grads[0], None


def reverse_gradient(features: Tensor, factor: float = 1.0) -> Tensor:
    """``features`` unchanged, any shape; what flows back is multiplied by ``-factor``."""
    reversed_: Tensor = _Reversal.apply(features, factor)  # type: ignore[no-untyped-call]
    return reversed_
