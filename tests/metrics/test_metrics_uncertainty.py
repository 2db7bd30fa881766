"""Intervals and paired tests over clips: against theory, SciPy, and by simulating how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from kt3d_bench.metrics.uncertainty import (
    bootstrap_interval,
    clip_interval,
    clip_values,
    paired_interval,
    student_quantile,
)


def clips_of(rng: np.random.Generator, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Skewed clip means with an expectation of 100, and unequal sizes."""
    sizes = rng.integers(5, 40, number)
    level = 100 * np.exp(rng.normal(-0.045, 0.3, number))
    return level + rng.normal(0, 10 / np.sqrt(sizes)), sizes


def test_the_interval_resamples_clips() -> None:
    rng = np.random.default_rng(3)
    clips = np.repeat([f"c{i}" for i in range(40)], 50)
    values = np.repeat(rng.normal(100, 10, 40), 50) + rng.normal(0, 1, 2000)
    low, high = bootstrap_interval(values, clips)
    means = values.reshape(40, 50).mean(axis=1)
    expected = stats.t.interval(0.95, 39, means.mean(), stats.sem(means))
    assert (low, high) == pytest.approx(expected, abs=0.4)
    frames = bootstrap_interval(values, np.array([f"f{i}" for i in range(2000)]))
    assert frames[1] - frames[0] < (high - low) / 3
    assert bootstrap_interval(values, clips) == (low, high)


def test_the_interval_needs_two_clips_and_skips_undefined_samples() -> None:
    values = np.array([1.0, 2.0, np.nan, 4.0])
    assert bootstrap_interval(values, np.array(["a", "a", "a", "a"])) is None
    assert bootstrap_interval(values, np.array(["a", "a", "b", "a"])) is None
    assert bootstrap_interval(np.full(3, np.nan), np.array(["a", "b", "c"])) is None
    low, high = bootstrap_interval(values, np.array(["a", "a", "a", "b"]))
    assert (low, high) == pytest.approx((1.5, 4.0), abs=0.01)


def test_many_clips_do_not_need_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    values, clips = np.arange(300.0), np.array([f"c{i}" for i in range(300)])
    monkeypatch.setattr("kt3d_bench.metrics.uncertainty._CELLS", 1000)
    low, high = bootstrap_interval(values, clips)
    assert 130 < low < 149.5 < high < 170


@pytest.mark.parametrize(("number", "least"), [(8, 0.89), (30, 0.92), (100, 0.93)])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(number: int, least: float) -> None:
    """600 test sets of skewed, unequal clips; binomial noise of the share itself is about 0.01."""
    rng = np.random.default_rng(number)
    held = 0
    for _ in range(600):
        low, high = clip_interval(*clips_of(rng, number), draws=400)
        held += low <= 100 <= high
    assert least <= held / 600 <= 0.975


def test_plain_percentiles_would_hold_it_less_often() -> None:
    """Why the interval is expanded: the same simulation with percentiles 2.5 and 97.5 of 8 clips."""
    rng = np.random.default_rng(8)
    held = 0
    for _ in range(600):
        means, sizes = clips_of(rng, 8)
        picked = rng.integers(8, size=(400, 8))
        drawn = (means * sizes)[picked].sum(axis=1) / sizes[picked].sum(axis=1)
        low, high = np.quantile(drawn, [0.025, 0.975])
        held += low <= 100 <= high
    assert held / 600 < 0.88


@pytest.mark.parametrize("seeds_sd", [0.0, 1.5])
def test_equal_rows_are_told_apart_one_time_in_twenty(seeds_sd: float) -> None:
    """Two rows share how hard a clip is; their difference has expectation 0, plus what the seeds add."""
    rng = np.random.default_rng(5)
    wrong = 0
    for _ in range(600):
        first, sizes = clips_of(rng, 25)
        second = first + rng.normal(0, 4, 25) + rng.normal(0, seeds_sd)
        low, high = paired_interval(first, second, sizes, seeds_sd=seeds_sd, draws=400)
        wrong += not low <= 0 <= high
    assert 0.02 <= wrong / 600 <= 0.08


def test_pairing_sees_what_two_intervals_do_not() -> None:
    rng = np.random.default_rng(6)
    first, sizes = clips_of(rng, 30)
    second = first + 3 + rng.normal(0, 2, 30)
    one, other = clip_interval(first, sizes), clip_interval(second, sizes)
    assert one[0] < other[0] < one[1]
    low, high = paired_interval(first, second, sizes)
    assert low < -3 + 1.5
    assert high < 0
    assert paired_interval(second, first, sizes) == pytest.approx((-high, -low))
    assert paired_interval(first, first, sizes) == (0.0, 0.0)
    low, high = paired_interval(first, second, sizes, seeds_sd=5.0)
    assert low < 0 < high


def test_few_clips_decide_nothing() -> None:
    assert paired_interval(np.zeros(5), np.ones(5), np.ones(5)) is None
    assert paired_interval(np.zeros(6), np.ones(6), np.ones(6)) == (-1.0, -1.0)


def test_clip_values_are_means_of_defined_samples() -> None:
    clips = np.array(["b", "a", "b", "a", "c"])
    values = {
        "first": np.array([1.0, 2.0, 3.0, 6.0, np.nan]),
        "same": np.array([2.0, 2.0, 4.0, 2.0, np.nan]),
        "other": np.array([1.0, np.nan, 1.0, 1.0, 1.0]),
    }
    found = clip_values(values, clips)
    assert found.names.tolist() == ["a", "b"]
    assert found.counts.tolist() == [2, 2]
    assert {name: means.tolist() for name, means in found.means.items()} == {"first": [4.0, 2.0], "same": [2.0, 3.0]}
    assert clip_values({"x": np.full(5, np.nan)}, clips) is None
    assert clip_values({}, clips) is None


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 7, 10, 39, 236, 1999, 5000])
@pytest.mark.parametrize("probability", [0.9, 0.975, 0.999])
def test_students_t_is_scipys(degrees: int, probability: float) -> None:
    tolerance = 1e-3 if degrees > 2000 else 1e-9
    assert student_quantile(probability, degrees) == pytest.approx(stats.t.ppf(probability, degrees), rel=tolerance)
