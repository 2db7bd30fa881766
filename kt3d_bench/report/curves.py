"""Geometry of the report's training curves and histogram: numbers in, coordinates of small SVGs out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

from kt3d_bench.report.log import SPEED, Series, StageLog

PANEL_WIDTH, PANEL_HEIGHT = 300, 132
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 8, 20
WIDE_WIDTH, WIDE_HEIGHT = 900, 220
_WIDE_LEFT, _WIDE_BOTTOM, _WIDE_TOP = 52, 26, 26
MAX_POINTS = 300
LOG_RATIO = 30.0
"""An axis is logarithmic from this ratio of the largest to the smallest value on."""
_SMOOTH = 15
_MIN_SMOOTHED = 8
_BINS = 32


@dataclass(frozen=True)
class Axis:
    """Maps values to px, from the bottom up."""

    low: float
    high: float
    log: bool
    top_px: float
    bottom_px: float

    def at(self, value: float) -> float:
        low, high, value = (math.log10(one) if self.log else one for one in (self.low, self.high, value))
        share = (value - low) / (high - low) if high > low else 0.5
        return self.bottom_px - share * (self.bottom_px - self.top_px)

    def ticks(self) -> list[tuple[str, str]]:
        """Return (y in px, number) of a few round values, at least of two."""
        if self.log:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            values = [10.0**power for power in range(first, last + 1, max(1, math.ceil((last - first + 1) / 4)))]
            values = values or [self.low, self.high]
        else:
            step = _round_step((self.high - self.low) / 3)
            first, end = math.ceil(self.low / step - 1e-9), self.high * (1 + 1e-9) + 1e-12
            values = [step * place for place in range(first, first + 6) if step * place <= end]
            values = values if len(values) > 1 else [self.low, self.high]
        return [(f"{self.at(value):.1f}", number(value)) for value in values]


def panel(series: Series) -> SimpleNamespace:
    """Return one curve, ``raw`` and, where it is long enough, ``smooth``: polylines, axis and the values at both ends.

    ``steps`` and ``values`` are what a pointer reads, in the order of the polyline's points.
    """
    steps, values = thinned(series.steps, series.values)
    soft = () if series.kind in ("rate", "validation") else smoothed(values)
    axis = _axis(values, soft or values, _TOP, PANEL_HEIGHT - _BOTTOM, from_zero=series.name == SPEED)
    last = max(series.steps[-1], 2)

    def x(step: float) -> float:
        return _LEFT + (PANEL_WIDTH - _LEFT - _RIGHT) * (step - 1) / (last - 1)

    return SimpleNamespace(
        name=series.name,
        kind=series.kind,
        log=axis.log,
        raw=_points(steps, values, x, axis),
        smooth=_points(steps, soft, x, axis) if soft else "",
        first=number(series.values[0]),
        last=number(series.values[-1]),
        lowest=number(min(series.values)),
        highest=number(max(series.values)),
        ticks=axis.ticks(),
        steps=" ".join(str(step) for step in steps),
        values=" ".join(f"{value:.4g}" for value in values),
        last_step=f"{series.steps[-1]}",
    )


def overview(logs: Sequence[StageLog]) -> SimpleNamespace | None:
    """Return the sum of losses over all stages, one after another; ``None`` where no stage logged a loss."""
    totals = [(log, log.total) for log in logs]
    known = [value for _, total in totals if total is not None for value in total.values]
    length = sum(log.steps for log in logs)
    if not known or not length:
        return None
    axis = _axis(known, known, _WIDE_TOP, WIDE_HEIGHT - _WIDE_BOTTOM)
    per_step = (WIDE_WIDTH - _WIDE_LEFT - _RIGHT) / length
    spans, x_ticks, before = [], [(f"{_WIDE_LEFT:.1f}", "0")], 0
    for log, total in totals:
        left, width = _WIDE_LEFT + before * per_step, log.steps * per_step

        def x(step: float, left: float = left) -> float:
            return left + step * per_step

        steps, values = thinned(total.steps, total.values) if total else ((), ())
        spans.append(
            SimpleNamespace(
                name=log.name,
                left=f"{left:.1f}",
                width=f"{width:.1f}",
                middle=f"{left + width / 2:.1f}",
                raw=_points(steps, values, x, axis),
                smooth=_points(steps, smoothed(values) or values, x, axis),
                labelled=width > 7.5 * len(log.name),
            )
        )
        before += log.steps
        if width > 60:
            x_ticks.append((f"{left + width:.1f}", f"{before}"))
    return SimpleNamespace(spans=spans, ticks=axis.ticks(), x_ticks=x_ticks, log=axis.log)


def histogram(values: Sequence[float], marks: Sequence[tuple[str, float]]) -> SimpleNamespace | None:
    """Return the bars of finite values and the places of ``marks`` (name, value); ``None`` without values.

    The top hundredth shares the last bar where it would squeeze the others; ``beyond`` counts it.
    """
    if not values:
        return None
    ordered = sorted(values)
    high = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    if ordered[-1] <= 1.25 * high:
        high = ordered[-1]
    step = _round_step(max(high, 1e-9) / _BINS)
    count = max(1, math.ceil(high / step + 1e-9))
    tally = [0] * count
    for value in ordered:
        tally[min(count - 1, max(0, int(value / step)))] += 1
    width, tall = (WIDE_WIDTH - _LEFT - _RIGHT) / count, WIDE_HEIGHT - _TOP - _WIDE_BOTTOM
    bins = []
    for place, samples in enumerate(tally):
        height = tall * samples / max(tally)
        last = place == count - 1 and ordered[-1] > count * step
        reach = (
            f"{number(place * step)} and more" if last else f"{number(place * step)} to {number((place + 1) * step)}"
        )
        bins.append(
            SimpleNamespace(
                x=f"{_LEFT + place * width + 0.5:.1f}",
                y=f"{_TOP + tall - height:.1f}",
                width=f"{max(width - 1, 0.5):.1f}",
                height=f"{height:.1f}",
                text=f"{reach}: {samples} samples",
            )
        )
    every = max(1, round(count / 8))
    return SimpleNamespace(
        bins=bins,
        ticks=[(f"{_LEFT + place * width:.1f}", number(place * step)) for place in range(0, count + 1, every)],
        highest=max(tally),
        marks=[(f"{_LEFT + min(value / step, count) * width:.1f}", name) for name, value in marks],
        beyond=sum(value > count * step for value in ordered),
    )


def thinned(steps: Sequence[int], values: Sequence[float]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """At most ``MAX_POINTS`` of a curve's points, evenly, both ends among them."""
    if len(steps) <= MAX_POINTS:
        return tuple(steps), tuple(values)
    kept = [round(place * (len(steps) - 1) / (MAX_POINTS - 1)) for place in range(MAX_POINTS)]
    return tuple(steps[place] for place in kept), tuple(values[place] for place in kept)


