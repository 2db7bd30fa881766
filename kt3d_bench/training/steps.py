"""The steps of one stage: optimise, log, checkpoint, stop."""

from __future__ import annotations

import hashlib
import json
import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kt3d_bench.errors import ArtefactError, Kt3dError, PluginError
from kt3d_bench.files import write_whole
from kt3d_bench.loading.batches import UnlabelledBatch
from kt3d_bench.method import Method, Progress, Stage
from kt3d_bench.progress import Reporter
from kt3d_bench.training import checkpoint
from kt3d_bench.training.acceleration import Acceleration, adam
from kt3d_bench.training.feeds import BatchSource, Feed, Place
from kt3d_bench.training.stages import learning_rate

if TYPE_CHECKING:
    from lightning_fabric import Fabric

KEPT_CHECKPOINTS = 2
LOOK_S = 1.0
"""On a GPU losses are looked at about this often."""
WARNING = "warn_"
"""Begins the names of logs that are warnings where they are not 0."""
LOG_LINES = 500
"""At most about so many lines of ``log.jsonl`` per stage."""


class InterruptedRunError(Kt3dError):
    """The user or the scheduler stopped the run; a checkpoint was written."""


@dataclass(frozen=True)
class LoopOptions:
    """What a run adds to its stages."""

    seed: int = 0
    steps_scale: float = 1.0
    """Multiplies the steps of every stage."""
    time_scale: float | None = None
    """``None``: exactly the steps. A number: a stage's ``budget_s`` times it is a limit in seconds, and the schedule
    follows whichever of step / steps and elapsed / limit is further."""
    clip_norm: float | None = None
    """Largest norm of the gradient; ``None`` = no clipping."""
    checkpoint_steps: int | None = None
    """Write a checkpoint every so many steps ..."""
    checkpoint_s: float = 300.0
    """... and every so many seconds."""
    acceleration: Acceleration = field(default_factory=Acceleration)
    about: Mapping[str, Any] = field(default_factory=dict)
    """Plain data that makes a checkpoint explain itself: method, config, context, versions."""
    shares: Mapping[str, Any] = field(default_factory=dict)
    """Further facts that decide a stage's outcome: precision, versions."""


def limit_s(stage: Stage, options: LoopOptions) -> float | None:
    """The stage's limit in seconds, ``None`` when it runs all its steps."""
    if options.time_scale is None or stage.budget_s is None:
        return None
    return stage.budget_s * options.time_scale


def checkpoints(folder: Path) -> list[Path]:
    """A run's checkpoints inside a stage, oldest first."""
    return sorted((folder / "checkpoints").glob("step-*.pt"), key=lambda path: (path.stat().st_mtime_ns, path.name))


