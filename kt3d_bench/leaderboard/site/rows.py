"""Rows of the pages' tables: what each cell says and sorts by. Text from entries stays text; templates escape it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from kt3d_bench.leaderboard.answer import Answer
from kt3d_bench.leaderboard.commands import row_command
from kt3d_bench.leaderboard.entries import ACTION_MEAN, Entry
from kt3d_bench.leaderboard.ranking import RankedGroup, Row, clip_means
from kt3d_bench.leaderboard.wording import (
    NONE,
    TRACK_TITLES,
    also_reads_text,
    capital,
    metric_names,
    metric_title,
    rank_text,
    reported_columns,
    reported_name,
    reported_value,
    supervision_name,
    training_data_text,
)
from kt3d_bench.metrics.benchmarks import Benchmark, PublishedRow
from kt3d_bench.metrics.functional import CURVE_MM, METRICS
from kt3d_bench.metrics.uncertainty import MIN_PAIRED_CLIPS
from kt3d_bench.web.charts import Measure, Scale, bar, bar_place, bar_scale, ticks

LONGEST_NAME = 90
_REPORTED = {
    "Method": "as the paper calls it, with the number in its list of references",
    "Category": "as the paper groups its rows",
    "Supervision": "the level of this harness that it corresponds to",
    "Protocol": "what the number was measured under, as far as it is known",
    "Source": "where the number stands, if not in the source above",
}


@dataclass(frozen=True)
class Column:
    title: str
    """May end with a qualifier in brackets, which tables set apart."""
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


def metric_columns(benchmark: Benchmark) -> list[Column]:
    where = "absolute" if benchmark.root is None else f"after moving joint {benchmark.root} of both poses to the origin"
    found = []
    for name in metric_names(benchmark):
        metric = METRICS[name.removeprefix(ACTION_MEAN)]
        about = f"{metric.about}, {where}" if metric.alignment == "benchmark" else metric.about
        if name.startswith(ACTION_MEAN):
            about = "the same, averaged over actions instead of samples"
        found.append(Column(metric_title(name), metric.unit, f"{about}; {metric.better} is better", metric.better))
    return found


def measured_table(group: RankedGroup, benchmark: Benchmark, found: Answer) -> SimpleNamespace:
    """Return one group of comparable rows by track, with the scale that their bars share and what all rows share."""
    metric = benchmark.headline[0]
    few = bool(group.unranked)
    scale = shared_scale(group.rows, metric)
    settings = _shared([_settings(row.entry) for row in group.rows])
    training = {training_data_text(row.entry) for row in group.rows}
    origins = {one.origin for row in group.rows for one in row.entry.flags.training_data}
    stand_ins = origins == {"generated"} and not any(row.entry.flags.external_data for row in group.rows)
    rows = {id(row): _measured(row, benchmark, scale, settings, few=few) for row in group.rows}
    tracks = [
        SimpleNamespace(name=name, title=TRACK_TITLES[name], note=_track_note(own), rows=[rows[id(row)] for row in own])
        for name, own in group.tracks
    ]
    ends = [(one, row.value(metric)) for one, row in (("floor", found.floor), ("ceiling", found.ceiling)) if row]
    return SimpleNamespace(
        group=group,
        tracks=tracks,
        rows=[row for track in tracks for row in track.rows],
        scale=scale,
        ticks=ticks(scale) if scale else [],
        marks=[(name, bar_place(scale, value)) for name, value in ends if scale and value is not None],
        shared=[
            *settings,
            *(f"trained on {text}" for text in training if len(training) == 1),
            *(["training data of stand-ins"] if stand_ins and len(training) > 1 else []),
        ],
        stand_ins=stand_ins,
        training_differs=len(training) > 1,
    )


def _shared(lists: Sequence[Sequence[str]]) -> list[str]:
    """What all lists hold."""
    return [one for one in lists[0] if all(one in other for other in lists)] if len(lists) > 1 else []


def _track_note(rows: Sequence[Row]) -> str:
    """What all rows of a track say of the labels that they saw, where the track's title does not say it."""
    seen = {row.entry.flags.target_labels_seen for row in rows}
    return next(iter(seen)) if len(seen) == 1 and not seen & {"none", "full", "not stated"} else ""


