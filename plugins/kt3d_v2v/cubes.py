"""Depth images as occupied voxels, and joints as heat maps of voxels, in a cube around the person.

A cube of ``cube_mm`` has its middle at ``centre_mm`` and axes like the camera's. Lens distortion is left out: the depth
images of this project have none. Shapes: B batch, J joints, S side of the image, N voxels along a side of the cube.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kt3d_bench.loading.batches import CameraBatch


def points_mm(depth_mm: Tensor, cameras: CameraBatch) -> Tensor:
    """(B, 1, S, S) mm -> (B, S S, 3) mm in the camera's frame; pixels without a reading lie at the origin."""
    side = depth_mm.shape[-1]
    along = torch.arange(side, device=depth_mm.device, dtype=torch.float32)
    v, u = torch.meshgrid(along, along, indexing="ij")
    matrix = cameras.intrinsics_px.float()[:, :, :, None]
    (a, b, right), (c, d, down) = (matrix[:, row].unbind(1) for row in (0, 1))
    u, v, z = u.flatten() - right, v.flatten() - down, depth_mm.flatten(1)
    determinant = a * d - b * c
    return torch.stack([(d * u - b * v) / determinant * z, (a * v - c * u) / determinant * z, z], -1)


def projected_px(points: Tensor, cameras: CameraBatch) -> Tensor:
    """(B, J, 3) mm in the camera's frame -> (B, J, 2) px."""
    matrix = cameras.intrinsics_px.float()
    plane = points[..., :2] / points[..., 2:]
    return plane @ matrix[:, :, :2].transpose(1, 2) + matrix[:, None, :, 2]


def middle_mm(points: Tensor, surface_mm: Tensor, cube_mm: float) -> Tensor:
    """(B, P, 3) mm and (B,) mm -> (B, 3): the mean of x and y of the points at most half a cube in front of the surface
    reference or behind it, and the reference itself; NaN without one."""
    near = ((points[..., 2] - surface_mm[:, None]).abs() < cube_mm / 2) & (points[..., 2] > 0)
    mean = (points[..., :2] * near[..., None]).sum(1) / near.sum(1, keepdim=True).clamp(min=1)
    return torch.cat([mean + 0 * surface_mm[:, None], surface_mm[:, None]], -1)


def occupancy(points: Tensor, centre_mm: Tensor, cube_mm: float, voxels: int) -> Tensor:
    """(B, P, 3) mm -> (B, 1, N, N, N), 1 where a point lies, axes z, y, x. Points at depth 0 are none."""
    place = ((points - centre_mm[:, None]) / cube_mm + 0.5) * voxels
    inside = ((place >= 0) & (place < voxels)).all(-1) & (points[..., 2] > 0)
    x, y, z = place.nan_to_num(0.0).clamp(0, voxels - 1).long().unbind(-1)
    number = ((z * voxels + y) * voxels + x).where(inside, torch.full_like(x, voxels**3))
    grid = points.new_zeros((points.shape[0], voxels**3 + 1))
    return grid.scatter_(1, number, 1.0)[:, :-1].view(-1, 1, voxels, voxels, voxels)


def heat_maps(joints_mm: Tensor, centre_mm: Tensor, cube_mm: float, voxels: int, sigma: float) -> Tensor:
    """(B, J, 3) mm -> (B, J, N, N, N): exp(-d^2 / (2 sigma^2)) of the distance in voxels from each voxel's middle, axes
    z, y, x; NaN where a joint is."""
    place = to_voxels(joints_mm, centre_mm, cube_mm, voxels)
    along = torch.arange(voxels, device=place.device, dtype=place.dtype)
    x, y, z = torch.exp(-(along - place[..., None]).square() / (2 * sigma**2)).unbind(2)
    return torch.einsum("bjz,bjy,bjx->bjzyx", z, y, x)


def to_voxels(joints_mm: Tensor, centre_mm: Tensor, cube_mm: float, voxels: int) -> Tensor:
    """(B, J, 3) mm -> voxels, whose middles are at integers."""
    return ((joints_mm - centre_mm[:, None]) / cube_mm + 0.5) * voxels - 0.5


def peaks_mm(maps: Tensor, centre_mm: Tensor, cube_mm: float, *, refine: bool) -> Tensor:
    """(B, J, N, N, N) heat maps -> (B, J, 3) mm: the middle of the highest voxel; with ``refine`` the mean of the
    27 voxels around it, weighted by the heat map where that is positive."""
    voxels = maps.shape[-1]
    flat = maps.flatten(2)
    top = flat.argmax(-1)
    z, y, x = top // voxels**2, top // voxels % voxels, top % voxels
    place = torch.stack([x, y, z], -1)
    if not refine:
        found = place.float()
    else:
        steps = torch.cartesian_prod(*[torch.arange(-1, 2, device=maps.device)] * 3)
        around = place[:, :, None] + steps
        inside = ((around >= 0) & (around < voxels)).all(-1)
        column = around.clamp(0, voxels - 1)
        number = (column[..., 2] * voxels + column[..., 1]) * voxels + column[..., 0]
        weight = flat.gather(2, number.flatten(2)).view(number.shape).clamp(min=0) * inside + 1e-12 * inside
        found = (around * (weight / weight.sum(-1, keepdim=True))[..., None]).sum(2)
    return ((found + 0.5) / voxels - 0.5) * cube_mm + centre_mm[:, None]
