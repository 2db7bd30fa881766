"""Stacked hourglasses (Newell et al., ECCV 2016) as Pavlakos et al. (CVPR 2017) stack them, coarse to fine in depth.

The layers follow geopavlakos/c2f-vol-train (``src/models/hg-stacked-4.lua``). Shapes: B batch, J joints, S side of the
input, D bins of depth.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

_INITIAL_STD = 0.001
"""Of the outputs' weights: heat maps are 0 nearly everywhere."""


class CoarseToFine(nn.Module):
    """(B, 3, S, S) -> one (B, J, D, S/4, S/4) volume of heat maps per hourglass, with its own number of bins D.

    ``depths`` are these numbers; ``levels`` is how often an hourglass halves its maps, so S/4 is a multiple of
    2^levels; ``width`` (256 in the paper) is the number of channels inside an hourglass, a multiple of 4.
    """

    def __init__(self, joints: int, depths: Sequence[int], *, levels: int, width: int) -> None:
        super().__init__()
        half, wide = width // 2, 2 * width
        self.joints, self.depths = joints, tuple(depths)
        self.stem = nn.Sequential(*convolution(3, width // 4, 7, 2), Residual(width // 4, half))
        self.entry = nn.Sequential(Residual(half, half), Residual(half, half), Residual(half, width))
        self.hourglasses, self.features, self.outputs = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        self.again, self.beside = nn.ModuleList(), nn.ModuleList()
        channels = width
        for number, depth in enumerate(self.depths):
            last = number == len(self.depths) - 1
            found = wide if last else width
            self.hourglasses.append(Hourglass(channels, wide, levels, width))
            self.features.append(nn.Sequential(*convolution(wide, wide, 1), *convolution(wide, found, 1)))
            self.outputs.append(nn.Conv2d(found, joints * depth, 1))
            if not last:
                channels = width + (width if number else half)
                self.again.append(nn.Conv2d(joints * depth, channels, 1))
                self.beside.append(nn.Conv2d(channels, channels, 1))
        for output in self.outputs:
            assert isinstance(output, nn.Conv2d)
            nn.init.normal_(output.weight, std=_INITIAL_STD)
            assert output.bias is not None
            nn.init.zeros_(output.bias)

    def forward(self, image: Tensor) -> list[Tensor]:
        earlier = functional.max_pool2d(self.stem(image), 2)
        x = self.entry(earlier)
        volumes = []
        for number, depth in enumerate(self.depths):
            features = self.features[number](self.hourglasses[number](x))
            maps = self.outputs[number](features)
            volumes.append(maps.view(maps.shape[0], self.joints, depth, *maps.shape[2:]))
            if number < len(self.again):
                x = self.beside[number](torch.cat([features, earlier], 1)) + self.again[number](maps)
                earlier = features
        return volumes


class Hourglass(nn.Module):
    """(B, ``in_channels``, H, W) -> (B, ``out_channels``, H, W): one branch at full size, one at half the size that
    holds the next smaller hourglass, and their sum."""

    def __init__(self, in_channels: int, out_channels: int, levels: int, width: int) -> None:
        super().__init__()
        self.full = nn.Sequential(Residual(in_channels, width), Residual(width, width), Residual(width, out_channels))
        self.down = nn.Sequential(
            nn.MaxPool2d(2), Residual(in_channels, width), Residual(width, width), Residual(width, width)
        )
        inner = Hourglass(width, out_channels, levels - 1, width) if levels > 1 else Residual(width, out_channels)
        self.up = nn.Sequential(inner, Residual(out_channels, out_channels), nn.Upsample(scale_factor=2))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.full(x) + self.up(self.down(x))
        return result


class Residual(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolution, each after batch norm and ReLU, around a shortcut; half as wide inside."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.body = nn.Sequential(
            *(nn.BatchNorm2d(in_channels), nn.ReLU(), nn.Conv2d(in_channels, half, 1)),
            *(nn.BatchNorm2d(half), nn.ReLU(inplace=True), nn.Conv2d(half, half, 3, padding=1)),
            *(nn.BatchNorm2d(half), nn.ReLU(inplace=True), nn.Conv2d(half, out_channels, 1)),
        )
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.body(x) + self.shortcut(x)
        return result


def convolution(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> tuple[nn.Module, ...]:
    """A convolution, batch norm, ReLU."""
    convolved = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2)
    return convolved, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)
