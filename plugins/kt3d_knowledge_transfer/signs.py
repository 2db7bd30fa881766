"""Numbers that are only shown: does G draw well, C see anything, the cycle carry a pose, the student go astray?

Poses are in voxels. Shapes: B batch, J joints, Q parts, H and W rows and columns.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from kt3d_bench.loading.batches import LabelledBatch
from kt3d_bench.method import Progress
from kt3d_bench.nn.integral import from_voxels

SHOWN_EVERY = 10
"""Steps between two looks: each costs a wait for the device."""
COLLAPSED_BELOW = 0.5
"""``warnings``: share of the start's spread."""
DRIFTED_ABOVE = 0.08
"""``warnings``: share of the input's side."""


def time_to_show(progress: Progress) -> bool:
    return progress.step == 0 or (progress.step + 1) % SHOWN_EVERY == 0


def foreground_right(generated: Tensor, truth: Tensor) -> float:
    """Share of the true foreground's pixels whose part is right; (B, Q, H, W) masks, background first."""
    right = generated.argmax(1) == truth.argmax(1)
    return float(right[truth[:, 0] < 0.5].float().mean())


def domain(first: Tensor, second: Tensor) -> dict[str, float]:
    """How often C's (B, 2) logits are right, each domain counting half, and by how much oftener than chance: 0 where C
    is blind."""
    right = (first[:, 0] > first[:, 1]).float().mean() + (second[:, 1] > second[:, 0]).float().mean()
    accuracy = float(right) / 2
    return {"domain_accuracy": accuracy, "domain_over_chance": accuracy - 0.5}


def spread_vox(poses: Tensor) -> float:
    """How much (B, J, D) poses differ from one another, in voxels: the standard deviation over the batch of
    hip-relative coordinates, averaged over joints 1.. and axes. A network that answers every image with the same pose
    has spread 0."""
    relative = (poses - poses[:, :1])[:, 1:].detach().float()
    return float(relative.std(0, correction=0).mean())


def apart(pose: Tensor, began: Tensor, input_px: int, side: int) -> dict[str, float]:
    """How far the student is from its start.

    ``pose`` and ``began`` (B, J, 2): what the student says of some images, and what its start said of the same ones.
    ``drift_2d_px`` is their mean distance, ``spread_share`` the student's spread as a share of the start's.
    """
    spread, before = spread_vox(pose), spread_vox(began)
    drift_vox = (pose.detach() - began).norm(dim=-1).mean()
    return {
        "drift_2d_px": float(drift_vox * (input_px / side)),
        "spread_share": spread / before if before else 1.0,
    }


def warnings(found: Mapping[str, float], input_px: int) -> dict[str, float]:
    """The trivial solutions that ``apart`` shows where no label says what is right, each 0 or 1.

    ``warn_collapse``: poses that no longer differ; a student that learns moves its joints, but what differed still
    differs. ``warn_drift``: a student and its moving teacher that have walked away together.
    """
    return {
        "warn_collapse": float(found["spread_share"] < COLLAPSED_BELOW),
        "warn_drift": float(found["drift_2d_px"] > DRIFTED_ABOVE * input_px),
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
