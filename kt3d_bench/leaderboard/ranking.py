"""Decide which entries form one row, which rows may be compared, and which differ significantly.

Runs of one configuration that differ in their seed alone are one row. Rows are ranked together only when benchmark
version, sample list, test labels and metric version agree. From the best downwards, every row that a paired test over
clips cannot tell from the first of its rank shares that rank; the next row begins a new rank.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kt3d_bench.leaderboard.entries import ACTION_MEAN, Entry
from kt3d_bench.metrics.benchmarks import ORACLE, Benchmark
from kt3d_bench.metrics.functional import METRICS
from kt3d_bench.metrics.uncertainty import MIN_PAIRED_CLIPS, clip_interval, paired_interval


@dataclass(frozen=True)
class Row:
    """One configuration: its entries (one per seed), and its rank; ``None`` = shown but not ranked."""

    rank: int | None
    entries: tuple[Entry, ...]
    tied: bool = False
    """Shares its rank with another row."""

    @property
    def entry(self) -> Entry:
        """The first of them, for everything that all of them share."""
        return self.entries[0]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(entry.seed for entry in self.entries if entry.seed is not None)

    def value(self, metric: str) -> float | None:
        """Mean over the seeds; ``None`` where a seed has no value."""
        values = [entry.scores.get(metric) for entry in self.entries]
        known = [value for value in values if value is not None]
        return statistics.fmean(known) if len(known) == len(values) else None

    def spread(self, metric: str) -> float | None:
        """Standard deviation over the seeds; ``None`` for a single one."""
        values = [value for entry in self.entries if (value := entry.scores.get(metric)) is not None]
        return statistics.stdev(values) if len(values) == len(self.entries) > 1 else None

    def interval(self, metric: str) -> tuple[float, float] | None:
        """95 % over clips: the entry's own, or of the clips' means over several seeds."""
        if len(self.entries) == 1:
            return self.entry.intervals.get(metric)
        clips = _clips(self, metric)
        return None if clips is None else clip_interval(*clips)


@dataclass(frozen=True)
class RankedGroup:
    """Rows that may be compared: equal benchmark version, sample list, test labels and metric version."""

    benchmark_version: int
    metric_version: int
    samples: int
    sample_list_digest: str
    labels_digest: str
    rows: tuple[Row, ...]
    unranked: str = ""
    """Why no row has a rank: real data on other samples than the benchmark's official ones, or on a list that is not
    pinned."""


def ranked_groups(entries: Sequence[Entry], benchmark: Benchmark) -> tuple[RankedGroup, ...]:
    """Return entries in comparable groups: newest versions and largest sample lists first, best row first in each.

    Rows with unanswered samples, without a headline value, with one that is undefined for samples where other rows' is
    not, or whose checkpoint was chosen by the target's labels come last, unranked. Groups of real data on another list
    than the benchmark's official one, or on one that nothing pins, come last, and no row of them is ranked.
    """
    grouped: dict[tuple[int, int, int, str, str], list[Entry]] = {}
    for entry in entries:
        facts = entry.provenance
        key = (-entry.benchmark_version, -facts.metric_version, -entry.samples, facts.sample_list_digest,
               facts.labels_digest)  # fmt: skip
        grouped.setdefault(key, []).append(entry)
    groups = [
        RankedGroup(-key[0], -key[1], -key[2], key[3], key[4], _ranked(grouped[key], benchmark.headline[0]))
        for key in sorted(grouped)
    ]
    judged = [_if_official(group, benchmark) for group in groups]
    return tuple(sorted(judged, key=lambda group: bool(group.unranked)))


def _if_official(group: RankedGroup, benchmark: Benchmark) -> RankedGroup:
    """Return the group without ranks where its real data are not the benchmark's official samples."""
    real = group.rows[0].entry.origin == "official"
    reason = benchmark.not_official(group.samples, group.sample_list_digest) if real else ""
    return (
        replace(group, rows=tuple(Row(None, row.entries) for row in group.rows), unranked=reason) if reason else group
    )


