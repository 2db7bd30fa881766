"""The network of V2V-PoseNet: 3D convolutions and one 3D hourglass (Moon, Chang, Lee, CVPR 2018).

Shapes: B batch, J joints, N voxels along each side of the input cube.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

_INITIAL_STD = 0.001


class VoxelNet(nn.Module):
    """(B, 1, N, N, N) occupancy -> (B, J, N/2, N/2, N/2) heat maps. N is a multiple of 8.

    ``width``: channels of the first layer, of which the hourglass has 2, 4 and 8 times as many.
    """

    def __init__(self, joints: int, width: int = 16) -> None:
        super().__init__()
        w, w2, w4, w8 = (width * factor for factor in (1, 2, 4, 8))
        pool = nn.MaxPool3d(2)
        self.front = nn.Sequential(*convolution(1, w, 7), pool, Residual(w, w2), Residual(w2, w2), Residual(w2, w2))
        self.outer_skip, self.outer_down = Residual(w2, w2), nn.Sequential(pool, Residual(w2, w4))
        self.inner_skip = Residual(w4, w4)
        self.inner = nn.Sequential(pool, Residual(w4, w8), Residual(w8, w8), Residual(w8, w8), *doubled(w8, w4))
        self.outer_up = nn.Sequential(Residual(w4, w4), *doubled(w4, w2))
        self.last = nn.Sequential(
            Residual(w2, w2), *convolution(w2, w2, 1), *convolution(w2, w2, 1), nn.Conv3d(w2, joints, 1)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                nn.init.normal_(module.weight, std=_INITIAL_STD)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, occupied: Tensor) -> Tensor:
        x = self.front(occupied)
        deep = self.outer_down(x)
        deep = self.inner(deep) + self.inner_skip(deep)
        result: Tensor = self.last(self.outer_up(deep) + self.outer_skip(x))
        return result


class Residual(nn.Module):
    """Two 3 x 3 x 3 convolutions with batch norm around a shortcut, ReLU after their sum."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *convolution(in_channels, out_channels, 3),
            nn.Conv3d(out_channels, out_channels, 3, padding=1),
            nn.BatchNorm3d(out_channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Sequential(nn.Conv3d(in_channels, out_channels, 1), nn.BatchNorm3d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.body(x) + self.shortcut(x))


def convolution(in_channels: int, out_channels: int, kernel: int) -> tuple[nn.Module, ...]:
    """A convolution that keeps the size, batch norm, ReLU."""
    convolved = nn.Conv3d(in_channels, out_channels, kernel, padding=kernel // 2)
    return convolved, nn.BatchNorm3d(out_channels), nn.ReLU(inplace=True)


def doubled(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    """A deconvolution that doubles the size, batch norm, ReLU."""
    return nn.ConvTranspose3d(in_channels, out_channels, 2, 2), nn.BatchNorm3d(out_channels), nn.ReLU(inplace=True)
