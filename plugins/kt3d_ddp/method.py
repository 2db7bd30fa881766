"""A depth image weighs prototype poses, and their weighted sum is the pose: trained on the target's 3D labels.

Marin-Jimenez, Romero-Ramirez, Munoz-Salinas, Medina-Carnicer: 3D human pose estimation from depth maps using a deep
combination of poses, Journal of Visual Communication and Image Representation, 2018 (Deep Depth Pose).
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
from kt3d_bench.nn.images import relief_input
from kt3d_bench.nn.integral import smooth_l1
from kt3d_bench.nn.points import projected_px, unprojected_mm
from kt3d_bench.nn.schedules import length
from kt3d_ddp.networks import Prototypes, WeightNet

PROTOTYPES, SUPERVISED = "prototypes", "supervised"
GATHERING_STEPS, GATHERED = 32, 128
"""Steps of the stage ``prototypes``, and poses in each."""
PLACE_UNIT_MM = 100.0


@dataclass(frozen=True)
class Config:
    """Options of ``ddp``; ``--set name=value`` changes one."""

    input_px: int = 100
    prototypes: int = 70
    width: int = 32
    """Channels of the first convolution; the others have 2, 4, 8 and 8 times as many."""
    hidden: int = 1024
    """Width of the fully connected layer before the weights."""
    dropout: float = 0.5
    epochs: float = 140.0
    steps: int = 0
    """0 = ``epochs`` decide."""
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_penalty: float = 0.001
    """Of the mean absolute weight of a prototype."""
    place_weight: float = 1.0
    """Of the hip's place and depth."""

    def __post_init__(self) -> None:
        if self.input_px < 32 or self.prototypes < 1 or self.width < 1 or self.hidden < 1 or self.batch_size < 2:
            raise ValueError("input_px is at least 32, batch_size 2; prototypes, width and hidden are at least 1")
        if self.epochs < 0 or self.steps < 0 or not 0 <= self.dropout < 1:
            raise ValueError("epochs and steps are not negative, dropout lies in 0..1")
        if not (0 <= self.weight_penalty < math.inf and 0 <= self.place_weight < math.inf):
            raise ValueError("weight_penalty and place_weight are not negative, both finite")


class DeepDepthPose(Method):
    """Stages ``prototypes``, of the target's poses alone, and ``supervised``, on its depth images."""

    Config: ClassVar[type[Any]] = Config
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "laptop": {"input_px": 64, "width": 16, "hidden": 512, "dropout": 0.1, "epochs": 0.0, "steps": 6000},
        "tiny": {"input_px": 64, "width": 16, "hidden": 256, "dropout": 0.1, "epochs": 0.0, "steps": 800},
    }

    reads_cameras: ClassVar[bool] = True

    def __init__(self, config: Any, context: MethodContext) -> None:
        super().__init__(config, context)
        context.require_target("depth", "ddp")
        sizes = {name: getattr(config, name) for name in ("width", "hidden", "dropout")}
        self.prototypes = Prototypes(config.prototypes, GATHERING_STEPS * GATHERED)
        self.net = WeightNet(config.input_px, config.prototypes, **sizes)

    @property
    def input_px(self) -> int:
        return cast(int, self.config.input_px)

    def stages(self) -> tuple[Stage, ...]:
        config: Config = self.config
        names = ("input_px", "prototypes", "width", "hidden", "dropout", "weight_penalty", "place_weight")
        return (
            Stage(
                PROTOTYPES,
                roles={"target": ()},
                trains=("prototypes",),
                recipe={"prototypes": config.prototypes},
                steps=GATHERING_STEPS,
                batch_size=GATHERED,
                step_s=0.1,
            ),
            Stage(
                SUPERVISED,
                roles={"target": ("depth",)},
                trains=("net",),
                recipe={name: getattr(config, name) for name in names},
                batch_size=config.batch_size,
                optimiser=Optimiser(learning_rate=config.learning_rate),
                schedule=Schedule("exponential", hold=0.5, end=0.02),
                after=(PROTOTYPES,),
                step_s=0.06,
                **length(config.steps, config.epochs),
            ),
        )

    def step(self, stage: Stage, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> StepResult:
        batch, config = cast(LabelledBatch, batches["target"]), self.config
        if stage.name == PROTOTYPES:
            self.prototypes.keep(batch.joints_root_mm)
            return StepResult({})
        weights, place = self.net(self._input(batch))
        unit = self.prototypes.deviation_mm.view(-1, 3)
        found, truth = self.prototypes.pose_mm(weights) / unit, batch.joints_root_mm / unit
        hip = self._place(batch)
        return StepResult({
            "pose": smooth_l1(found, truth, batch.mask_3d & truth.isfinite().all(-1)),
            "place": config.place_weight * smooth_l1(place[:, None], hip[:, None], hip.isfinite().all(-1)[:, None]),
            "weights": config.weight_penalty * weights.abs().mean(),
        })  # fmt: skip

    def after_step(self, stage: Stage, progress: Progress) -> None:
        if stage.name == PROTOTYPES:
            self.prototypes.group()

    def _place(self, batch: LabelledBatch) -> Tensor:
        """(B, 3) what the network shall say of the hip; NaN where it is not known."""
        xy = (batch.joints_px[:, 0] + 0.5) / self.input_px - 0.5
        return torch.cat([xy, batch.surface_offset_mm[:, None] / PLACE_UNIT_MM], -1)

    def _input(self, batch: UnlabelledBatch) -> Tensor:
        return relief_input(batch.images["depth"], batch.surface_mm)

    def predict(self, batch: UnlabelledBatch) -> Estimate:
        weights, place = self.net(self._input(batch))
        pose = self.prototypes.pose_mm(weights)
        pose = pose - pose[:, :1]
        hip_px = (place[:, None, :2] + 0.5) * self.input_px - 0.5
        root_z_mm = batch.surface_mm + place[:, 2] * PLACE_UNIT_MM
        hip_mm = unprojected_mm(hip_px, root_z_mm[:, None], batch.cameras)
        joints_px = projected_px(hip_mm + pose, batch.cameras)
        return Estimate(joints_px=joints_px, joints_root_mm=pose, root_z_mm=root_z_mm)
