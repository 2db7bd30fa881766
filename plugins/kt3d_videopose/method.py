"""2D joints of a clip, lifted by convolutions over time, and a loss for clips of which nobody knows the poses.

Pavllo, Feichtenhofer, Grangier, Auli: 3D human pose estimation in video with temporal convolutions and semi-supervised
training, CVPR 2019. One network gives the pose of the middle frame, another of the same shape where the person stands.
Where 3D labels are missing, pose and place together are projected back into the image and compared with the 2D joints,
and bones must be as long, on average, as those of labelled poses. Labelled are the source's poses, or the target's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor

from kt3d_bench.errors import UsageError
from kt3d_bench.loading.batches import LabelledBatch, UnlabelledBatch
from kt3d_bench.method import OWN, Estimate, Method, MethodContext, Optimiser, Progress, Schedule, Stage, StepResult
from kt3d_bench.nn.flips import both_ways
from kt3d_bench.nn.images import rgb_input
from kt3d_bench.nn.integral import IntegralNet, from_voxels, pose_loss, to_voxels
from kt3d_bench.nn.pretrain2d import PRECISIONS, pretrain_2d_stage, pretrain_2d_step
from kt3d_bench.nn.pretrain2d import PRESETS as SHARED
from kt3d_bench.nn.pretrain2d import STAGE_NAME as PRETRAIN
from kt3d_bench.nn.schedules import length, training
from kt3d_bench.nn.virtual_cameras import VirtualCameras, up_sum, upright, vertical
from kt3d_bench.skeletons import NUM_JOINTS
from kt3d_videopose import clips, losses
from kt3d_videopose.networks import TemporalNet

PUBLISHED = {"schedule": Schedule("exponential", end=0.95**80), "average": None}
"""0.95 per epoch, 80 epochs."""


@dataclass(frozen=True)
class Config:
    """Options of ``videopose``; ``--set name=value`` changes one."""

    levels: int = 5
    """A clip has 3 ** ``levels`` frames: 5 = 243, 3 = 27, 2 = 9."""
    stride: int = 1
    """From one frame of a clip to the next, in frames of the recording. ``kt3d prepare h36m`` keeps every fifth
    training frame unless it is told otherwise."""
    width: int = 1024
    dropout: float = 0.25
    detections: str = ""
    """Stored 2D detections (kt3d detect) to lift instead of the joints of a 2D network of its own."""
    source_motion: Literal["drawn", "recorded"] = "drawn"
    """Where the source's clips come from: drawn around single postures before virtual cameras, or its own frames."""
    unlabelled: bool = True
    """Whether clips without 3D labels teach, by projecting back."""
    warm_up: float = 0.0125
    """Fraction of the stage before they do: an epoch of 80."""
    noise: float = 0.3
    """Noise on the source's 2D joints, in sizes of the pose: each clip draws its standard deviation up to this."""
    looks: Literal["screen", "person"] = "screen"
    """What the pose is read from: image coordinates as they are, or relative to the middle frame's hip and in units of
    that pose's size, as ``martinez`` has them. The place is always read from image coordinates."""
    answer: Literal["pose", "depth"] = "pose"
    """What the prediction is: the network's pose, or the 2D joints as they were found, with the network's depths."""
    flip_test: bool = True
    """Whether images and clips are also looked at mirrored."""
    epochs: float = 80.0
    lift_steps: int = 0
    """Steps of the temporal network; 0 = ``epochs`` decide."""
    lift_batch_size: int = 1024
    lift_learning_rate: float = 1e-3
    input_px: int = 256
    backbone: Literal["resnet50", "tiny"] = "resnet50"
    pretrain_epochs: float = 140.0
    pretrain_steps: int = 0
    """Steps of each of the 2D network's stages; 0 = ``pretrain_epochs`` decide."""
    batch_size: int = 32
    """Batch size of the 2D network's stages."""
    learning_rate: float = 1e-3
    """Learning rate of the 2D network's stages."""
    marginal_weight: float = 3.0
    """Weight of the marginals' loss in these stages (``nn.integral.pose_loss``)."""
    schedule: Literal["hold", "steps"] = "hold"
    """How the learning rate runs in these stages (``nn.schedules``)."""
    lift_schedule: Literal["published", "hold"] = "published"

    def __post_init__(self) -> None:
        if not 1 <= self.levels <= 6 or self.stride < 1 or self.width < 1:
            raise ValueError("levels lies in 1..6, stride and width are at least 1")
        if not (0 <= self.dropout < 1 and 0 <= self.warm_up < 1 and 0 <= self.noise < 10):
            raise ValueError("dropout and warm_up lie in 0..1, noise in 0..10")
        if self.input_px < 32 or self.input_px % 8:
            raise ValueError(f"input_px is {self.input_px}, expected a multiple of 8 from 32 on")

    @property
    def side(self) -> int:
        return self.input_px // 4

    @property
    def frames(self) -> int:
        return int(3**self.levels)


