"""Intervals of means and of differences between rows, by a bootstrap over whole clips: frames of one are dependent.

Shapes: N samples, C clips. Everything is deterministic. What is *not* covered: that all clips show the same few people,
and, for a single run, the spread over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
TextArray = npt.NDArray[np.str_]

BOOTSTRAP_DRAWS = 1000
LEVEL = 0.95
MIN_PAIRED_CLIPS = 6
"""With fewer, even rows that differ in every clip the same way cannot be told apart at 95 %."""
_SEED = 20190000
_CELLS = 1 << 22


@dataclass(frozen=True, eq=False)
class ClipValues:
    """Means per clip: what a comparison of two rows needs, in little space."""

    names: TextArray
    """(C,) sorted."""
    counts: npt.NDArray[np.int64]
    """(C,) samples that are defined, each > 0."""
    means: Mapping[str, FloatArray]
    """Metric -> (C,) mean over those samples; a metric that is defined on other samples than the first is left out."""


def clip_values(sample_values: Mapping[str, FloatArray], clips: TextArray) -> ClipValues | None:
    """Return per-sample values (N,) by metric, NaN = undefined, averaged by clip; ``None`` where nothing is defined."""
    first = next(iter(sample_values.values()), np.empty(0))
    defined = np.isfinite(first)
    if not defined.any():
        return None
    names, inverse, counts = np.unique(clips[defined], return_inverse=True, return_counts=True)
    means = {
        metric: np.bincount(inverse, weights=values[defined]) / counts
        for metric, values in sample_values.items()
        if np.array_equal(np.isfinite(values), defined)
    }
    return ClipValues(names, counts, means)


def bootstrap_interval(
    per_sample: FloatArray, clips: TextArray, *, draws: int = BOOTSTRAP_DRAWS, level: float = LEVEL
) -> tuple[float, float] | None:
    """Return the interval of the mean of ``per_sample`` (N,), NaN left out, over ``clips`` (N,) names; ``None`` for
    fewer than two clips."""
    found = clip_values({"": per_sample}, clips)
    return None if found is None else clip_interval(found.means[""], found.counts, draws=draws, level=level)


def clip_interval(
    means: npt.NDArray[Any], counts: npt.NDArray[Any], *, draws: int = BOOTSTRAP_DRAWS, level: float = LEVEL
) -> tuple[float, float] | None:
    """Return the interval of the mean over samples, from means (C,) and counts (C,) of clips.

    The expanded percentile interval (Hesterberg, The American Statistician 2015): percentiles of the bootstrap means,
    taken further out by what Student's t and the missing n / (n - 1) demand, since the plain ones are too narrow for
    few clips. ``None`` for fewer than two clips.
    """
    return None if len(means) < 2 else _interval(_bytes(means), _bytes(counts), 0.0, draws, level)


def paired_interval(
    first: npt.NDArray[Any],
    second: npt.NDArray[Any],
    counts: npt.NDArray[Any],
    *,
    seeds_sd: float = 0.0,
    draws: int = BOOTSTRAP_DRAWS,
    level: float = LEVEL,
) -> tuple[float, float] | None:
    """Return the interval of the mean difference ``first`` - ``second``, means (C,) over the same clips, counts (C,).

    Both rows are resampled by the same clips, so what makes a clip hard for both cancels. ``seeds_sd`` is the standard
    error that the choice of seeds adds to the difference. ``None`` for fewer than ``MIN_PAIRED_CLIPS`` clips. Two rows
    cannot be told apart where the interval holds zero.
    """
    if len(first) < MIN_PAIRED_CLIPS:
        return None
    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    return _interval(_bytes(difference), _bytes(counts), seeds_sd, draws, level)


def share_interval(
    start: npt.NDArray[Any],
    value: npt.NDArray[Any],
    end: npt.NDArray[Any],
    counts: npt.NDArray[Any],
    *,
    seeds_sd: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> tuple[float, float] | None:
    """Return the 95 % interval of (start - value) / (start - end), means (C,) over the same clips, counts (C,).

    All three are resampled by the same clips. ``seeds_sd`` are the standard errors that the choice of seeds adds to
    each. ``None`` for fewer than ``MIN_PAIRED_CLIPS`` clips, and where draws without any gap leave it undefined.
    """
    if len(start) < MIN_PAIRED_CLIPS:
        return None
    weights = np.asarray(counts, np.float64)
    noise = np.random.default_rng(_SEED + 1).normal(size=(3, BOOTSTRAP_DRAWS))
    drawn = [
        _drawn(np.asarray(means, np.float64), weights, BOOTSTRAP_DRAWS) + sd * one
        for means, sd, one in zip((start, value, end), seeds_sd, noise, strict=True)
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = (drawn[0] - drawn[1]) / (drawn[0] - drawn[2])
    return _percentiles(shares, len(start), LEVEL) if np.isfinite(shares).all() else None


def _bytes(values: npt.NDArray[Any]) -> bytes:
    return np.asarray(values, np.float64).tobytes()


@lru_cache(maxsize=4096)
def _interval(means: bytes, counts: bytes, seeds_sd: float, draws: int, level: float) -> tuple[float, float]:
    """The interval of the mean of clips' ``means`` with ``counts``, as bytes of float64; boards ask for each often."""
    values, weights = np.frombuffer(means), np.frombuffer(counts)
    drawn = _drawn(values, weights, draws)
    if seeds_sd > 0:
        drawn = drawn + np.random.default_rng(_SEED + 1).normal(0.0, seeds_sd, len(drawn))
    return _percentiles(drawn, len(values), level)


