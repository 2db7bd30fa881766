"""How training speaks: a protocol that the command line implements with progress bars, and a silent default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Reporter(Protocol):
    """Receives what happens, in the main process only."""

    def stage_started(self, stage: str, total: int) -> None:
        """A stage of ``total`` steps starts (or goes on after a resume)."""

    def step(self, step: int, losses: Mapping[str, float], rate: float, eta_s: float) -> None:
        """``step`` steps of the stage are done, at ``rate`` samples per second; ``eta_s`` seconds remain."""

    def stage_finished(self, stage: str) -> None:
        """The stage is done and stored."""

    def note(self, text: str) -> None:
        """One sentence that the user should read."""


class Silent:
    """A reporter that says nothing."""

    def stage_started(self, stage: str, total: int) -> None:
        return

    def step(self, step: int, losses: Mapping[str, float], rate: float, eta_s: float) -> None:
        return

    def stage_finished(self, stage: str) -> None:
        return

    def note(self, text: str) -> None:
        return