def _shared(name: str) -> dict[str, Any]:
    """The fields of a preset that all methods with the stage ``pretrain-2d`` agree on."""
    return {"pretrain_epochs" if field == "epochs" else field: value for field, value in SHARED[name].items()}


class VideoPose(Method):
    """Stages ``pretrain-2d`` (shared with other methods), ``tune-2d`` where the target has labels, both left out where
    detections are given, and ``lift``."""

    Config: ClassVar[type[Any]] = Config
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": _shared("paper"),
        "laptop": {**_shared("laptop"), "levels": 3, "stride": 5, "width": 256, "dropout": 0.1, "lift_steps": 4000,
                   "lift_batch_size": 64, "lift_schedule": "hold", "answer": "depth", "looks": "person"},
        "tiny": {**_shared("tiny"), "levels": 2, "stride": 5, "width": 128, "dropout": 0.1, "lift_steps": 1000,
                 "lift_batch_size": 64, "lift_schedule": "hold", "answer": "depth", "looks": "person"},
    }  # fmt: skip
    PRECISIONS: ClassVar[Mapping[str, str]] = PRECISIONS
    reads_cameras: ClassVar[bool] = True

    def __init__(self, config: Any, context: MethodContext) -> None:
        super().__init__(config, context)
        context.require_target("rgb", "videopose")
        if not config.detections:
            self.rgb_net = IntegralNet(3, backbone=config.backbone, side=config.side)
        shape = {"levels": config.levels, "width": config.width, "dropout": config.dropout}
        self.lifter = TemporalNet(2 * NUM_JOINTS, 3 * NUM_JOINTS, **shape)
        if self._projects:
            self.trajectory = TemporalNet(2 * NUM_JOINTS, 3, **shape)
        self.lifter.register_buffer("up_total", torch.zeros(3))

    @property
    def _level(self) -> str:
        return self.context.supervision

    @property
    def _projects(self) -> bool:
        return bool(self.config.unlabelled) and not self._level.startswith("full")

    @property
    def input_px(self) -> int:
        return cast(int, self.config.input_px)

    @property
    def clip(self) -> tuple[int, int] | None:
        return self.config.frames, self.config.stride

    @property
    def detections(self) -> str:
        return self.config.detections or OWN

    @property
    def reads(self) -> tuple[str, ...]:
        return () if self.config.detections else super().reads

    def stages(self) -> tuple[Stage, ...]:
        before = () if self.config.detections else self._stages_2d()
        return *before, self._lift_stage(tuple(stage.name for stage in before))

    def _stages_2d(self) -> tuple[Stage, ...]:
        config: Config = self.config
        shared: dict[str, Any] = {
            "batch_size": config.batch_size,
            "optimiser": Optimiser(learning_rate=config.learning_rate),
            **length(config.pretrain_steps, config.pretrain_epochs),
            **training(config.schedule),
        }
        sizes = {name: getattr(config, name) for name in ("backbone", "side", "marginal_weight")}
        pretrain = pretrain_2d_stage(**sizes, input_px=config.input_px, **shared)
        if self._level == "none":
            return (pretrain,)
        roles, after = {"target": ("rgb",)}, (pretrain.name,)
        return pretrain, Stage("tune-2d", roles, ("rgb_net",), sizes, step_s=0.1, after=after, **shared)

    def _lift_stage(self, after: tuple[str, ...]) -> Stage:
        config: Config = self.config
        full, target = self._level.startswith("full"), self._projects or self._level != "none"
        roles = {} if full else {"source": ()}
        recorded = not full and config.source_motion == "recorded"
        with_clips = ("source",) * recorded + ("target",) * target
        names = ("levels", "width", "dropout", "source_motion", "unlabelled", "warm_up", "noise", "stride", "looks")
        recipe = {name: getattr(config, name) for name in names}
        if target and not config.detections:
            recipe["flip_test"] = config.flip_test
        hold = config.lift_schedule == "hold"
        return Stage(
            "lift",
            roles={**roles, **({"target": ()} if target else {})},
            trains=("lifter", "trajectory") if self._projects else ("lifter",),
            recipe=recipe,
            batch_size=config.lift_batch_size,
            optimiser=Optimiser(learning_rate=config.lift_learning_rate),
            step_s=0.04,
            augment=False,
            clip=self.clip if with_clips else None,
            clip_roles=with_clips,
            detections={"target": self.detections} if target else {},
            after=after,
            **(training("hold") if hold else PUBLISHED),
            **length(config.lift_steps, config.epochs),
        )

    def find_joints(self, batch: UnlabelledBatch) -> Tensor:
        image = rgb_input(batch.images["rgb"])
        output = both_ways(self.rgb_net, image)[0] if self.config.flip_test else self.rgb_net(image)
        return from_voxels(output.voxels, self.input_px, self.config.side)[0]

    def validate(self, stage: Stage, batch: UnlabelledBatch) -> Estimate | None:
        """The joints that the 2D network finds, in the stages that train it; what is lifted, of the target's clips."""
        return super().validate(stage, batch) if stage.name == "lift" else Estimate(self.find_joints(batch))

    def step(self, stage: Stage, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> StepResult:
        if stage.name == PRETRAIN:
            given = cast(LabelledBatch, batches["pretrain"])
            return pretrain_2d_step(self.rgb_net, given, marginal_weight=self.config.marginal_weight)
        if stage.name == "tune-2d":
            return self._tune(cast(LabelledBatch, batches["target"]))
        return self._lift(batches, progress)

    def _tune(self, batch: LabelledBatch) -> StepResult:
        config: Config = self.config
        output = self.rgb_net(rgb_input(batch.images["rgb"]), with_marginals=config.marginal_weight > 0)
        truth = to_voxels(batch.joints_px, torch.zeros_like(batch.joints_px[..., 0]), config.input_px, config.side)
        seen = (batch.mask_2d | batch.mask_3d)[..., None].expand(*truth.shape[:-1], 2)
        return StepResult({"2d": pose_loss(output, truth[..., :2], seen, marginal_weight=config.marginal_weight)})

    def _lift(self, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> StepResult:
        networks = [self.lifter, self.trajectory] if self._projects else [self.lifter]
        for network in networks:
            network.forget(progress.fraction)
        found: dict[str, Tensor] = {}
        labelled: list[Tensor] = []
        if "source" in batches:
            seen, pose_m, hip_m = self._source_clips(cast(LabelledBatch, batches["source"]))
            answer = self._poses(seen)
            labelled.append(answer)
            found["pose"] = losses.pose_loss(answer, pose_m, pose_m.isfinite().all(-1))
            if self._projects:
                found["trajectory"] = losses.trajectory_loss(self.trajectory(seen.flatten(2)), hip_m)
        if "target" in batches:
            found |= self._target_losses(batches["target"], labelled, progress)
        return StepResult(found)

    def _target_losses(self, batch: UnlabelledBatch, labelled: list[Tensor], progress: Progress) -> dict[str, Tensor]:
        seen = self._seen(batch)
        frames = slice(seen.shape[1] // 2, None, seen.shape[1])
        found: dict[str, Tensor] = {}
        if isinstance(batch, LabelledBatch):
            truth_m = batch.joints_root_mm[frames] / 1000
            seen, truth_m = clips.half_mirrored(seen, truth_m)
            answer = self._poses(seen)
            found["target"] = losses.pose_loss(answer, truth_m, truth_m.isfinite().all(-1))
        else:
            (seen,) = clips.half_mirrored(seen)
            answer = self._poses(seen)
        if self._projects:
            weight = float(progress.fraction >= self.config.warm_up)
            hip_m, middle = self.trajectory(seen.flatten(2)), seen[:, seen.shape[1] // 2]
            found["projection"] = weight * losses.projection_loss(answer, hip_m, middle)
            found["bones"] = weight * losses.bone_loss(labelled[0], answer)
        return found

    def _source_clips(self, batch: LabelledBatch) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, J, 2) noisy clips, the middle frames' (B, J, 3) poses relative to the hip, and (B, 3) hips, metres."""
        config: Config = self.config
        if config.source_motion == "recorded":
            joints_m = (batch.joints_cam_mm / 1000).view(-1, config.frames, NUM_JOINTS, 3)
            (joints_m,) = clips.half_mirrored(joints_m)
        else:
            total = cast(Tensor, self.lifter.up_total)
            total += up_sum(batch.joints_root_mm, batch.world_to_cam)
            stood = upright(batch.joints_root_mm, batch.world_to_cam, vertical(total))
            places, z_mm, hip_mm = VirtualCameras().see(stood)
            pose_m = torch.cat([places * (z_mm + hip_mm[:, None])[..., None], z_mm[..., None]], -1) / 1000
            joints_m = clips.drawn_clips(pose_m, hip_mm / 1000, config.frames, config.stride)
        middle = joints_m[:, config.frames // 2]
        seen = clips.projected(joints_m)
        seen = torch.where(seen.isfinite(), seen, seen[..., :1, :])
        return clips.noisy(seen, config.noise), middle - middle[:, :1], middle[:, 0]

    def _seen(self, batch: UnlabelledBatch) -> Tensor:
        """(B, T, J, 2) image coordinates of the joints that were found in clips."""
        if batch.detections_px is None:
            hint = "predict shards that have them, or train without --set detections"
            raise UsageError("the run lifts 2D detections, and there are none", where="videopose", hint=hint)
        return clips.screen(batch.detections_px, batch.cameras).view(-1, self.config.frames, NUM_JOINTS, 2)

    def _poses(self, seen: Tensor) -> Tensor:
        """(B, T, J, 2) image coordinates -> (B, J, 3) metres relative to the hip, camera axes."""
        seen = clips.around_person(seen) if self.config.looks == "person" else seen
        answer = cast(Tensor, self.lifter(seen.flatten(2))).float().view(-1, NUM_JOINTS, 3)
        return answer - answer[:, :1]

    def predict(self, batch: UnlabelledBatch) -> Estimate:
        seen = self._seen(batch)
        pose_mm = 1000 * self._poses(seen)
        if self.config.flip_test:
            pose_mm = (pose_mm + 1000 * clips.mirrored(self._poses(clips.mirrored(seen)))) / 2
        frames = self.config.frames
        joints_px = cast(Tensor, batch.detections_px).view(-1, frames, NUM_JOINTS, 2)[:, frames // 2]
        if self.config.answer == "depth":
            return Estimate(joints_px=joints_px, z_root_mm=pose_mm[..., 2])
        return Estimate(joints_px=joints_px, joints_root_mm=pose_mm)