def reported_table(rows: Sequence[PublishedRow], benchmark: Benchmark) -> SimpleNamespace:
    """Return the header and, row by row, (cells, level, search text)."""
    titles, details, names, words = reported_columns(rows, benchmark)
    header = [Column(title, "", _REPORTED[title]) for title in titles]
    header += [Column(capital(name), "", "as the paper says") for name in details]
    for name in names:
        meaning = "as printed; the paper defines its exact protocol"
        header.append(Column(reported_name(name, names), METRICS[name].unit, meaning, METRICS[name].better))
    lines = []
    for row, own in zip(rows, words, strict=True):
        cells = [Value(word or NONE, word.lower()) for word in own]
        for name in names:
            value = row.scores.get(name)
            cells.append(Value(reported_value(value, name), "" if value is None else f"{value:.6f}"))
        lines.append((cells, row.supervision or row.category, " ".join(own).lower()))
    return SimpleNamespace(header=header, rows=lines)


def short(text: str) -> str:
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…"


def row_name(row: Row) -> str:
    """Title or method, without its settings."""
    return short(row.entry.title or row.entry.method)


def row_id(row: Row) -> str:
    """The stem of the first entry's file: letters, digits, ``-``, ``_`` and ``.``."""
    return Path(row.entry.file_name).stem


def full_names(rows: Sequence[Row]) -> dict[str, str]:
    """Row -> its name with supervision, those settings that not all rows share, and seeds, for charts and small
    tables."""
    shared = _shared([_settings(row.entry) for row in rows]) if rows else []
    names = {}
    for row in rows:
        own = [] if row.entry.title else [one for one in _settings(row.entry) if one not in shared]
        names[row_id(row)] = short(" · ".join([row_name(row), supervision_name(row.entry), *own, *_short_seeds(row)]))
    return names


def _short_seeds(row: Row) -> list[str]:
    return [f"seed{'s' * (len(row.seeds) > 1)} {', '.join(map(str, row.seeds))}"] if row.seeds else []


def interval_text(row: Row, metric: str) -> str:
    value, interval = row.value(metric), row.interval(metric)
    if value is None:
        return "undefined"
    unit = METRICS[metric].unit
    if interval is None:
        return f"{value:.1f} {unit}, no interval"
    return f"{value:.1f} {unit}, 95 % interval {interval[0]:.1f} to {interval[1]:.1f}"


def shared_scale(rows: Sequence[Row], metric: str) -> Scale | None:
    measures = [one for row in rows if (one := _measure(row, metric)) is not None]
    return bar_scale(measures, lower_is_better=METRICS[metric].better == "lower")


def row_bar(row: Row, metric: str, scale: Scale | None) -> SimpleNamespace | None:
    one = _measure(row, metric)
    return None if one is None or scale is None else bar(one, scale)


def pck_shares(row: Row) -> tuple[float, ...] | None:
    """PCK at ``CURVE_MM``, mean over the seeds; ``None`` where a seed's entry does not hold it."""
    curves = [entry.breakdown.pck_curve for entry in row.entries if entry.breakdown is not None]
    known = [[value for value in curve if value is not None] for curve in curves]
    if len(known) < len(row.entries) or any(len(curve) < len(CURVE_MM) for curve in known):
        return None
    return tuple(math.fsum(values) / len(values) for values in zip(*known, strict=True))


def fold_values(row: Row, fold: str, metric: str) -> Mapping[str, float | None]:
    """Return group -> mean over the seeds (``None`` = undefined) of one fold, a field of ``entries.Breakdown``.

    It is empty where a seed's entry does not hold the fold.
    """
    folds = [getattr(entry.breakdown, fold) for entry in row.entries if entry.breakdown is not None]
    if len(folds) < len(row.entries):
        return {}
    found: dict[str, float | None] = {}
    for group in sorted({group for one in folds for group, values in one.items() if metric in values}):
        values = [one.get(group, {}).get(metric) for one in folds]
        known = [value for value in values if value is not None]
        found[group] = math.fsum(known) / len(known) if len(known) == len(folds) else None
    return found