def derived_seed(*facts: object) -> int:
    """63 bits that depend on all facts."""
    digest = hashlib.sha256(repr(facts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_step(seed: int, stage: str, step: int | str, rank: int) -> None:
    """Seed torch's generators, on all devices, as a function of run, stage, step and process."""
    torch.manual_seed(derived_seed(seed, stage, step, rank))


class StopRequest:
    """Whether someone asked to stop."""

    def __init__(self) -> None:
        self.requested = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


@contextmanager
def graceful_stop() -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM into a request that the loop honours between two steps; a second one cuts."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _StageModule(nn.Module):
    """A stage's step as the forward pass of one module, which is what DDP needs to see."""

    def __init__(self, method: Method, stage: Stage) -> None:
        super().__init__()
        self.method = method
        self.stage = stage
        self.logs: Mapping[str, float] = {}

    def forward(self, request: _Request) -> dict[str, Tensor]:
        result = self.method.step(self.stage, request.batches, request.progress)
        self.logs = result.logs
        return dict(result.losses)


class _Request:
    """Opaque to Fabric, which would otherwise try to rebuild the frozen batches."""

    def __init__(self, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> None:
        self.batches = batches
        self.progress = progress


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


class StageRun:
    """One stage while it trains, from ``saved`` on if there is a checkpoint inside it."""

    def __init__(
        self,
        context: LoopContext,
        stage: Stage,
        steps: int,
        digest: str,
        worlds: tuple[int, ...],
        saved: Mapping[str, Any] | None,
    ) -> None:
        self.fabric, self.method, self.folder = context.fabric, context.method, context.folder
        self.options, self.report, self.stop = context.options, context.report, context.stop
        self.stage, self.steps, self.digest, self.worlds = stage, steps, digest, worlds
        self.limit_s = limit_s(stage, self.options)
        self.first_step = self.step = int(saved["step"]) if saved else 0
        self.elapsed_before_s = float(saved["elapsed_s"]) if saved else 0.0
        self.pending: list[tuple[int, dict[str, Tensor]]] = []
        self.warned: set[str] = set()
        self.stage_module = _StageModule(self.method, stage)
        self.module: Any = self.stage_module
        self.optimizer: Any = None
        self._set_up(saved)
        self.sources = self._open(context.feeds, saved)

    def _set_up(self, saved: Mapping[str, Any] | None) -> None:
        if not any(parameter.requires_grad for parameter in self.method.parameters()):
            self.module = self.fabric.to_device(self.stage_module)
            return
        optimizer = adam(self.method, self.stage.learning_rate, self.options.acceleration)
        self.module, self.optimizer = self.fabric.setup(self.stage_module, optimizer)
        if saved:
            optimizer.load_state_dict(saved["optimizer"])

    def _open(self, feeds: Mapping[str, Feed], saved: Mapping[str, Any] | None) -> dict[str, BatchSource]:
        """Loaders per role. Without parameters nothing is averaged over processes: each then reads all the data."""
        alone = self.optimizer is None
        place = Place(
            str(self.fabric.device),
            0 if alone else self.fabric.global_rank,
            1 if alone else self.fabric.world_size,
        )
        sources = {}
        for role in self.stage.roles:
            seed = derived_seed(self.options.seed, self.stage.name, role) & 0x7FFFFFFF
            sources[role] = feeds[role].open(self.stage, role, self.method.input_px, seed, place)
            if saved:
                sources[role].load_state_dict(saved["loaders"][role])
        return sources

    def run(self) -> tuple[int, float]:
        """Train to the end of the stage; returns the steps and the seconds it took.

        Raises ``Kt3dError`` for a loss that is not finite and ``InterruptedRunError`` when asked to stop.
        """
        try:
            self._steps()
        finally:
            for source in self.sources.values():
                source.close()
        self._look(learning_rate(self.stage, 1.0), write=True)
        if self.fabric.is_global_zero:
            for name in sorted(_raised(self.stage_module.logs)):
                self.report.note(f"stage '{self.stage.name}' ends while its method warns of {_plain(name)}")
        self.module = self.optimizer = None
        return self.step, round(self._elapsed_s(), 3)

    def _steps(self) -> None:
        streams = {role: iter(source) for role, source in self.sources.items()}
        self.started = self.saved_at = self.looked_at = time.monotonic()
        every = max(1, self.steps // LOG_LINES)
        if self.fabric.is_global_zero:
            self._cut_log()
            self.report.start(f"stage {self.stage.name}", self.steps, done=self.first_step)
        while True:
            progress, stop = self._where()
            if progress.fraction >= 1.0:
                break
            if stop:
                self._interrupt()
            rate = self._take_step({role: next(stream) for role, stream in streams.items()}, progress)
            self.step += 1
            write = self.step % every == 0 or self.step == self.steps
            if write or self.fabric.device.type == "cpu" or time.monotonic() - self.looked_at > LOOK_S:
                self._look(rate, write=write)
            self._checkpoint_if_due()

    def _where(self) -> tuple[Progress, bool]:
        """Where the stage stands and whether to stop: the main process decides for all."""
        elapsed_s, stop = self._elapsed_s(), self.stop.requested
        if self.fabric.world_size > 1:
            elapsed_s, stop = self.fabric.broadcast((elapsed_s, stop))
        fraction = self.step / self.steps
        if self.limit_s is not None and self.step > 0:
            fraction = max(fraction, elapsed_s / self.limit_s if self.limit_s > 0 else 1.0)
        return Progress(self.step, min(1.0, fraction)), stop

    def _elapsed_s(self) -> float:
        return self.elapsed_before_s + time.monotonic() - self.started

    def _take_step(self, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> float:
        """One step of the stage; returns the learning rate."""
        rate = learning_rate(self.stage, progress.fraction)
        rank = 0 if self.optimizer is None else self.fabric.global_rank
        seed_step(self.options.seed, self.stage.name, self.step, rank)
        request = _Request(batches, progress)
        if self.optimizer is None:
            with torch.no_grad():
                losses = self.module(request)
        else:
            losses = self._optimise(request, rate)
        with torch.no_grad():
            self.method.after_step(self.stage, progress)
        self.pending.append((self.step, {name: loss.detach() for name, loss in losses.items()}))
        return rate

    def _optimise(self, request: _Request, rate: float) -> dict[str, Tensor]:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        losses: dict[str, Tensor] = self.module(request)
        if not losses:
            raise PluginError("returned no loss", where=f"stage '{self.stage.name}' of {type(self.method).__name__}")
        total = torch.stack([loss.reshape(()) for loss in losses.values()]).sum()
        self.fabric.backward(total)
        if self.options.clip_norm is not None:
            self.fabric.clip_gradients(
                self.module, self.optimizer, max_norm=self.options.clip_norm, error_if_nonfinite=False
            )
        self.optimizer.step()
        return losses

    def _look(self, rate: float, *, write: bool) -> None:
        """Check the losses since the last look, tell the newest, and write a line of it. On a GPU each look waits for
        the steps that are under way."""
        self.looked_at = time.monotonic()
        newest: dict[str, float] = {}
        for step, losses in self.pending:
            newest = {name: float(loss) for name, loss in losses.items()}
            for name, value in newest.items():
                if not math.isfinite(value):
                    raise Kt3dError(
                        f"the loss '{name}' of stage '{self.stage.name}' is {value} at step {step}",
                        where=self.folder,
                        hint="lower the learning rate or clip the gradients; earlier stages are kept",
                    )
        if not self.pending or not self.fabric.is_global_zero:
            self.pending.clear()
            return
        self.pending.clear()
        elapsed_s = self._elapsed_s()
        per_s = (self.step - self.first_step) / max(elapsed_s - self.elapsed_before_s, 1e-9)
        samples_per_s = per_s * self.stage.batch_size
        samples = (self.step - self.first_step) * self.stage.batch_size
        self.report.advance(self.step, samples=samples, values=newest)
        if write:
            logs = {name: float(value) for name, value in self.stage_module.logs.items()}
            line = {"stage": self.stage.name, "step": self.step, "losses": newest, "logs": logs, "lr": rate}
            self._log({**line, "rate": round(samples_per_s, 3), "elapsed_s": round(elapsed_s, 3)})
            for name in sorted(_raised(logs) - self.warned):
                self.report.note(f"stage '{self.stage.name}', step {self.step}: its method warns of {_plain(name)}")
            self.warned |= _raised(logs)

    def _log(self, line: Mapping[str, Any]) -> None:
        log = self.folder / "log.jsonl"
        try:
            with log.open("a") as stream:
                stream.write(json.dumps(line) + "\n")
        except OSError as error:
            raise ArtefactError(
                f"the log cannot be written ({error.strerror})",
                where=log,
                hint="free space or permissions there, then go on with --resume; earlier checkpoints are kept",
            ) from error

    def _cut_log(self) -> None:
        """Forget what was logged of this stage after the checkpoint it goes on from."""
        log = self.folder / "log.jsonl"
        if not log.exists():
            return
        kept = []
        for text in log.read_text().splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if line.get("stage") != self.stage.name or line.get("step", 0) <= self.first_step:
                kept.append(text)
        write_whole(log, "".join(f"{text}\n" for text in kept).encode())

    def _checkpoint_if_due(self) -> None:
        """The main process alone writes; the others need not wait."""
        if not self.fabric.is_global_zero or self.step >= self.steps:
            return
        steps = self.options.checkpoint_steps
        due = steps is not None and self.step % steps == 0
        if due or time.monotonic() - self.saved_at > self.options.checkpoint_s:
            self._save()

    def _save(self) -> None:
        self._look(learning_rate(self.stage, self.step / self.steps), write=False)
        content = {
            **self.options.about,
            "stage": self.stage.name,
            "digest": self.digest,
            "worlds": list(self.worlds),
            "step": self.step,
            "elapsed_s": self._elapsed_s(),
            "model": {name: tensor.detach().cpu() for name, tensor in self.method.state_dict().items()},
            "optimizer": None if self.optimizer is None else _on_cpu(self.optimizer.state_dict()),
            "loaders": {role: source.state_dict() for role, source in self.sources.items()},
        }
        checkpoint.save(self.folder / "checkpoints" / f"step-{self.stage.name}-{self.step:09d}.pt", content)
        for path in checkpoints(self.folder)[:-KEPT_CHECKPOINTS]:
            path.unlink()
            checkpoint.sidecar(path).unlink(missing_ok=True)
        self.saved_at = time.monotonic()

    def _interrupt(self) -> None:
        if self.fabric.is_global_zero:
            self._save()
        self.fabric.barrier()
        raise InterruptedRunError(
            f"stopped in stage '{self.stage.name}' after {self.step} of {self.steps} steps; nothing is lost",
            where=self.folder,
            hint="go on with the same command and --resume",
        )


def _raised(logs: Mapping[str, float]) -> set[str]:
    return {name for name, value in logs.items() if name.startswith(WARNING) and value}


def _plain(name: str) -> str:
    return name.removeprefix(WARNING).replace("_", " ")


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, dict):
        return {key: _on_cpu(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_on_cpu(entry) for entry in value)
    return value
