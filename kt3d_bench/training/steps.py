"""One stage while it trains: where it stands, its network and optimiser, its data."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kt3d_bench.errors import PluginError
from kt3d_bench.interrupts import InterruptedRunError, StopRequest
from kt3d_bench.loading.batches import UnlabelledBatch
from kt3d_bench.method import Method, Progress, Stage
from kt3d_bench.progress import Reporter
from kt3d_bench.training.acceleration import Acceleration
from kt3d_bench.training.feeds import BatchSource, Feed, Looking, Place
from kt3d_bench.training.optimisers import Average, build
from kt3d_bench.training.trackers import Tracker

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class LoopOptions:
    """What a run adds to its stages."""

    seed: int = 0
    steps_scale: float = 1.0
    """Multiplies the steps of every stage."""
    time_scale: float | None = None
    """``None``: run all steps. A number: a stage's ``budget_s`` times it is a limit in seconds, and the schedule
    follows whichever of step / steps and elapsed / limit is further."""
    clip_norm: float | None = None
    """Largest norm of the gradient; ``None`` = as the stages say."""
    checkpoint_steps: int | None = None
    """Write a checkpoint every so many steps ..."""
    checkpoint_s: float = 300.0
    """... and every so many seconds."""
    validate_every: int | None = None
    """Measure the validation curve every so many steps; ``None`` = never."""
    sharing: int = 1
    """Processes among which this machine's cores are divided (``ranks.Processes``)."""
    acceleration: Acceleration = field(default_factory=Acceleration)
    about: Mapping[str, Any] = field(default_factory=dict)
    """Plain data that makes a checkpoint explain itself: method, config, context, versions."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Further facts that decide a stage's outcome: precision, versions."""

    def limit_s(self, stage: Stage) -> float | None:
        """Return the stage's limit in seconds, ``None`` when it runs all its steps."""
        return None if self.time_scale is None or stage.budget_s is None else stage.budget_s * self.time_scale


@dataclass(frozen=True, eq=False)
class LoopContext:
    """What all stages of a run share."""

    fabric: Fabric
    method: Method
    feeds: Mapping[str, Feed]
    folder: Path
    options: LoopOptions
    report: Reporter
    stop: StopRequest
    trackers: Sequence[Tracker] = ()


