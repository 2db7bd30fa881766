"""Progress of long operations: a reporter that ignores everything, which the command line overrides."""

from __future__ import annotations

from collections.abc import Callable, Mapping


class Reporter:
    """Receives progress, in the main process only, one task at a time. Override what you want to show."""

    def note(self, text: str) -> None:
        """Receive one sentence that the user should read."""

    def start(self, task: str, total: int, *, done: int = 0) -> None:
        """Begin a task of ``total`` units, of which ``done`` were done earlier (a resumed training stage)."""

    def advance(
        self, done: int, *, total: int | None = None, samples: int | None = None, values: Mapping[str, float] = {}
    ) -> None:
        """Receive how many units are ``done``. ``total`` corrects the number of units, ``samples`` counts the samples
        processed since ``start``, ``values`` are numbers to show, such as losses."""

    def finish(self, text: str = "") -> None:
        """End the task; ``text`` says how it went."""

    def following(self, task: str, *, unit: int = 1) -> Callable[[int, int], None]:
        """Return a ``progress(done, total)`` that reports ``task`` in units of ``unit``."""
        started = False

        def progress(done: int, total: int) -> None:
            nonlocal started
            if not started:
                self.start(task, total // unit)
                started = True
            self.advance(done // unit, total=total // unit)
            if done >= total:
                self.finish()

        return progress


def duration(seconds: float) -> str:
    """Return a time span in the unit that suits it: "7.5 s", "40 min", "3.2 h", "12.5 days"."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:,.1f} days"
