"""A2J on depth images, trained on the 3D labels of the target that are granted.

Xiong, Zhang, Xiao, Cao, Yu, Zhou, Yuan: A2J: Anchor-to-Joint Regression Network for 3D Articulated Pose Estimation from
a Single Depth Image, ICCV 2019. Every anchor votes for each joint: an offset in the image, a depth, and a weight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor
from torch.nn import functional

from kt3d_a2j.networks import AnchorNet
from kt3d_bench.loading.batches import LabelledBatch, UnlabelledBatch
from kt3d_bench.method import Estimate, Method, MethodContext, Optimiser, Progress, Schedule, Stage, StepResult
from kt3d_bench.nn.images import relief_input
from kt3d_bench.nn.schedules import length
from kt3d_bench.skeletons import NUM_JOINTS

DEPTH_UNIT_MM = 20.0
"""Depths are learned in this unit, so that they weigh about as much as pixels."""
PLANE_THRESHOLD_PX, DEPTH_THRESHOLD = 1.0, 3.0
"""Where the losses turn from squared to linear: px of the input, and units of depth."""


@dataclass(frozen=True)
class Config:
    """Options of ``a2j``; ``--set name=value`` changes one."""

    input_px: int = 288
    backbone: Literal["resnet50", "tiny"] = "resnet50"
    width: int = 256
    """Channels of the heads."""
    layers: int = 4
    """Hidden layers of each head."""
    epochs: float = 27.0
    steps: int = 0
    """0 = ``epochs`` decide."""
    batch_size: int = 256
    learning_rate: float = 3.5e-4
    weight_decay: float = 1e-4
    regression_weight: float = 5.0
    """Weight of offsets and depths beside the anchors' own places."""

    def __post_init__(self) -> None:
        step = 16 if self.backbone == "resnet50" else 8
        if self.input_px < 32 or self.input_px % step:
            raise ValueError(f"input_px is {self.input_px}, expected a multiple of {step} from 32 on")
        if self.batch_size < 2 or self.layers < 1 or self.width < 1 or self.epochs < 0 or self.steps < 0:
            raise ValueError("batch_size is at least 2, layers and width at least 1, epochs and steps not negative")
        if not 0 <= self.regression_weight < math.inf:
            raise ValueError(f"regression_weight is {self.regression_weight}, expected a finite number from 0 on")


class A2J(Method):
    """One stage, ``supervised``, on depth images of the target."""

    Config: ClassVar[type[Any]] = Config
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "laptop": {"input_px": 64, "backbone": "tiny", "width": 64, "layers": 2, "epochs": 0.0, "steps": 3000,
                   "batch_size": 32, "learning_rate": 2e-3},
        "tiny": {"input_px": 64, "backbone": "tiny", "width": 64, "layers": 2, "epochs": 0.0, "steps": 600,
                 "batch_size": 32, "learning_rate": 2e-3},
    }  # fmt: skip

    def __init__(self, config: Any, context: MethodContext) -> None:
        super().__init__(config, context)
        context.require_target("depth", "a2j")
        self.net = AnchorNet(2, NUM_JOINTS, backbone=config.backbone, width=config.width, layers=config.layers)

    @property
    def input_px(self) -> int:
        return cast(int, self.config.input_px)

    def stages(self) -> tuple[Stage, ...]:
        config: Config = self.config
        names = ("backbone", "width", "layers", "regression_weight")
        return (
            Stage(
                "supervised",
                roles={"target": ("depth",)},
                trains=("net",),
                recipe={name: getattr(config, name) for name in names},
                batch_size=config.batch_size,
                optimiser=Optimiser(learning_rate=config.learning_rate, weight_decay=config.weight_decay, no_decay=()),
                schedule=Schedule("exponential", end=0.04),
                step_s=0.1,
                **length(config.steps, config.epochs),
            ),
        )

    def step(self, stage: Stage, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> StepResult:
        batch = cast(LabelledBatch, batches["target"])
        votes = self.net(self._input(batch))
        depth = (batch.joints_cam_mm[..., 2] - batch.surface_mm[:, None]) / DEPTH_UNIT_MM
        known = batch.mask_3d & batch.joints_px.isfinite().all(-1)
        planar = (votes.joints_px(), batch.joints_px, known, PLANE_THRESHOLD_PX)
        weight = self.config.regression_weight
        return StepResult({
            "anchors": smooth_l1_over(votes.anchors(), batch.joints_px, known, PLANE_THRESHOLD_PX),
            "offsets": weight * smooth_l1_over(*planar),
            "depth": weight * smooth_l1_over(votes.depth(), depth, known & depth.isfinite(), DEPTH_THRESHOLD),
        })  # fmt: skip

    def _input(self, batch: UnlabelledBatch) -> Tensor:
        return relief_input(batch.images["depth"], batch.surface_mm)

    def predict(self, batch: UnlabelledBatch) -> Estimate:
        votes = self.net(self._input(batch))
        depth_mm = votes.depth() * DEPTH_UNIT_MM
        return Estimate(
            joints_px=votes.joints_px(),
            z_root_mm=depth_mm - depth_mm[:, :1],
            root_z_mm=batch.surface_mm + depth_mm[:, 0],
        )


def smooth_l1_over(found: Tensor, truth: Tensor, known: Tensor, threshold: float) -> Tensor:
    """Return the mean over the known joints of d^2 / (2 t) up to the threshold t and d - t / 2 beyond; 0 without any.

    ``found`` and ``truth`` (B, J) or (B, J, n), ``known`` (B, J) bool; unknown truth may be NaN.
    """
    mask = (known if found.ndim == 2 else known[..., None]).expand_as(found)
    safe = torch.where(mask, truth, found.detach())
    return functional.smooth_l1_loss(found, safe, reduction="sum", beta=threshold) / mask.sum().clamp(min=1)