def smoothed(values: Sequence[float]) -> tuple[float, ...]:
    """Mean over a window around each point, a fifteenth of the curve wide and cut at its ends; empty for short or
    constant curves."""
    if len(values) < _MIN_SMOOTHED or min(values) == max(values):
        return ()
    reach = max(1, len(values) // (2 * _SMOOTH))
    found = []
    for place in range(len(values)):
        window = values[max(0, place - reach) : place + reach + 1]
        found.append(math.fsum(window) / len(window))
    return tuple(found)


def number(value: float) -> str:
    """A few digits, without needless zeros."""
    if value == 0 or 0.01 <= abs(value) < 10000:
        digits = 1 if abs(value) >= 100 else 2 if abs(value) >= 10 else 3
        text = f"{value:.{digits}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def _axis(
    values: Sequence[float], deciding: Sequence[float], top_px: float, bottom_px: float, *, from_zero: bool = False
) -> Axis:
    """An axis for ``values``, logarithmic where ``deciding`` asks for it (noise should not)."""
    low, high = min(values), max(values)
    log = low > 0 and max(deciding) / min(deciding) >= LOG_RATIO
    if not log and low > 0 and (low < 0.5 * high or from_zero):
        low = 0.0
    if low == high:
        low, high = low - abs(low) / 2 - 1e-12, high + abs(high) / 2 + 1e-12
    return Axis(low, high, log, top_px, bottom_px)


def _round_step(about: float) -> float:
    """1, 2 or 5 times a power of ten, at least ``about``."""
    power = 10.0 ** math.floor(math.log10(about))
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= about * (1 - 1e-9))


def _points(steps: Sequence[int], values: Sequence[float], x: Callable[[float], float], axis: Axis) -> str:
    return " ".join(f"{x(step):.1f},{axis.at(value):.1f}" for step, value in zip(steps, values, strict=True))
