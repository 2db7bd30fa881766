"""What the source's poses alone teach: a network that lifts 2D poses, and the stage that trains it.

Methods that use it hold a ``PosePrior`` under the attribute ``prior``; the stage's recipe is given by its options
alone, so that two methods of the same options train it once. Poses are in voxels of a cube of ``side`` bins
(``kt3d_bench.nn.integral``); noise is drawn by torch's CPU generator, so that it does not depend on the device.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kt3d_bench.errors import UsageError, did_you_mean
from kt3d_bench.loading.augment import BOX_MARGIN
from kt3d_bench.loading.batches import LabelledBatch
from kt3d_bench.method import Stage, StepResult
from kt3d_bench.nn.flips import exchanged
from kt3d_bench.nn.integral import DEPTH_SPAN_MM, smooth_l1, to_voxels
from kt3d_bench.nn.layers import ResidualMlp
from kt3d_bench.nn.virtual_cameras import VirtualCameras, up_sum, upright, vertical
from kt3d_bench.skeletons import NUM_JOINTS

STAGE_NAME = "prior"
CAMERAS = ("virtual", "source", "fitted")
VIRTUAL = VirtualCameras()
DEPTH_THRESHOLD_MM = 100.0


class PosePrior(ResidualMlp):
    """(B, J, 2 or 3) voxels -> (B, J, 3) voxels: x and y as they are, z as the synthetic data know it of such poses.

    It sees the pose relative to the mean of its joints, which is less noisy than any one of them, and divided by its
    own size, so that neither place nor scale in the crop matter; it answers with depths relative to the hip's.
    """

    up_total: Tensor
    """(3,) what ``virtual_cameras.up_sum`` gave for all training poses."""

    def __init__(self, *, side: int, width: int, dropout: float = 0.1) -> None:
        super().__init__(2 * NUM_JOINTS, NUM_JOINTS, width=width, dropout=dropout)
        self.side = side
        self.register_buffer("up_total", torch.zeros(3))
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, voxels: Tensor) -> Tensor:
        place = voxels[..., :2]
        answer: Tensor = super().forward(((place - place.mean(1, keepdim=True)) / pose_size(place)).flatten(1))
        depth = hip_vox(self.side) + answer.float() * (self.side / 8)
        return torch.cat([place, depth[..., None]], -1)


def prior_stage(
    *,
    input_px: int,
    width: int,
    noise: float,
    cameras: str,
    steps: int | None = None,
    epochs: float | None = None,
    batch_size: int = 64,
    **optimisation: Any,
) -> Stage:
    """The stage: labels of the role "source", no images; trains ``prior``. Give exactly one of ``steps`` and
    ``epochs``; ``optimisation``: ``optimiser``, ``schedule``, ``average`` and ``after`` of ``Stage``. ``cameras``:
    "virtual", "source", its own, or "fitted" by earlier stages (``nn.camera_fit``), which ``after`` names. Raises
    ``UsageError`` for another word."""
    if cameras not in CAMERAS:
        raise UsageError(f"the prior's cameras cannot be '{cameras}'", hint=did_you_mean(cameras, CAMERAS))
    seen: Any = dataclasses.asdict(VIRTUAL) if cameras == "virtual" else cameras
    return Stage(
        STAGE_NAME,
        roles={"source": ()},
        trains=("prior",),
        recipe={"input_px": input_px, "width": width, "noise": noise, "cameras": seen},
        step_s=0.01,
        steps=steps,
        epochs=epochs,
        batch_size=batch_size,
        **optimisation,
        augment=cameras == "source",
        code="kt3d_bench.nn",
    )


def prior_step(
    prior: PosePrior, batch: LabelledBatch, *, noise: float, cameras: VirtualCameras | None, input_px: int
) -> StepResult:
    """``depth_loss`` between true poses and what the prior makes of them with noise; unknown joints lie at the hip, and
    an unknown hip in the middle. ``cameras``: ``None`` = the source's own."""
    if cameras is not None:
        prior.up_total += up_sum(batch.joints_root_mm, batch.world_to_cam)
        truth, known = virtual_views(batch, vertical(prior.up_total), prior.side, cameras).voxels, batch.mask_3d
    else:
        truth = to_voxels(batch.joints_px, batch.joints_root_mm[..., 2], input_px, prior.side)
        known = batch.mask_2d & batch.mask_3d
    known = known & truth.isfinite().all(-1)
    hip = torch.where(known[:, :1, None], truth[:, :1], torch.full_like(truth[:, :1], hip_vox(prior.side)))
    given = torch.where(known[..., None], truth, hip)
    return StepResult({"prior": depth_loss(prior(jittered(given, noise)), truth, known, prior.side)})


