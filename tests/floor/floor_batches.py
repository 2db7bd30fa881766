"""Labelled batches of random people before a pinhole camera."""

from __future__ import annotations

import torch
from torch import Tensor

from kt3d_bench.loading.batches import CameraBatch, LabelledBatch, UnlabelledBatch

FOCAL_PX = 60.0


def batch(
    joints_cam_mm: Tensor, *, input_px: int = 64, surface_mm: float = float("nan"), seed: int = 0
) -> LabelledBatch:
    """(B, 17, 3) mm, NaN = not labelled -> a batch with noise for images."""
    count, input_px = len(joints_cam_mm), 64
    center = (input_px - 1) / 2
    cameras = CameraBatch(
        torch.tensor([[FOCAL_PX, 0, center], [0, FOCAL_PX, center]]).repeat(count, 1, 1), torch.zeros(count, 5), 2.0
    )
    joints_px = FOCAL_PX * joints_cam_mm[..., :2] / joints_cam_mm[..., 2:] + center
    known = joints_cam_mm.isfinite().all(-1)
    generator = torch.Generator().manual_seed(seed)
    images = {
        "rgb": torch.rand((count, 3, input_px, input_px), generator=generator),
        "depth": torch.full((count, 1, input_px, input_px), 3900.0),
    }
    return LabelledBatch(
        images, cameras, torch.full((count,), surface_mm), joints_px, joints_cam_mm,
        joints_cam_mm - joints_cam_mm[:, :1], known, known,
    )  # fmt: skip


def people(count: int, seed: int = 0) -> Tensor:
    """(B, 17, 3) mm: joints at random, each with a depth that its place in the image tells."""
    generator = torch.Generator().manual_seed(seed)
    relative = 400 * torch.randn((count, 17, 3), generator=generator)
    relative[:, :, 2] = 0.5 * relative[:, :, 0]
    relative[:, 0] = 0
    return relative + torch.tensor([0.0, 0.0, 4000.0])


def unlabelled(labelled: LabelledBatch) -> UnlabelledBatch:
    return UnlabelledBatch(labelled.images, labelled.cameras, labelled.surface_mm)
