"""What is known of a target image besides its pixels, and second looks at it: mirrored, scaled and shifted copies.

A mean teacher and its student see different views of the same picture; agreeing across them is what the student can
learn without a label. Everything is in voxel units of a cube of ``side`` bins; z never changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from kt3d_bench.skeletons import H36M17

MIRROR = torch.from_numpy(H36M17.mirror)


@dataclass(frozen=True, eq=False)
class Granted:
    """Labels of a target batch in voxels, and which of them may be used; NaN where hidden."""

    voxels: Tensor
    """(B, J, 3)"""
    seen_2d: Tensor
    """(B, J) bool"""
    seen_3d: Tensor
    """(B, J) bool"""

    @property
    def axes(self) -> Tensor:
        """(B, J, 3) bool: coordinates that are known, whichever label says so."""
        planar = self.seen_2d | self.seen_3d
        return torch.stack([planar, planar, self.seen_3d], -1)

    def over(self, voxels: Tensor) -> Tensor:
        """(B, J, 3) ``voxels`` with what is known in place."""
        return torch.where(self.axes, self.voxels, voxels)


@dataclass(frozen=True, eq=False)
class Anchor:
    """What a teacher says of a batch."""

    voxels: Tensor
    """(B, J, 3)"""
    weight: Tensor
    """(B, J, 3) in 0..1; 0 where the teacher has nothing to say, or a label says it."""
    offset_mm: Tensor
    """(B,) what the teacher says of the hip's depth behind the surface."""


@dataclass(frozen=True, eq=False)
class View:
    """Scale about the centre, then shift (both in image sides / 2), then a mirror image where ``flip``."""

    scale: Tensor
    """(B,)"""
    shift: Tensor
    """(B, 2)"""
    flip: Tensor
    """(B,) bool"""

    @classmethod
    def mirrored(cls, count: int, device: torch.device) -> View:
        still = torch.zeros(count, 2, device=device)
        return cls(torch.ones(count, device=device), still, torch.ones(count, dtype=torch.bool, device=device))

    @classmethod
    def random(cls, count: int, device: torch.device, *, strength: float) -> View:
        """Scale 1 +- ``strength``, shift +- ``strength`` / 2, mirrored half of the time."""
        draw = torch.rand(count, 4).to(device)
        scale = 1 + strength * (2 * draw[:, 0] - 1)
        return cls(scale, strength * (draw[:, 1:3] - 0.5), draw[:, 3] < 0.5)

    def image(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> the same through this view, bilinear; what comes from outside repeats the border."""
        sign = 1.0 - 2.0 * self.flip.float()
        matrix = torch.zeros(len(image), 2, 3, device=image.device)
        matrix[:, 0, 0], matrix[:, 1, 1] = sign / self.scale, 1 / self.scale
        matrix[:, :, 2] = -self.shift / self.scale[:, None]
        grid = functional.affine_grid(matrix, list(image.shape), align_corners=False).to(image.dtype)
        return functional.grid_sample(image, grid, padding_mode="border", align_corners=False)

    def pose(self, voxels: Tensor, side: int) -> Tensor:
        """(B, J, D) voxels in the image -> in this view; mirrored samples exchange left and right joints."""
        centre = (side - 1) / 2
        xy = (voxels[..., :2] - centre) * self.scale[:, None, None] + self.shift[:, None] * (side / 2)
        x = torch.where(self.flip[:, None], -xy[..., 0], xy[..., 0])
        moved = torch.cat([torch.stack([x, xy[..., 1]], -1) + centre, voxels[..., 2:]], -1)
        return self.exchange(moved)

    def back(self, voxels: Tensor, side: int) -> Tensor:
        """Inverse of ``pose``."""
        centre = (side - 1) / 2
        x = voxels[..., 0] - centre
        xy = torch.stack([torch.where(self.flip[:, None], -x, x), voxels[..., 1] - centre], -1)
        xy = (xy - self.shift[:, None] * (side / 2)) / self.scale[:, None, None] + centre
        return self.exchange(torch.cat([xy, voxels[..., 2:]], -1))

    def exchange(self, per_joint: Tensor) -> Tensor:
        """(B, J, ...) -> left and right joints exchanged in mirrored samples."""
        flip = self.flip.view(-1, *[1] * (per_joint.ndim - 1))
        return torch.where(flip, per_joint[:, MIRROR.to(per_joint.device)], per_joint)
