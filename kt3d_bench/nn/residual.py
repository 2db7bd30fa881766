"""The residual network of Martinez, Hossain, Romero and Little (ICCV 2017), which poses are lifted with."""

from __future__ import annotations

from torch import Tensor, nn


class ResidualMlp(nn.Module):
    """(B, ``inputs``) -> (B, ``outputs``): two residual blocks of two linear layers, each with batch norm, ReLU and
    dropout, between a first layer of the same kind and a last linear one."""

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
