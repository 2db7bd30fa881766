"""Rows of the pages' tables: what each cell says and sorts by. Text from entries stays text; templates escape it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kt3d_bench.leaderboard.entries import ACTION_MEAN, Entry, TrainingData
from kt3d_bench.leaderboard.ranking import RankedGroup, Row
from kt3d_bench.leaderboard.site.charts import Bar, Scale, bar, bar_scale
from kt3d_bench.leaderboard.words import (
    NONE,
    capital,
    rank_text,
    reported_name,
    reported_value,
    supervision_name,
    training_data_text,
)
from kt3d_bench.metrics.benchmarks import Benchmark, PublishedRow
from kt3d_bench.metrics.functional import METRICS

LONGEST_NAME = 90


@dataclass(frozen=True)
class Column:
    title: str
    unit: str
    meaning: str
    better: str = ""
    """"lower", "higher", or "" for what is no measure."""


@dataclass(frozen=True)
class Value:
    text: str
    sort: str
    """What the column is sorted by; "" = last."""
    spread: str = ""
    undefined: int = 0


@dataclass(frozen=True)
class MeasuredRow:
    """One configuration on a board."""

    id: str
    """The stem of its first entry's file: letters, digits, ``-``, ``_`` and ``.``."""
    rank: str
    rank_sort: str
    tied: bool
    name: str
    settings: tuple[str, ...]
    seeds: str
    marks: tuple[str, ...]
    """What to beware of: unanswered samples, degenerate poses, another selection rule, not run here."""
    supervision: str
    labels_seen: str
    training: tuple[TrainingData, ...]
    external: tuple[str, ...]
    values: tuple[Value, ...]
    bar: Bar | None
    bar_text: str
    entries: tuple[Entry, ...]
    level: str
    """What the supervision filter compares."""
    search: str


@dataclass(frozen=True)
class MeasuredTable:
    """One group of comparable rows."""

    group: RankedGroup
    rows: tuple[MeasuredRow, ...]
    scale: Scale | None


@dataclass(frozen=True)
class ReportedTable:
    header: tuple[Column, ...]
    rows: tuple[tuple[tuple[Value, ...], str, str], ...]
    """(cells, level, search)."""


def metric_names(benchmark: Benchmark) -> tuple[str, ...]:
    """Metrics in the order of their columns: the headline's first, its action mean beside it."""
    first, *others = benchmark.metrics
    return (first, *([ACTION_MEAN + first] if benchmark.action_mean else []), *others)


def metric_columns(benchmark: Benchmark) -> tuple[Column, ...]:
    where = "absolute" if benchmark.root is None else f"after moving joint {benchmark.root} of both poses to the origin"
    found = []
    for name in metric_names(benchmark):
        metric = METRICS[name.removeprefix(ACTION_MEAN)]
        about = f"{metric.about}, {where}" if metric.alignment == "benchmark" else metric.about
        if name.startswith(ACTION_MEAN):
            about = "the same, averaged over actions instead of samples"
        title = f"{metric.title} (action mean)" if name.startswith(ACTION_MEAN) else metric.title
        found.append(Column(title, metric.unit, f"{about}; {metric.better} is better", metric.better))
    return tuple(found)


def measured_table(group: RankedGroup, benchmark: Benchmark) -> MeasuredTable:
    scale = bar_scale(group.rows, benchmark.headline[0])
    rows = tuple(_measured(row, place, benchmark, scale) for place, row in enumerate(group.rows, 1))
    return MeasuredTable(group, rows, scale)


def reported_table(rows: Sequence[PublishedRow], benchmark: Benchmark) -> ReportedTable:
    names = [name for name in benchmark.metrics if any(name in row.scores for row in rows)]
    details = list(dict.fromkeys(name for row in rows for name in row.details))
    levels = any(row.supervision for row in rows)
    header = [
        Column("Method", "", "as the paper calls it, with the number in its list of references"),
        Column("Category", "", "as the paper groups its rows"),
        *([Column("Supervision", "", "the level of this harness that it corresponds to")] if levels else []),
        *(Column(capital(name), "", "as the paper says") for name in details),
        *(
            Column(reported_name(name), METRICS[name].unit, "as printed; its exact protocol is the paper's",
                   METRICS[name].better)
            for name in names
        ),
    ]  # fmt: skip
    return ReportedTable(tuple(header), tuple(_reported(row, names, details, levels) for row in rows))


