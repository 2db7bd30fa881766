"""What a board says in one sentence: who is first without labels of the target, by how much, and whether that is
certain. It is made from the entries alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kt3d_bench.leaderboard.ranking import RankedGroup, Row, difference
from kt3d_bench.leaderboard.transfer import unadapted
from kt3d_bench.leaderboard.wording import TRACK_TITLES
from kt3d_bench.metrics.benchmarks import Benchmark
from kt3d_bench.metrics.functional import METRICS


@dataclass(frozen=True)
class Answer:
    """The sentence, and the rows that it speaks of."""

    text: str
    first: Row | None = None
    """The best ranked row of the first track that has one."""
    floor: Row | None = None
    """What the best adapted row of that track would be without data of the target."""
    ceiling: Row | None = None
    """The best ranked row that saw all labels of the target."""


def answer(group: RankedGroup, benchmark: Benchmark) -> Answer:
    """Return the answer of one group of comparable rows."""
    metric = METRICS[benchmark.headline[0]]
    if group.unranked:
        return Answer(f"No row can be called best: {group.unranked}. {_ranges(group, metric.name)}")
    leaders = {track: [row for row in rows if row.rank == 1] for track, rows in group.tracks}
    leaders = {track: rows for track, rows in leaders.items() if rows}
    if not leaders:
        return Answer(f"No row can be called best: none may be ranked. {_ranges(group, metric.name)}")
    track, (first, *tied) = next(iter(leaders.items()))
    rows = dict(group.tracks)[track]
    starts = ((row, unadapted(row, group, benchmark)) for row in rows if row.rank is not None)
    adapted, floor = next((pair for pair in starts if pair[1] is not None), (None, None))
    oracle = leaders.get("all", [None])[0]
    ceiling = None if oracle is first else oracle
    words = f"{TRACK_TITLES[track]}: {_named(first)} {_value(first, metric.name)} {metric.unit} {metric.title}"
    if tied:
        words += f", not told apart from {len(tied)} other row{'s' * (len(tied) > 1)}"
    if adapted is not None and adapted is not first:
        words += f"; best adapted row, {_named(adapted)}, {_value(adapted, metric.name)}"
    if floor is not None and floor is not first:
        words += f"; {_named(floor)} {_value(floor, metric.name)}"
    if ceiling is not None:
        words += f"; with all labels {_named(ceiling)} {_value(ceiling, metric.name)}"
    return Answer(f"{words}.{_gain(adapted, floor, metric.name)}", first, floor, ceiling)


def _gain(adapted: Row | None, floor: Row | None, metric: str) -> str:
    """How much better the best adapted row is than its floor."""
    if adapted is None or floor is None:
        return ""
    better, worse = (floor, adapted) if METRICS[metric].better == "lower" else (adapted, floor)
    interval, one, other = difference(better, worse, metric), better.value(metric), worse.value(metric)
    if interval is None or one is None or other is None:
        return ""
    low, high = interval
    sure = "" if low > 0 or high < 0 else ": not significant"
    gain = f"{one - other:.1f} {METRICS[metric].unit} [{low:.1f}, {high:.1f}], 95 %{sure}"
    return f" Gain of {_named(adapted)} over {_named(floor)}: {gain}."


def _ranges(group: RankedGroup, metric: str) -> str:
    """The values of each track, from the best to the worst."""
    found = []
    for track, rows in group.tracks:
        values = [value for row in rows if (value := row.value(metric)) is not None]
        if values:
            ends = sorted({f"{min(values):.1f}", f"{max(values):.1f}"}, key=float)
            found.append(f"{TRACK_TITLES[track].lower()} {' to '.join(ends)}")
    title, unit = METRICS[metric].title, METRICS[metric].unit
    return f"{title} in {unit}: {'; '.join(found)}." if found else ""


def _named(row: Row) -> str:
    entry = row.entry
    return entry.title or entry.method


def _value(row: Row, metric: str) -> str:
    value = row.value(metric)
    return "undefined" if value is None else f"{value:.1f}"


def pairs(rows: Sequence[Row], metric: str) -> list[list[tuple[float, tuple[float, float]] | None]]:
    """Return row by row and column by column the difference row - column with its 95 % interval; ``None`` on the
    diagonal and where no paired test is possible."""
    return [[None if one is other else _pair(one, other, metric) for other in rows] for one in rows]


def _pair(one: Row, other: Row, metric: str) -> tuple[float, tuple[float, float]] | None:
    interval, value, beside = difference(one, other, metric), one.value(metric), other.value(metric)
    return None if interval is None or value is None or beside is None else (value - beside, interval)
