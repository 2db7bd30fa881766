"""One pose for every image: the mean of the source's poses, or of the target's (an oracle)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from kt3d_bench.loading.batches import LabelledBatch, UnlabelledBatch
from kt3d_bench.method import Estimate, Method, MethodContext, Progress, Stage, StepResult
from kt3d_bench.skeletons import NUM_JOINTS


@dataclass(frozen=True)
class Config:
    """Options of ``mean-pose`` and ``mean-pose-oracle``; ``--set name=value`` changes one."""

    batch_size: int = 32
    epochs: float = 1.0
    """Passes over the poses, to within half a batch."""


class PoseMemory(nn.Module):
    """Sums of hip-relative poses and of the hip's depth behind the visible surface, joint by joint."""

    pose_sum_mm: Tensor
    pose_count: Tensor
    offset_sum_mm: Tensor
    offset_count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("pose_sum_mm", torch.zeros((NUM_JOINTS, 3), dtype=torch.float64))
        self.register_buffer("pose_count", torch.zeros(NUM_JOINTS, dtype=torch.float64))
        self.register_buffer("offset_sum_mm", torch.zeros((), dtype=torch.float64))
        self.register_buffer("offset_count", torch.zeros((), dtype=torch.float64))

    def update(self, batch: LabelledBatch) -> None:
        """Add a batch; joints that are not labelled are left out."""
        known = batch.mask_3d & batch.joints_root_mm.isfinite().all(-1)
        self.pose_sum_mm += (batch.joints_root_mm.nan_to_num(0.0).double() * known[..., None]).sum(0)
        self.pose_count += known.sum(0)
        offsets = batch.surface_offset_mm.double()
        found = offsets.isfinite()
        self.offset_sum_mm += offsets[found].sum()
        self.offset_count += found.sum()

    @property
    def pose_mm(self) -> Tensor:
        """(J, 3) float32 mean, mm relative to the hip, camera axes; NaN for joints that were never seen."""
        return (self.pose_sum_mm / self.pose_count[:, None]).float()

    @property
    def offset_mm(self) -> Tensor:
        """Mean depth of the hip minus the surface reference; 0 when no depth image was seen."""
        return (self.offset_sum_mm / self.offset_count.clamp(min=1)).float()


class MeanPose(Method):
    """Learns in one stage without trainable parameters: the mean over the source's poses, camera axes."""

    Config: ClassVar[type[Any]] = Config
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}, "small": {}, "laptop": {}, "tiny": {}}
    role: ClassVar[str] = "source"

    def __init__(self, config: Any, context: MethodContext) -> None:
        super().__init__(config, context)
        self.memory = PoseMemory()

    @property
    def input_px(self) -> int:
        return 64

    @property
    def reads(self) -> tuple[str, ...]:
        """Depth images, for the hip's depth; RGB images are not read."""
        return ("depth",) if self.context.target_modality == "depth" else ()

    def stages(self) -> tuple[Stage, ...]:
        return (
            Stage(
                f"mean-{self.role}-pose",
                roles={self.role: self.reads},
                trains=("memory",),
                recipe={"statistic": "mean of hip-relative joints"},
                epochs=self.config.epochs,
                batch_size=self.config.batch_size,
                augment=False,
            ),
        )

    def step(self, stage: Stage, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> StepResult:
        self.memory.update(cast(LabelledBatch, batches[self.role]))
        return StepResult({})

    def predict(self, batch: UnlabelledBatch) -> Estimate:
        pose = self.memory.pose_mm.expand(batch.size, -1, -1)
        root_z_mm = None
        if bool(batch.surface_mm.isfinite().any()):
            root_z_mm = batch.surface_mm + self.memory.offset_mm
        return Estimate(joints_root_mm=pose, root_z_mm=root_z_mm)


class MeanPoseOracle(MeanPose):
    """The same over the target's training labels: the gain from knowing the test domain's mean."""

    role = "target"
