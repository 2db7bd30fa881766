"""Each pixel's body part, and joints as a linear function of where the parts are.

Shafaei, Little: Real-Time Human Motion Capture with Multiple Depth Cameras, CRV 2016 (arXiv 1605.08068). A network
learns the parts from the source's masks. What is measured of the named points gives the joints by ridge regression.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor

from kt3d_bench.errors import UsageError
from kt3d_bench.loading.batches import LabelledBatch, UnlabelledBatch
from kt3d_bench.method import Estimate, Method, MethodContext, Optimiser, Progress, Schedule, Stage, StepResult
from kt3d_bench.nn.points import projected_px, whole_poses
from kt3d_shafaei.parts import STRIDE, PartsNet, Regression, part_features, part_loss, person, person_points_m

PARTS, REGRESSION = "parts", "regression"


@dataclass(frozen=True)
class Config:
    """Options of ``shafaei``; ``--set name=value`` changes one."""

    input_px: int = 256
    backbone: Literal["resnet50", "tiny"] = "resnet50"
    parts_steps: int = 402_000
    """Steps of the stage ``parts``: the sum of the paper's three."""
    regression_steps: int = 4000
    """Batches that the regression is made of."""
    batch_size: int = 32
    learning_rate: float = 1e-3
    ridge: float = 1e-4
    """Penalty of the regression's squared weights beside the mean squared error in m."""

    def __post_init__(self) -> None:
        if self.input_px < 32 or self.input_px % 8:
            raise ValueError(f"input_px is {self.input_px}, expected a multiple of 8 from 32 on")
        if self.batch_size < 2 or self.parts_steps < 1 or self.regression_steps < 1:
            raise ValueError("batch_size is at least 2, parts_steps and regression_steps at least 1")
        if not 0 < self.ridge < math.inf:
            raise ValueError(f"ridge is {self.ridge}, expected a finite number above 0")


class Shafaei(Method):
    """Stages ``parts``, on the source's depth images and masks, and ``regression``, on the source's poses, or on the
    target's where they may be seen."""

    Config: ClassVar[type[Any]] = Config
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "laptop": {"input_px": 64, "backbone": "tiny", "parts_steps": 6000, "regression_steps": 400,
                   "learning_rate": 2e-3},
        "tiny": {"input_px": 64, "backbone": "tiny", "parts_steps": 500, "regression_steps": 60, "learning_rate": 2e-3},
    }  # fmt: skip

    reads_cameras: ClassVar[bool] = True

    def __init__(self, config: Any, context: MethodContext) -> None:
        super().__init__(config, context)
        context.require_target("depth", "shafaei")
        if context.num_parts < 2:
            hint = "choose a source with part masks"
            raise UsageError("shafaei learns body parts, and the source has none", where="--source", hint=hint)
        self.parts_net = PartsNet(context.num_parts - 1, backbone=config.backbone)
        self.regression = Regression(context.num_parts - 1)

    @property
    def input_px(self) -> int:
        return cast(int, self.config.input_px)

    def stages(self) -> tuple[Stage, ...]:
        config: Config = self.config
        taught = "source" if self.context.supervision == "none" else "target"
        return (
            Stage(
                PARTS,
                roles={"source": ("depth", "parts")},
                trains=("parts_net",),
                recipe={"input_px": config.input_px, "backbone": config.backbone},
                steps=config.parts_steps,
                batch_size=config.batch_size,
                optimiser=Optimiser(learning_rate=config.learning_rate),
                schedule=Schedule("exponential", hold=0.5, end=0.02),
                step_s=0.12,
            ),
            Stage(
                REGRESSION,
                roles={taught: ("depth",)},
                trains=("regression",),
                recipe={"ridge": config.ridge},
                steps=config.regression_steps,
                batch_size=config.batch_size,
                after=(PARTS,),
                step_s=0.1,
            ),
        )

    def step(self, stage: Stage, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> StepResult:
        (batch,) = (cast(LabelledBatch, each) for each in batches.values())
        if stage.name == PARTS:
            logits, counted = self.parts_net.of(batch), person(batch)
            loss = part_loss(logits, batch.images["parts"], counted)
            with torch.no_grad():
                wanted = batch.images["parts"][:, ::STRIDE, ::STRIDE]
                right = (logits.argmax(1) + 1 == wanted)[counted & (wanted > 0)].float()
            return StepResult({"parts": loss}, {"parts_right_percent": 100 * float(right.mean())} if len(right) else {})
        features, middle = self._measured(batch)
        joints = batch.joints_cam_mm / 1000 - middle[:, None]
        used = whole_poses(joints) & batch.surface_mm.isfinite()
        self.regression.add(features[used], joints[used].nan_to_num(0.0))
        return StepResult({})

    def after_step(self, stage: Stage, progress: Progress) -> None:
        if stage.name == REGRESSION:
            self.regression.solve(self.config.ridge)

    def _measured(self, batch: UnlabelledBatch) -> tuple[Tensor, Tensor]:
        """(B, F) features of the parts that the network finds, and (B, 3) m the person's middle."""
        shares = self.parts_net.of(batch).softmax(1) * person(batch)[:, None]
        return part_features(person_points_m(batch), shares.flatten(2).transpose(1, 2))

    def predict(self, batch: UnlabelledBatch) -> Estimate:
        features, middle = self._measured(batch)
        joints_mm = 1000 * (self.regression(features) + middle[:, None])
        return Estimate(
            joints_px=projected_px(joints_mm, batch.cameras),
            joints_root_mm=joints_mm - joints_mm[:, :1],
            root_z_mm=joints_mm[:, 0, 2],
        )
