"""Heat maps of each joint in a volume, coarse to fine in depth, trained on the target's granted 3D labels.

Pavlakos, Zhou, Derpanis, Daniilidis: Coarse-to-Fine Volumetric Prediction for Single-Image 3D Human Pose, CVPR 2017.
Each of several hourglasses gives one volume per joint, the first with a single bin of depth, the last with all of them.
Volumes are those of ``kt3d_bench.nn.integral``: x and y of the crop, z relative to the hip, +-1000 mm.
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
from kt3d_bench.nn.heatmaps import gaussian_maps, middles, peaks, squared_error
from kt3d_bench.nn.images import rgb_input
from kt3d_bench.nn.integral import from_voxels, to_voxels
from kt3d_bench.nn.schedules import length
from kt3d_bench.skeletons import NUM_JOINTS
from kt3d_volumetric.networks import CoarseToFine

_THIN = 0.5
"""Below this deviation, in bins of depth, a Gaussian between two bins would hardly touch either."""


@dataclass(frozen=True)
class Config:
    """Options of ``volumetric``; ``--set name=value`` changes one."""

    input_px: int = 256
    """Side of the square network input; the maps have a quarter of it."""
    depths: tuple[int, ...] = (1, 2, 4, 64)
    """Bins of depth of each hourglass's volumes."""
    width: int = 256
    """Channels inside an hourglass."""
    levels: int = 4
    """How often an hourglass halves its maps."""
    sigma: float = 3.25
    """Of the heat maps' Gaussians, in px of the maps; along the depth in proportion to its bins."""
    decode: Literal["peak", "mean"] = "peak"
    """Whether a joint is the middle of the highest voxel, or the mean of all, weighted by the heat map's square."""
    epochs: float = 140.0
    steps: int = 0
    """0 = ``epochs`` decide."""
    batch_size: int = 4
    optimiser: Literal["rmsprop", "adam"] = "rmsprop"
    learning_rate: float = 2.5e-4

    def __post_init__(self) -> None:
        if self.levels < 1 or self.width < 4 or self.width % 4:
            raise ValueError(f"width is {self.width}, expected a multiple of 4; levels is at least 1")
        step = 4 * 2**self.levels
        if self.input_px < step or self.input_px % step:
            raise ValueError(f"input_px is {self.input_px}, expected a multiple of {step} = 4 x 2^levels")
        if not self.depths or min(self.depths) < 1:
            raise ValueError(f"depths is {self.depths}, expected a number of bins for each hourglass, at least 1")
        if self.batch_size < 2 or self.epochs < 0 or self.steps < 0 or not 0 < self.sigma < math.inf:
            raise ValueError("batch_size is at least 2, epochs and steps not negative, sigma above 0 and finite")

    @property
    def side(self) -> int:
        """Of the maps, px."""
        return self.input_px // 4


class Volumetric(Method):
    """One stage, ``supervised``, on RGB images of the target."""

    Config: ClassVar[type[Any]] = Config
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "laptop": {"input_px": 64, "depths": (1, 4, 32), "width": 64, "levels": 2, "sigma": 1.0, "decode": "mean",
                   "epochs": 0.0, "steps": 6000, "batch_size": 16, "optimiser": "adam", "learning_rate": 2e-3},
        "tiny": {"input_px": 64, "depths": (1, 16), "width": 48, "levels": 2, "sigma": 1.0, "decode": "mean",
                 "epochs": 0.0, "steps": 300, "batch_size": 16, "optimiser": "adam", "learning_rate": 2e-3},
    }  # fmt: skip

    def __init__(self, config: Any, context: MethodContext) -> None:
        super().__init__(config, context)
        context.require_target("rgb", "volumetric")
        self.net = CoarseToFine(NUM_JOINTS, config.depths, levels=config.levels, width=config.width)

    @property
    def input_px(self) -> int:
        return cast(int, self.config.input_px)

    def stages(self) -> tuple[Stage, ...]:
        config: Config = self.config
        names = ("width", "levels", "sigma")
        return (
            Stage(
                "supervised",
                roles={"target": ("rgb",)},
                trains=("net",),
                recipe={"depths": list(config.depths)} | {name: getattr(config, name) for name in names},
                batch_size=config.batch_size,
                optimiser=Optimiser(config.optimiser, learning_rate=config.learning_rate),
                schedule=Schedule("constant") if config.epochs else Schedule("exponential", hold=0.5, end=0.05),
                step_s=0.17,
                **length(config.steps, config.epochs),
            ),
        )

    def step(self, stage: Stage, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> StepResult:
        batch, config = cast(LabelledBatch, batches["target"]), self.config
        places = to_voxels(batch.joints_px, batch.joints_root_mm[..., 2], config.input_px, config.side)
        known = batch.mask_3d & places.isfinite().all(-1)
        losses = {}
        for number, volume in enumerate(self.net(rgb_input(batch.images["rgb"]))):
            truth = wanted_volumes(places, config.side, volume.shape[2], config.sigma)
            losses[f"hourglass {number + 1}"] = squared_error(volume.float(), truth, known)
        return StepResult(losses)

    def predict(self, batch: UnlabelledBatch) -> Estimate:
        volume = self.net(rgb_input(batch.images["rgb"]))[-1].float()
        place = peaks(volume, refine=False) if self.config.decode == "peak" else middles(volume)
        bins, side = volume.shape[2], self.config.side
        voxels = torch.cat([place[..., :2], (place[..., 2:] + 0.5) * (side / bins) - 0.5], -1)
        joints_px, z_mm = from_voxels(voxels, self.input_px, side)
        return Estimate(joints_px=joints_px, z_root_mm=z_mm - z_mm[:, :1])


def wanted_volumes(places: Tensor, side: int, bins: int, sigma: float) -> Tensor:
    """(B, J, 3) voxels of a cube of ``side`` -> (B, J, ``bins``, side, side) Gaussians: ``sigma`` voxels wide along x
    and y, as much of the depth along z. Where that is less than half a bin, the joint's whole bin counts."""
    depth, thickness = (places[..., 2:] + 0.5) * (bins / side) - 0.5, sigma * bins / side
    if thickness < _THIN:
        depth = depth.round().clamp(0, bins - 1)
    return gaussian_maps(torch.cat([places[..., :2], depth], -1), (side, side, bins), (sigma, sigma, thickness))
