"""Geometry of small drawings: numbers in, coordinates of SVGs out. Templates draw them.

Levels are steps 0..9 of one colour scale, 0 = best; the style sheet gives them colours in light and dark.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

from kt3d_bench.metrics.functional import CURVE_MM
from kt3d_bench.skeletons import H36M17

LEVELS = 10
TONES = 6
"""Curves that have a colour and a dash of their own from the start."""
MAX_GROUPS = 40
"""Columns of one breakdown that a page shows."""
FAR = 2.5
BAR_EDGE = 3.0
"""Share of a bar's width, in %, that stays free at each end."""
CURVE_WIDTH, CURVE_HEIGHT = 640, 340
CURVE_LEFT, CURVE_RIGHT, CURVE_TOP, CURVE_BOTTOM = 46, 22, 12, 48
FIGURE_WIDTH, FIGURE_HEIGHT = 300, 400
_DIGITS = re.compile(r"([0-9]+)")

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
    """A range of values that is mapped to 0..1."""

    low: float
    high: float

    def at(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5

    def level(self, value: float, *, lower_is_better: bool) -> int:
        badness = self.at(value) if lower_is_better else 1 - self.at(value)
        return min(LEVELS - 1, max(0, int(badness * LEVELS)))

    def text(self, value: float) -> str:
        """Whole numbers where the scale reaches 100, so that columns stay narrow."""
        return f"{value:.0f}" if self.high >= 100 else f"{value:.1f}"


@dataclass(frozen=True)
class Measure:
    """A value with its 95 % interval and the values of its seeds."""

    value: float
    interval: tuple[float, float] | None = None
    seeds: Sequence[float] = ()
    clips: Sequence[float] = ()
    """Means of the clips, where they are too few for an interval to say much."""


def bar_scale(measures: Sequence[Measure], *, lower_is_better: bool) -> Scale | None:
    """Return what all bars of one table share; ``None`` without measures.

    Errors beyond ``FAR`` times the smallest are off the scale: one row far behind would leave the others no room.
    """
    if not measures:
        return None
    values = [one.value for one in measures]
    far = FAR * min(values) if lower_is_better and min(values) > 0 else max(values)
    near = [one for one in measures if one.value <= far]
    ends = [end for one in near for end in (one.value, *one.seeds, *(one.interval or ()))]
    return Scale(min(ends), max(ends))


def bar(one: Measure, scale: Scale) -> SimpleNamespace:
    """Return positions in % of a drawing's width: ``value``, ``low`` and ``high`` (``None`` without an interval),
    ``seeds`` and ``clips``; ``beyond`` = the value lies off the scale."""
    low, high = (bar_place(scale, end) for end in one.interval) if one.interval else (None, None)
    seeds, clips = ([bar_place(scale, dot) for dot in dots] for dots in (one.seeds, one.clips))
    return SimpleNamespace(
        value=bar_place(scale, one.value), low=low, high=high, seeds=seeds, clips=clips, beyond=one.value > scale.high
    )


def bar_place(scale: Scale, value: float) -> str:
    """Return where a value lies, in % of the width; values off the scale lie at its ends."""
    return f"{BAR_EDGE + (100 - 2 * BAR_EDGE) * min(1.0, max(0.0, scale.at(value))):.1f}"


def ticks(scale: Scale, most: int = 5) -> list[tuple[str, str]]:
    """Return at most ``most`` round values on a scale, each as (position in %, text)."""
    width = scale.high - scale.low
    if width <= 0:
        return [(bar_place(scale, scale.low), f"{scale.low:g}")]
    power = 10.0 ** math.floor(math.log10(width / most))
    step = next((power * factor for factor in (1, 2, 5, 10, 20) if width / (power * factor) <= most - 1), 50 * power)
    first = math.ceil(scale.low / step)
    values = [step * number for number in range(first, math.floor(scale.high / step) + 1)]
    return [(bar_place(scale, value), f"{value:g}") for value in values]


def curve(row: str, name: str, shares: Sequence[float], tone: int | None) -> SimpleNamespace:
    """Return a PCK curve: polyline ``points`` of the ``shares`` in % at ``CURVE_MM``, and their mean, the AUC.

    ``tone`` is the number of its colour and dash, ``None`` = grey.
    """
    points = " ".join(f"{curve_x(at):.1f},{curve_y(share):.1f}" for at, share in zip(CURVE_MM, shares, strict=True))
    auc = f"{math.fsum(shares) / len(shares):.1f}"
    return SimpleNamespace(
        row=row, name=name, points=points, shares=[f"{share:.1f}" for share in shares], auc=auc, tone=tone
    )


def curve_x(threshold_mm: float) -> float:
    return CURVE_LEFT + (CURVE_WIDTH - CURVE_LEFT - CURVE_RIGHT) * threshold_mm / CURVE_MM[-1]


def curve_y(share: float) -> float:
    return CURVE_TOP + (CURVE_HEIGHT - CURVE_TOP - CURVE_BOTTOM) * (1 - share / 100)


def heat(
    title: str,
    rows: Sequence[tuple[str, str, Mapping[str, float | None]]],
    unit: str,
    *,
    lower_is_better: bool,
    order: Sequence[str] = (),
) -> SimpleNamespace | None:
    """Return a table of rows (id, name, group -> value) by groups, each cell with its level; ``None`` without groups.

    Columns are in ``order`` first, then by name, numbers in names by their size; at most ``MAX_GROUPS``, the others
    are counted. ``first`` is group -> cell of the first row, ``missing`` the names of rows without a group.
    """
    groups = {group for _, _, values in rows for group in values}
    if not groups:
        return None
    ranked = [name for name in order if name in groups] + sorted(groups - set(order), key=_by_numbers)
    columns = ranked[:MAX_GROUPS]
    known = sorted(
        value for _, _, named in rows for group, value in named.items() if group in columns and value is not None
    )
    scale = _heat_scale(known, lower_is_better)

    def cell(value: float | None) -> SimpleNamespace:
        if value is None:
            return SimpleNamespace(text="", level=None)
        return SimpleNamespace(text=scale.text(value), level=scale.level(value, lower_is_better=lower_is_better))

    shown = [(row, name, [cell(named.get(group)) for group in columns]) for row, name, named in rows if named]
    return SimpleNamespace(
        title=title,
        columns=columns,
        left_out=len(ranked) - len(columns),
        rows=shown,
        first=dict(zip(columns, shown[0][2], strict=True)) if shown else {},
        missing=[name for _, name, named in rows if not named],
        low=scale.text(scale.low) + (" and less" if known and known[0] < scale.low else ""),
        high=f"{scale.text(scale.high)} {unit}" + (" and more" if known and known[-1] > scale.high else ""),
        lower_is_better=lower_is_better,
    )


def figure() -> tuple[list[SimpleNamespace], list[tuple[SimpleNamespace, SimpleNamespace]]]:
    """Return the joints of the common skeleton in front view, each with the place of its number, and the bones."""
    joints = []
    for name in H36M17.joints:
        x, y = _FRONT_VIEW[name]
        side = -1 if x < FIGURE_WIDTH / 2 else 1
        label = (x + side * 15, y + (-6 if name == "thorax" else 4), "end" if side < 0 else "start")
        label_x, label_y, anchor = (x, y + 28, "middle") if name == "hip" else label
        joints.append(SimpleNamespace(name=name, x=x, y=y, label_x=label_x, label_y=label_y, anchor=anchor))
    return joints, [(joints[parent], joints[child]) for child, parent in H36M17.bones]


def _by_numbers(name: str) -> tuple[list[tuple[int, str]], str]:
    """``S9`` before ``S11``; different names never sort alike."""
    parts = _DIGITS.split(name[:200])
    return [(int(part), "") if place % 2 else (0, part) for place, part in enumerate(parts)], name


def _heat_scale(ordered: Sequence[float], lower_is_better: bool) -> Scale:
    """From the best value to one that a twentieth lies beyond, so that one row far behind does not pale the others."""
    if not ordered:
        return Scale(0, 0)
    cut = len(ordered) // 20
    return Scale(ordered[0], ordered[-1 - cut]) if lower_is_better else Scale(ordered[cut], ordered[-1])
