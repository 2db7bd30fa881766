"""A small encoder and decoder that learn in minutes on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_WIDEST_INPUT, _EMBEDDED = 24, 8
SKIPPED = 48
"""Channels of the fine maps, at a quarter of the input's side."""


class TinyEncoder(nn.Module):
    """(B, ``in_channels``, H, W) -> (B, 48, H/4, W/4) and (B, 96, H/8, W/8): two strided convolutions, then two
    residual blocks. More than 24 input channels (part masks) are first embedded in 8 by a 1 x 1 convolution; else the
    5 x 5 convolution that follows would cost as much as all the rest."""

    channels = 96

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        many = in_channels > _WIDEST_INPUT
        first = _EMBEDDED if many else in_channels
        self.embed = nn.Conv2d(in_channels, first, 1, bias=False) if many else nn.Identity()
        self.stem = nn.Sequential(_convolution(first, 24, 5), _convolution(24, SKIPPED, 3))
        self.blocks = nn.Sequential(Residual(SKIPPED, 96, 2), Residual(96, 96, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        fine: Tensor = self.stem(self.embed(x))
        return fine, self.blocks(fine)


class TinyDecoder(nn.Module):
    """(B, 48, H/4, W/4) and (B, ``in_channels``, H/8, W/8) -> (B, ``out_channels``, H/4, W/4): a 1 x 1 convolution and
    pixel shuffle of the deep maps, the fine ones beside them, one 3 x 3 convolution of both.

    The last layer starts larger than usual: a soft-argmax over almost equal logits passes almost no gradient, and with
    smaller weights depth is not learned at all in the first hundreds of steps.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.up = nn.Sequential(nn.Conv2d(in_channels, 4 * 32, 1, bias=False), nn.PixelShuffle(2), nn.BatchNorm2d(32))
        self.join = nn.Sequential(
            nn.ReLU(inplace=True),
            nn.Conv2d(32 + SKIPPED, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
        )
        self.last = nn.Conv2d(64, out_channels, 1)
        nn.init.normal_(self.last.weight, std=0.3)

    def forward(self, maps: tuple[Tensor, Tensor]) -> Tensor:
        fine, deep = maps
        result: Tensor = self.last(self.join(torch.cat([self.up(deep), fine], 1)))
        return result


def _convolution(in_channels: int, out_channels: int, kernel: int) -> nn.Sequential:
    """Stride 2, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, 2, kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """Two 3 x 3 convolutions around a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.shortcut is None else self.shortcut(x)
        x = torch.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(x)) + shortcut)
