"""Small parts of networks: the residual network that lifts poses, and gradient reversal."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class ResidualMlp(nn.Module):
    """(B, ``inputs``) -> (B, ``outputs``) as Martinez et al., ICCV 2017: two residual blocks of two linear layers, each
    with batch norm, ReLU and dropout, between a first layer of the same kind and a last linear one."""

    compiled_parts: tuple[str, ...] = ()
    """Too small to gain from ``torch.compile``."""

    def __init__(self, inputs: int, outputs: int, *, width: int, dropout: float) -> None:
        super().__init__()

        def layer(given: int) -> list[nn.Module]:
            return [nn.Linear(given, width), nn.BatchNorm1d(width), nn.ReLU(inplace=True), nn.Dropout(dropout)]

        self.first = nn.Sequential(*layer(inputs))
        self.blocks = nn.ModuleList(nn.Sequential(*layer(width), *layer(width)) for _ in range(2))
        self.last = nn.Linear(width, outputs)

    def forward(self, values: Tensor) -> Tensor:
        x = self.first(values)
        for block in self.blocks:
            x = x + block(x)
        result: Tensor = self.last(x)
        return result


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return -ctx.factor * grads[0], None


def reverse_gradient(features: Tensor, factor: float = 1.0) -> Tensor:
    """``features`` unchanged, any shape; what flows back is multiplied by ``-factor`` (Ganin, Lempitsky, ICML 2015)."""
    reversed_: Tensor = _Reversal.apply(features, factor)  # type: ignore[no-untyped-call]
    return reversed_
