"""A 2D network and a separately trained lifter: 2D joints from RGB, depth from a residual MLP trained on source poses.

The lifter follows Martinez, Hossain, Romero, Little: A simple yet effective baseline for 3d human pose estimation, ICCV
2017: two residual blocks of two linear layers with batch norm, ReLU and dropout. Without labels of the target it learns
from those of the source alone, seen by virtual cameras or by the source's own; at test time it is fed the 2D joints of
the shared ``pretrain-2d`` network. With labels of the target, that network is tuned on them, as the paper tunes its
own, and the lifter learns depth from the 2D joints that the network finds.
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
from kt3d_bench.method import Estimate, Method, MethodContext, Optimiser, Progress, Stage, StepResult
from kt3d_bench.nn.flips import both_ways
from kt3d_bench.nn.images import rgb_input
from kt3d_bench.nn.integral import IntegralNet, from_voxels, pose_loss, smooth_l1, to_voxels
from kt3d_bench.nn.layers import ResidualMlp
from kt3d_bench.nn.pretrain2d import PRECISIONS, pretrain_2d_stage, pretrain_2d_step
from kt3d_bench.nn.pretrain2d import PRESETS as SHARED
from kt3d_bench.nn.pretrain2d import STAGE_NAME as PRETRAIN
from kt3d_bench.nn.schedules import length, training
from kt3d_bench.nn.virtual_cameras import VirtualCameras, up_sum, upright, vertical
from kt3d_bench.skeletons import NUM_JOINTS

DEPTH_UNIT_MM = 100.0


@dataclass(frozen=True)
class Config:
    """Options of ``martinez``; ``--set name=value`` changes one."""

    input_px: int = 256
    backbone: Literal["resnet50", "tiny"] = "resnet50"
    epochs: float = 140.0
    """Length of the stages with images."""
    pretrain_steps: int = 0
    """Steps of the 2D stage; 0 = ``epochs`` decide."""
    lift_steps: int = 40000
    steps: int = 0
    """Steps of the supervised stage; 0 = ``epochs`` decide."""
    batch_size: int = 32
    """Batch size of the stages with images."""
    lift_batch_size: int = 64
    learning_rate: float = 1e-3
    width: int = 1024
    dropout: float = 0.5
    marginal_weight: float = 3.0
    """Weight of the marginals' loss in the 2D stage (``nn.integral.pose_loss``)."""
    schedule: Literal["hold", "steps"] = "hold"
    """How the learning rate runs in both stages (``nn.schedules``)."""
    cameras: Literal["virtual", "source"] = "virtual"
    """Cameras before which the lifter sees the source's poses: virtual ones, or the source's own."""
    flip_test: bool = True
    """Whether 2D poses are averaged with those of the mirrored image."""
    detections: str = ""
    """Stored 2D detections (kt3d detect) to lift instead of the joints of a 2D network of its own; then only the lifter
    is trained."""
    noise: float = 0.3
    """Noise on the lifter's 2D input, in units of the pose's size. Each sample draws its standard deviation between 0
    and this: the lifter cannot know how good the 2D network is on new images."""

    def __post_init__(self) -> None:
        if self.input_px < 32 or self.input_px % 8:
            raise ValueError(f"input_px is {self.input_px}, expected a multiple of 8 from 32 on")
        if not 0 <= self.dropout < 1 or self.width < 1 or self.lift_steps < 1:
            raise ValueError("dropout lies in 0..1, width and lift_steps are at least 1")
        if not (0 <= self.noise < math.inf and 0 <= self.marginal_weight < math.inf):
            raise ValueError("noise and marginal_weight are finite and not negative")

    @property
    def side(self) -> int:
        return self.input_px // 4


