from __future__ import annotations

import pytest

from kt3d_bench.nn.schedules import training


def test_the_rate_is_held_for_three_quarters_then_falls_to_a_hundredth() -> None:
    schedule = training("hold")["schedule"]
    assert [schedule.factor(at) for at in (0.0, 0.5, 0.75)] == [1.0, 1.0, 1.0]
    assert schedule.factor(0.875) == pytest.approx(0.1)
    assert schedule.factor(1.0) == pytest.approx(0.01)
    assert training("hold")["average"] == 0.99


def test_steps_are_those_of_140_epochs_without_an_average() -> None:
    schedule = training("steps")["schedule"]
    assert schedule.factor(0.64) == pytest.approx(1.0)
    assert schedule.factor(0.65) == pytest.approx(0.1)
    assert schedule.factor(0.87) == pytest.approx(0.01)
    assert training("steps")["average"] is None