@cache
def student_quantile(probability: float, degrees: int) -> float:
    """Return the quantile of Student's t for a whole number of degrees of freedom and 0.5 < ``probability`` < 1.

    Bisection of the finite series for the distribution (Abramowitz and Stegun, 26.7.3 and 26.7.4).
    """
    if degrees > 2000:
        return NormalDist().inv_cdf(probability)
    low, high = 0.0, 1.0
    while _student(high, degrees) < probability:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _student(middle, degrees) < probability else (low, middle)
    return (low + high) / 2


def _student(value: float, degrees: int) -> float:
    """P(T <= value) for value >= 0."""
    angle = math.atan(value / math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = 0.0
    for number in range(1 + odd, degrees, 2):
        total += term
        term *= cosine * cosine * number / (number + 1)
    inside = (angle + sine * total) * 2 / math.pi if odd else sine * total
    return (1 + inside) / 2


def _drawn(means: FloatArray, counts: FloatArray, draws: int) -> FloatArray:
    """Return the means over samples of ``draws`` draws of clips with replacement."""
    sums = means * counts
    pieces = _tallies(len(means), draws) if draws * len(means) <= _CELLS else _drawn_tallies(len(means), draws)
    return np.concatenate([tally @ sums / (tally @ counts) for tally in pieces])


@lru_cache(maxsize=4)
def _tallies(clips: int, draws: int) -> tuple[FloatArray, ...]:
    """All pieces at once, kept: a board asks for many intervals over the same clips."""
    return tuple(_drawn_tallies(clips, draws))


def _drawn_tallies(clips: int, draws: int) -> Iterator[FloatArray]:
    """Yield how often each draw takes each clip (draws, C), in pieces that fit into little memory."""
    rng = np.random.default_rng(_SEED)
    step = max(1, _CELLS // clips)
    for start in range(0, draws, step):
        picked = rng.integers(clips, size=(min(step, draws - start), clips))
        rows = np.arange(len(picked))[:, None] * clips
        yield np.bincount((picked + rows).ravel(), minlength=picked.size).reshape(picked.shape).astype(np.float64)


def _percentiles(drawn: FloatArray, clips: int, level: float) -> tuple[float, float]:
    wider = math.sqrt(clips / (clips - 1)) * student_quantile((1 + level) / 2, clips - 1)
    tail = NormalDist().cdf(-wider)
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)
