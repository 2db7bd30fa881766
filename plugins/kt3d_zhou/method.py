"""2D labels of real images and 3D labels of synthetic ones in one network, tied by the proportions of bones.

Zhou, Huang, Sun, Xue, Wei: Towards 3D Human Pose Estimation in the Wild: a Weakly-supervised Approach, ICCV 2017. Each
joint has a heat map and a map of depths, read where the heat map peaks. Images with 3D labels teach both. Images with
2D labels alone teach the heat map, and their depths must give bones of one group the same length, up to known ratios.
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
from kt3d_bench.nn.heatmaps import gaussian_maps, squared_error
from kt3d_bench.nn.images import relief_input, rgb_input
from kt3d_bench.nn.integral import smooth_l1, surface_offset_loss
from kt3d_bench.nn.pretrain2d import midpoints, places
from kt3d_bench.nn.schedules import length
from kt3d_bench.skeletons import H36M17, NUM_JOINTS
from kt3d_zhou.networks import Maps, MapsNet

HEAT_MAPS, DEPTHS, GEOMETRY = "heat-maps", "depths", "geometry"
OFFSET_WEIGHT = 0.001
"""Depth targets: of the hip's depth behind the visible surface, in units of 50 mm."""
SHIN, FOREARM = 1.0085885098415446, 1.1375361376887123
"""What the released code multiplies shins and forearms by, to compare them with thighs and upper arms."""
GROUPS: tuple[tuple[tuple[str, str, float], ...], ...] = (
    tuple(
        bone
        for side in ("right", "left")
        for bone in ((f"{side}_ankle", f"{side}_knee", SHIN), (f"{side}_knee", f"{side}_hip", 1.0))
    ),
    tuple(
        bone
        for side in ("right", "left")
        for bone in ((f"{side}_wrist", f"{side}_elbow", FOREARM), (f"{side}_elbow", f"{side}_shoulder", 1.0))
    ),
    (("right_hip", "hip", 1.0), ("left_hip", "hip", 1.0)),
    (("right_shoulder", "thorax", 1.0), ("left_shoulder", "thorax", 1.0)),
)
"""Bones (one end, other end, factor) whose lengths times the factor must agree within each group."""


@dataclass(frozen=True)
class Config:
    """Options of ``zhou``; ``--set name=value`` changes one."""

    input_px: int = 256
    """Side of the square network input; the maps have a quarter of it."""
    backbone: Literal["resnet50", "tiny"] = "resnet50"
    sigma: float = 2.0
    """Of the heat maps' Gaussians, in px of the maps."""
    epochs_2d: float = 140.0
    """Of the stage ``heat-maps``, with RGB targets."""
    epochs: float = 60.0
    """Of the stage ``depths``."""
    epochs_geometry: float = 10.0
    """Of the stage ``geometry``."""
    pretrain_steps: int = 0
    """These three replace the epochs of the stages, in the same order, unless they are 0."""
    steps: int = 0
    geometry_steps: int = 0
    batch_size: int = 32
    """Of each role."""
    learning_rate: float = 1e-3
    depth_weight: float = 0.1
    geometry_weight: float = 0.01

    def __post_init__(self) -> None:
        if self.input_px < 32 or self.input_px % 8:
            raise ValueError(f"input_px is {self.input_px}, expected a multiple of 8 from 32 on")
        lengths = (self.epochs_2d, self.epochs, self.epochs_geometry, self.pretrain_steps, self.steps)
        if self.batch_size < 2 or min(*lengths, self.geometry_steps) < 0:
            raise ValueError("batch_size is at least 2, epochs and steps not negative")
        if not (0 < self.sigma < math.inf and all(0 <= each < math.inf for each in self._weights)):
            raise ValueError("sigma is above 0, depth_weight and geometry_weight are not negative, all finite")

    @property
    def _weights(self) -> tuple[float, float]:
        return self.depth_weight, self.geometry_weight

    @property
    def side(self) -> int:
        """Of the maps, px."""
        return self.input_px // 4


