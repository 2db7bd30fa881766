"""A board's rows as CSV: the numbers of its page, unrounded."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from kt3d_bench.leaderboard.entries import Entry
from kt3d_bench.leaderboard.ranking import Row, ranked_groups
from kt3d_bench.leaderboard.wording import metric_names, plain, supervision_name, training_data_text
from kt3d_bench.metrics.benchmarks import Benchmark

_FORMULA = ("=", "+", "-", "@")


def board_csv(benchmark: Benchmark, entries: Sequence[Entry]) -> str:
    """Return one line per row in the order of the board, under a header: group, track, rank, what the row is, and of
    every metric the mean over seeds, their standard deviation, and the 95 % interval of the headline metric.

    Undefined values are empty. Text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    names = metric_names(benchmark)
    headline = benchmark.headline[0]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([
        "group", "track", "rank", "method", "title", "settings", "supervision", "target_labels_seen", "training_data",
        "seeds", "samples", *names, *(f"{name}_sd" for name in names), f"{headline}_low", f"{headline}_high", "entries",
    ])  # fmt: skip
    for number, group in enumerate(ranked_groups(entries, benchmark), 1):
        for row in group.rows:
            low, high = row.interval(headline) or (None, None)
            writer.writerow([
                number, row.track, "" if row.rank is None else row.rank, *map(_text, _words(row)), group.samples,
                *(row.value(name) for name in names), *(row.spread(name) for name in names), low, high,
                " ".join(entry.file_name for entry in row.entries),
            ])  # fmt: skip
    return out.getvalue()


def _words(row: Row) -> list[str]:
    entry = row.entry
    settings = " ".join(f"{name}={value}" for name, value in sorted(entry.settings.items()))
    seeds = " ".join(map(str, row.seeds))
    return [entry.method, entry.title, settings, supervision_name(entry), entry.flags.target_labels_seen,
            training_data_text(entry), seeds]  # fmt: skip


def _text(text: str) -> str:
    line = plain(text)
    return f"'{line}" if line.startswith(_FORMULA) else line
