"""V2V-PoseNet on depth images, trained on the 3D labels of the target that are granted.

Moon, Chang, Lee: V2V-PoseNet: Voxel-to-Voxel Prediction Network for Accurate 3D Hand and Human Pose Estimation from a
Single Depth Map, CVPR 2018. The depth image becomes a cube of voxels, occupied or not; the network gives one heat map
of voxels for each joint.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from kt3d_bench.loading.batches import LabelledBatch, UnlabelledBatch
from kt3d_bench.method import Estimate, Method, MethodContext, Optimiser, Progress, Schedule, Stage, StepResult
from kt3d_bench.nn.heatmaps import squared_error
from kt3d_bench.nn.points import points_mm, projected_px
from kt3d_bench.nn.schedules import length
from kt3d_bench.skeletons import NUM_JOINTS
from kt3d_v2v.cubes import heat_maps, middle_mm, occupancy, peaks_mm
from kt3d_v2v.networks import VoxelNet


@dataclass(frozen=True)
class Config:
    """Options of ``v2v``; ``--set name=value`` changes one."""

    input_px: int = 192
    """Side of the depth image that becomes voxels."""
    voxels: int = 88
    """Along each side of the cube; the heat maps have half as many."""
    cube_mm: float = 2000.0
    width: int = 16
    """Channels of the first layer; the others have 2, 4 and 8 times as many."""
    sigma: float = 1.7
    """Of the heat maps' Gaussians, in their voxels."""
    shift_mm: float = 90.0
    """Training: the cube is moved by up to this along each axis."""
    refine: bool = False
    """Whether a joint is the mean around the highest voxel instead of that voxel's middle."""
    epochs: float = 10.0
    steps: int = 0
    """0 = ``epochs`` decide."""
    batch_size: int = 8
    learning_rate: float = 2.5e-4

    def __post_init__(self) -> None:
        if self.voxels < 16 or self.voxels % 8:
            raise ValueError(f"voxels is {self.voxels}, expected a multiple of 8 from 16 on")
        if self.input_px < 32 or self.batch_size < 2 or self.width < 1 or self.epochs < 0 or self.steps < 0:
            raise ValueError("input_px is at least 32, batch_size 2, width 1, epochs and steps not negative")
        finite = max(self.cube_mm, self.sigma, self.shift_mm) < math.inf
        if not (finite and self.cube_mm > 0 and self.sigma > 0 and self.shift_mm >= 0):
            raise ValueError("cube_mm and sigma are above 0, shift_mm not negative, all finite")


class V2V(Method):
    """One stage, ``supervised``, on depth images of the target."""

    Config: ClassVar[type[Any]] = Config
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "laptop": {"input_px": 96, "voxels": 48, "width": 8, "sigma": 1.0, "refine": True, "epochs": 0.0,
                   "steps": 3000, "learning_rate": 1e-3},
        "tiny": {"input_px": 64, "voxels": 32, "width": 4, "sigma": 1.0, "refine": True, "epochs": 0.0,
                 "steps": 600, "learning_rate": 2e-3},
    }  # fmt: skip

    reads_cameras: ClassVar[bool] = True

    def __init__(self, config: Any, context: MethodContext) -> None:
        super().__init__(config, context)
        context.require_target("depth", "v2v")
        self.net = VoxelNet(NUM_JOINTS, config.width)

    @property
    def input_px(self) -> int:
        return cast(int, self.config.input_px)

    def stages(self) -> tuple[Stage, ...]:
        config: Config = self.config
        names = ("voxels", "cube_mm", "width", "sigma", "shift_mm")
        return (
            Stage(
                "supervised",
                roles={"target": ("depth",)},
                trains=("net",),
                recipe={name: getattr(config, name) for name in names},
                batch_size=config.batch_size,
                optimiser=Optimiser("rmsprop", learning_rate=config.learning_rate),
                schedule=Schedule("constant") if config.epochs else Schedule("exponential", hold=0.5, end=0.05),
                step_s=0.15,
                **length(config.steps, config.epochs),
            ),
        )

    def step(self, stage: Stage, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> StepResult:
        batch, config = cast(LabelledBatch, batches["target"]), self.config
        points = points_mm(batch.images["depth"], batch.cameras)
        centre = middle_mm(points, batch.surface_mm, config.cube_mm)
        centre = centre + config.shift_mm * (2 * torch.rand(centre.shape).to(centre) - 1)
        maps = self.net(occupancy(points, centre, config.cube_mm, config.voxels)).float()
        truth = heat_maps(batch.joints_cam_mm, centre, config.cube_mm, config.voxels // 2, config.sigma)
        known = batch.mask_3d & truth.isfinite().all((-1, -2, -3))
        return StepResult({"heat maps": squared_error(maps, truth, known)})

    def predict(self, batch: UnlabelledBatch) -> Estimate:
        config: Config = self.config
        points = points_mm(batch.images["depth"], batch.cameras)
        centre = middle_mm(points, batch.surface_mm, config.cube_mm)
        maps = self.net(occupancy(points, centre, config.cube_mm, config.voxels)).float()
        joints: Tensor = peaks_mm(maps, centre, config.cube_mm, refine=config.refine)
        depth = joints[..., 2]
        return Estimate(
            joints_px=projected_px(joints, batch.cameras), z_root_mm=depth - depth[:, :1], root_z_mm=depth[:, 0]
        )
