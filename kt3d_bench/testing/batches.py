"""Tiny batches, as a method's ``step`` and ``predict`` get them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kt3d_bench.loading.batches import CameraBatch, LabelledBatch, UnlabelledBatch
from kt3d_bench.skeletons import NUM_JOINTS
from kt3d_bench.testing.tiny import NUM_PARTS

SURFACE_MM = 3900.0


def tiny_batch(
    count: int = 4,
    images: Sequence[str] = ("rgb",),
    *,
    input_px: int = 64,
    seed: int | None = 0,
    joints_cam_mm: Tensor | None = None,
    mask_2d: Tensor | None = None,
    mask_3d: Tensor | None = None,
    num_parts: int = NUM_PARTS,
    surface_mm: float | None = None,
) -> LabelledBatch:
    """Return a labelled batch of ``count`` people before a pinhole camera: images of noise, labels that fit together.

    ``joints_cam_mm`` (B, 17, 3) mm, camera frame; NaN = not labelled; by default random people about 4 m away, whose
    depths their x tells. ``mask_2d``, ``mask_3d`` (17,) or (B, 17) bool: which labels are granted, by default all that
    are finite; the others are NaN. ``surface_mm`` is by default that of the depth image, NaN without one.
    ``seed=None`` draws from torch's global generator.
    """
    draw = _generator(seed)
    joints = tiny_people(count, seed) if joints_cam_mm is None else joints_cam_mm
    count = len(joints)
    finite = joints.isfinite().all(-1)
    seen_2d = finite if mask_2d is None else mask_2d.expand(count, NUM_JOINTS) & finite
    seen_3d = finite if mask_3d is None else mask_3d.expand(count, NUM_JOINTS) & finite
    if surface_mm is None:
        surface_mm = SURFACE_MM if "depth" in images else float("nan")
    focal, center = input_px * 60 / 64, (input_px - 1) / 2
    nan = torch.tensor(float("nan"))
    joints_px = focal * joints[..., :2] / joints[..., 2:] + center
    parts = torch.randint(0, num_parts, (count, input_px, input_px), generator=draw)
    depth = SURFACE_MM + 300 * torch.randn((count, input_px, input_px), generator=draw)
    every = {
        "rgb": torch.rand((count, 3, input_px, input_px), generator=draw),
        "depth": torch.where(parts > 0, depth, 0.0).unsqueeze(1),
        "parts": parts,
        "foreground": (parts > 0).float().unsqueeze(1),
    }
    return LabelledBatch(
        images={name: every[name] for name in images},
        cameras=CameraBatch(
            torch.tensor([[focal, 0, center], [0, focal, center]]).repeat(count, 1, 1), torch.zeros(count, 5), 2.0
        ),
        surface_mm=torch.full((count,), surface_mm),
        joints_px=torch.where((seen_2d | seen_3d)[..., None], joints_px, nan),
        joints_cam_mm=torch.where((seen_3d & seen_3d[:, :1])[..., None], joints, nan),
        joints_root_mm=torch.where(seen_3d[..., None], joints - joints[:, :1], nan),
        mask_2d=seen_2d.clone(),
        mask_3d=seen_3d.clone(),
        world_to_cam=torch.eye(3).repeat(count, 1, 1),
    )


def tiny_people(count: int, seed: int | None = 0) -> Tensor:
    """Return (B, 17, 3) mm, camera frame: random joints around a hip 4 m away, each with a depth that its x tells."""
    relative = 400 * torch.randn((count, NUM_JOINTS, 3), generator=_generator(seed))
    relative[:, :, 2] = 0.5 * relative[:, :, 0]
    relative[:, 0] = 0
    return relative + torch.tensor([0.0, 0.0, 4000.0])


def _generator(seed: int | None) -> torch.Generator | None:
    return None if seed is None else torch.Generator().manual_seed(seed)


def unlabelled(batch: UnlabelledBatch) -> UnlabelledBatch:
    """Return the batch without its labels, as ``predict`` gets it."""
    return UnlabelledBatch(batch.images, batch.cameras, batch.surface_mm)
