"""Integral human pose regression, trained on whatever labels of the target are granted.

Sun, Xiao, Wei, Liang, Wei: Integral Human Pose Regression, ECCV 2018. A ResNet and three deconvolutions give one volume
per joint; the expected value of its softmax is the joint. Poses are in voxels (``kt3d_bench.nn.integral``): x and y of
the crop, z relative to the hip.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor

from kt3d_bench.loading.batches import LabelledBatch, UnlabelledBatch
from kt3d_bench.method import Estimate, Method, MethodContext, Optimiser, Progress, Stage, StepResult
from kt3d_bench.nn.flips import both_ways
from kt3d_bench.nn.images import relief_input, rgb_input
from kt3d_bench.nn.integral import (
    IntegralNet,
    from_voxels,
    marginal_loss,
    smooth_l1_in_64ths,
    surface_offset_loss,
    to_voxels,
)
from kt3d_bench.nn.pretrain2d import PRECISIONS, pose_loss_2d, pretrain_2d_stage, pretrain_2d_step
from kt3d_bench.nn.pretrain2d import PRESETS as SHARED
from kt3d_bench.nn.pretrain2d import STAGE_NAME as PRETRAIN
from kt3d_bench.nn.schedules import length, training


@dataclass(frozen=True)
class Config:
    """Options of ``integral-pose``; ``--set name=value`` changes one."""

    input_px: int = 256
    """Side of the square network input; the volumes have a quarter of it."""
    backbone: Literal["resnet50", "tiny"] = "resnet50"
    epochs: float = 140.0
    """Length of each stage: the transfer paper's number, so that both methods are trained alike."""
    steps: int = 0
    """Steps of the supervised stage; 0 = ``epochs`` decide."""
    pretrain_steps: int = 0
    """Steps of the 2D stage; 0 = ``epochs`` decide."""
    batch_size: int = 32
    learning_rate: float = 1e-3
    loss: Literal["l1", "smooth-l1"] = "l1"
    """On voxels of a 64-bin volume; L1 is what the paper found best (its Section 4.2)."""
    marginal_weight: float = 3.0
    """Weight of the marginals' loss beside it, in both stages (``nn.integral.marginal_loss``)."""
    schedule: Literal["hold", "steps"] = "hold"
    """How the learning rate runs in both stages (``nn.schedules``)."""
    flip_test: bool = True
    """Whether predictions are averaged with those of the mirrored image."""
    mix_pretrain: float = 1.0
    """RGB targets: weight of the 2D loss on a batch of the pretrain role beside each target batch, as the paper mixes
    2D and 3D data. 0 = none."""
    pretrain_2d: bool = True
    """RGB targets: use the pretrain role, and start from 2D joints learned on it, as the methods compared with do."""
    weight_offset: float = 0.1
    """Depth targets: weight of the hip's depth behind the visible surface, in units of 50 mm."""

    def __post_init__(self) -> None:
        if self.input_px < 32 or self.input_px % 8:
            raise ValueError(f"input_px is {self.input_px}, expected a multiple of 8 from 32 on")
        if self.batch_size < 2 or self.epochs < 0 or self.steps < 0 or self.pretrain_steps < 0:
            raise ValueError("batch_size must be at least 2, epochs and steps not negative")
        for name in ("marginal_weight", "mix_pretrain", "weight_offset"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a finite number from 0 on")

    @property
    def side(self) -> int:
        """Bins along each axis of a volume."""
        return self.input_px // 4


class IntegralPose(Method):
    """RGB targets: stages ``pretrain-2d`` (optional) and ``supervised``; depth targets: ``supervised``."""

    Config: ClassVar[type[Any]] = Config
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {**SHARED["paper"]},
        "small": {**SHARED["small"], "steps": 12000},
        "laptop": {**SHARED["laptop"], "steps": 3000},
        "tiny": {**SHARED["tiny"], "steps": 600},
    }
    PRECISIONS: ClassVar[Mapping[str, str]] = PRECISIONS

    def __init__(self, config: Any, context: MethodContext) -> None:
        super().__init__(config, context)
        self.rgb = context.target_modality == "rgb"
        net = IntegralNet(3 if self.rgb else 2, backbone=config.backbone, side=config.side)
        if self.rgb:
            self.rgb_net = net
        else:
            self.depth_net = net

    @property
    def input_px(self) -> int:
        return cast(int, self.config.input_px)

    @property
    def net(self) -> IntegralNet:
        return self.rgb_net if self.rgb else self.depth_net

    @property
    def mixes(self) -> bool:
        """Whether 2D images of the pretrain role are mixed into the supervised stage."""
        return bool(self.rgb and self.config.pretrain_2d and self.config.mix_pretrain)

    def stages(self) -> tuple[Stage, ...]:
        config: Config = self.config
        names = ("backbone", "input_px", "side", "marginal_weight")
        sizes: dict[str, Any] = {name: getattr(config, name) for name in names}
        optimiser = Optimiser(learning_rate=config.learning_rate)
        common: dict[str, Any] = {"batch_size": config.batch_size, "optimiser": optimiser, **training(config.schedule)}
        stages: list[Stage] = []
        if self.rgb and config.pretrain_2d:
            stages.append(pretrain_2d_stage(**sizes, **common, **length(config.pretrain_steps, config.epochs)))
        stages.append(
            Stage(
                "supervised",
                roles={"target": ("rgb" if self.rgb else "depth",)} | ({"pretrain": ("rgb",)} if self.mixes else {}),
                trains=("rgb_net" if self.rgb else "depth_net",),
                recipe=sizes | {name: getattr(config, name) for name in ("loss", "weight_offset", "mix_pretrain")},
                step_s=0.1,
                after=tuple(stage.name for stage in stages),
                **common,
                **length(config.steps, config.epochs),
            )
        )
        return tuple(stages)

    def step(self, stage: Stage, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> StepResult:
        if stage.name == PRETRAIN:
            given = cast(LabelledBatch, batches["pretrain"])
            return pretrain_2d_step(self.rgb_net, given, marginal_weight=self.config.marginal_weight)
        batch, config = cast(LabelledBatch, batches["target"]), self.config
        mixed = cast("LabelledBatch | None", batches.get("pretrain"))
        image = self._input(batch)
        seen = image if mixed is None else torch.cat([image, rgb_input(mixed.images["rgb"])])
        both = self.net(seen, with_marginals=config.marginal_weight > 0)
        output = both.of(slice(0, batch.size))
        truth = to_voxels(batch.joints_px, batch.joints_root_mm[..., 2], self.input_px, config.side)
        planar = batch.mask_2d | batch.mask_3d
        known = torch.stack([planar, planar, batch.mask_3d], -1)
        losses = {
            "xy": self._loss(output.voxels[..., :2], truth[..., :2], known[..., :2]) * (2 / 3),
            "z": self._loss(output.voxels[..., 2:], truth[..., 2:], known[..., 2:]) / 3,
        }
        if output.along is not None:
            losses["marginals"] = config.marginal_weight * marginal_loss(output.along, truth, known)
        if mixed is not None:
            found, weight = both.of(slice(batch.size, None)), config.marginal_weight
            losses["pretrain"] = config.mix_pretrain * pose_loss_2d(found, mixed, marginal_weight=weight)
        if not self.rgb:
            loss = surface_offset_loss(output.surface_offset_mm, batch.surface_offset_mm)
            losses["offset"] = config.weight_offset * loss
        return StepResult(losses)

    def _loss(self, pred: Tensor, target: Tensor, known: Tensor) -> Tensor:
        """Mean over the granted coordinates in voxels of a 64-bin volume, zero where none is granted."""
        if self.config.loss == "smooth-l1":
            return smooth_l1_in_64ths(pred, target, known, self.config.side)
        error = (pred - target.where(known, pred.detach())).abs().sum() / known.sum().clamp(min=1)
        return error * (64 / cast(int, self.config.side))

    def _input(self, batch: UnlabelledBatch) -> Tensor:
        if self.rgb:
            return rgb_input(batch.images["rgb"])
        return relief_input(batch.images["depth"], batch.surface_mm)

    def predict(self, batch: UnlabelledBatch) -> Estimate:
        image = self._input(batch)
        output = both_ways(self.net, image)[0] if self.config.flip_test else self.net(image)
        joints_px, z_mm = from_voxels(output.voxels, self.input_px, self.config.side)
        root_z_mm = None if self.rgb else batch.surface_mm + output.surface_offset_mm
        return Estimate(joints_px=joints_px, z_root_mm=z_mm - z_mm[:, :1], root_z_mm=root_z_mm)
