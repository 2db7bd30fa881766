"""What the terminal shows while something runs: progress bars on a terminal, a line every half minute elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_EVERY_S = 30.0


def console(*, stderr: bool = False) -> Console:
    """A console that never cuts a table when the output is a file or a pipe."""
    found = Console(stderr=stderr, highlight=False)
    return found if found.is_terminal else Console(stderr=stderr, highlight=False, width=200)


class ProgressReport:
    """Progress of the longer commands, for people. One task at a time; ``note`` prints a line above the bar."""

    def __init__(self, out: Console | None = None) -> None:
        self._out = out or console(stderr=True)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._title, self._total, self._done, self._tail = "", 0, 0, ""
        self._started = self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()

    def note(self, text: str) -> None:
        self._out.print(escape(text))

    def task(self, title: str, total: int) -> None:
        """Begin a task of ``total`` units."""
        self._close()
        self._title, self._total, self._done, self._tail = title, total, 0, ""
        self._started = self._last_line = time.monotonic()
        if self._out.is_terminal:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[tail]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self._out,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(escape(title), total=total, tail="")

    def update(self, done: int, tail: str = "", *, total: int | None = None) -> None:
        """Say how much of the task is done; ``tail`` is shown beside the bar, ``total`` corrects the task's."""
        self._done, self._tail, self._total = done, tail, total or self._total
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=self._total, tail=escape(tail))
        elif time.monotonic() - self._last_line > LINE_EVERY_S:
            self._last_line = time.monotonic()
            self._out.print(escape(f"{self._title}: {done}/{self._total} {tail}, {self._eta()}"))

    def finish(self, text: str = "") -> None:
        """End the task with one line on how it went."""
        elapsed = time.monotonic() - self._started
        self._close()
        self._out.print(escape(f"{self._title}: {text or 'done'} ({elapsed:.0f} s)"))

    def _eta(self) -> str:
        elapsed = time.monotonic() - self._started
        left = elapsed * (self._total / self._done - 1) if self._done else float("nan")
        return f"{elapsed:.0f} s so far, about {left:.0f} s left"

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar = self._task = None


class PrepareReport(ProgressReport):
    """The ``shards.prepare`` protocol: work items, samples per second, skipped so far."""

    def start(self, total_items: int) -> None:
        self.task("converting", total_items)

    def advance(self, done: int, samples: int, skipped: int) -> None:
        rate = samples / max(time.monotonic() - self._started, 1e-9)
        self.update(done, f"{samples} samples, {rate:.0f}/s, {skipped} skipped")


class TrainReport(ProgressReport):
    """The ``training.report`` protocol: losses, rate and what is left, stage by stage."""

    def stage_started(self, stage: str, total: int) -> None:
        self.task(f"stage {stage}", total)

    def step(self, step: int, losses: Mapping[str, float], rate: float, eta_s: float) -> None:
        shown = "  ".join(f"{name} {value:.3g}" for name, value in losses.items())
        self.update(step, f"{rate:.0f} samples/s  {shown}")

    def stage_finished(self, stage: str) -> None:
        self.finish(self._tail)
