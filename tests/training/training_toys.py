"""A toy method and fake feeds: what the loop needs, and nothing of shards or loaders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from kt3d_bench.data.detections import Maker
from kt3d_bench.loading.batches import CameraBatch, LabelledBatch, UnlabelledBatch
from kt3d_bench.method import Estimate, Method, MethodContext, Optimiser, Progress, Stage, StepResult
from kt3d_bench.progress import Reporter
from kt3d_bench.training.feeds import BatchSource, Place

SIDE = 8


@dataclass(frozen=True)
class ToyConfig:
    width: int = 4
    steps: int = 6
    learning_rate: float = 0.01
    kind: Literal["plain", "noisy"] = "noisy"
    poison_step: int | None = None
    disturb: bool = False

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError("width must be at least 1")


class ToyMethod(Method):
    """Two stages: "first" trains ``body``, "second" trains ``head`` on top of the frozen ``body``."""

    Config: ClassVar[type[Any]] = ToyConfig
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}, "small": {}, "tiny": {"width": 2}}

    def __init__(self, config: ToyConfig, context: MethodContext) -> None:
        super().__init__(config, context)
        self.body = nn.Sequential(nn.Conv2d(3, config.width, 3), nn.BatchNorm2d(config.width), nn.Dropout(0.2))
        self.head = nn.Linear(config.width, 51)

    @property
    def input_px(self) -> int:
        return SIDE

    def stages(self) -> tuple[Stage, ...]:
        config: ToyConfig = self.config
        recipe = {"width": config.width, "kind": config.kind}
        common: dict[str, Any] = {
            "steps": config.steps,
            "batch_size": 4,
            "optimiser": Optimiser(learning_rate=config.learning_rate),
        }
        return (
            Stage("first", {"source": ("rgb",)}, ("body",), recipe, step_s=100.0 / config.steps, **common),
            Stage("second", {"target": ("rgb",)}, ("head",), recipe, after=("first",), **common),
        )

    def features(self, batch: UnlabelledBatch) -> Tensor:
        features: Tensor = self.body(batch.images["rgb"]).mean((2, 3))
        return features

    def step(self, stage: Stage, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> StepResult:
        config: ToyConfig = self.config
        if stage.name == "first":
            value = self.features(batches["source"]).square().mean()
            if config.poison_step == progress.step:
                value = value * float("nan")
            return StepResult({"energy": value}, {"seen": 1.0})
        if config.disturb:
            self.body.train()
        features = self.features(batches["target"])
        if config.kind == "noisy":
            features = features + 0.1 * torch.randn_like(features)
        target = batches["target"]
        pull = (self.head(features) - 1).square().mean()
        if not isinstance(target, LabelledBatch):
            return StepResult({"pull": pull})
        error = self.head(features).view(-1, 17, 3) - target.joints_root_mm.nan_to_num(0.0) / 1000
        return StepResult({"pull": pull, "labels": (error * target.mask_3d[..., None]).square().mean()})

    def predict(self, batch: UnlabelledBatch) -> Estimate:
        joints = self.head(self.features(batch)).view(-1, 17, 3)
        return Estimate(joints_root_mm=100 * (joints - joints[:, :1]))


class PlainMethod(ToyMethod):
    """No batch norm, no dropout, so that several processes must agree with one; and a layer that no loss reaches."""

    def __init__(self, config: ToyConfig, context: MethodContext) -> None:
        super().__init__(config, context)
        self.body = nn.Sequential(nn.Conv2d(3, config.width, 3))
        self.body.append(nn.Linear(2, 2))

    def features(self, batch: UnlabelledBatch) -> Tensor:
        features: Tensor = self.body[0](batch.images["rgb"]).mean((2, 3))
        return features


class ClipMethod(PlainMethod):
    """Sees the mean of the frames of a clip of three."""

    @property
    def clip(self) -> tuple[int, int] | None:
        return (3, 1)

    def stages(self) -> tuple[Stage, ...]:
        return tuple(replace(stage, clip=self.clip) for stage in super().stages())

    def features(self, batch: UnlabelledBatch) -> Tensor:
        return super().features(batch).unflatten(0, (-1, 3)).mean(1)


class DuelMethod(PlainMethod):
    """Its second stage has two optimisers, one for each layer, and averages the weights."""

    def stages(self) -> tuple[Stage, ...]:
        first, second = super().stages()
        rate = self.config.learning_rate
        turns = {name: Optimiser("sgd", learning_rate=rate, trains=(name,)) for name in ("body", "head")}
        return first, replace(second, trains=("body", "head"), optimiser=turns, average=0.5)


class StagelessMethod(ToyMethod):
    """Nothing to train."""

    def stages(self) -> tuple[Stage, ...]:
        return ()


class MemoryMethod(ToyMethod):
    """A stage without trainable parameters: the running mean of what it sees."""

    def __init__(self, config: ToyConfig, context: MethodContext) -> None:
        super().__init__(config, context)
        self.memory = nn.Module()
        self.memory.register_buffer("total", torch.zeros(3))

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("remember", {"source": ("rgb",)}, ("memory",), {}, epochs=1.0, batch_size=4),)

    def step(self, stage: Stage, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> StepResult:
        total = self.memory.get_buffer("total")
        total += batches["source"].images["rgb"].mean((0, 2, 3))
        return StepResult({})


class FakeSource:
    """Endless batches that depend on a seed and a position only."""

    def __init__(self, seed: int, size: int, labelled: bool, place: Place) -> None:
        self.seed, self.size, self.labelled, self.place = seed, size, labelled, place
        self.position = 0

    def __iter__(self) -> Iterator[UnlabelledBatch]:
        while True:
            generator = torch.Generator().manual_seed(self.seed + self.position)
            images = torch.rand((self.size, 3, SIDE, SIDE), generator=generator)
            share = self.size // self.place.world
            images = images[self.place.rank * share : (self.place.rank + 1) * share]
            self.position += 1
            yield fake_batch(images, self.labelled).to(self.place.device)

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.position = state["position"]

    def keys(self, number: int) -> list[str]:
        return [f"sample-{number}-{row}" for row in range(self.size)]

    def close(self) -> None:
        self.position = -1


def fake_batch(images: Tensor, labelled: bool) -> UnlabelledBatch:
    count = len(images)
    cameras = CameraBatch(torch.eye(2, 3).repeat(count, 1, 1), torch.zeros(count, 5), 2.0)
    surface = torch.full((count,), float("nan"))
    if not labelled:
        return UnlabelledBatch({"rgb": images}, cameras, surface)
    joints = images.mean((1, 2, 3))[:, None, None].expand(count, 17, 3)
    known = torch.ones((count, 17), dtype=torch.bool)
    labels = (joints[..., :2], joints, joints, known, known, torch.eye(3).repeat(count, 1, 1))
    return LabelledBatch({"rgb": images}, cameras, surface, *labels)


@dataclass(frozen=True)
class FakeFeed:
    digest: str = "data"
    samples: int = 12
    labelled: bool = True
    opened: list[str] = field(default_factory=list)

    def open(self, stage: Stage, role: str, input_px: int, seed: int, place: Place) -> BatchSource:
        self.opened.append(role)
        return FakeSource(seed, stage.batch_size, self.labelled, place)


class Notes(Reporter):
    """A reporter that remembers."""

    def __init__(self, stop_at: int | None = None, stop_stage: str = "") -> None:
        self.notes: list[str] = []
        self.steps: list[tuple[str, int]] = []
        self.stage = ""
        self.stop_at, self.stop_stage = stop_at, stop_stage

    def start(self, task: str, total: int, *, done: int = 0) -> None:
        self.stage = task.removeprefix("stage ")

    def advance(self, done: int, **_: Any) -> None:
        self.steps.append((self.stage, done))
        if self.stop_at == done and self.stop_stage == self.stage:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGINT)

    def note(self, text: str) -> None:
        self.notes.append(text)


CONTEXT = MethodContext(target_modality="rgb", num_parts=0, supervision="none", transfers=True)
SOMEBODY = Maker("somebody", saw={}, external_data=())
"""Who made detections, and saw no label."""
