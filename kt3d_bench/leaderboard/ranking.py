"""Decide which entries form one row, which rows may be compared, and which differ significantly.

Runs of one configuration that differ in their seed alone are one row. Rows are compared only when benchmark version,
sample list, test labels and metric version agree, and ranked only within their track: how many labels of the target
they saw. From the best downwards, every row that a paired test over clips cannot tell from the first of its rank shares
that rank; the next row begins a new rank. Where no such test is possible there is no rank.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kt3d_bench.leaderboard.entries import ACTION_MEAN, Entry
from kt3d_bench.metrics.benchmarks import ORACLE, Benchmark
from kt3d_bench.metrics.functional import METRICS
from kt3d_bench.metrics.uncertainty import MIN_PAIRED_CLIPS, clip_interval, paired_interval, share_interval

TRACKS = ("none", "some", "all", "not stated")
"""How many labels of the target's dataset a row saw, in the order of the boards; "all" = 2D and 3D of every joint."""


@dataclass(frozen=True)
class Row:
    """One configuration: its entries (one per seed), and its rank; ``None`` = shown but not ranked."""

    rank: int | None
    entries: tuple[Entry, ...]
    tied: bool = False
    """Shares its rank with another row."""
    why_unranked: str = ""
    """Why this row alone has no rank."""

    @property
    def track(self) -> str:
        """One of ``TRACKS``."""
        seen = self.entry.flags.target_labels_seen
        if seen in ("none", "not stated"):
            return seen
        return "all" if seen == "full" or seen.startswith("full (") else "some"

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
    """Why no row has a rank: too few clips for a test, real data on other samples than the benchmark's
    official ones, or on a list that is not pinned."""

    @property
    def tracks(self) -> tuple[tuple[str, tuple[Row, ...]], ...]:
        """The rows of each track that has any, best first."""
        found = {track: tuple(row for row in self.rows if row.track == track) for track in TRACKS}
        return tuple((track, rows) for track, rows in found.items() if rows)


def ranked_groups(entries: Sequence[Entry], benchmark: Benchmark) -> tuple[RankedGroup, ...]:
    """Return entries in comparable groups: newest versions and largest sample lists first, in each the tracks one after
    the other, best row first.

    Rows without values per clip, with unanswered samples, without a headline value, with one that is undefined for
    samples where other rows' is not, or whose checkpoint was chosen by the target's labels come last in their track,
    unranked. No row is ranked where the test set has too few clips for a test. Groups of real data on another
    list than the benchmark's official one, or on one that nothing pins, come last, and no row of them is ranked.
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
    judged = [(_not_official(group, benchmark), group) for group in groups]
    return tuple(
        _unranked(group, reason or _too_few(group.rows))
        for reason, group in sorted(judged, key=lambda one: bool(one[0]))
    )


def _not_official(group: RankedGroup, benchmark: Benchmark) -> str:
    """Say why real data are not the benchmark's official samples."""
    real = group.rows[0].entry.origin == "official"
    return benchmark.not_official(group.samples, group.sample_list_digest) if real else ""


def _too_few(rows: Sequence[Row]) -> str:
    """Say why a test set holds too little for a paired test; "" also where no entry knows how much it holds."""
    entries = [entry for row in rows for entry in row.entries]
    clips = max((len(entry.clips.samples) for entry in entries if entry.clips is not None), default=MIN_PAIRED_CLIPS)
    if clips >= MIN_PAIRED_CLIPS:
        return ""
    return f"the test set has {clips} clip{'s' * (clips != 1)}, and a paired test needs {MIN_PAIRED_CLIPS}"


def _unranked(group: RankedGroup, reason: str) -> RankedGroup:
    if not reason:
        return group
    rows = tuple(replace(row, rank=None, tied=False) for row in group.rows)
    return replace(group, rows=rows, unranked=reason)


def difference(first: Row, second: Row, metric: str) -> tuple[float, float] | None:
    """Return the 95 % interval of ``first`` - ``second`` by a paired bootstrap over clips. It includes the spread over
    seeds. ``None`` where an entry holds no values per clip, or the clips differ or are too few."""
    one, other = _clips(first, metric), _clips(second, metric)
    if one is None or other is None or _clip_names(first, metric) != _clip_names(second, metric):
        return None
    return paired_interval(
        one[0], other[0], one[1], seeds_sd=math.hypot(_seeds_sd(first, metric), _seeds_sd(second, metric))
    )


