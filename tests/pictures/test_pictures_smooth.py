"""The One-Euro filter against its closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kt3d_bench.pictures.smooth import OneEuro


@pytest.mark.parametrize("rate_hz", [10.0, 30.0, 120.0])
def test_a_step_is_followed_exponentially(rate_hz: float) -> None:
    smooth = OneEuro(slowest_hz=2.0, per_speed=0.0)
    smooth(np.array([0.0]), 0.0)
    share = 1 / (1 + rate_hz / (2 * math.pi * 2.0))
    for step in range(1, 20):
        found = smooth(np.array([1.0]), step / rate_hz)
        assert found[0] == pytest.approx(1 - (1 - share) ** step)


def test_uneven_times_count() -> None:
    smooth = OneEuro(slowest_hz=1.0, per_speed=0.0)
    left, time_s = 1.0, 0.0
    smooth(np.array([0.0]), 0.0)
    for step_s in (0.01, 0.2, 0.05, 1.0):
        time_s += step_s
        left *= 1 - 1 / (1 + 1 / (2 * math.pi * step_s))
        assert smooth(np.array([1.0]), time_s)[0] == pytest.approx(1 - left)
    assert smooth(np.array([5.0]), time_s)[0] == pytest.approx(1 - left), "no time has passed"


def test_the_first_adaptive_step_by_hand() -> None:
    smooth = OneEuro(slowest_hz=1.0, per_speed=0.01, speed_hz=1.0)
    smooth(np.array([0.0]), 0.0)
    speed = 100 / 0.1 / (1 + 1 / (2 * math.pi * 0.1))
    share = 1 / (1 + 1 / (2 * math.pi * (1 + 0.01 * speed) * 0.1))
    assert smooth(np.array([100.0]), 0.1)[0] == pytest.approx(100 * share)


def test_rest_stays_noise_shrinks_and_motion_is_followed() -> None:
    rng, times = np.random.default_rng(0), np.arange(300) / 30
    noisy = OneEuro()
    still = np.array([noisy(rng.normal(0, 10, 3), time) for time in times])
    assert still[60:].std() < 5
    walking = OneEuro()
    path = np.array([walking(np.array([1000 * time]), time)[0] for time in times])
    assert np.abs(path[60:] - 1000 * times[60:]).max() < 1000 / (2 * math.pi * 5) * 1.2


def test_what_is_absent_stays_absent_and_begins_anew() -> None:
    smooth = OneEuro()
    for step in range(5):
        smooth(np.array([0.0, 1.0]), step / 30)
    assert np.isnan(smooth(np.array([np.nan, 1.0]), 5 / 30)).tolist() == [True, False]
    assert smooth(np.array([700.0, 1.0]), 6 / 30).tolist() == [700.0, 1.0]
