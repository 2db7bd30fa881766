"""From the pixels of a depth image to points in the camera's frame and back, and which poses are whole.

Lens distortion is left out: the depth images of this project have none. Shapes: B batch, J joints, S side of the image.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kt3d_bench.loading.batches import CameraBatch


def points_mm(depth_mm: Tensor, cameras: CameraBatch) -> Tensor:
    """(B, 1, S, S) mm -> (B, S S, 3) mm in the camera's frame; pixels without a reading lie at the origin."""
    along = torch.arange(depth_mm.shape[-1], device=depth_mm.device, dtype=torch.float32)
    v, u = torch.meshgrid(along, along, indexing="ij")
    return unprojected_mm(torch.stack([u.flatten(), v.flatten()], -1)[None], depth_mm.flatten(1), cameras)


def unprojected_mm(places_px: Tensor, z_mm: Tensor, cameras: CameraBatch) -> Tensor:
    """(B, P, 2) px and their (B, P) depths in mm -> (B, P, 3) mm in the camera's frame; one row of px serves all."""
    matrix = cameras.intrinsics_px.float()[:, :, :, None]
    (a, b, right), (c, d, down) = (matrix[:, row].unbind(1) for row in (0, 1))
    u, v = places_px[..., 0] - right, places_px[..., 1] - down
    determinant = a * d - b * c
    return torch.stack([(d * u - b * v) / determinant * z_mm, (a * v - c * u) / determinant * z_mm, z_mm], -1)


def projected_px(points: Tensor, cameras: CameraBatch) -> Tensor:
    """(B, J, 3) mm in the camera's frame -> (B, J, 2) px."""
    matrix = cameras.intrinsics_px.float()
    plane = points[..., :2] / points[..., 2:]
    return plane @ matrix[:, :, :2].transpose(1, 2) + matrix[:, None, :, 2]


def whole_poses(joints: Tensor) -> Tensor:
    """(B, J, 3) -> (B,) bool: poses without NaN, joints aside that are NaN in all of them."""
    known = joints.isfinite().all(-1)
    return (known == known.any(0)).all(1)
