"""An image and its mirror image through one network: what the two answers agree on, and how far they are apart."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kt3d_bench.nn.integral import IntegralOutput
from kt3d_bench.skeletons import H36M17

MIRROR = torch.from_numpy(H36M17.mirror)


def exchanged(per_joint: Tensor) -> Tensor:
    """(B, J, ...) with left and right joints exchanged."""
    return per_joint[:, MIRROR.to(per_joint.device)]


def mirrored_voxels(voxels: Tensor, side: int) -> Tensor:
    """(B, J, 2 or 3) voxels in an image -> in its mirror image, left and right joints exchanged; its own inverse."""
    x = (side - 1) - voxels[..., :1]
    return exchanged(torch.cat([x, voxels[..., 1:]], -1))


def both_ways(net: Callable[[Tensor], IntegralOutput], images: Tensor) -> tuple[IntegralOutput, Tensor]:
    """(B, C, H, W) images -> the mean of the network's answers to each image and to its mirror image, and the (B, J)
    distance between the two in the image plane, voxels. The mean has no marginals."""
    straight, mirror = net(images), net(images.flip(-1))
    back = mirrored_voxels(mirror.voxels, straight.side)
    apart = (straight.voxels - back)[..., :2].norm(dim=-1)
    mean = IntegralOutput(
        (straight.voxels + back) / 2,
        (straight.features + mirror.features) / 2,
        (straight.surface_offset_mm + mirror.surface_offset_mm) / 2,
        straight.side,
    )
    return mean, apart
