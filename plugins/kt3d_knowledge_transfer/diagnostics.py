"""Numbers that are only shown: signs of health and of collapse. None of them enters a loss.

Poses are in voxels; shapes as in ``losses``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kt3d_bench.loading.batches import LabelledBatch
from kt3d_bench.method import Progress
from kt3d_bench.nn.integral import from_voxels
from kt3d_knowledge_transfer.losses import domain_accuracy, spread_vox

SHOWN_EVERY = 10
"""Steps between two looks at the numbers that are only shown: each costs a wait for the device."""


def time_to_show(progress: Progress) -> bool:
    return progress.step == 0 or (progress.step + 1) % SHOWN_EVERY == 0


def domain_signs(first: Tensor, second: Tensor) -> dict[str, float]:
    """How often C is right, and by how much oftener than chance: 0 where it is blind."""
    accuracy = domain_accuracy(first, second)
    return {"domain_accuracy": accuracy, "domain_over_chance": accuracy - 0.5}


def collapse_signs(pose: Tensor, began: Tensor, synthetic_vox: float, px_per_vox: float) -> dict[str, float]:
    """2D far from where it ``began``, and poses that no longer differ: the trivial solutions of the cycle's loss.

    ``warn_collapse`` is 1, of which the harness tells the user, where ``spread_share``, the poses' spread as a share of
    the synthetic data's, is below a half.
    """
    drift = (pose.detach() - began)[..., :2].norm(dim=-1).mean() * px_per_vox
    spread = float(spread_vox(pose))
    return {
        "drift_2d_px": float(drift),
        "spread_vox": spread,
        "spread_share": spread / synthetic_vox if synthetic_vox else 0.0,
        "warn_collapse": float(2 * spread < synthetic_vox),
    }


def pose_error_mm(voxels: Tensor, batch: LabelledBatch, input_px: int, side: int) -> float:
    """Mean distance of (B, J, 3) poses from the batch's labels, hip-relative, over joints with 3D labels. x and y are
    measured at the hip's depth (weak perspective): off by a few per cent, the same for all that are compared."""
    joints_px, z_mm = from_voxels(voxels.detach().float(), input_px, side)
    scale = batch.cameras.intrinsics_px[:, :, :2].float()
    focal_px = (scale[:, 0, 0] * scale[:, 1, 1] - scale[:, 0, 1] * scale[:, 1, 0]).abs().sqrt()
    mm_per_px = (batch.joints_cam_mm[:, 0, 2] / focal_px)[:, None, None]
    found = torch.cat([joints_px * mm_per_px, z_mm[..., None]], -1)
    truth = torch.cat([batch.joints_px * mm_per_px, batch.joints_root_mm[..., 2:]], -1)
    apart = ((found - found[:, :1]) - (truth - truth[:, :1])).norm(dim=-1)
    known = batch.mask_3d & apart.isfinite()
    return float(apart[known].mean()) if bool(known.any()) else float("nan")
