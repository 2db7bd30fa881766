"""The last step to a batch: warped images and stored labels become what a method sees, wherever they come from.

Shapes: B batch, J joints, as in ``loading.batches``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kt3d_bench.data.reader import ShardSet
from kt3d_bench.loading.assembly import Assembly
from kt3d_bench.loading.augment import Placement
from kt3d_bench.loading.batches import CameraBatch, CameraPoses, LabelledBatch, UnlabelledBatch
from kt3d_bench.supervision import Grant

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Crops:
    """What is known of B stored crops beside their pixels."""

    intrinsics_px: npt.NDArray[Any]
    """(B, 2, 3)"""
    distortion: npt.NDArray[Any]
    """(B, 5)"""
    tangential_factor: float
    joints_px: npt.NDArray[Any] | None = None
    """(B, J, 2); ``None`` where no label may be seen."""
    joints_cam_mm: npt.NDArray[Any] | None = None
    """(B, J, 3)"""
    world_to_cam: npt.NDArray[Any] | None = None
    """(B, 3, 3); ``None`` where no label may be seen."""
    detections_px: npt.NDArray[Any] | None = None
    """(B, J, 2) joints that were found in the image; ``None`` where nobody asks for them."""
    keys: tuple[str, ...] | None = None
    """(B,)"""
    poses: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None = None
    """(B, 3, 3) world -> camera axes and (B, 3) camera centres, mm."""

    @classmethod
    def stored(
        cls,
        shards: ShardSet,
        indices: IntArray | slice,
        *,
        labelled: bool,
        detections_px: npt.NDArray[Any] | None = None,
        asks: Collection[str] = (),
    ) -> Crops:
        """Of samples ``indices`` of shards; their joints only if ``labelled``. ``detections_px`` (N, J, 2) of all
        samples; ``asks``: as in ``Stage``."""
        labels = shards.labels
        return cls(
            labels.intrinsics_px[indices],
            labels.distortion[indices],
            shards.tangential_factor,
            labels.joints_px[indices] if labelled else None,
            labels.joints_cam_mm[indices] if labelled else None,
            labels.rotation[indices] if labelled else None,
            detections_px=None if detections_px is None else detections_px[indices],
            keys=tuple(map(str, shards.keys[indices])) if "keys" in asks else None,
            poses=(labels.rotation[indices], labels.position_world_mm[indices]) if "extrinsics" in asks else None,
        )


def finish(
    images: Assembly,
    crops: Crops,
    placement: Placement,
    *,
    grant: Grant | None,
    part_mirror: IntArray | None,
    device: torch.device,
) -> UnlabelledBatch:
    """A ``LabelledBatch`` with what ``grant`` allows (``None`` = everything), or an ``UnlabelledBatch`` for crops
    without joints. ``part_mirror``: part id -> id in a mirrored image; ``None`` where no part image can be mirrored."""
    intrinsics, distortion = placement.cameras(crops.intrinsics_px, crops.distortion)
    surface = _tensor(images.surfaces_mm * placement.body_scale, device)
    shown = _images(images, placement, part_mirror, device)
    cameras = CameraBatch(_tensor(intrinsics, device), _tensor(distortion, device), float(crops.tangential_factor))
    asked = _asked(crops, placement, device)
    if crops.joints_px is None or crops.joints_cam_mm is None or crops.world_to_cam is None:
        return UnlabelledBatch(shown, cameras, surface, **asked)
    hidden = grant is not None and not grant.mask_3d.any()
    rotations = np.broadcast_to(np.eye(3), crops.world_to_cam.shape) if hidden else crops.world_to_cam
    labels = (
        *_labels(crops.joints_px, crops.joints_cam_mm, placement, grant, device),
        _tensor(placement.rotations(rotations), device),
    )
    return LabelledBatch(shown, cameras, surface, *labels, **asked)


def _asked(crops: Crops, placement: Placement, device: torch.device) -> dict[str, Any]:
    """Return the fields of ``UnlabelledBatch`` that somebody asked for."""
    found: dict[str, Any] = {"keys": crops.keys}
    if crops.detections_px is not None:
        found["detections_px"] = _tensor(placement.points_px(crops.detections_px), device)
    if crops.poses is not None:
        rotation, center_mm = crops.poses
        scaled = center_mm * placement.body_scale[:, None]
        found["poses"] = CameraPoses(_tensor(placement.rotations(rotation), device), _tensor(scaled, device))
    return found


def from_shrunk(affine_px: npt.NDArray[np.float64], shrink: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(N, 2, 3) crop px -> input px, and (N, 2) shrink factors -> shrunk px -> input px."""
    linear = affine_px[..., :2] / shrink[:, None, :]
    offset = affine_px[..., 2] + np.einsum("nij,nj->ni", affine_px[..., :2], 0.5 / shrink - 0.5)
    return np.concatenate([linear, offset[..., None]], axis=-1)


def _labels(
    joints_px: npt.NDArray[Any],
    joints_cam_mm: npt.NDArray[Any],
    placement: Placement,
    grant: Grant | None,
    device: torch.device,
) -> tuple[Tensor, ...]:
    """The fields that ``LabelledBatch`` adds, in its order. Hidden labels become NaN before anything else."""
    points_px, points_cam = np.array(joints_px, np.float64), np.array(joints_cam_mm, np.float64)
    mask_2d, mask_3d = _annotated(points_px), _annotated(points_cam)
    if grant is not None:
        mask_2d &= grant.mask_2d
        mask_3d &= grant.mask_3d
    relative = points_cam - points_cam[:, :1]
    points_px[~(mask_2d | mask_3d)] = np.nan
    relative[~mask_3d] = np.nan
    points_cam[~(mask_3d & mask_3d[:, :1])] = np.nan
    return (
        _tensor(placement.points_px(points_px), device),
        _tensor(placement.points_cam(points_cam), device),
        _tensor(placement.points_cam(relative), device),
        torch.from_numpy(placement.exchanged_mask(mask_2d)).to(device),
        torch.from_numpy(placement.exchanged_mask(mask_3d)).to(device),
    )


def _images(
    warped: Assembly, placement: Placement, part_mirror: IntArray | None, device: torch.device
) -> dict[str, Tensor]:
    images = warped.images()
    if "depth" in images:
        images["depth"] = images["depth"] * _tensor(placement.body_scale, device)[:, None, None, None]
    if "foreground" in images:
        images["foreground"] = (images["foreground"] > 0).float()
    if "parts" in images:
        parts = images["parts"] = images["parts"][:, 0].long()
        if part_mirror is not None:
            exchanged = torch.from_numpy(part_mirror).to(device)[parts]
            mirrored = torch.from_numpy(placement.mirrored).to(device)[:, None, None]
            images["parts"] = torch.where(mirrored, exchanged, parts)
    return images


def _annotated(points: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return np.asarray(np.isfinite(points).all(axis=-1))


def _tensor(values: npt.NDArray[Any], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(device)
