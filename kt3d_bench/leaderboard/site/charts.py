"""Geometry of the pages' drawings: numbers in, coordinates of small SVGs out. What is drawn with them is in templates.

Levels are steps 0..9 of one colour scale, 0 = best; how they look in light and dark is the style sheet's affair.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kt3d_bench.leaderboard.ranking import Row
from kt3d_bench.metrics.functional import CURVE_MM, METRICS
from kt3d_bench.skeletons import H36M17

LEVELS = 10
TONES = 6
"""Curves that are told apart by colour and dash from the start."""
MAX_GROUPS = 40
"""Columns of one breakdown that a page shows."""

BAR_WIDTH, BAR_HEIGHT = 132, 18
_BAR_EDGE = 6
_DIGITS = re.compile(r"([0-9]+)")
FAR = 2.5
CURVE_WIDTH, CURVE_HEIGHT = 640, 340
CURVE_LEFT, CURVE_RIGHT, CURVE_TOP, CURVE_BOTTOM = 46, 22, 12, 48
FIGURE_WIDTH, FIGURE_HEIGHT = 300, 400

_FRONT_VIEW = {
    "head": (150, 28), "nose": (150, 58), "thorax": (150, 96), "spine": (150, 152), "hip": (150, 206),
    "right_hip": (122, 214), "right_knee": (112, 290), "right_ankle": (106, 364),
    "left_hip": (178, 214), "left_knee": (188, 290), "left_ankle": (194, 364),
    "right_shoulder": (104, 100), "right_elbow": (78, 154), "right_wrist": (60, 208),
    "left_shoulder": (196, 100), "left_elbow": (222, 154), "left_wrist": (240, 208),
}  # fmt: skip
"""A person who faces the reader, the right hand on the reader's left."""


