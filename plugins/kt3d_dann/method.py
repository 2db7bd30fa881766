"""A depth network trained on source labels while its features learn to hide which domain an image is of.

Ganin, Ustinova, Ajakan, Germain, Larochelle, Laviolette, Marchand, Lempitsky: Domain-Adversarial Training of Neural
Networks, JMLR 2016. It is the generic baseline of unsupervised adaptation. The pose network is that of the other
methods here (``kt3d_bench.nn.integral``), on depth images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from kt3d_bench.loading.batches import LabelledBatch, UnlabelledBatch
from kt3d_bench.method import Estimate, Method, MethodContext, Optimiser, Progress, Stage, StepResult
from kt3d_bench.nn.flips import both_ways
from kt3d_bench.nn.images import relief_input
from kt3d_bench.nn.integral import IntegralNet, from_voxels, pose_loss, surface_offset_loss, to_voxels
from kt3d_bench.nn.layers import reverse_gradient
from kt3d_bench.nn.schedules import length, training

SOURCE, TARGET = 0.0, 1.0
OFFSET_WEIGHT = 0.1
"""Of the hip's depth behind the visible surface, in units of 50 mm."""


@dataclass(frozen=True)
class Config:
    """Options of ``dann``; ``--set name=value`` changes one."""

    input_px: int = 256
    backbone: Literal["resnet50", "tiny"] = "resnet50"
    epochs: float = 140.0
    steps: int = 0
    """0 = ``epochs`` decide."""
    batch_size: int = 32
    """Of each domain."""
    learning_rate: float = 1e-3
    weight_domain: float = 0.1
    """Largest factor of the gradient that is turned round; 0 = no adaptation."""
    hidden: int = 256
    """Width of the domain classifier."""
    marginal_weight: float = 3.0
    """Weight of the marginals' loss (``nn.integral.pose_loss``)."""
    schedule: Literal["hold", "steps"] = "hold"
    """How the learning rate runs (``nn.schedules``)."""

    def __post_init__(self) -> None:
        if self.input_px < 32 or self.input_px % 8:
            raise ValueError(f"input_px is {self.input_px}, expected a multiple of 8 from 32 on")
        if self.batch_size < 2 or self.hidden < 1 or self.weight_domain < 0 or self.epochs < 0 or self.steps < 0:
            raise ValueError("batch_size is at least 2, hidden 1; weight_domain, epochs and steps are not negative")

    @property
    def side(self) -> int:
        return self.input_px // 4


class Dann(Method):
    """One stage, ``adapt``, on labelled depth images of the source and unlabelled ones of the target."""

    Config: ClassVar[type[Any]] = Config
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "laptop": {"input_px": 64, "backbone": "tiny", "epochs": 0.0, "steps": 3000, "learning_rate": 2e-3},
        "tiny": {"input_px": 64, "backbone": "tiny", "epochs": 0.0, "steps": 600, "learning_rate": 2e-3},
    }

    def __init__(self, config: Any, context: MethodContext) -> None:
        super().__init__(config, context)
        context.require_target("depth", "dann")
        self.net = IntegralNet(2, backbone=config.backbone, side=config.side)
        self.classifier = nn.Sequential(
            nn.Linear(self.net.feature_channels, config.hidden),
            nn.ReLU(inplace=True),
            nn.Linear(config.hidden, config.hidden),
            nn.ReLU(inplace=True),
            nn.Linear(config.hidden, 1),
        )

    @property
    def input_px(self) -> int:
        return cast(int, self.config.input_px)

    def stages(self) -> tuple[Stage, ...]:
        config: Config = self.config
        names = ("backbone", "side", "weight_domain", "hidden", "marginal_weight")
        return (
            Stage(
                "adapt",
                roles={"source": ("depth",), "target": ("depth",)},
                trains=("net", "classifier"),
                recipe={name: getattr(config, name) for name in names},
                batch_size=config.batch_size,
                optimiser=Optimiser(learning_rate=config.learning_rate),
                step_s=0.17,
                **training(config.schedule),
                **length(config.steps, config.epochs),
            ),
        )

    def step(self, stage: Stage, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> StepResult:
        config: Config = self.config
        source, target = cast(LabelledBatch, batches["source"]), batches["target"]
        seen = self.net(self._input(source), with_marginals=config.marginal_weight > 0)
        hidden, _ = self.net.look(self._input(target))
        truth = to_voxels(source.joints_px, source.joints_root_mm[..., 2], config.input_px, config.side)
        known = (source.mask_2d & source.mask_3d)[..., None].expand_as(truth)
        factor = config.weight_domain * ramp(progress.fraction)
        logits = self.classifier(reverse_gradient(torch.cat([seen.features, hidden]), factor))[:, 0]
        domains = torch.cat([torch.full((source.size,), SOURCE), torch.full((target.size,), TARGET)]).to(logits)
        with torch.no_grad():
            right = ((logits > 0) == (domains > 0)).float().mean()
        losses = {
            "pose": pose_loss(seen, truth, known, marginal_weight=config.marginal_weight),
            "offset": OFFSET_WEIGHT * surface_offset_loss(seen.surface_offset_mm, source.surface_offset_mm),
            "domain": functional.binary_cross_entropy_with_logits(logits, domains),
        }
        return StepResult(losses, {"domain_told_percent": 100 * float(right)})

    def _input(self, batch: UnlabelledBatch) -> Tensor:
        return relief_input(batch.images["depth"], batch.surface_mm)

    def predict(self, batch: UnlabelledBatch) -> Estimate:
        output, _ = both_ways(self.net, self._input(batch))
        joints_px, z_mm = from_voxels(output.voxels, self.input_px, self.config.side)
        root_z_mm = batch.surface_mm + output.surface_offset_mm
        return Estimate(joints_px=joints_px, z_root_mm=z_mm - z_mm[:, :1], root_z_mm=root_z_mm)


def ramp(fraction: float) -> float:
    """Return 2 / (1 + exp(-10 p)) - 1 for the fraction p of the stage: 0 at first, near 1 from its middle on."""
    return 2 / (1 + math.exp(-10 * fraction)) - 1
