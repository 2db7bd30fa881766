"""Checkpoints inside a stage, from which an interrupted run resumes to the bit."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from torch import Tensor

from kt3d_bench.budgets import json_value, read_whole
from kt3d_bench.errors import ArtefactError
from kt3d_bench.files import write_whole
from kt3d_bench.interrupts import InterruptedRunError
from kt3d_bench.method import Stage
from kt3d_bench.progress import Reporter
from kt3d_bench.training import checkpoint
from kt3d_bench.training.feeds import BatchSource
from kt3d_bench.training.log import StageLog
from kt3d_bench.training.steps import Clock, Learner, LoopContext

KEPT = 2
"""How many checkpoints a run keeps."""
WORLDS = "processes.json"


def listed(folder: Path) -> list[Path]:
    """Return a run's checkpoints inside a stage, oldest first."""
    return sorted((folder / "checkpoints").glob("step-*.pt"), key=lambda path: (path.stat().st_mtime_ns, path.name))


def delete(paths: Sequence[Path]) -> None:
    """Delete checkpoints and their digests."""
    for path in paths:
        path.unlink()
        checkpoint.sidecar(path).unlink(missing_ok=True)


def newest(folder: Path, report: Reporter) -> dict[str, Any] | None:
    """Read a run's newest intact checkpoint inside a stage; report each corrupt one that is newer.

    ``None`` when there is none; ``ArtefactError`` when all are corrupt.
    """
    problem: ArtefactError | None = None
    for path in reversed(listed(folder)):
        try:
            return checkpoint.load(path)
        except ArtefactError as error:
            problem = problem or error
            report.note(f"{error.message}: using the checkpoint before it")
    if problem is not None:
        raise problem
    return None


def read_worlds(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return, for each stage that a run has finished, ``StageOutcome.worlds``; empty where that is not known."""
    try:
        content = json_value(read_whole(folder / "checkpoints" / WORLDS))
        return {str(stage): tuple(int(world) for world in worlds) for stage, worlds in content.items()}
    except (OSError, ValueError, TypeError, AttributeError, OverflowError):
        return {}


def write_worlds(folder: Path, worlds: Mapping[str, Sequence[int]]) -> None:
    """Write what ``read_worlds`` reads."""
    write_whole(folder / "checkpoints" / WORLDS, json.dumps(worlds).encode())


@dataclass(eq=False)
class Saver:
    """Writes the checkpoints of one stage, in the main process; the others need not wait."""

    context: LoopContext
    stage: Stage
    clock: Clock
    learner: Learner
    sources: Mapping[str, BatchSource]
    log: StageLog
    identity: Mapping[str, Any]
    saved_at: float = field(default_factory=time.monotonic)

    def save_if_due(self) -> None:
        """Write a checkpoint when enough steps or seconds have passed."""
        clock, options = self.clock, self.context.options
        if not self.context.fabric.is_global_zero or clock.step >= clock.steps:
            return
        due = options.checkpoint_steps is not None and clock.step % options.checkpoint_steps == 0
        if due or time.monotonic() - self.saved_at > options.checkpoint_s:
            self.save()

    def save(self) -> None:
        """Check the losses, write a checkpoint and delete old ones."""
        self.log.read()
        folder, name, step = self.context.folder, self.stage.name, self.clock.step
        learner = self.learner
        content = {
            **self.context.options.about,
            **self.identity,
            "stage": name,
            "step": step,
            "elapsed_s": self.clock.elapsed_s,
            "model": _on_cpu(self.context.method.state_dict()),
            "optimizers": {key: _on_cpu(each.state_dict()) for key, each in learner.optimizers.items()},
            "average": None if learner.average is None else _on_cpu(learner.average.state_dict()),
            "loaders": {role: source.state_dict() for role, source in self.sources.items()},
        }
        checkpoint.save(folder / "checkpoints" / f"step-{name}-{step:09d}.pt", content)
        own = (folder / "checkpoints").glob(f"step-{name}-*.pt")
        kept = sorted(path.name for path in own if path.stem <= f"step-{name}-{step:09d}")[-KEPT:]
        delete([path for path in listed(folder) if path.name not in kept])  # by step: the clock may jump
        self.saved_at = time.monotonic()

    def stop(self) -> NoReturn:
        """Write a checkpoint and raise ``InterruptedRunError``."""
        if self.context.fabric.is_global_zero:
            self.save()
        self.context.fabric.barrier()
        raise InterruptedRunError(
            f"stopped in stage '{self.stage.name}' after {self.clock.step} of {self.clock.steps} steps; "
            "nothing is lost",
            where=self.context.folder,
            hint="continue with the same command and --resume",
        )


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, dict):
        return {key: _on_cpu(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_on_cpu(entry) for entry in value)
    return value
