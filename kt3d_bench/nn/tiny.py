"""A small encoder and decoder that learn in minutes on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class TinyEncoder(nn.Module):
    """(B, ``in_channels``, H, W) -> (B, 128, H/8, W/8): a folded stem, then residual 3 x 3 blocks."""

    channels = 128
    stride = 8

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, 32, 5, 2, 2, bias=False), nn.BatchNorm2d(32), nn.ReLU(inplace=True)
        )
        self.blocks = nn.Sequential(Residual(32, 64, 2), Residual(64, 128, 2), Residual(128, 128, 1))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.blocks(self.stem(x))
        return result


class TinyDecoder(nn.Module):
    """(B, ``in_channels``, H/8, W/8) -> (B, ``out_channels``, H/4, W/4) by a 1 x 1 convolution and pixel shuffle."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.up = nn.Sequential(
            nn.Conv2d(in_channels, 4 * 64, 1, bias=False),
            nn.PixelShuffle(2),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
        )
        self.last = nn.Conv2d(64, out_channels, 1, bias=False)
        nn.init.normal_(self.last.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.last(self.up(x))
        return result


class Residual(nn.Module):
    """Two 3 x 3 convolutions around a shortcut; the last batch norm starts at zero, so a block starts as identity."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        nn.init.zeros_(self.bn2.weight)
        self.shortcut: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.shortcut is None else self.shortcut(x)
        x = torch.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(x)) + shortcut)