class Zhou(Method):
    """Stages ``heat-maps`` (RGB targets, on 2D data), ``depths`` and ``geometry``, on source, target and 2D data."""

    Config: ClassVar[type[Any]] = Config
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "laptop": {"input_px": 64, "backbone": "tiny", "sigma": 1.0, "pretrain_steps": 3000, "steps": 3000,
                   "geometry_steps": 1000, "learning_rate": 2e-3},
        "tiny": {"input_px": 64, "backbone": "tiny", "sigma": 1.0, "pretrain_steps": 300, "steps": 400,
                 "geometry_steps": 100, "batch_size": 16, "learning_rate": 2e-3},
    }  # fmt: skip

    def __init__(self, config: Any, context: MethodContext) -> None:
        super().__init__(config, context)
        self.rgb = context.target_modality == "rgb"
        if not self.rgb and context.supervision == "none":
            hint = "choose --supervision partial-2d or full-2d; RGB targets have the 2D labels of other data"
            raise UsageError("zhou needs 2D labels of depth targets", where="--supervision", hint=hint)
        self.net = MapsNet(NUM_JOINTS, backbone=config.backbone, rgb=self.rgb)

    @property
    def input_px(self) -> int:
        return cast(int, self.config.input_px)

    def stages(self) -> tuple[Stage, ...]:
        config: Config = self.config
        recipe = {name: getattr(config, name) for name in ("backbone", "sigma")}
        weights = {name: getattr(config, name) for name in ("depth_weight", "geometry_weight")}
        flat: dict[str, tuple[str, ...]] = {"pretrain": ("rgb",)} if self.rgb else {}
        labelled: dict[str, tuple[str, ...]] = {"source": ("depth",)}
        if self.context.supervision != "none":
            labelled["target"] = (self.context.target_modality,)

        def stage(name: str, roles: Mapping[str, tuple[str, ...]], steps: int, epochs: float, **more: Any) -> Stage:
            return Stage(name, roles=roles, trains=("net",), batch_size=config.batch_size, step_s=0.05 * len(roles),
                         **more, **length(steps, epochs))  # fmt: skip

        optimiser = Optimiser(learning_rate=config.learning_rate)
        last = Optimiser(learning_rate=config.learning_rate / 10)
        first = (
            (stage(HEAT_MAPS, flat, config.pretrain_steps, config.epochs_2d, recipe=recipe, optimiser=optimiser),)
            if self.rgb
            else ()
        )
        return (
            *first,
            stage(DEPTHS, labelled | flat, config.steps, config.epochs, recipe=recipe | weights, optimiser=optimiser,
                  schedule=Schedule(milestones=(0.75,)), after=tuple(each.name for each in first)),
            stage(GEOMETRY, labelled | flat, config.geometry_steps, config.epochs_geometry, recipe=recipe | weights,
                  optimiser=last, schedule=Schedule("constant"), after=(*(each.name for each in first), DEPTHS)),
        )  # fmt: skip

    def step(self, stage: Stage, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> StepResult:
        given = {role: cast(LabelledBatch, batch) for role, batch in batches.items()}
        found = self.net(torch.cat([self._input(batch) for batch in given.values()]))
        losses: dict[str, Tensor] = {}
        start = 0
        for role, batch in given.items():
            losses |= {
                f"{role} {name}": loss
                for name, loss in self._losses(stage.name, role, found.of(slice(start, start + batch.size)), batch)
            }
            start += batch.size
        if "source" in given:
            self.net.measure(given["source"].joints_root_mm)
        return StepResult(losses)

    def _losses(self, stage: str, role: str, maps: Maps, batch: LabelledBatch) -> list[tuple[str, Tensor]]:
        """Named losses of what the network says of the images of one role."""
        config: Config = self.config
        place, known = places(batch, config.input_px, config.side), batch.mask_2d | batch.mask_3d
        if role == "pretrain":
            place, known = midpoints(place, known)
        known = known & place.isfinite().all(-1)
        wanted = gaussian_maps(place, (config.side,) * 2, (config.sigma,) * 2)
        losses = [("heat maps", squared_error(maps.heat, wanted, known))]
        if stage == HEAT_MAPS or (role == "pretrain" and stage == DEPTHS):
            return losses
        depth, inside = maps.depth_at(place), known & ((place > -0.5) & (place < config.side - 0.5)).all(-1)
        if role != "pretrain":
            truth = batch.joints_root_mm[..., 2] * (px_per_mm(batch) / config.input_px)[:, None]
            granted = inside & batch.mask_3d & truth.isfinite()
            losses.append(("depths", config.depth_weight * smooth_l1(depth[..., None], truth[..., None], granted)))
            if not self.rgb:
                offset = surface_offset_loss(maps.surface_offset_mm, batch.surface_offset_mm)
                losses.append(("offset", OFFSET_WEIGHT * offset))
        if stage == GEOMETRY and role != "source":
            flat = inside & ~batch.mask_3d.any(-1, keepdim=True)
            pose = torch.cat([(place + 0.5) / config.side, depth[..., None]], -1)
            losses.append(("bones", config.geometry_weight * bone_variance(pose, flat)))
        return losses

    def _input(self, batch: UnlabelledBatch) -> Tensor:
        if "rgb" in batch.images:
            return rgb_input(batch.images["rgb"])
        coloured: Tensor = self.net.colour(relief_input(batch.images["depth"], batch.surface_mm))
        return coloured

    def predict(self, batch: UnlabelledBatch) -> Estimate:
        config: Config = self.config
        maps = self.net(self._input(batch))
        place, depth = maps.peaks()
        joints_px = (place + 0.5) * (config.input_px / config.side) - 0.5
        z_px = (depth - depth[:, :1]) * config.input_px
        mm_per_px = self.net.mm_per_unit(torch.cat([joints_px, z_px[..., None]], -1))
        root_z_mm = None if self.rgb else batch.surface_mm + maps.surface_offset_mm
        return Estimate(joints_px=joints_px, z_root_mm=z_px * mm_per_px, root_z_mm=root_z_mm)


def px_per_mm(batch: LabelledBatch) -> Tensor:
    """(B,) px of the input per mm at the hip's distance; NaN where that is not known."""
    matrix = batch.cameras.intrinsics_px[..., :2]
    focal = (matrix[:, 0, 0] * matrix[:, 1, 1] - matrix[:, 0, 1] * matrix[:, 1, 0]).abs().sqrt()
    return focal / batch.joints_cam_mm[:, 0, 2]


def bone_variance(pose: Tensor, known: Tensor) -> Tensor:
    """(B, J, 3) poses and their (B, J) known joints -> the mean over samples of what the bones of every group of
    ``GROUPS`` vary: half the mean squared difference from their mean length, summed over the groups.

    A bone counts where both of its ends are known; x and y of the others may be NaN. 0 where nothing counts.
    """
    total = pose.new_zeros(())
    safe = torch.where(known[..., None], pose, torch.zeros_like(pose))
    for group in GROUPS:
        one, other = ([H36M17.index(end) for end in ends] for ends in zip(*(bone[:2] for bone in group), strict=True))
        counted = known[:, one] & known[:, other]
        factor = pose.new_tensor([bone[2] for bone in group])
        squared = (safe[:, one] - safe[:, other]).square().sum(-1)
        lengths = factor * torch.where(counted, squared, torch.ones_like(squared)).clamp(min=1e-12).sqrt()
        number = counted.sum(-1, keepdim=True).clamp(min=1)
        mean = (lengths * counted).sum(-1, keepdim=True) / number
        total = total + ((lengths - mean).square() * counted / (2 * number)).sum()
    return total / len(pose)
