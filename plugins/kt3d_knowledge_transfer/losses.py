"""Losses of the knowledge-transfer method, each a pure function of tensors.

Poses are in voxels (``kt3d_bench.nn.integral``): x, y, z in 0..S; the paper's smooth L1 threshold is one voxel.
Shapes: B batch, J joints, Q parts, H and W rows and columns.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

RECONSTRUCTIONS = ("si-log", "si", "mse", "cross-entropy")


def scale_invariant(differences: Tensor) -> Tensor:
    """(B, ...) differences d -> (B,): (1/k) sum d^2 - (1/k^2) (sum d)^2 over the k entries of a sample.

    The paper's equation 8 (Eigen et al., NIPS 2014, with lambda = 1): the variance of d, hence blind to a constant that
    is added to d, which on logarithms is a global factor on the image.
    """
    flat = differences.flatten(1)
    return flat.square().mean(1) - flat.mean(1).square()


def reconstruction(kind: str, generated: Tensor, truth: Tensor, *, floor: float) -> Tensor:
    """Mean over the batch of the image loss between (B, Q, H, W) images in 0..1, a scalar.

    ``si-log``: scale-invariant on logarithms (the paper) of images that are clamped at ``floor``, over all channels and
    pixels; ``si``: the same on plain differences; ``mse``: the mean
    squared error (Table 4's "traditional"); ``cross-entropy``: per pixel, for a one-hot truth and images whose channels
    sum to 1. The paper sums over samples; the mean differs from it by the batch size only.
    """
    generated, truth = generated.float(), truth.float()
    if kind == "si-log":
        logs = [image.clamp(min=floor).log() for image in (truth, generated)]
        return scale_invariant(logs[0] - logs[1]).mean()
    if kind == "si":
        return scale_invariant(truth - generated).mean()
    if kind == "mse":
        return functional.mse_loss(generated, truth)
    assert kind == "cross-entropy", kind
    return -(truth * generated).sum(1).clamp(min=1e-30).log().mean()


def each_axis(mask: Tensor, axes: int) -> Tensor:
    """(B, J) -> (B, J, axes)."""
    return mask[..., None].expand(*mask.shape, axes)


def weighted_smooth_l1(predicted: Tensor, target: Tensor, weight: Tensor, side: int) -> Tensor:
    """Smooth L1 of (B, J, D) poses in voxels of a volume with ``side`` bins, threshold a 64th of it: the mean over
    coordinates, weighted by (B, J, D) ``weight`` >= 0.

    0, with zero gradient, where all weights are 0; targets of weight 0 may be NaN.
    """
    target = torch.where(weight > 0, target, predicted.detach())
    each = functional.smooth_l1_loss(predicted * (64 / side), target * (64 / side), reduction="none")
    return (each * weight).sum() / weight.sum().clamp(min=1e-6)


def domain_loss(first: Tensor, second: Tensor) -> Tensor:
    """Binary cross-entropy of the classifier's (B, 2) logits: domain 0 for ``first``, 1 for ``second``.

    Each domain counts half, whatever its batch size. The minus sign that the paper's equation 9 lacks is here, so that
    C learns to tell the domains apart and, behind the gradient reversal, the encoders learn to hide them.
    """
    zeros = functional.cross_entropy(first, torch.zeros(len(first), dtype=torch.long, device=first.device))
    ones = functional.cross_entropy(second, torch.ones(len(second), dtype=torch.long, device=second.device))
    return 0.5 * (zeros + ones)
