"""What the terminal shows while something runs: progress bars on a terminal, a line every half minute elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from kt3d_bench.progress import Reporter, duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

LINE_EVERY_S = 30.0


def console(*, stderr: bool = False) -> Console:
    """Return a console that does not cut tables when its output goes to a file or a pipe."""
    from rich.console import Console

    found = Console(stderr=stderr, highlight=False)
    return found if found.is_terminal else Console(stderr=stderr, highlight=False, width=200)


class Terminal(Reporter):
    """Progress for people. ``note`` prints a line above the bar."""

    def __init__(self, out: Console | None = None) -> None:
        self._out = out or console(stderr=True)
        self._bar: Progress | None = None
        self._task, self._total, self._first, self._shown = "", 0, 0, ""
        self._started = self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()

    def note(self, text: str) -> None:
        self._out.print(text, markup=False)

    def start(self, task: str, total: int, *, done: int = 0) -> None:
        self._close()
        self._task, self._total, self._first, self._shown = task, total, done, ""
        self._started = self._last_line = time.monotonic()
        if self._out.is_terminal:
            from rich import progress as bars

            self._bar = bars.Progress(
                bars.SpinnerColumn(),
                bars.TextColumn("{task.description}", markup=False),
                bars.BarColumn(bar_width=24),
                bars.MofNCompleteColumn(),
                bars.TextColumn("{task.fields[shown]}", markup=False),
                bars.TimeElapsedColumn(),
                bars.TextColumn("left"),
                bars.TimeRemainingColumn(),
                console=self._out,
                transient=True,
            )
            self._bar.start()
            self._bar.add_task(task, total=total, completed=done, shown="")

    def advance(
        self, done: int, *, total: int | None = None, samples: int | None = None, values: Mapping[str, float] = {}
    ) -> None:
        self._total = self._total if total is None else total
        elapsed_s = max(time.monotonic() - self._started, 1e-9)
        rate = [] if samples is None else [f"{samples / elapsed_s:.0f} samples/s"]
        self._shown = "  ".join([*rate, *(f"{name} {value:.3g}" for name, value in values.items())])
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, total=self._total, shown=self._shown)
        elif time.monotonic() - self._last_line > LINE_EVERY_S:
            self._last_line = time.monotonic()
            left = ""
            if done > self._first:
                left = f", about {duration(elapsed_s * (self._total - done) / (done - self._first))} left"
            counts = f"{self._task}: {done}/{self._total}"
            line = f"{counts}  {self._shown}".rstrip() + f", {duration(elapsed_s)} so far{left}"
            self._out.print(line, markup=False)

    def finish(self, text: str = "") -> None:
        elapsed_s = time.monotonic() - self._started
        self._close()
        self._out.print(f"{self._task}: {text or self._shown or 'done'} ({duration(elapsed_s)})", markup=False)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar = None
