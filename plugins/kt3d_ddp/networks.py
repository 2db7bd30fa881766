"""Prototype poses, and the network that weighs them.

Shapes: B batch, J joints (17), K prototypes, N poses kept.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kt3d_bench.nn.points import whole_poses
from kt3d_bench.skeletons import NUM_JOINTS

_LLOYD_STEPS = 10
_LEAST_MM = 1.0
"""Coordinates that vary less, such as the hip's own, are not divided by how much they vary."""


class Prototypes(nn.Module):
    """K poses in the middle of groups of training poses, each coordinate less its mean and divided by its deviation."""

    poses_mm: Tensor
    """(N, 3 J) relative to the hip; 0 in rows that are not filled."""
    count: Tensor
    mean_mm: Tensor
    """(3 J,) 0 for joints that were never labelled."""
    deviation_mm: Tensor
    """(3 J,)"""
    centres: Tensor
    """(K, 3 J)"""

    def __init__(self, prototypes: int, most: int) -> None:
        super().__init__()
        numbers = 3 * NUM_JOINTS
        self.register_buffer("poses_mm", torch.zeros(most, numbers))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean_mm", torch.zeros(numbers))
        self.register_buffer("deviation_mm", torch.ones(numbers))
        self.register_buffer("centres", torch.zeros(prototypes, numbers))

    def keep(self, joints_root_mm: Tensor) -> None:
        """Keep (B, J, 3) poses in mm relative to the hip while there is room; joints that no pose has count as 0, and
        poses that lack a joint which others of the batch have are left out."""
        whole = joints_root_mm[whole_poses(joints_root_mm)].nan_to_num(0.0).flatten(1)
        start = int(self.count)
        whole = whole[: len(self.poses_mm) - start]
        self.poses_mm[start : start + len(whole)] = whole
        self.count += len(whole)

    def group(self) -> None:
        """Find the prototypes of the poses kept, by k-means from poses evenly spaced among them."""
        poses = self.poses_mm[: int(self.count)]
        if not len(poses):
            return
        self.mean_mm.copy_(poses.mean(0))
        spread = (poses - self.mean_mm).square().mean(0).sqrt()
        self.deviation_mm.copy_(torch.where(spread < _LEAST_MM, torch.ones_like(spread), spread))
        self.centres.copy_(k_means((poses - self.mean_mm) / self.deviation_mm, len(self.centres)))

    def pose_mm(self, weights: Tensor) -> Tensor:
        """(B, K) weights -> (B, J, 3) mm relative to the hip: the weighted sum of the prototypes."""
        pose = (weights @ self.centres) * self.deviation_mm + self.mean_mm
        return pose.view(-1, NUM_JOINTS, 3)


def k_means(points: Tensor, groups: int) -> Tensor:
    """(N, D) points -> (``groups``, D): ten steps of Lloyd's algorithm from points evenly spaced in their order. A
    group that loses all its points keeps its centre."""
    centres = points[torch.linspace(0, len(points) - 1, groups, device=points.device).long()].clone()
    for _ in range(_LLOYD_STEPS):
        nearest = torch.cdist(points, centres).argmin(1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        sizes = torch.bincount(nearest, minlength=groups)[:, None]
        centres = torch.where(sizes > 0, sums / sizes.clamp(min=1), centres)
    return centres


class WeightNet(nn.Module):
    """(B, 2, S, S) -> (B, K) weights of the prototypes and (B, 3) the hip: its x and y from the middle of the image, in
    sides of it, and its depth behind the surface reference in units of 100 mm.

    Five convolutions with pooling, and two fully connected layers. S is at least 32.
    """

    def __init__(self, input_px: int, prototypes: int, *, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        given, side = 2, input_px
        for factor, kernel in ((1, 7), (2, 5), (4, 3), (8, 3), (8, 3)):
            layers += [nn.Conv2d(given, factor * width, kernel, padding=kernel // 2, bias=False)]
            layers += [nn.BatchNorm2d(factor * width), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
            given, side = factor * width, side // 2
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.full = nn.Sequential(nn.Linear(given * side**2, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout))
        self.weigh, self.place = nn.Linear(hidden, prototypes), nn.Linear(hidden, 3)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.full(self.features(image))
        return self.weigh(features).float(), self.place(features).float()
