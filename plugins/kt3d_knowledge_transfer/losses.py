"""Losses of the knowledge-transfer method, and numbers that are only shown, each a pure function of tensors.

Poses are in voxels (``kt3d_bench.nn.integral``): x, y, z in 0..S; the paper's smooth L1 threshold is one voxel.
Shapes: B batch, J joints, Q parts, H and W rows and columns.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from kt3d_bench.loading.batches import LabelledBatch
from kt3d_bench.nn.integral import from_voxels

IMAGE_FLOOR = 1e-3
"""Images are clamped here before a logarithm; all channels and pixels take part."""

RECONSTRUCTIONS = ("si-log", "si", "mse", "cross-entropy")


def scale_invariant(differences: Tensor) -> Tensor:
    """(B, ...) differences d -> (B,): (1/k) sum d^2 - (1/k^2) (sum d)^2 over the k entries of a sample.

    The paper's equation 8 (Eigen et al., NIPS 2014, with lambda = 1): the variance of d, hence blind to a constant that
    is added to d, which on logarithms is a global factor on the image.
    """
    flat = differences.flatten(1)
    return flat.square().mean(1) - flat.mean(1).square()


def reconstruction(kind: str, generated: Tensor, truth: Tensor) -> Tensor:
    """Mean over the batch of the image loss between (B, Q, H, W) images in 0..1, a scalar.

    ``si-log``: scale-invariant on logarithms (the paper); ``si``: the same on plain differences; ``mse``: the mean
    squared error (Table 4's "traditional"); ``cross-entropy``: per pixel, for a one-hot truth and images whose channels
    sum to 1. The paper sums over samples; the mean differs from it by the batch size only.
    """
    generated, truth = generated.float(), truth.float()
    if kind == "si-log":
        logs = [image.clamp(min=IMAGE_FLOOR).log() for image in (truth, generated)]
        return scale_invariant(logs[0] - logs[1]).mean()
    if kind == "si":
        return scale_invariant(truth - generated).mean()
    if kind == "mse":
        return functional.mse_loss(generated, truth)
    assert kind == "cross-entropy", kind
    return -(truth * generated).sum(1).clamp(min=1e-30).log().mean()


def foreground_right(generated: Tensor, truth: Tensor) -> float:
    """Share of the true foreground's pixels whose part is right; (B, Q, H, W) masks, background first."""
    right = generated.argmax(1) == truth.argmax(1)
    return float(right[truth[:, 0] < 0.5].float().mean())


def weighted_smooth_l1(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Smooth L1 (threshold 1) of (B, J, D) poses: the mean over coordinates, weighted by (B, J, D) ``weight`` >= 0.

    0, with zero gradient, where all weights are 0; targets of weight 0 may be NaN.
    """
    target = torch.where(weight > 0, target, predicted.detach())
    each = functional.smooth_l1_loss(predicted, target, reduction="none")
    return (each * weight).sum() / weight.sum().clamp(min=1e-6)


def domain_loss(first: Tensor, second: Tensor) -> Tensor:
    """Binary cross-entropy of the classifier's (B, 2) logits: domain 0 for ``first``, 1 for ``second``.

    Each domain counts half, whatever its batch size. The minus sign that the paper's equation 9 lacks is here, so that
    C learns to tell the domains apart and, behind the gradient reversal, the encoders learn to hide them.
    """
    zeros = functional.cross_entropy(first, torch.zeros(len(first), dtype=torch.long, device=first.device))
    ones = functional.cross_entropy(second, torch.ones(len(second), dtype=torch.long, device=second.device))
    return 0.5 * (zeros + ones)


def domain_accuracy(first: Tensor, second: Tensor) -> float:
    """Share of right domain decisions, each domain counting half; 0.5 = C is blind."""
    right = (first[:, 0] > first[:, 1]).float().mean() + (second[:, 1] > second[:, 0]).float().mean()
    return float(right) / 2


def spread_vox(poses: Tensor, present: Tensor | None = None) -> Tensor:
    """How much (B, J, 3) poses differ from one another, a scalar in voxels: the standard deviation over the batch of
    hip-relative coordinates, averaged over joints 1.. and axes.

    ``present`` (B, J) marks the joints that count; samples without a hip and joints seen fewer than twice do not.
    A network that answers every image with the same pose has spread 0.
    """
    relative = (poses - poses[:, :1])[:, 1:].detach().float()
    if present is None:
        return relative.std(0, correction=0).mean()
    weight = (present[:, 1:] & present[:, :1]).float().unsqueeze(-1)
    relative = torch.where(weight > 0, relative, torch.zeros_like(relative))
    count = weight.sum(0)
    mean = relative.sum(0) / count.clamp(min=1)
    variance = ((relative - mean).square() * weight).sum(0) / count.clamp(min=1)
    seen = (count >= 2).float()
    return (variance.sqrt() * seen).sum() / (seen.sum() * relative.shape[-1]).clamp(min=1)


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