def derived_seed(*facts: object) -> int:
    """Return 63 bits that depend on all facts."""
    digest = hashlib.sha256(repr(facts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_step(seed: int, stage: str, step: int | str, rank: int) -> None:
    """Seed torch's generators, on all devices, as a function of run, stage, step and process."""
    torch.manual_seed(derived_seed(seed, stage, step, rank))


class Clock:
    """Where a stage stands: its steps, its seconds, and whether it has to stop."""

    def __init__(self, context: LoopContext, stage: Stage, steps: int, saved: Mapping[str, Any] | None) -> None:
        self._fabric, self._request = context.fabric, context.stop
        self.steps, self._limit_s = steps, context.options.limit_s(stage)
        self.first_step = self.step = int(saved["step"]) if saved else 0
        self._before_s = float(saved["elapsed_s"]) if saved else 0.0
        self._started = time.monotonic()
        self._fraction = 0.0
        self.stop = False

    @property
    def elapsed_s(self) -> float:
        """Seconds of training, those before a resume included."""
        return self._before_s + time.monotonic() - self._started

    @property
    def steps_per_s(self) -> float:
        """Speed since the start or the resume."""
        return (self.step - self.first_step) / max(time.monotonic() - self._started, 1e-9)

    @property
    def expected_steps(self) -> float:
        """How long the stage will be, judged by how far it was at the last look: a time limit may shorten it."""
        return self.step / self._fraction if self._fraction else self.steps

    def leave_out(self, seconds: float) -> None:
        """Do not count seconds that were not spent on training."""
        self._started += seconds

    def look(self) -> Progress:
        """Return where the stage stands and note a request to stop: the main process decides for all."""
        elapsed_s, self.stop = self.elapsed_s, self._request.requested
        if self._fabric.world_size > 1:
            elapsed_s, self.stop = self._fabric.broadcast((elapsed_s, self.stop))
        fraction = self.step / self.steps
        if self._limit_s is not None and self.step > 0:
            fraction = max(fraction, elapsed_s / self._limit_s if self._limit_s > 0 else 1.0)
        self._fraction = min(1.0, fraction)
        return Progress(self.step, self._fraction)


class _Request:
    """Opaque to Fabric, which would otherwise try to rebuild the frozen batches."""

    def __init__(self, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> None:
        self.batches, self.progress = batches, progress


class _StageModule(nn.Module):
    """A stage's step as the forward pass of one module, as DDP requires."""

    def __init__(self, method: Method, stage: Stage) -> None:
        super().__init__()
        self.method, self.stage = method, stage
        self.logs: Mapping[str, float] = {}

    def forward(self, request: _Request) -> dict[str, Tensor]:
        result = self.method.step(self.stage, request.batches, request.progress)
        self.logs = {**self.logs, **result.logs}
        return dict(result.losses)


class Learner:
    """The network, the optimisers and the averaged weights of a stage."""

    def __init__(self, context: LoopContext, stage: Stage, saved: Mapping[str, Any] | None) -> None:
        self._fabric, self._options = context.fabric, context.options
        self._method, self._stage = context.method, stage
        self._stage_module = _StageModule(context.method, stage)
        self.average: Average | None = None
        self.optimizers: dict[str, Any] = {}
        """By name; none where the stage trains no parameters."""
        self.rate = 0.0
        """Learning rate of the newest step, that of the first optimiser."""
        built = build(context.method, stage, context.options.acceleration)
        if not built:
            self._module: Any = self._fabric.to_device(self._stage_module)
            return
        self._module, *optimizers = self._fabric.setup(self._stage_module, *built.values())
        self.optimizers = dict(zip(built, optimizers, strict=True))
        if stage.average is not None:
            self.average = Average(context.method, stage.average, saved["average"] if saved else None)
        for name, optimizer in built.items():
            if saved:
                optimizer.load_state_dict(saved["optimizers"][name])

    @property
    def logs(self) -> Mapping[str, float]:
        """What the method logged of the newest step."""
        return self._stage_module.logs

    def step(self, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> dict[str, Tensor]:
        """Take one step; return its losses, of several optimisers as "name/loss"."""
        factor = self._stage.schedule.factor(progress.fraction)
        self.rate = factor * next(iter(self._stage.optimisers.values())).learning_rate
        self._stage_module.logs = {}
        losses: dict[str, Tensor] = {}
        if not self.optimizers:
            seed_step(self._options.seed, self._stage.name, progress.step, 0)
            with torch.no_grad():
                losses = self._module(_Request(batches, progress))
        for name in self.optimizers:
            found = self._turn(name, factor, batches, progress)
            losses |= {f"{name}/{loss}" if name else loss: value for loss, value in found.items()}
        with torch.no_grad():
            self._method.after_step(self._stage, progress)
        if self.average is not None:
            self.average.follow(progress.step)
        return {name: loss.detach() for name, loss in losses.items()}

    def finish(self) -> None:
        """Leave the averaged weights, where the stage has them."""
        if self.average is not None:
            self.average.swap()

    def _turn(
        self, name: str, factor: float, batches: Mapping[str, UnlabelledBatch], progress: Progress
    ) -> dict[str, Tensor]:
        optimizer, asked = self.optimizers[name], self._stage.optimisers[name]
        for other, its in self.optimizers.items():
            for group in its.param_groups if len(self.optimizers) > 1 else ():
                for parameter in group["params"]:
                    parameter.requires_grad_(other == name)
        for group in optimizer.param_groups:
            group["lr"] = asked.learning_rate * factor * group["factor"]
        optimizer.zero_grad(set_to_none=True)
        step = f"{progress.step} {name}" if name else progress.step
        seed_step(self._options.seed, self._stage.name, step, self._fabric.global_rank)
        losses: dict[str, Tensor] = self._module(_Request(batches, replace(progress, turn=name)))
        if not losses:
            turn = f" in the turn of '{name}'" if name else ""
            where = f"stage '{self._stage.name}' of {type(self._method).__name__}"
            raise PluginError(f"returned no loss{turn}", where=where)
        self._fabric.backward(torch.stack([loss.reshape(()) for loss in losses.values()]).sum())
        norm = asked.clip_norm if self._options.clip_norm is None else self._options.clip_norm
        if norm is not None:
            self._fabric.clip_gradients(self._module, optimizer, max_norm=norm, error_if_nonfinite=False)
        optimizer.step()
        return losses


class _Stoppable(Reporter):
    """Hands on what it receives, and raises ``InterruptedRunError`` once someone asked to stop."""

    def __init__(self, context: LoopContext, stage: Stage, alone: bool) -> None:
        self._context, self._stage, self._alone = context, stage, alone

    def note(self, text: str) -> None:
        self._context.report.note(text)

    def start(self, task: str, total: int, *, done: int = 0) -> None:
        self._context.report.start(task, total, done=done)

    def advance(
        self, done: int, *, total: int | None = None, samples: int | None = None, values: Mapping[str, float] = {}
    ) -> None:
        context = self._context
        context.report.advance(done, total=total, samples=samples, values=values)
        stop = context.stop.requested
        if context.fabric.world_size > 1:
            stop = not self._alone and context.fabric.broadcast(stop)
        if stop:
            raise InterruptedRunError(
                f"stopped while joints were looked for, for stage '{self._stage.name}'; its steps so far are kept",
                where=context.folder,
                hint="continue with the same command and --resume",
            )

    def finish(self, text: str = "") -> None:
        self._context.report.finish(text)


def looking(context: LoopContext, stage: Stage, *, alone: bool = False) -> Looking:
    """What finds the joints of a stage's batches, and ends with ``InterruptedRunError`` when asked to stop: the main
    process decides for all. ``alone``: only one of several processes looks, and then it looks to the end."""
    return Looking(context.method, _Stoppable(context, stage, alone))


@contextmanager
def opened(
    context: LoopContext, stage: Stage, saved: Mapping[str, Any] | None, *, shared: bool
) -> Iterator[dict[str, BatchSource]]:
    """Open the data of every role of a stage. ``shared``: processes divide it; else each of them reads all of it.

    Raises ``InterruptedRunError`` when asked to stop while joints are found.
    """
    fabric, method = context.fabric, context.method
    rank, world = (fabric.global_rank, fabric.world_size) if shared else (0, 1)
    place = Place(str(fabric.device), rank, world, context.options.sharing)
    sources: dict[str, BatchSource] = {}
    try:
        for role in stage.roles:
            seed = derived_seed(context.options.seed, stage.name, role) & 0x7FFFFFFF
            given = {"looking": looking(context, stage)} if role in stage.detections else {}
            sources[role] = context.feeds[role].open(stage, role, method.input_px, seed, place, **given)
            if saved:
                sources[role].load_state_dict(saved["loaders"][role])
        yield sources
    finally:
        for source in sources.values():
            source.close()