def share_of_gap(start: Row, row: Row, end: Row, metric: str) -> tuple[float, float] | None:
    """Return the 95 % interval of (start - row) / (start - end), as ``difference`` does; ``None`` as there."""
    rows = start, row, end
    if any(difference(start, other, metric) is None for other in (row, end)):
        return None
    (before, counts), (own, _), (after, _) = (clips for one in rows if (clips := _clips(one, metric)) is not None)
    first, second, third = (_seeds_sd(one, metric) for one in rows)
    return share_interval(before, own, after, counts, seeds_sd=(first, second, third))


def clip_means(row: Row, metric: str) -> tuple[float, ...]:
    """Return the means over the seeds of each clip; () where an entry does not hold them."""
    clips = _clips(row, metric)
    return () if clips is None else tuple(clips[0].tolist())


def _seeds_sd(row: Row, metric: str) -> float:
    """The standard error that the choice of seeds adds to the row's mean."""
    spread = row.spread(metric)
    return 0.0 if spread is None else spread / math.sqrt(len(row.entries))


def _ranked(entries: Sequence[Entry], metric: str) -> tuple[Row, ...]:
    least = min(entry.undefined.get(metric, 0) for entry in entries)
    rows = _folded(entries)
    usual = Counter(known for row in rows if (known := _clip_names(row, metric)) is not None).most_common(1)
    judged = [
        replace(row, why_unranked=_why_unranked(row, metric, least, usual[0][0] if usual else None)) for row in rows
    ]
    return tuple(
        one for track in TRACKS for one in _ranked_track([row for row in judged if row.track == track], metric)
    )


def _ranked_track(rows: Sequence[Row], metric: str) -> list[Row]:
    """The rows of one track in their order, with ranks."""
    sign = 1.0 if METRICS[metric].better == "lower" else -1.0

    def order(row: Row) -> tuple[bool, float, str]:
        value = row.value(metric)
        return bool(row.why_unranked), sign * (math.inf if value is None else value), row.entry.file_name

    ordered = sorted(rows, key=order)
    leaders: list[int] = []
    ranked = [row for row in ordered if not row.why_unranked]
    for place, row in enumerate(ranked):
        first = leaders[-1] if leaders else place
        leaders.append(first if place == first or _tied(ranked[first], row, metric) else place)
    counts = Counter(leaders)
    return [
        replace(row, rank=leader + 1, tied=counts[leader] > 1) for row, leader in zip(ranked, leaders, strict=True)
    ] + ordered[len(ranked) :]


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


def _why_unranked(row: Row, metric: str, least: int, clips: tuple[str, tuple[int, ...]] | None) -> str:
    """Say why a row cannot be ranked, "" where it can.

    The metric may be undefined for no more samples than the truth makes it for everybody (``least``): poses that no
    alignment exists for must not drop out of the mean. ``clips`` are those that most rows were measured on.
    """
    if row.entry.flags.selection_rule == ORACLE:
        return "its checkpoint was chosen by the target's labels"
    if row.entry.flags.also_reads:
        return "it reads more than the benchmark gives"
    if any(entry.unanswered for entry in row.entries):
        return "it left samples unanswered"
    if row.value(metric) is None or any(entry.undefined.get(metric, 0) > least for entry in row.entries):
        return "its headline value is undefined for samples where other rows' is not"
    own = _clip_names(row, metric)
    if own is None:
        return "its entry holds no values per clip, so that no paired test is possible"
    return "" if own == clips else "its values per clip are of other clips than the other rows'"


def _clips(row: Row, metric: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Means (C,) over the seeds and counts (C,) of the row's clips."""
    found = [entry.clips for entry in row.entries if entry.clips is not None]
    same = len({(clips.names_sha256, clips.samples) for clips in found}) == 1
    if metric.startswith(ACTION_MEAN) or len(found) < len(row.entries) or not same:
        return None
    means = [clips.means[metric] for clips in found if metric in clips.means]
    return (np.mean(means, axis=0), np.array(found[0].samples)) if len(means) == len(found) else None


def _clip_names(row: Row, metric: str) -> tuple[str, tuple[int, ...]] | None:
    """Which clips the row's values are of; ``None`` where it holds none."""
    clips = row.entry.clips
    return None if clips is None or _clips(row, metric) is None else (clips.names_sha256, clips.samples)
