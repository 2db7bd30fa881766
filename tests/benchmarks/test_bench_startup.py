"""How long a user waits before anything is said."""

from __future__ import annotations

import pytest
from clock import spent
from conftest import FiveRuns

MARGIN = 2.0
"""Other work on the machine may double what is measured."""


@pytest.mark.parametrize(("command", "target_s"), [("--help", 0.3), ("list", 0.5)])
def test_commands_answer_at_once(figures: FiveRuns, command: str, target_s: float) -> None:
    """Processor time of the whole process."""

    def seconds() -> dict[str, float]:
        return {command.removeprefix("--"): spent("-m", "kt3d_bench", command).processor_s}

    seconds()
    assert min(figures(seconds)[command.removeprefix("--")]) < MARGIN * target_s
