"""``blazepose``: no stage, no weights of its own; a pose is x and y of the crop with the network's metric depth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch

from kt3d_bench.loading.batches import UnlabelledBatch
from kt3d_bench.method import Estimate, Method, MethodContext, Progress, Stage, StepResult
from kt3d_blazepose.networks import INPUT_PX, Network, confidence, landmarks, with_head


@dataclass(frozen=True)
class Config:
    """Options of ``blazepose``; ``--set name=value`` changes one."""

    model: Literal["lite", "full", "heavy"] = "full"
    """Which of the three published landmark networks; lite and heavy come in the npm package."""


class BlazePose(Method):
    """The published landmark network on the crop as it is; the crop is not turned, as MediaPipe turns lying people."""

    Config: ClassVar[type[Any]] = Config
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}, "small": {}, "laptop": {}, "tiny": {}}

    def __init__(self, config: Any, context: MethodContext) -> None:
        super().__init__(config, context)
        context.require_target("rgb", "blazepose")

    @property
    def input_px(self) -> int:
        return INPUT_PX

    def stages(self) -> tuple[Stage, ...]:
        return ()

    def step(self, stage: Stage, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> StepResult:
        raise NotImplementedError("there is no stage")

    @cached_property
    def network(self) -> Network:
        return Network(f"pose_landmark_{self.config.model}.tflite")

    def predict(self, batch: UnlabelledBatch) -> Estimate:
        """Raise ``UsageError`` or ``ArtefactError`` where LiteRT or the weights are missing."""
        crops = batch.images["rgb"].permute(0, 2, 3, 1).float().cpu().numpy()
        found = landmarks(self.network, crops)
        z_mm = with_head(found.points_root_mm)[..., 2]
        return Estimate(
            joints_px=torch.from_numpy(with_head(found.points_px)).to(batch.device),
            z_root_mm=torch.from_numpy(z_mm - z_mm[:, :1]).to(batch.device),
            confidence=torch.from_numpy(confidence(found.visible)).to(batch.device),
            foreground=torch.from_numpy(found.person).to(batch.device),
        )
