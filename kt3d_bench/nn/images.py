"""Network inputs from batch images (see ``loading.batches.UnlabelledBatch.images``).

Shapes: B batch, H and W image rows and columns, Q parts (background included).
"""

from __future__ import annotations

import torch
from torch import Tensor

RGB_MEAN = (0.485, 0.456, 0.406)
"""ImageNet's channel means, so that a torchvision weight file sees what it was trained on."""
RGB_STD = (0.229, 0.224, 0.225)
DEPTH_RANGE_MM = 1000.0
"""Depth further than this from the surface reference is clipped."""


def rgb_input(rgb: Tensor) -> Tensor:
    """(B, 3, H, W) float 0..1 -> the same, ImageNet mean and standard deviation removed."""
    mean = rgb.new_tensor(RGB_MEAN)[:, None, None]
    std = rgb.new_tensor(RGB_STD)[:, None, None]
    return (rgb - mean) / std


def depth_input(depth_mm: Tensor, surface_mm: Tensor) -> Tensor:
    """(B, 1, H, W) mm, 0 = no reading, and (B,) mm surface reference -> (B, 1, H, W) float.

    A reading becomes 1.5 - (depth - reference) / 1000 mm, clipped to 0.5..2.5: nearer is larger. No reading is 0,
    which is also what a convolution pads with. Images without a reference (NaN, an empty image) are 0 throughout.
    """
    reference = surface_mm[:, None, None, None]
    near = 1.5 - ((depth_mm - reference) / DEPTH_RANGE_MM).clamp(-1.0, 1.0)
    return torch.where((depth_mm > 0) & reference.isfinite(), near, torch.zeros_like(near))


RELIEF_PER_MM = 0.005
"""Five units per metre: a body's relief then varies as much as the foreground mask beside it."""


def relief_input(depth_mm: Tensor, surface_mm: Tensor) -> Tensor:
    """(B, 1, H, W) mm, 0 = no reading, and (B,) mm surface reference -> (B, 2, H, W): relief and foreground.

    The first channel is 5 (reference - depth) / 1000 mm, clipped to +-5 (nearer is larger), 0 where nothing was read;
    the second is 1 where something was. Images without a reference are 0 throughout.
    """
    reference = surface_mm[:, None, None, None]
    read = (depth_mm > 0) & reference.isfinite()
    relief = (reference - depth_mm).clamp(-DEPTH_RANGE_MM, DEPTH_RANGE_MM) * RELIEF_PER_MM
    return torch.cat([torch.where(read, relief, torch.zeros_like(relief)), read.float()], 1)


def parts_input(parts: Tensor, num_parts: int) -> Tensor:
    """(B, H, W) int64 ids, 0 = background, all below ``num_parts`` -> (B, Q, H, W) float32 one-hot."""
    batch, rows, columns = parts.shape
    one_hot = torch.zeros((batch, num_parts, rows, columns), device=parts.device)
    return one_hot.scatter_(1, parts[:, None], 1.0)