@dataclass(frozen=True)
class Scale:
    """A range of values onto 0..1."""

    low: float
    high: float

    def at(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5


@dataclass(frozen=True)
class Bar:
    """One row's value with its interval and its seeds; x in px of a drawing ``BAR_WIDTH`` wide."""

    value: str
    low: str | None
    high: str | None
    seeds: tuple[str, ...]
    beyond: bool
    """The value lies off the scale."""


@dataclass(frozen=True)
class Curve:
    """One row's PCK curve."""

    row: str
    name: str
    points: str
    """``x,y`` pairs of a polyline."""
    shares: tuple[str, ...]
    """PCK in % at ``CURVE_MM``."""
    auc: str
    tone: int | None
    """Its own colour and dash, or ``None`` = grey."""


@dataclass(frozen=True)
class Cell:
    text: str
    level: int | None
    """``None`` = no value."""


@dataclass(frozen=True)
class Heat:
    """Rows by groups: one number each, and how good it is."""

    title: str
    columns: tuple[str, ...]
    left_out: int
    """Groups beyond ``MAX_GROUPS``."""
    rows: tuple[tuple[str, str, tuple[Cell, ...]], ...]
    """(row, its name, cells)."""
    missing: tuple[str, ...]
    """Names of rows whose entries do not say."""
    low: str
    high: str
    lower_is_better: bool


@dataclass(frozen=True)
class Joint:
    """One joint of the drawn figure with where its number goes."""

    name: str
    x: int
    y: int
    label_x: int
    label_y: int
    anchor: str


def bar_scale(rows: Sequence[Row], metric: str) -> Scale | None:
    """What all bars of one table share; ``None`` where no row has a value.

    Errors beyond ``FAR`` times the smallest are off the scale: one row far behind would leave the others no room.
    """
    values = [value for row in rows if (value := row.value(metric)) is not None]
    if not values:
        return None
    far = FAR * min(values) if METRICS[metric].better == "lower" and min(values) > 0 else max(values)
    ends = [value for value in values if value <= far]
    ends += [end for row in rows if (row.value(metric) or 0) <= far for end in row.interval(metric) or ()]
    return Scale(min(ends), max(ends))


def bar(row: Row, metric: str, scale: Scale | None) -> Bar | None:
    value, interval = row.value(metric), row.interval(metric)
    if value is None or scale is None:
        return None
    seeds = [entry.scores.get(metric) for entry in row.entries] if len(row.entries) > 1 else []
    return Bar(
        _bar_x(value, scale),
        _bar_x(interval[0], scale) if interval else None,
        _bar_x(interval[1], scale) if interval else None,
        tuple(_bar_x(seed, scale) for seed in seeds if seed is not None),
        value > scale.high,
    )


def pck_shares(row: Row) -> tuple[float, ...] | None:
    """PCK at ``CURVE_MM``, mean over the seeds; ``None`` where a seed's entry does not hold it."""
    curves = [entry.breakdown.pck_curve for entry in row.entries if entry.breakdown is not None]
    known = [[value for value in curve if value is not None] for curve in curves]
    if len(known) < len(row.entries) or any(len(curve) < len(CURVE_MM) for curve in known):
        return None
    return tuple(math.fsum(values) / len(values) for values in zip(*known, strict=True))


def curve(row: str, name: str, shares: Sequence[float], tone: int | None) -> Curve:
    """Its AUC is the mean over all thresholds, 0 and 150 mm included."""
    points = " ".join(f"{curve_x(at):.1f},{curve_y(share):.1f}" for at, share in zip(CURVE_MM, shares, strict=True))
    auc = math.fsum(shares) / len(shares)
    return Curve(row, name, points, tuple(f"{share:.1f}" for share in shares), f"{auc:.1f}", tone)


def curve_x(threshold_mm: float) -> float:
    inner = CURVE_WIDTH - CURVE_LEFT - CURVE_RIGHT
    return CURVE_LEFT + inner * threshold_mm / CURVE_MM[-1]


def curve_y(share: float) -> float:
    inner = CURVE_HEIGHT - CURVE_TOP - CURVE_BOTTOM
    return CURVE_TOP + inner * (1 - share / 100)


def heat(
    title: str,
    rows: Sequence[tuple[str, str, Row]],
    fold: str,
    metric: str,
    *,
    order: Sequence[str] = (),
) -> Heat | None:
    """One fold (a field of ``entries.Breakdown``) of all rows, mean over seeds; ``None`` where no row has it.

    Columns are in ``order`` first, then by name, numbers in names by their size.
    """
    found = [(identity, name, _fold(row, fold, metric)) for identity, name, row in rows]
    groups = {group for _, _, values in found for group in values}
    if not groups:
        return None
    ranked = [name for name in order if name in groups] + sorted(groups - set(order), key=_by_numbers)
    columns = ranked[:MAX_GROUPS]
    values = [value for _, _, named in found for group, value in named.items() if group in columns]
    known = [value for value in values if value is not None]
    unit, lower_is_better = METRICS[metric].unit, METRICS[metric].better == "lower"
    scale = _heat_scale(known, lower_is_better)
    return Heat(
        title,
        tuple(columns),
        len(ranked) - len(columns),
        tuple(
            (identity, name, tuple(_cell(named.get(group), scale, lower_is_better) for group in columns))
            for identity, name, named in found
            if named
        ),
        tuple(name for _, name, named in found if not named),
        _rounded(scale.low, scale) + (" and less" if known and min(known) < scale.low else ""),
        f"{_rounded(scale.high, scale)} {unit}" + (" and more" if known and max(known) > scale.high else ""),
        lower_is_better,
    )


def figure() -> tuple[tuple[Joint, ...], tuple[tuple[Joint, Joint], ...]]:
    """Joints of the common skeleton in front view, and the bones between them."""
    joints = tuple(_joint(name) for name in H36M17.joints)
    return joints, tuple((joints[parent], joints[child]) for child, parent in H36M17.bones)


def _joint(name: str) -> Joint:
    x, y = _FRONT_VIEW[name]
    if name == "hip":
        return Joint(name, x, y, x, y + 28, "middle")
    side = -1 if x < FIGURE_WIDTH / 2 else 1
    lift = -10 if name == "thorax" else 0
    return Joint(name, x, y, x + side * 15, y + 4 + lift, "end" if side < 0 else "start")


def _bar_x(value: float, scale: Scale) -> str:
    return f"{_BAR_EDGE + (BAR_WIDTH - 2 * _BAR_EDGE) * min(1.0, max(0.0, scale.at(value))):.1f}"


def _by_numbers(name: str) -> tuple[list[tuple[int, str]], str]:
    """``S9`` before ``S11``; different names never sort alike."""
    parts = _DIGITS.split(name[:200])
    return [(int(part), "") if place % 2 else (0, part) for place, part in enumerate(parts)], name


def _fold(row: Row, fold: str, metric: str) -> Mapping[str, float | None]:
    """Group -> mean over the seeds; ``None`` = undefined. Empty where a seed's entry does not say."""
    folds = [getattr(entry.breakdown, fold) for entry in row.entries if entry.breakdown is not None]
    if len(folds) < len(row.entries):
        return {}
    found: dict[str, float | None] = {}
    for group in sorted({group for one in folds for group, values in one.items() if metric in values}):
        values = [one.get(group, {}).get(metric) for one in folds]
        known = [value for value in values if value is not None]
        found[group] = math.fsum(known) / len(known) if len(known) == len(folds) else None
    return found


def _heat_scale(known: Sequence[float], lower_is_better: bool) -> Scale:
    """From the best value to one that a twentieth lies beyond, so that one row far behind does not pale the others."""
    if not known:
        return Scale(0, 0)
    ordered = sorted(known)
    cut = len(ordered) // 20
    return Scale(ordered[0], ordered[-1 - cut]) if lower_is_better else Scale(ordered[cut], ordered[-1])


def _cell(value: float | None, scale: Scale, lower_is_better: bool) -> Cell:
    if value is None:
        return Cell("", None)
    badness = scale.at(value) if lower_is_better else 1 - scale.at(value)
    return Cell(_rounded(value, scale), min(LEVELS - 1, max(0, int(badness * LEVELS))))


def _rounded(value: float, scale: Scale) -> str:
    """Whole numbers where a table reaches 100, so that its columns stay narrow."""
    return f"{value:.0f}" if scale.high >= 100 else f"{value:.1f}"