def depth_loss(pred: Tensor, target: Tensor, mask: Tensor, side: int) -> Tensor:
    """Smooth L1, threshold 100 mm, of the z of (B, J, 3) voxels over the true entries of ``mask`` (B, J): a scalar.

    A pose often has several depths that fit its x and y. A small threshold asks for their median, joint by joint, this
    one for something nearer to their mean, which errs less.
    """
    per_vox = DEPTH_SPAN_MM / side / DEPTH_THRESHOLD_MM
    return smooth_l1(pred[..., 2:] * per_vox, target[..., 2:] * per_vox, mask)


@dataclass(frozen=True)
class VirtualViews:
    """Poses before virtual cameras, each in a square crop of ``side`` bins around the person."""

    voxels: Tensor
    """(B, J, 3); NaN where a joint is not known."""
    joints_cam_mm: Tensor
    """(B, J, 3) in the virtual camera's axes."""
    middle: Tensor
    """(B, 1, 2) the crop's middle in image coordinates (x / z, y / z)."""
    scale: Tensor
    """(B, 1, 1) bins per unit of these coordinates."""
    side: int

    def places(self, points_cam_mm: Tensor) -> Tensor:
        """(B, N, 3) points in camera axes -> (B, N, 2) x and y in voxels."""
        return (points_cam_mm[..., :2] / points_cam_mm[..., 2:] - self.middle) * self.scale + hip_vox(self.side)


def virtual_views(batch: LabelledBatch, up_world: Tensor, side: int, cameras: VirtualCameras = VIRTUAL) -> VirtualViews:
    """Return the batch's poses as virtual cameras see them, cropped as the loader crops people. ``up_world`` (3,) is
    the world's vertical."""
    flip = batch.joints_root_mm.new_tensor([-1.0, 1.0, 1.0])
    augmented = (torch.linalg.det(batch.world_to_cam) < 0)[:, None, None]  # a mirrored sample: as it was before
    joints = torch.where(augmented, exchanged(batch.joints_root_mm) * flip, batch.joints_root_mm)
    turns = torch.where(augmented, batch.world_to_cam * flip[:, None], batch.world_to_cam)
    xy, z_mm, hip_mm = cameras.see(upright(joints, turns, up_world))
    known = xy.isfinite()
    low = torch.where(known, xy, torch.full_like(xy, torch.inf)).amin(1, keepdim=True)
    high = torch.where(known, xy, torch.full_like(xy, -torch.inf)).amax(1, keepdim=True)
    middle = (low + high) / 2
    scale = side / (BOX_MARGIN * (high - low).amax(-1, keepdim=True).clamp(min=1e-3))
    voxels = torch.cat([(xy - middle) * scale, z_mm[..., None] * (side / DEPTH_SPAN_MM)], -1) + hip_vox(side)
    z_cam_mm = (z_mm + hip_mm[:, None])[..., None]
    return VirtualViews(voxels, torch.cat([xy * z_cam_mm, z_cam_mm], -1), middle, scale, side)


def hip_vox(side: int) -> float:
    """z of the hip, which is also the centre of the cube, in voxels."""
    return (side - 1) / 2


def pose_size(voxels: Tensor) -> Tensor:
    """(B, J, 2 or 3) -> (B, 1, 1): root mean square distance of the joints' x and y from their mean, at least 0.001."""
    place = voxels[..., :2]
    return (place - place.mean(1, keepdim=True)).square().sum(-1).mean(-1).sqrt().clamp(min=1e-3)[:, None, None]


def jittered(voxels: Tensor, noise: float) -> Tensor:
    """(B, J, D) with normal noise on every coordinate. Each sample draws its standard deviation between 0 and ``noise``
    times ``pose_size``: nobody knows how good a 2D network is on images that it never saw."""
    deviation = noise * pose_size(voxels) * torch.rand(len(voxels), 1, 1).to(voxels)
    return voxels + deviation * torch.randn(voxels.shape).to(voxels)
