"""Each joint as three classifications, trained on the labels of the target that are granted.

Li et al.: SimCC: a Simple Coordinate Classification Perspective for Human Pose Estimation, ECCV 2022; along three axes
as RTMW3D has it (open-mmlab/mmpose, projects/rtmpose3d). A coordinate is a class: x and y are half pixels of the
input, z is relative to the hip, +-1000 mm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor

from kt3d_bench.loading.batches import LabelledBatch, UnlabelledBatch
from kt3d_bench.method import Estimate, Method, MethodContext, Optimiser, Progress, Schedule, Stage, StepResult
from kt3d_bench.nn.images import rgb_input
from kt3d_bench.nn.integral import DEPTH_SPAN_MM
from kt3d_bench.nn.schedules import length
from kt3d_bench.skeletons import NUM_JOINTS
from kt3d_simcc.networks import SimCCNet

BINS_PER_PX = 2
SHARPNESS = 10.0
"""What logits and labels are multiplied by before their softmax."""


@dataclass(frozen=True)
class Config:
    """Options of ``simcc-3d``; ``--set name=value`` changes one."""

    input_px: int = 256
    backbone: Literal["resnet50", "tiny"] = "resnet50"
    width: int = 256
    """Numbers that describe a joint before its classification."""
    sigma: float = 6.0
    """Of the labels' Gaussians, in bins."""
    mix_pretrain: float = 1.0
    """Weight of the 2D loss on a batch of the pretrain role beside each target batch. 0 = none."""
    epochs: float = 270.0
    steps: int = 0
    """0 = ``epochs`` decide."""
    batch_size: int = 512
    learning_rate: float = 5e-4
    weight_decay: float = 0.05

    def __post_init__(self) -> None:
        if self.input_px < 32 or self.input_px % 32:
            raise ValueError(f"input_px is {self.input_px}, expected a multiple of 32 from 32 on")
        if self.batch_size < 2 or self.width < 1 or self.epochs < 0 or self.steps < 0:
            raise ValueError("batch_size is at least 2, width 1, epochs and steps not negative")
        if not (0 < self.sigma < math.inf and 0 <= self.mix_pretrain < math.inf):
            raise ValueError("sigma is above 0, mix_pretrain not negative, both finite")

    @property
    def bins(self) -> int:
        """Along each axis."""
        return BINS_PER_PX * self.input_px


class SimCC3D(Method):
    """One stage, ``supervised``, on RGB images of the target and 2D images of the pretrain role."""

    Config: ClassVar[type[Any]] = Config
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "laptop": {"input_px": 64, "backbone": "tiny", "width": 128, "sigma": 3.0, "epochs": 0.0, "steps": 3000,
                   "batch_size": 32, "learning_rate": 2e-3},
        "tiny": {"input_px": 64, "backbone": "tiny", "width": 128, "sigma": 3.0, "epochs": 0.0, "steps": 600,
                 "batch_size": 32, "learning_rate": 2e-3},
    }  # fmt: skip

    def __init__(self, config: Any, context: MethodContext) -> None:
        super().__init__(config, context)
        context.require_target("rgb", "simcc-3d")
        self.net = SimCCNet(NUM_JOINTS, config.input_px, backbone=config.backbone, width=config.width, bins=config.bins)

    @property
    def input_px(self) -> int:
        return cast(int, self.config.input_px)

    def stages(self) -> tuple[Stage, ...]:
        config: Config = self.config
        names = ("backbone", "width", "sigma", "mix_pretrain")
        return (
            Stage(
                "supervised",
                roles={"target": ("rgb",)} | ({"pretrain": ("rgb",)} if config.mix_pretrain else {}),
                trains=("net",),
                recipe={name: getattr(config, name) for name in names},
                batch_size=config.batch_size,
                optimiser=Optimiser("adamw", config.learning_rate, config.weight_decay),
                schedule=Schedule("cosine", hold=0.5, end=0.05, warm_up=0.05),
                step_s=0.1,
                **length(config.steps, config.epochs),
            ),
        )

    def step(self, stage: Stage, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> StepResult:
        batch, mixed = cast(LabelledBatch, batches["target"]), cast("LabelledBatch | None", batches.get("pretrain"))
        images = [batch.images["rgb"]] + ([] if mixed is None else [mixed.images["rgb"]])
        logits = self.net(rgb_input(torch.cat(images))).float()
        losses = {"target": self._loss(logits[: batch.size], batch)}
        if mixed is not None:
            losses["pretrain"] = self.config.mix_pretrain * self._loss(logits[batch.size :], mixed)
        return StepResult(losses)

    def _loss(self, logits: Tensor, batch: LabelledBatch) -> Tensor:
        planar = (batch.mask_2d | batch.mask_3d)[..., None].expand(*batch.mask_2d.shape, 2)
        known = torch.cat([planar, batch.mask_3d[..., None]], -1)
        return divergence(logits, self._places(batch), known, self.config.sigma)

    def _places(self, batch: LabelledBatch) -> Tensor:
        """(B, J, 3) bins, whose middles are at integers; NaN where hidden."""
        z = (batch.joints_root_mm[..., 2:] / DEPTH_SPAN_MM + 0.5) * self.config.bins - 0.5
        return torch.cat([batch.joints_px * BINS_PER_PX, z], -1)

    def predict(self, batch: UnlabelledBatch) -> Estimate:
        found = self.net(rgb_input(batch.images["rgb"])).argmax(-1)
        z_mm = ((found[..., 2] + 0.5) / self.config.bins - 0.5) * DEPTH_SPAN_MM
        return Estimate(joints_px=found[..., :2] / BINS_PER_PX, z_root_mm=z_mm - z_mm[:, :1])


def divergence(logits: Tensor, places: Tensor, known: Tensor, sigma: float) -> Tensor:
    """Return the mean Kullback-Leibler divergence, in nats, of softmax(10 logits) from softmax(10 label).

    ``logits`` (B, J, 3, N); ``places`` (B, J, 3) bins, whose labels are exp(-d^2 / (2 sigma^2)) of the distance in
    bins; ``known`` (B, J, 3) bool. Places outside the bins do not count; 0 without any.
    """
    bins = torch.arange(logits.shape[-1], device=logits.device, dtype=logits.dtype)
    counted = known & (places > -0.5) & (places < len(bins) - 0.5)
    safe = torch.where(counted, places, torch.zeros_like(places))
    label = torch.exp(-(bins - safe[..., None]).square() / (2 * sigma**2))
    wanted = (SHARPNESS * label).log_softmax(-1)
    found = (SHARPNESS * logits).log_softmax(-1)
    apart = (wanted.exp() * (wanted - found)).sum(-1)
    return torch.where(counted, apart, torch.zeros_like(apart)).sum() / counted.sum().clamp(min=1)
