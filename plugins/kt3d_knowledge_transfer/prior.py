"""What the synthetic poses alone teach: a network that cleans and lifts 2D poses, and the noise that it learns from.

Poses are in voxels of a cube of ``side`` bins (``kt3d_bench.nn.integral``); the noise is drawn by torch's CPU
generator, so that it does not depend on the device.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kt3d_bench.nn.layers import ResidualMlp
from kt3d_bench.skeletons import NUM_JOINTS


class PosePrior(ResidualMlp):
    """(B, J, 2 or 3) voxels -> (B, J, 3) voxels: the pose that the synthetic data make of noisy x and y.

    It denoises and lifts at once. It sees the pose relative to the mean of its joints, which is less noisy than any one
    of them, and divided by its own size, so that neither place nor scale in the crop matter; it answers with changes of
    x and y and with depths relative to the hip's.
    """

    def __init__(self, *, side: int, width: int, dropout: float = 0.1) -> None:
        super().__init__(2 * NUM_JOINTS, 3 * NUM_JOINTS, width=width, dropout=dropout)
        self.side = side
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, voxels: Tensor) -> Tensor:
        place = voxels[..., :2]
        size = pose_size(place)
        answer: Tensor = super().forward(((place - place.mean(1, keepdim=True)) / size).flatten(1))
        change = answer.float().view(len(place), NUM_JOINTS, 3)
        depth = hip_vox(self.side) + change[..., 2:] * (self.side / 8)
        return torch.cat([place + change[..., :2] * size, depth], -1)


def hip_vox(side: int) -> float:
    """z of the hip, which is also the centre of the cube, in voxels."""
    return (side - 1) / 2


def pose_size(voxels: Tensor) -> Tensor:
    """(B, J, 2 or 3) -> (B, 1, 1): root mean square distance of the joints' x and y from their mean, at least 0.001."""
    place = voxels[..., :2]
    return (place - place.mean(1, keepdim=True)).square().sum(-1).mean(-1).sqrt().clamp(min=1e-3)[:, None, None]


def jittered(voxels: Tensor, noise: float) -> Tensor:
    """(B, J, D) with normal noise on every coordinate. Each sample draws its standard deviation between 0 and ``noise``
    times ``pose_size``: nobody knows how good a 2D network is on images that it never saw."""
    deviation = noise * pose_size(voxels) * torch.rand(len(voxels), 1, 1).to(voxels)
    return voxels + deviation * torch.randn(voxels.shape).to(voxels)


def flattened(voxels: Tensor, side: int) -> Tensor:
    """(B, J, 3) with every joint at the hip's depth, which is the centre of the cube."""
    return torch.cat([voxels[..., :2], torch.full_like(voxels[..., 2:], hip_vox(side))], -1)


def depths_hidden(voxels: Tensor, share: float, side: int) -> Tensor:
    """(B, J, 3) where ``share`` of the samples lost depths: half of these all of them, the others those of random
    joints."""
    draw = torch.rand(len(voxels), 1).to(voxels)
    some = (torch.rand(voxels.shape[:2]).to(voxels) < 0.5) & (draw < share)
    hidden = some | (draw < share / 2)
    return torch.where(hidden[..., None], flattened(voxels, side), voxels)
