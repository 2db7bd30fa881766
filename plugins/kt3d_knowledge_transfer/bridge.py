"""The mask-conditioned network: an observed silhouette and a noisy 2D pose in, a better pose out.

The paper's mask network sees a mask that G draws from the predicted pose, so it can only repeat what the prediction
says. A silhouette that is observed says something new: motion foreground in RGB videos of fixed cameras. The network
learns from synthetic silhouettes and labels alone, with the errors of a 2D network imitated. The source's cameras are
not the target's, so half of the silhouettes are drawn around its poses before virtual cameras. Poses are in voxels of a
cube of ``side`` bins, P = ``4 side`` px. Noise is drawn by torch's CPU generator.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from kt3d_bench.loading.batches import LabelledBatch
from kt3d_bench.nn.flips import exchanged
from kt3d_bench.nn.prior import pose_size, virtual_views
from kt3d_bench.nn.virtual_cameras import up_sum, vertical
from kt3d_bench.skeletons import H36M17, NUM_JOINTS
from kt3d_knowledge_transfer.limbs import drawn_silhouette, varied_radii_mm, with_ends

CHANNELS = 1 + NUM_JOINTS
"""Silhouette, one heatmap per joint."""
JITTER = 0.2
"""Deviation of a joint's noise, up to this share of the pose's size; the noise that all joints share is half of it."""
SHRINK = 0.2
"""The pose is drawn towards its mean by up to this, as a network does that is not sure."""
DROPPED = 0.05
SWAPPED = 0.05
"""Share of the joints without a heatmap; share of the poses with left and right exchanged: all, legs or arms."""
_LEGS = [H36M17.index(f"{side}_{name}") for side in ("right", "left") for name in ("hip", "knee", "ankle")]
_ARMS = [H36M17.index(f"{side}_{name}") for side in ("right", "left") for name in ("shoulder", "elbow", "wrist")]


def bridge_input(silhouette: Tensor, voxels: Tensor, present: Tensor | None = None) -> Tensor:
    """(B, P, P) silhouette in 0..1 and (B, J, 2 or 3) voxels -> (B, 18, P, P) network input: the silhouette, then a
    Gaussian per joint with a deviation of a 32nd of the image. ``present`` (B, J) leaves out joints."""
    pixels = silhouette.shape[-1]
    place = (voxels[..., :2] + 0.5) * 4 - 0.5
    ticks = torch.arange(pixels, device=voxels.device, dtype=voxels.dtype)
    bumps = (-0.5 * ((ticks - place[..., None]) * (32 / pixels)).square()).exp()
    maps = bumps[:, :, 1, :, None] * bumps[:, :, 0, None, :]
    if present is not None:
        maps = maps * present[..., None, None]
    return torch.cat([silhouette[:, None], maps], 1)


def corrupted(voxels: Tensor) -> tuple[Tensor, Tensor]:
    """(B, J, 3) true poses -> the same with a 2D network's errors on x and y, and (B, J) which joints are present."""
    count, size = len(voxels), pose_size(voxels)
    place = voxels[..., :2]
    draw = torch.rand(count, 4).to(voxels)[..., None, None]
    middle = place.mean(1, keepdim=True)
    noisy = middle + (place - middle) * (1 - SHRINK * draw[:, 0])
    own, shared = (torch.randn(count, joints, 2).to(voxels) for joints in (NUM_JOINTS, 1))
    noisy = noisy + JITTER * size * (draw[:, 1] * own + 0.5 * draw[:, 2] * shared)
    swap = torch.rand(count, 3).to(voxels) < SWAPPED
    chosen = torch.zeros(count, NUM_JOINTS, dtype=torch.bool, device=voxels.device)
    chosen |= swap[:, :1]
    chosen[:, _LEGS] |= swap[:, 1:2]
    chosen[:, _ARMS] |= swap[:, 2:]
    noisy = torch.where(chosen[..., None], exchanged(noisy), noisy)
    present = torch.rand(count, NUM_JOINTS).to(voxels) >= DROPPED
    return torch.cat([noisy, voxels[..., 2:]], -1), present


def half_virtual(batch: LabelledBatch, truth: Tensor, silhouette: Tensor) -> tuple[Tensor, Tensor]:
    """(B, J, 3) voxels and (B, P, P) silhouettes of a batch -> the same, every second sample before a virtual camera,
    its silhouette drawn around the pose."""
    pixels = silhouette.shape[-1]
    up_world = vertical(up_sum(batch.joints_root_mm, batch.world_to_cam))
    views = virtual_views(batch, up_world, pixels // 4)
    points_mm = with_ends(views.joints_cam_mm)
    places_px = (views.places(points_mm) + 0.5) * 4 - 0.5
    px_per_mm = 4 * views.scale[..., 0] / points_mm[..., 2]
    radii_mm = varied_radii_mm(len(truth[1::2])).to(truth)
    truth, silhouette = truth.clone(), silhouette.clone()
    truth[1::2] = views.voxels[1::2].to(truth)
    silhouette[1::2] = drawn_silhouette(places_px[1::2], px_per_mm[1::2], radii_mm, pixels).to(silhouette)
    return truth, silhouette


def frayed(silhouette: Tensor) -> Tensor:
    """(B, P, P) in 0..1, a third of them grown by a pixel, a third shrunk: borders of observed silhouettes are off."""
    grown = functional.max_pool2d(silhouette[:, None], 3, 1, 1)[:, 0]
    shrunk = 1 - functional.max_pool2d(1 - silhouette[:, None], 3, 1, 1)[:, 0]
    draw = torch.rand(len(silhouette), 1, 1).to(silhouette)
    return torch.where(draw < 1 / 3, grown, torch.where(draw < 2 / 3, shrunk, silhouette))