def short(text: str) -> str:
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…"


def row_name(row: Row) -> str:
    """Title or method, without its settings."""
    return short(row.entry.title or row.entry.method)


def row_id(row: Row) -> str:
    return Path(row.entry.file_name).stem


def full_names(rows: Sequence[Row]) -> dict[str, str]:
    """Row -> its name with supervision and those settings that not all rows share, for charts and small tables."""
    shared = set.intersection(*(set(_settings(row.entry)) for row in rows)) if rows else set()
    names = {}
    for row in rows:
        own = [] if row.entry.title else [one for one in _settings(row.entry) if one not in shared]
        names[row_id(row)] = short(" · ".join([row_name(row), supervision_name(row.entry), *own]))
    return names


def interval_text(row: Row, metric: str) -> str:
    value, interval = row.value(metric), row.interval(metric)
    if value is None:
        return "undefined"
    unit = METRICS[metric].unit
    if interval is None:
        return f"{value:.1f} {unit}, no interval"
    return f"{value:.1f} {unit}, 95 % interval {interval[0]:.1f} to {interval[1]:.1f}"


def _measured(row: Row, place: int, benchmark: Benchmark, scale: Scale | None) -> MeasuredRow:
    entry, headline = row.entry, benchmark.headline[0]
    return MeasuredRow(
        id=row_id(row),
        rank=rank_text(row),
        rank_sort=str(place),
        tied=row.tied,
        name=row_name(row),
        settings=_settings(entry),
        seeds=_seeds(row),
        marks=_marks(row, benchmark),
        supervision=supervision_name(entry),
        labels_seen=entry.flags.target_labels_seen,
        training=entry.flags.training_data,
        external=entry.flags.external_data,
        values=tuple(_value(row, name) for name in metric_names(benchmark)),
        bar=bar(row, headline, scale),
        bar_text=f"{METRICS[headline].title} {interval_text(row, headline)}",
        entries=row.entries,
        level=entry.supervision,
        search=" ".join((entry.method, entry.title, *_settings(entry), supervision_name(entry),
                         training_data_text(entry), entry.flags.target_labels_seen)).lower(),
    )  # fmt: skip


def _settings(entry: Entry) -> tuple[str, ...]:
    return tuple(short(f"{name}={value}") for name, value in sorted(entry.settings.items()))


def _seeds(row: Row) -> str:
    if not row.seeds:
        return ""
    named = ", ".join(map(str, row.seeds))
    return f"seed {named}" if len(row.seeds) == 1 else f"{len(row.seeds)} seeds: {named}"


def _marks(row: Row, benchmark: Benchmark) -> tuple[str, ...]:
    entry = row.entry
    unanswered = max(one.unanswered for one in row.entries)
    marks = [f"{unanswered} samples unanswered: not ranked"] if unanswered else []
    odd = sum(max(one.degenerate.get(kind, 0) for one in row.entries) for kind in entry.degenerate)
    marks += [f"{odd} degenerate poses"] if odd else []
    rule = entry.flags.selection_rule
    marks += [f"checkpoint by '{rule}'"] if rule != benchmark.selection_rule else []
    marks += ["submitted"] if entry.provenance.submission is not None else []
    return tuple(marks)


def _value(row: Row, metric: str) -> Value:
    value, spread = row.value(metric), row.spread(metric)
    missing = max(entry.undefined.get(metric, 0) for entry in row.entries)
    if value is None:
        return Value(NONE, "", undefined=missing)
    return Value(f"{value:.1f}", f"{value:.6f}", "" if spread is None else f"± {spread:.1f}", missing)


def _reported(
    row: PublishedRow, names: Sequence[str], details: Sequence[str], levels: bool
) -> tuple[tuple[Value, ...], str, str]:
    method = row.method if row.cite is None else f"{row.method} ({row.cite})"
    words = [method, row.category, *([row.supervision] if levels else []), *(row.details.get(n, "") for n in details)]
    cells = [Value(short(word) or NONE, word.lower()) for word in words]
    for name in names:
        value = row.scores.get(name)
        cells.append(Value(reported_value(value, name), "" if value is None else f"{value:.6f}"))
    return tuple(cells), row.supervision or row.category, " ".join(words).lower()
