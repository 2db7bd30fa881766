"""Body parts of depth images, what is measured of each, and joints as a linear function of that.

Shapes: B batch, S side of the image, P = (S / 2)^2 points, C part classes without the background, F = 1 + 7 C features,
J joints (17).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from kt3d_bench.loading.batches import UnlabelledBatch
from kt3d_bench.nn.images import relief_input
from kt3d_bench.nn.integral import encoder_and_decoder
from kt3d_bench.nn.points import points_mm
from kt3d_bench.skeletons import NUM_JOINTS

STRIDE = 2
"""Every second pixel of every second row is named."""
REACH_MM = 1000.0
"""Pixels farther than this from the surface reference are none of the person."""
FAINT = 0.005
"""A part with this share of the person counts half."""


class PartsNet(nn.Module):
    """(B, 2, S, S) relief and foreground -> (B, C, S / 2, S / 2) logits of the parts."""

    def __init__(self, classes: int, *, backbone: str) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder_and_decoder(2, classes * STRIDE**2, backbone)

    def forward(self, image: Tensor) -> Tensor:
        return functional.pixel_shuffle(self.decoder(self.encoder(image)), STRIDE).float()

    def of(self, batch: UnlabelledBatch) -> Tensor:
        """(B, C, S / 2, S / 2) logits of a batch's depth images."""
        logits: Tensor = self(relief_input(batch.images["depth"], batch.surface_mm))
        return logits


def person(batch: UnlabelledBatch) -> Tensor:
    """(B, S / 2, S / 2) bool: named pixels near the surface reference."""
    depth = batch.images["depth"][:, 0, ::STRIDE, ::STRIDE]
    return (depth > 0) & ((depth - batch.surface_mm[:, None, None]).abs() < REACH_MM)


def part_loss(logits: Tensor, parts: Tensor, counted: Tensor) -> Tensor:
    """Cross-entropy of (B, C, S / 2, S / 2) logits and the (B, S, S) part ids, 0 = background, over the
    (B, S / 2, S / 2) counted pixels that have a part; 0 without any."""
    wanted = parts[:, ::STRIDE, ::STRIDE] - 1
    wanted = wanted.where(counted, torch.full_like(wanted, -1))
    loss = functional.cross_entropy(logits, wanted, ignore_index=-1, reduction="sum")
    return loss / (wanted >= 0).sum().clamp(min=1)


def person_points_m(batch: UnlabelledBatch) -> Tensor:
    """(B, P, 3) m in the camera's frame, of all named pixels, row by row."""
    side = batch.images["depth"].shape[-1]
    grid = points_mm(batch.images["depth"], batch.cameras).view(-1, side, side, 3)
    return grid[:, ::STRIDE, ::STRIDE].flatten(1, 2) / 1000


def part_features(points: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """(B, P, 3) points in m and how far each is of each part, (B, P, C) -> (B, F) features and (B, 3) m the middle of
    all parts.

    Of each part: m / (m + 0.005) of its share m of the person, and times this its mean and its standard deviation along
    the axes, relative to the middle; and a 1.
    """
    mass = shares.sum(1)
    total = mass.sum(1, keepdim=True).clamp(min=1e-6)
    middle = torch.einsum("bpc,bpd->bd", shares, points) / total
    around = points - middle[:, None]
    weight = mass[..., None].clamp(min=1e-6)
    mean = torch.einsum("bpc,bpd->bcd", shares, around) / weight
    square = torch.einsum("bpc,bpd->bcd", shares, around.square()) / weight
    spread = (square - mean.square()).clamp(min=1e-8).sqrt()
    there = (mass / (mass + FAINT * total))[..., None]
    features = torch.cat([there, there * mean, there * spread], -1).flatten(1)
    return torch.cat([features, torch.ones_like(total)], 1), middle


class Regression(nn.Module):
    """Joints as a linear function of features, with the least squared error and small weights (ridge regression)."""

    gram: Tensor
    """(F, F) float64 sum of the features' products."""
    moment: Tensor
    """(F, 3 J) float64 sum of the features' products with the joints."""
    count: Tensor
    weights: Tensor
    """(F, 3 J)"""

    def __init__(self, classes: int) -> None:
        super().__init__()
        features = 1 + 7 * classes
        self.register_buffer("gram", torch.zeros(features, features, dtype=torch.float64))
        self.register_buffer("moment", torch.zeros(features, 3 * NUM_JOINTS, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("weights", torch.zeros(features, 3 * NUM_JOINTS))

    def add(self, features: Tensor, joints: Tensor) -> None:
        """Take (B, F) features and the (B, J, 3) joints they belong to into account."""
        given = features.double()
        self.gram += given.T @ given
        self.moment += given.T @ joints.double().flatten(1)
        self.count += len(given)

    def solve(self, ridge: float) -> None:
        """Find the weights; ``ridge`` times their square is added to the mean squared error."""
        if self.count > 0:
            damped = self.gram + ridge * self.count * torch.eye(len(self.gram)).to(self.gram)
            self.weights.copy_(torch.linalg.solve(damped, self.moment))

    def forward(self, features: Tensor) -> Tensor:
        joints: Tensor = (features @ self.weights).view(-1, NUM_JOINTS, 3)
        return joints
