"""What a method sees: labelled and unlabelled batches are different types, and the latter has no field for a label.

Shapes: B batch, J joints (17), H and W rows and columns of the network's input, in px of which ``joints_px`` and the
cameras speak. Everything here has already been warped (crop, augmentation), consistently: projecting
``joints_cam_mm`` through ``cameras`` gives ``joints_px``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import torch
from torch import Tensor

Batch = TypeVar("Batch", bound="UnlabelledBatch")


@dataclass(frozen=True, eq=False)
class CameraBatch:
    """Cameras of a batch of input images; see ``records.Camera`` for the model."""

    intrinsics_px: Tensor
    """(B, 2, 3) float32."""
    distortion: Tensor
    """(B, 5) float32 k1, k2, p1, p2, k3."""
    tangential_factor: float


@dataclass(frozen=True, eq=False)
class CameraPoses:
    """Where the cameras of a batch of input images stand: a world point X lies at ``rotation @ (X - center_mm)``."""

    rotation: Tensor
    """(B, 3, 3) float32 world axes -> camera axes; improper in mirrored images."""
    center_mm: Tensor
    """(B, 3) float32, world axes, mm."""


@dataclass(frozen=True, eq=False)
class UnlabelledBatch:
    """Images and their crop cameras, and nothing else that a stage does not ask for."""

    images: Mapping[str, Tensor]
    """"rgb" (B, 3, H, W) float32 0..1; "depth" (B, 1, H, W) float32 mm, 0 = no reading; "parts" (B, H, W) int64 ids,
    0 = background; "foreground" (B, 1, H, W) float32, 1 = the person, 0 = the scene. Only the modalities that the
    stage asked for."""
    cameras: CameraBatch
    surface_mm: Tensor
    """(B,) float32: robust depth of the foreground, computed from the depth image alone
    (``geometry.reference.surface_reference_mm``); NaN without a depth image."""
    detections_px: Tensor | None = field(default=None, kw_only=True)
    """(B, J, 2) float32 2D joints that were found beforehand, px of the input: for a method or stage with
    ``detections``."""
    keys: tuple[str, ...] | None = field(default=None, kw_only=True)
    """(B,) names of the samples, for a stage that asks for "keys"."""
    poses: CameraPoses | None = field(default=None, kw_only=True)
    """Where the cameras stand, for a stage that asks for "extrinsics"."""

    @property
    def size(self) -> int:
        return int(self.cameras.intrinsics_px.shape[0])

    @property
    def device(self) -> torch.device:
        return self.cameras.intrinsics_px.device

    def to(self: Batch, device: torch.device | str) -> Batch:
        return type(self)(**{f.name: _move(getattr(self, f.name), device) for f in fields(self)})


@dataclass(frozen=True, eq=False)
class LabelledBatch(UnlabelledBatch):
    """Images with the labels that the run's supervision grants. Hidden or absent labels are NaN and masked out."""

    joints_px: Tensor
    """(B, J, 2) float32; NaN where neither 2D nor 3D is granted."""
    joints_cam_mm: Tensor
    """(B, J, 3) float32; NaN where 3D is not granted, and everywhere when ``hip`` is hidden and only relative
    positions may be known: then see ``joints_root_mm``."""
    joints_root_mm: Tensor
    """(B, J, 3) float32 relative to joint 0; NaN where 3D is not granted."""
    mask_2d: Tensor
    """(B, J) bool: 2D label granted and annotated."""
    mask_3d: Tensor
    """(B, J) bool: 3D label granted and annotated."""
    world_to_cam: Tensor
    """(B, 3, 3) float32, orthogonal: axes of the dataset's world -> axes of the input's camera, improper in mirrored
    images. Where the dataset tells no pose of its cameras, or no 3D label is granted, the world is the stored crop's
    camera."""

    @property
    def surface_offset_mm(self) -> Tensor:
        """(B,) depth of the hip behind the surface reference; NaN where one of the two is not known."""
        return self.joints_cam_mm[:, 0, 2] - self.surface_mm


def _move(value: Any, device: torch.device | str) -> Any:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {name: _move(entry, device) for name, entry in value.items()}
    if isinstance(value, CameraBatch):
        return CameraBatch(_move(value.intrinsics_px, device), _move(value.distortion, device), value.tangential_factor)
    if isinstance(value, CameraPoses):
        return CameraPoses(_move(value.rotation, device), _move(value.center_mm, device))
    return value
