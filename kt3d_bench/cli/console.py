"""All output of the commands: plain lines, tables, progress bars on a terminal and a line every half minute elsewhere.

Output never fails: characters that the terminal's encoding lacks are written in another way (``write_anything``).
"""

from __future__ import annotations

import codecs
import io
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

from kt3d_bench.progress import Reporter, duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

LINE_EVERY_S = 30.0
_ASCII = {
    "\u2013": "-", "\u2014": "-", "\u2026": "...", "\u00b1": "+-", "\u00d7": "x", "\u00b7": "*", "\u2022": "*",
    "\u2192": "->", "\u2713": "ok", "\u2717": "NO", "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"',
    "\u2501": "=", "\u2578": "=", "\u257a": "-",
}  # fmt: skip
"""ASCII forms of signs in tables, progress bars and texts."""


def _instead(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    escaped = (one.encode("ascii", "backslashreplace").decode("ascii") for one in signs)
    return "".join(_ASCII.get(one, text) for one, text in zip(signs, escaped, strict=True)), error.end


codecs.register_error("kt3d", _instead)


def write_anything() -> None:
    """Let standard output and standard error write signs that their encoding lacks in their ASCII form, and all other
    characters as an escape such as ``\\xe4``; Latin-1 and ASCII terminals would raise ``UnicodeEncodeError``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="kt3d")


def printable(text: str, kept: str = "") -> str:
    """Return a text with every character that could steer a terminal written out, such as ``\\x1b``; those in ``kept``
    stay. File names, keys and texts from files may hold any."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one in kept else one.encode("unicode_escape").decode("ascii") for one in text
    )


def say(text: str, *, err: bool = False, kept: str = "\n\t") -> None:
    """Print a line of plain text, ``printable``."""
    click.echo(printable(text, kept), file=sys.stderr if err else sys.stdout)


def console(*, stderr: bool = False) -> Console:
    """Return a console that prints ``printable`` text only, and does not cut tables when its output goes to a file or a
    pipe."""
    from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
    from rich.segment import Segment

    class Printable:
        def __init__(self, content: ConsoleRenderable) -> None:
            self._content = content

        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            for part in console.render(self._content, options):
                yield part if part.control else Segment(printable(part.text, "\n"), part.style)

    class OnlyPrintable(RenderHook):
        def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
            return [Printable(one) for one in renderables]

    found = Console(stderr=stderr, highlight=False)
    if not found.is_terminal:
        found = Console(stderr=stderr, highlight=False, width=200)
    found.push_render_hook(OnlyPrintable())
    return found


class Terminal(Reporter):
    """Progress for people. ``note`` prints a line above the bar. Nothing is shown after ``kt3d --quiet``."""

    def __init__(self, out: Console | None = None) -> None:
        self._out = out or console(stderr=True)
        command = click.get_current_context(silent=True)
        self._out.quiet = command is not None and bool(command.find_root().params.get("quiet"))
        self._bar: Progress | None = None
        self._task, self._total, self._first, self._shown = "", 0, 0, ""
        self._started = self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()

    def note(self, text: str) -> None:
        self._out.print(text, markup=False, soft_wrap=True)

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
