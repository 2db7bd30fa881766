"""What a stage reports while it trains: losses that are checked, lines of ``log.jsonl``, progress, warnings."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from torch import Tensor

from kt3d_bench.errors import ArtefactError, Kt3dError
from kt3d_bench.files import write_whole
from kt3d_bench.method import Stage
from kt3d_bench.training.feeds import BatchSource
from kt3d_bench.training.persistence import stretches
from kt3d_bench.training.steps import Clock, Learner, LoopContext

LOOK_S = 1.0
"""On a GPU, where reading a loss waits for the steps under way, losses are read about this often."""
WARNING = "warn_"
"""Prefix of the logs that are warnings unless they are 0; told when they persist."""
NOT_FINITE = "not-finite.json"
"""In the run's folder: the samples of the step whose loss was not finite."""
LOG_LINES = 500
"""At most about so many lines of ``log.jsonl`` per stage."""


class StageLog:
    """The log of one stage. Every process checks losses; the main process alone reports and writes."""

    def __init__(
        self, context: LoopContext, stage: Stage, clock: Clock, learner: Learner, sources: Mapping[str, BatchSource]
    ) -> None:
        self._stage, self._clock, self._learner = stage, clock, learner
        self._sources = sources
        self._path, self._report = context.folder / "log.jsonl", context.report
        self._trackers = list(context.trackers)
        self._main, self._on_cpu = context.fabric.is_global_zero, context.fabric.device.type == "cpu"
        self._every = max(1, clock.steps // LOG_LINES)
        self._pending: list[tuple[int, dict[str, Tensor]]] = []
        self._warnings: dict[str, dict[int, bool]] = {}
        self._said: set[str] = set()
        self._read_at = time.monotonic()
        if self._main:
            self._cut()
            self._report.start(f"stage {stage.name}", clock.steps, done=clock.first_step)

    def add(self, losses: dict[str, Tensor]) -> None:
        """Take the losses of the newest step; read, show and write them when it is time."""
        step = self._clock.step
        self._pending.append((step - 1, losses))
        write = step % self._every == 0 or step == self._clock.steps
        if write or self._on_cpu or time.monotonic() - self._read_at > LOOK_S:
            self.read(write=write)

    def read(self, *, write: bool = False) -> None:
        """Check the losses since the last time and show the newest. Raises ``Kt3dError`` for one that is not finite."""
        self._read_at = time.monotonic()
        pending, self._pending = self._pending, []
        newest: dict[str, float] = {}
        for step, losses in pending:
            newest = {name: float(loss) for name, loss in losses.items()}
            for name, value in newest.items():
                if not math.isfinite(value):
                    raise self._not_finite(name, value, step)
        if not pending or not self._main:
            return
        samples = (self._clock.step - self._clock.first_step) * self._stage.batch_size
        self._report.advance(self._clock.step, samples=samples, values=newest)
        if write:
            self._write(newest)

    def _not_finite(self, name: str, value: float, step: int) -> Kt3dError:
        """Write the names of the step's samples beside the log; return the error that says so."""
        samples = {role: source.keys(step) for role, source in self._sources.items()}
        shown = {role: ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
                 for role, keys in samples.items()}  # fmt: skip
        path = self._path.with_name(NOT_FINITE)
        facts = {"stage": self._stage.name, "step": step, "loss": name, "value": str(value), "samples": samples}
        write_whole(path, (json.dumps(facts, indent=1) + "\n").encode())
        return Kt3dError(
            f"the loss '{name}' of stage '{self._stage.name}' is {value} at step {step}, of the samples "
            + "; ".join(f"{role}: {keys}" for role, keys in shown.items()),
            where=self._path.parent,
            hint=f"look at them ({path.name} names all), lower the learning rate or clip the gradients; earlier stages "
            "are kept",
        )

    def finish(self) -> None:
        """Write what is left and repeat the warnings that have stood for a while and stand at the end."""
        self.read(write=True)
        if self._main:
            for name in self._standing():
                self._report.note(f"stage '{self._stage.name}' ends while its method warns of {_plain(name)}")

    def _write(self, losses: Mapping[str, float]) -> None:
        logs = {name: float(value) for name, value in self._learner.logs.items()}
        line: dict[str, Any] = {
            "stage": self._stage.name,
            "step": self._clock.step,
            "losses": losses,
            "logs": logs,
            "lr": self._learner.rate,
            "rate": round(self._clock.steps_per_s * self._stage.batch_size, 3),
            "elapsed_s": round(self._clock.elapsed_s, 3),
        }
        self._record(line, {**losses, **logs, "learning rate": self._learner.rate})
        for name, value in logs.items():
            if name.startswith(WARNING):
                self._warnings.setdefault(name, {})[self._clock.step] = bool(value)
        for name, since in self._standing().items():
            if name not in self._said:
                place = f"stage '{self._stage.name}', step {self._clock.step}"
                self._report.note(f"{place}: its method has warned of {_plain(name)} since step {since}")
                self._said.add(name)

    def validation(self, figures: Mapping[str, float]) -> None:
        """Write figures of the validation curve."""
        line = {"stage": self._stage.name, "step": self._clock.step, "validation": dict(figures)}
        self._record(line, {f"validation/{name}": value for name, value in figures.items()})

    def _record(self, line: Mapping[str, Any], shown: Mapping[str, float]) -> None:
        """Append a line to the log; give the trackers what it shows."""
        try:
            with self._path.open("a") as stream:
                stream.write(json.dumps(line) + "\n")
        except OSError as error:
            raise ArtefactError(
                f"the log cannot be written ({error.strerror})",
                where=self._path,
                hint="free space or fix permissions there, then continue with --resume; earlier checkpoints are kept",
            ) from error
        for tracker in list(self._trackers):
            try:
                tracker.write(self._stage.name, self._clock.step, shown)
            except Exception as error:
                self._trackers.remove(tracker)
                self._report.note(f"{type(tracker).__name__} takes no more curves: {type(error).__name__}: {error}")

    def _standing(self) -> dict[str, int]:
        """Return warning -> first step, of those that have stood for a while and stand now."""
        now, found = self._clock.step, {}
        for name, raised in sorted(self._warnings.items()):
            for first, last in stretches([*raised], [*raised.values()], self._clock.expected_steps):
                if last == now:
                    found[name] = first
        return found

    def _cut(self) -> None:
        """Remove what was logged of this stage after the checkpoint from which it continues; recall its warnings."""
        if not self._path.exists():
            return
        kept = []
        for text in self._path.read_text(errors="replace").splitlines():
            with suppress(ValueError, RecursionError, TypeError, KeyError, AttributeError):  # damaged lines go
                line = json.loads(text)
                own = line["stage"] == self._stage.name
                if own and line["step"] > self._clock.first_step:
                    continue
                warnings = {
                    name: bool(value) for name, value in line.get("logs", {}).items() if name.startswith(WARNING)
                }
                for name, value in warnings.items() if own else ():
                    self._warnings.setdefault(name, {})[int(line["step"])] = value
                kept.append(text)
        write_whole(self._path, "".join(f"{text}\n" for text in kept).encode())


def _plain(name: str) -> str:
    return name.removeprefix(WARNING).replace("_", " ")
