"""Depth images as occupied voxels, and joints as heat maps of voxels, in a cube around the person.

A cube of ``cube_mm`` has its middle at ``centre_mm`` and axes like the camera's. Shapes: B batch, J joints, P points, N
voxels along a side of the cube.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kt3d_bench.nn.heatmaps import gaussian_maps, peaks


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
    return gaussian_maps(place, (voxels,) * 3, (sigma,) * 3)


def to_voxels(joints_mm: Tensor, centre_mm: Tensor, cube_mm: float, voxels: int) -> Tensor:
    """(B, J, 3) mm -> voxels, whose middles are at integers."""
    return ((joints_mm - centre_mm[:, None]) / cube_mm + 0.5) * voxels - 0.5


def peaks_mm(maps: Tensor, centre_mm: Tensor, cube_mm: float, *, refine: bool) -> Tensor:
    """(B, J, N, N, N) heat maps -> (B, J, 3) mm: the middle of the highest voxel; with ``refine`` the mean of the
    27 voxels around it, weighted by the heat map where that is positive."""
    return ((peaks(maps, refine=refine) + 0.5) / maps.shape[-1] - 0.5) * cube_mm + centre_mm[:, None]