def _measure(row: Row, metric: str, *, few: bool = False) -> Measure | None:
    """What a bar shows; ``few`` = clips are so few that each is drawn."""
    value = row.value(metric)
    if value is None:
        return None
    seeds = [entry.scores.get(metric) for entry in row.entries] if len(row.entries) > 1 else []
    clips = clip_means(row, metric) if few else ()
    clips = clips if len(clips) < MIN_PAIRED_CLIPS else ()
    return Measure(value, row.interval(metric), [seed for seed in seeds if seed is not None], clips)


def _measured(
    row: Row, benchmark: Benchmark, scale: Scale | None, shared: Sequence[str], *, few: bool
) -> SimpleNamespace:
    entry, headline = row.entry, benchmark.headline[0]
    settings, supervision = _settings(entry), supervision_name(entry)
    one = _measure(row, headline, few=few)
    words = (entry.method, entry.title, *settings, supervision, training_data_text(entry))
    return SimpleNamespace(
        id=row_id(row),
        rank=rank_text(row),
        rank_number="" if row.rank is None else row.rank,
        why_unranked=row.why_unranked,
        track=row.track,
        tied=row.tied,
        name=row_name(row),
        settings=[one for one in settings if one not in shared],
        seeds=_seeds(row),
        marks=_marks(row, benchmark),
        supervision=supervision,
        granted="" if entry.supervision in ("none", "full") else supervision,
        flags=entry.flags,
        values=[_value(row, name) for name in metric_names(benchmark)],
        bar=None if one is None or scale is None else bar(one, scale),
        bar_text=f"{METRICS[headline].title} {interval_text(row, headline)}",
        entries=row.entries,
        commands=[row_command(entry) for entry in row.entries],
        level=entry.supervision,
        search=" ".join((*words, entry.flags.target_labels_seen)).lower(),
    )


def _settings(entry: Entry) -> list[str]:
    return [short(f"{name}={value}") for name, value in sorted(entry.settings.items())]


def _seeds(row: Row) -> str:
    if not row.seeds:
        return ""
    named = ", ".join(map(str, row.seeds))
    return f"seed {named}" if len(row.seeds) == 1 else f"{len(row.seeds)} seeds: {named}"


def _marks(row: Row, benchmark: Benchmark) -> list[str]:
    """What a reader must know: more inputs, unanswered samples, degenerate poses, another selection rule, not run
    here."""
    entry = row.entry
    unanswered = max(one.unanswered for one in row.entries)
    seen = entry.flags.target_labels_seen
    differs = seen.partition(" (")[0] != entry.supervision and "not stated" not in (seen, entry.supervision)
    marks = [f"granted {supervision_name(entry)}, saw {short(seen)}"] if differs else []
    marks += [f"also reads {also_reads_text(entry)}"] if entry.flags.also_reads else []
    marks += [f"{unanswered} samples unanswered: not ranked"] if unanswered else []
    odd = sum(max(one.degenerate.get(kind, 0) for one in row.entries) for kind in entry.degenerate)
    marks += [f"{odd} degenerate poses"] if odd else []
    rule = entry.flags.selection_rule
    marks += [f"checkpoint by '{rule}'"] if rule != benchmark.selection_rule else []
    return marks + (["submitted"] if entry.provenance.submission is not None else [])


def _value(row: Row, metric: str) -> Value:
    value, spread = row.value(metric), row.spread(metric)
    missing = max(entry.undefined.get(metric, 0) for entry in row.entries)
    if value is None:
        return Value(NONE, "", undefined=missing)
    return Value(f"{value:.1f}", f"{value:.4f}", "" if spread is None else f"± {spread:.1f}", missing)
