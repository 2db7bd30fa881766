"""What long commands show while they run: lines in a file, a bar on a terminal."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from kt3d_bench.cli import console
from kt3d_bench.cli.console import Terminal
from kt3d_bench.progress import Reporter, duration


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the seconds that the console sees."""
    now = [1000.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, 1000.0 + seconds)


def test_in_a_file_a_line_appears_every_half_minute(clock: Callable[[float], None]) -> None:
    out = io.StringIO()
    with Terminal(Console(file=out, width=200, highlight=False)) as report:
        report.start("stage adapt", 100)
        clock(20.0)
        report.advance(10, samples=320, values={"2d": 0.5})
        assert out.getvalue() == ""
        clock(40.0)
        report.advance(20, samples=640, values={"2d": 0.25, "pose": 12.0})
        report.note("a [note]")
        clock(200.0)
        report.finish()
    assert out.getvalue().splitlines() == [
        "stage adapt: 20/100  16 samples/s  2d 0.25  pose 12, 40 s so far, about 3 min left",
        "a [note]",
        "stage adapt: 16 samples/s  2d 0.25  pose 12 (3 min)",
    ]


def test_what_a_resumed_task_did_earlier_does_not_count_as_speed(clock: Callable[[float], None]) -> None:
    out = io.StringIO()
    report = Terminal(Console(file=out, width=200, highlight=False))
    report.start("stage adapt", 100, done=80)
    clock(31.0)
    report.advance(90, samples=310)
    assert out.getvalue() == "stage adapt: 90/100  10 samples/s, 31 s so far, about 31 s left\n"


def test_on_a_terminal_a_bar_shows_counts_and_values() -> None:
    out = io.StringIO()
    with Terminal(Console(file=out, width=160, force_terminal=True, highlight=False)) as report:
        report.start("prepare dots", 7)
        report.advance(3, samples=30, values={"skipped": 2})
        report._bar.refresh()  # type: ignore[union-attr]
        report.finish("30 samples")
    shown = out.getvalue()
    assert "3/7" in shown
    assert "skipped 2" in shown
    assert "prepare dots: 30 samples (0.0 s)" in shown


def test_a_callback_reports_one_task_in_larger_units() -> None:
    class Seen(Reporter):
        def __init__(self) -> None:
            self.calls: list[tuple[object, ...]] = []

        def start(self, task: str, total: int, *, done: int = 0) -> None:
            self.calls.append(("start", task, total))

        def advance(self, done: int, *, total: int | None = None, **_: object) -> None:
            self.calls.append((done, total))

        def finish(self, text: str = "") -> None:
            self.calls.append(("finish",))

    seen = Seen()
    progress = seen.following("fetch", unit=1000)
    for done in (1500, 3000):
        progress(done, 3000)
    assert seen.calls == [("start", "fetch", 3), (1, 3), (3, 3), ("finish",)]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(7.46, "7.5 s"), (75, "75 s"), (150, "2 min"), (7200, "2.0 h"), (36 * 3600, "36.0 h"), (60 * 3600, "2.5 days")],
)
def test_durations_in_the_unit_that_suits_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
