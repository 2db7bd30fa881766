"""Second looks at an image for the student of a mean teacher, and what is known of a target batch.

Teacher and student see different views of the same picture; agreeing across them is what the student can learn without
a label. Poses are in voxels of a cube of ``side`` bins; z is relative to the hip and never changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from kt3d_bench.nn.flips import exchanged

ROTATION_RAD = 0.6
SCALE = 0.25
SHIFT = 0.1
GAIN = 0.3
CUT = 0.4
"""Longest side of the rectangle that is cut out, as a share of the image."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """Poses to learn from: labels, or what a teacher says."""

    voxels: Tensor
    """(B, J, 3); NaN where ``weight`` is 0 and nothing is known."""
    weight: Tensor
    """(B, J, 3) in 0..1: how much each coordinate counts. Labels count 1, what is hidden 0."""

    def flat(self) -> Lesson:
        """The same without depths."""
        planar = self.weight.new_tensor([1.0, 1.0, 0.0])
        return Lesson(self.voxels, self.weight * planar)

    def over(self, voxels: Tensor) -> Tensor:
        """(B, J, 3) ``voxels`` with the coordinates of this lesson in place."""
        return torch.where(self.weight > 0, self.voxels, voxels)


@dataclass(frozen=True, eq=False)
class View:
    """Rotation and scale about the centre, then a shift (in image sides / 2), then a mirror image where ``flip``."""

    angle_rad: Tensor
    """(B,)"""
    scale: Tensor
    """(B,)"""
    shift: Tensor
    """(B, 2)"""
    flip: Tensor
    """(B,) bool"""

    @classmethod
    def random(cls, count: int, device: torch.device) -> View:
        """Rotated +-0.6 rad, scaled +-25 %, shifted +-10 %, mirrored half of the time."""
        draw = 2 * torch.rand(count, 5).to(device) - 1
        return cls(ROTATION_RAD * draw[:, 0], 1 + SCALE * draw[:, 1], 2 * SHIFT * draw[:, 2:4], draw[:, 4] < 0)

    @classmethod
    def mirrored(cls, count: int, device: torch.device) -> View:
        """Mirrored half of the time, nothing else."""
        still = torch.zeros(count, device=device)
        return cls(still, still + 1, torch.zeros(count, 2, device=device), torch.rand(count).to(device) < 0.5)

    def of(self, samples: slice) -> View:
        """The views of some samples."""
        return View(self.angle_rad[samples], self.scale[samples], self.shift[samples], self.flip[samples])

    @property
    def _sign(self) -> Tensor:
        """(B,): -1 where mirrored."""
        return 1.0 - 2.0 * self.flip.to(self.scale)

    def image(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> the same through this view, bilinear; what comes from outside repeats the border."""
        rows, columns = (
            (2 * torch.arange(size, device=image.device, dtype=self.scale.dtype) + 1) / size - 1
            for size in image.shape[-2:]
        )
        x, y = self._unturned(columns[None, None, :], rows[None, :, None], self.shift[:, :, None, None])
        grid = torch.stack([x, y], -1).to(image.dtype)
        return functional.grid_sample(image, grid, padding_mode="border", align_corners=False)

    def lesson(self, lesson: Lesson, side: int) -> Lesson:
        """The same lesson in this view; x and y count as much as the less certain of both, as they are mixed."""
        planar = lesson.weight[..., :2].amin(-1, keepdim=True).expand(-1, -1, 2)
        weight = torch.cat([planar, lesson.weight[..., 2:]], -1)
        return Lesson(self.pose(lesson.voxels, side), self._exchanged(weight))

    def pose(self, voxels: Tensor, side: int) -> Tensor:
        """(B, J, 3) voxels in the image -> in this view; mirrored samples exchange left and right joints."""
        centre, half = (side - 1) / 2, side / 2
        x, y = voxels[..., 0] - centre, voxels[..., 1] - centre
        cos, sin = (one[:, None] for one in self._turn)
        x, y = cos * x - sin * y + half * self.shift[:, :1], sin * x + cos * y + half * self.shift[:, 1:]
        return self._exchanged(torch.stack([x * self._sign[:, None] + centre, y + centre, voxels[..., 2]], -1))

    def back(self, voxels: Tensor, side: int) -> Tensor:
        """Inverse of ``pose``."""
        centre, half = (side - 1) / 2, side / 2
        x, y = self._unturned(voxels[..., 0] - centre, voxels[..., 1] - centre, half * self.shift[:, :, None])
        return self._exchanged(torch.stack([x + centre, y + centre, voxels[..., 2]], -1))

    @property
    def _turn(self) -> tuple[Tensor, Tensor]:
        """(B,), (B,): scale times cosine and sine of the angle."""
        return self.angle_rad.cos() * self.scale, self.angle_rad.sin() * self.scale

    def _unturned(self, x: Tensor, y: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        """Where (B, ...) points of the view, from its centre, lie in the image; ``shift`` (B, 2, ...) in their units.
        Written out, because autocast would round a matrix product to bf16: half a pixel."""
        cos, sin = (one.view(-1, *[1] * (shift.ndim - 2)) / self.scale.view(-1, *[1] * (shift.ndim - 2)) ** 2
                    for one in self._turn)  # fmt: skip
        x = x * self._sign.view(-1, *[1] * (shift.ndim - 2)) - shift[:, 0]
        y = y - shift[:, 1]
        return cos * x + sin * y, cos * y - sin * x

    def _exchanged(self, per_joint: Tensor) -> Tensor:
        return torch.where(self.flip[:, None, None], exchanged(per_joint), per_joint)


def recoloured(image: Tensor) -> Tensor:
    """(B, C, H, W) with every channel of every image times 1 +- 0.3."""
    gain = 1 + GAIN * (2 * torch.rand(*image.shape[:2], 1, 1).to(image) - 1)
    return image * gain


def cut_out(image: Tensor) -> Tensor:
    """(B, C, H, W) with a rectangle of each image set to 0, up to 0.4 of its sides: a person is often half hidden."""
    rows, columns = (torch.arange(size, device=image.device) / size for size in image.shape[-2:])
    draw = torch.rand(len(image), 4).to(image)
    height, width = CUT * draw[:, 0, None], CUT * draw[:, 1, None]
    top, left = draw[:, 2, None] * (1 - height), draw[:, 3, None] * (1 - width)
    in_rows = (rows >= top) & (rows < top + height)
    in_columns = (columns >= left) & (columns < left + width)
    hole = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    return image.masked_fill(hole, 0.0)