class Lifter(ResidualMlp):
    """(B, J, 2) normalised 2D joints -> (B, J) depth relative to the hip, in units of 100 mm."""

    up_total: Tensor
    """(3,) what ``virtual_cameras.up_sum`` gave for all training poses."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__(2 * NUM_JOINTS, NUM_JOINTS, width=width, dropout=dropout)
        self.register_buffer("up_total", torch.zeros(3))

    def forward(self, joints: Tensor) -> Tensor:
        return super().forward(joints.flatten(1))


def normalised(joints_px: Tensor) -> Tensor:
    """(B, J, 2) px -> the same relative to the hip, divided by the root mean square distance from it.

    The crop's position and scale are removed, so that training poses and predicted ones agree.
    """
    relative = joints_px - joints_px[:, :1]
    size = relative.square().sum(-1).mean(-1).sqrt().clamp(min=1e-3)
    return relative / size[:, None, None]


class Martinez(Method):
    """Stages ``pretrain-2d`` (shared with other methods), ``lift`` unless all joints of the target are labelled, and
    ``supervised`` where some are."""

    Config: ClassVar[type[Any]] = Config
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {**SHARED["paper"]},
        "small": {**SHARED["small"], "lift_steps": 20000, "steps": 12000},
        "laptop": {**SHARED["laptop"], "lift_steps": 10000, "steps": 3000, "width": 512, "dropout": 0.1},
        "tiny": {**SHARED["tiny"], "lift_steps": 1500, "steps": 600, "width": 256, "dropout": 0.1},
    }
    PRECISIONS: ClassVar[Mapping[str, str]] = PRECISIONS

    def __init__(self, config: Any, context: MethodContext) -> None:
        super().__init__(config, context)
        context.require_target("rgb", "martinez")
        if config.detections and context.supervision != "none":
            problem = "stored detections are lifted without labels of the target alone"
            raise UsageError(problem, where="--set detections", hint="use --supervision none")
        if not config.detections:
            self.rgb_net = IntegralNet(3, backbone=config.backbone, side=config.side)
        self.lifter = Lifter(config.width, config.dropout)

    @property
    def input_px(self) -> int:
        return cast(int, self.config.input_px)

    @property
    def detections(self) -> str:
        return cast(str, self.config.detections)

    @property
    def reads(self) -> tuple[str, ...]:
        return () if self.detections else super().reads

    def stages(self) -> tuple[Stage, ...]:
        config: Config = self.config
        optimisation = {"optimiser": Optimiser(learning_rate=config.learning_rate), **training(config.schedule)}
        pretrain = pretrain_2d_stage(
            backbone=config.backbone,
            input_px=config.input_px,
            side=config.side,
            marginal_weight=config.marginal_weight,
            batch_size=config.batch_size,
            **length(config.pretrain_steps, config.epochs),
            **optimisation,
        )
        lift = Stage(
            "lift",
            roles={"source": ()},
            trains=("lifter",),
            recipe={name: getattr(config, name) for name in ("width", "dropout", "noise", "cameras")},
            steps=config.lift_steps,
            batch_size=config.lift_batch_size,
            step_s=0.01,
            augment=config.cameras == "source",
            **optimisation,
        )
        level = self.context.supervision
        if level == "none":
            return (lift,) if self.detections else (pretrain, lift)
        before = (pretrain,) if level.startswith("full") else (pretrain, lift)
        names = ("backbone", "side", "marginal_weight", "width", "dropout")
        supervised = Stage(
            "supervised",
            roles={"target": ("rgb",)},
            trains=("rgb_net", "lifter"),
            recipe={name: getattr(config, name) for name in names},
            batch_size=config.batch_size,
            step_s=0.1,
            after=tuple(stage.name for stage in before),
            **length(config.steps, config.epochs),
            **optimisation,
        )
        return *before, supervised

    def step(self, stage: Stage, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> StepResult:
        if stage.name == PRETRAIN:
            given = cast(LabelledBatch, batches["pretrain"])
            return pretrain_2d_step(self.rgb_net, given, marginal_weight=self.config.marginal_weight)
        if stage.name == "supervised":
            return self._supervised(cast(LabelledBatch, batches["target"]))
        batch = cast(LabelledBatch, batches["source"])
        places, truth, known = self._poses(batch)
        joints = normalised(places.where(known[..., None], places[:, :1]))
        deviation = self.config.noise * torch.rand(batch.size, 1, 1).to(joints)
        depth = self.lifter(normalised(joints + deviation * torch.randn(joints.shape).to(joints)))
        return StepResult({"depth": smooth_l1(depth[..., None], truth[..., None] / DEPTH_UNIT_MM, known)})

    def _supervised(self, batch: LabelledBatch) -> StepResult:
        config: Config = self.config
        output = self.rgb_net(rgb_input(batch.images["rgb"]), with_marginals=config.marginal_weight > 0)
        truth = to_voxels(batch.joints_px, batch.joints_root_mm[..., 2], config.input_px, config.side)[..., :2]
        seen = (batch.mask_2d | batch.mask_3d)[..., None].expand_as(truth)
        found_px, _ = from_voxels(output.voxels.detach(), config.input_px, config.side)
        depth = self.lifter(normalised(found_px))
        true_depth = batch.joints_root_mm[..., 2:] / DEPTH_UNIT_MM
        return StepResult({
            "2d": pose_loss(output, truth, seen, marginal_weight=config.marginal_weight),
            "depth": smooth_l1(depth[..., None], true_depth, batch.mask_3d),
        })  # fmt: skip

    def _poses(self, batch: LabelledBatch) -> tuple[Tensor, Tensor, Tensor]:
        """(B, J, 2) places in an image, of any unit, (B, J) depths relative to the hip in mm, and which are known."""
        if self.config.cameras == "source":
            return batch.joints_px, batch.joints_root_mm[..., 2], batch.mask_2d & batch.mask_3d
        self.lifter.up_total += up_sum(batch.joints_root_mm, batch.world_to_cam)
        stood = upright(batch.joints_root_mm, batch.world_to_cam, vertical(self.lifter.up_total))
        places, z_mm, _ = VirtualCameras().see(stood)
        return places, z_mm, z_mm.isfinite()

    def _joints_px(self, batch: UnlabelledBatch) -> Tensor:
        """(B, J, 2) where the joints are in the image: as stored, or as the 2D network finds them."""
        if self.detections:
            if batch.detections_px is None:
                hint = "predict shards that have them, or train without --set detections"
                raise UsageError("the run lifts stored detections, and there are none", where="martinez", hint=hint)
            return batch.detections_px
        image = rgb_input(batch.images["rgb"])
        output = both_ways(self.rgb_net, image)[0] if self.config.flip_test else self.rgb_net(image)
        return from_voxels(output.voxels, self.input_px, self.config.side)[0]

    def predict(self, batch: UnlabelledBatch) -> Estimate:
        joints_px = self._joints_px(batch)
        depth_mm = self.lifter(normalised(joints_px)).float() * DEPTH_UNIT_MM
        return Estimate(joints_px=joints_px, z_root_mm=depth_mm - depth_mm[:, :1])
