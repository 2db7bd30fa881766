"""Compute what each row was trained on, and how much of the gap between domains it closes.

Of one method with one set of settings, *source-only* is the row that saw no data of the target, and the *oracle* the
row that saw all of the target's labels; both from the same sources. What a row between them closes of the gap is

    (source-only - row) / (source-only - oracle)

of the headline value: 0 = as without adaptation, 1 = as with all labels. Below 0 adaptation hurt. It is given with its
95 % interval or not at all. Which row is a
method's source-only is read from the entries: it bears the same name and settings, or every stage that it trained is
also a stage of the row (``run.stages``: equal digests mean the same networks, trained the same way).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kt3d_bench.leaderboard.entries import Entry
from kt3d_bench.leaderboard.ranking import RankedGroup, Row, difference, share_of_gap
from kt3d_bench.metrics.benchmarks import Benchmark
from kt3d_bench.metrics.functional import METRICS

Kind = Literal["unadapted", "adapted", "oracle", "in-domain", "target-only", "not stated"]
SOURCE, TARGET = "source", "target"
_NOTHING = "none"
_ALL_LABELS = "full"


@dataclass(frozen=True)
class Transfer:
    """One row, seen as a step from its sources to the target."""

    row: Row
    kind: Kind
    sources: tuple[tuple[str, str], ...]
    """(data set, origin) of what it trained on in the role of a source; sorted."""
    unadapted: Row | None = None
    oracle: Row | None = None
    closed: float | None = None
    """Share of the gap closed; ``None`` = undefined."""
    interval: tuple[float, float] | None = None
    """95 % interval of ``closed``."""
    why_undefined: str = ""


def transfers(group: RankedGroup, benchmark: Benchmark, rows: Sequence[Row] | None = None) -> tuple[Transfer, ...]:
    """Return every row of a group, or only these ``rows`` of it, as a step between domains, in their order."""
    return tuple(_transfer(row, group.rows, benchmark) for row in (group.rows if rows is None else rows))


def sources_of(entry: Entry) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({(one.dataset, one.origin) for one in entry.flags.training_data if one.role == SOURCE}))


def unadapted(row: Row, group: RankedGroup, benchmark: Benchmark) -> Row | None:
    """Return the row that shows what ``row``, where it is adapted, would be without data of the target."""
    adapted = _kind(row.entry, benchmark) == "adapted"
    return _best("unadapted", row, group.rows, benchmark) if adapted else None


def _transfer(row: Row, rows: Sequence[Row], benchmark: Benchmark) -> Transfer:
    kind, sources = _kind(row.entry, benchmark), sources_of(row.entry)
    if kind != "adapted":
        return Transfer(row, kind, sources)
    metric = benchmark.headline[0]
    start, oracle = (_best(wanted, row, rows, benchmark) for wanted in ("unadapted", "oracle"))
    if row.rank is None:
        return Transfer(row, kind, sources, start, oracle, why_undefined="the row is not ranked")
    if start is None or oracle is None:
        what = "without data" if start is None else "with all labels"
        why = f"no row shows this method, from the same sources, {what} of the target"
        return Transfer(row, kind, sources, start, oracle, why_undefined=why)
    closed, interval, why = _closed(row, start, oracle, metric)
    return Transfer(row, kind, sources, start, oracle, closed, interval, why)


def _kind(entry: Entry, benchmark: Benchmark) -> Kind:
    roles = {one.role for one in entry.flags.training_data}
    if not roles:
        return "not stated"
    if any(dataset == benchmark.dataset for dataset, _ in sources_of(entry)):
        return "in-domain"
    if SOURCE not in roles:
        return "target-only"
    if TARGET not in roles and entry.flags.target_labels_seen == _NOTHING:
        return "unadapted"
    return "oracle" if entry.supervision == _ALL_LABELS else "adapted"


def _best(kind: str, row: Row, rows: Sequence[Row], benchmark: Benchmark) -> Row | None:
    """The best ranked row of that kind to compare with, which makes the claimed share of the gap the smallest. ``rows``
    come best first."""
    own = row.entry
    for other in rows:
        one = other.entry
        alike = sources_of(one) == sources_of(own) and one.flags.also_reads == own.flags.also_reads
        if alike and _kind(one, benchmark) == kind and other.rank is not None:
            same = (one.method, one.settings) == (own.method, own.settings)
            if same or (kind == "unadapted" and _part_of(other, row)):
                return other
    return None


def _part_of(one: Row, other: Row) -> bool:
    """Whether some seed of ``one`` trained nothing that a seed of ``other`` did not train the same way."""
    return any(
        bool(fewer) and fewer < _stages(whole)
        for fewer in map(_stages, one.entries)
        for whole in other.entries
    )  # fmt: skip


def _stages(entry: Entry) -> frozenset[str]:
    stages = entry.provenance.run.get("stages")
    if not isinstance(stages, list):
        return frozenset()
    digests = [stage.get("digest") for stage in stages if isinstance(stage, dict)]
    return frozenset(digest for digest in digests if isinstance(digest, str) and digest)


def _closed(row: Row, before: Row, oracle: Row, metric: str) -> tuple[float | None, tuple[float, float] | None, str]:
    start, end, value = before.value(metric), oracle.value(metric), row.value(metric)
    if start is None or end is None or value is None:
        return None, None, "a value is undefined"
    if (start <= end) == (METRICS[metric].better == "lower"):
        return None, None, "all labels of the target make the method no better"
    between, interval = difference(before, oracle, metric), share_of_gap(before, row, oracle, metric)
    if between is None or interval is None or between[0] <= 0 <= between[1]:
        return None, None, "the gap between these two cannot be told from none"
    return (start - value) / (start - end), interval, ""
