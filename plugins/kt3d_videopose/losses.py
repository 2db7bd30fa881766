"""The four losses of Pavllo et al., CVPR 2019. Shapes: B clips, J joints (17). Metres and image coordinates."""

from __future__ import annotations

import torch
from torch import Tensor

from kt3d_bench.skeletons import H36M17
from kt3d_videopose.clips import projected

_CHILDREN = [joint for joint, _ in H36M17.bones]
_PARENTS = [parent for _, parent in H36M17.bones]


def pose_loss(pose_m: Tensor, truth_m: Tensor, known: Tensor) -> Tensor:
    """Mean distance of the (B, J, 3) joints that are ``known`` (B, J); 0 where none is."""
    return _mean(_distance(pose_m, truth_m, known), known)


def trajectory_loss(hip_m: Tensor, truth_m: Tensor) -> Tensor:
    """Mean distance of (B, 3) hips over their true depths: far people may be off by more. NaN = not known."""
    known = truth_m.isfinite().all(-1)
    depth = torch.where(known, truth_m[:, 2], torch.ones_like(truth_m[:, 2]))
    return _mean(_distance(hip_m, truth_m, known) / depth, known)


def projection_loss(pose_m: Tensor, hip_m: Tensor, seen: Tensor) -> Tensor:
    """Mean distance between the (B, J, 2) joints that were ``seen`` in the image and those of pose and hip together."""
    loss: Tensor = (projected(pose_m + hip_m[:, None]) - seen).norm(dim=-1).mean()
    return loss


def bone_loss(labelled_m: Tensor, unlabelled_m: Tensor) -> Tensor:
    """Mean over the bones of the difference between their mean lengths in two batches of (B, J, 3) poses."""
    one, other = ((pose[:, _CHILDREN] - pose[:, _PARENTS]).norm(dim=-1).mean(0) for pose in (labelled_m, unlabelled_m))
    loss: Tensor = (one - other).abs().mean()
    return loss


def _distance(pred: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    apart: Tensor = (pred - torch.where(known[..., None], truth, pred.detach() + 1)).norm(dim=-1)
    return apart


def _mean(values: Tensor, known: Tensor) -> Tensor:
    return torch.where(known, values, torch.zeros_like(values)).sum() / known.sum().clamp(min=1)