def difference(first: Row, second: Row, metric: str) -> tuple[float, float] | None:
    """Return the 95 % interval of ``first`` - ``second`` by a paired bootstrap over clips. It includes the spread over
    seeds. ``None`` where an entry holds no values per clip, or the clips differ or are too few."""
    one, other = _clips(first, metric), _clips(second, metric)
    if one is None or other is None or _clip_names(first) != _clip_names(second):
        return None
    if not np.array_equal(one[1], other[1]):
        return None
    spreads = [(row.spread(metric), len(row.entries)) for row in (first, second)]
    seeds_sd = math.sqrt(sum(spread**2 / count for spread, count in spreads if spread is not None))
    return paired_interval(one[0], other[0], one[1], seeds_sd=seeds_sd)


def may_be_tested(row: Row, metric: str) -> bool:
    """Return whether the row holds what a paired test needs."""
    clips = _clips(row, metric)
    return clips is not None and len(clips[1]) >= MIN_PAIRED_CLIPS


def _ranked(entries: Sequence[Entry], metric: str) -> tuple[Row, ...]:
    sign = 1.0 if METRICS[metric].better == "lower" else -1.0
    least = min(entry.undefined.get(metric, 0) for entry in entries)

    def order(row: Row) -> tuple[bool, float, str]:
        value = row.value(metric)
        return not _may_rank(row, metric, least), sign * (math.inf if value is None else value), row.entry.file_name

    rows = sorted(_folded(entries), key=order)
    leaders: list[int] = []
    ranked = [row for row in rows if _may_rank(row, metric, least)]
    for place, row in enumerate(ranked):
        first = leaders[-1] if leaders else place
        leaders.append(first if place == first or _tied(ranked[first], row, metric) else place)
    return tuple(
        Row(leaders[place] + 1, row.entries, leaders.count(leaders[place]) > 1) if place < len(ranked) else row
        for place, row in enumerate(rows)
    )


def _folded(entries: Sequence[Entry]) -> list[Row]:
    """Entries that differ in nothing but the seed and what follows from it as one row, each without a rank."""
    rows: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda one: (one.seed is None, one.seed or 0, one.file_name)):
        alike = [entry.method, entry.title, entry.supervision, entry.joints, entry.settings, entry.generator_version,
                 entry.flags.model_dump(mode="json"), entry.provenance.run.get("method_config")]  # fmt: skip
        apart = entry.file_name if entry.seed is None else ""
        rows.setdefault(json.dumps([*alike, apart], sort_keys=True), []).append(entry)
    return [Row(None, tuple(alike)) for alike in rows.values()]


def _tied(leader: Row, row: Row, metric: str) -> bool:
    if leader.value(metric) == row.value(metric):
        return True
    interval = difference(leader, row, metric)
    return interval is not None and interval[0] <= 0 <= interval[1]


def _may_rank(row: Row, metric: str, least: int) -> bool:
    """Every sample answered, and the metric undefined for no more samples than the truth makes it for everybody: poses
    that no alignment exists for must not drop out of the mean. And no checkpoint chosen by labels of the test."""
    if row.entry.flags.selection_rule == ORACLE:
        return False
    whole = all(entry.unanswered == 0 and entry.undefined.get(metric, 0) <= least for entry in row.entries)
    return whole and row.value(metric) is not None


def _clips(row: Row, metric: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Means (C,) over the seeds and counts (C,) of the row's clips."""
    found = [entry.clips for entry in row.entries if entry.clips is not None]
    same = len({(clips.names_sha256, clips.samples) for clips in found}) == 1
    if metric.startswith(ACTION_MEAN) or len(found) < len(row.entries) or not same:
        return None
    means = [clips.means[metric] for clips in found if metric in clips.means]
    return (np.mean(means, axis=0), np.array(found[0].samples)) if len(means) == len(found) else None


def _clip_names(row: Row) -> str | None:
    return None if row.entry.clips is None else row.entry.clips.names_sha256
