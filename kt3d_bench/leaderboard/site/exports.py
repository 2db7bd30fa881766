"""A board's rows for other programs, unrounded: CSV, JSON, and the ``model-index`` that model cards hold."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from kt3d_bench.leaderboard.entries import Entry
from kt3d_bench.leaderboard.ranking import Row, ranked_groups
from kt3d_bench.leaderboard.wording import column, metric_names, plain, supervision_name, training_data_text
from kt3d_bench.metrics.benchmarks import Benchmark

_FORMULA = ("=", "+", "-", "@")


def board_csv(benchmark: Benchmark, entries: Sequence[Entry]) -> str:
    """Return one line per row in the order of the board, under a header: group, track, rank, what the row is, and of
    every metric the mean over seeds, their standard deviation, and the 95 % interval of the headline metric.

    Undefined values are empty. Text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_header(benchmark))
    for line in _lines(benchmark, entries):
        writer.writerow([_text(value) if isinstance(value, str) else value for value in line])
    return out.getvalue()


def board_json(benchmark: Benchmark, entries: Sequence[Entry]) -> str:
    """Return the rows of ``board_csv`` as a list of objects; undefined values are null."""
    header = _header(benchmark)
    rows = [dict(zip(header, line, strict=True)) for line in _lines(benchmark, entries)]
    return json.dumps(rows, indent=1) + "\n"


def model_index(benchmark: Benchmark, entries: Sequence[Entry]) -> str:
    """Return a YAML block as model cards hold it: a model for every ranked row of the board's first group,
    with the means of its metrics. Groups were measured on other samples.

    The form is that of the Hugging Face Hub: https://huggingface.co/docs/hub/model-cards. Metrics are named as here.
    """
    models = []
    for group in ranked_groups(entries, benchmark)[:1]:
        for row in group.rows:
            if row.rank is None:
                continue
            generated = " (generated stand-in)" if row.entry.origin == "generated" else ""
            values = ((name, row.value(name)) for name in metric_names(benchmark))
            metrics = [
                {"type": name, "name": column(name), "value": round(value, 3)}
                for name, value in values if value is not None
            ]  # fmt: skip
            models.append({
                "name": f"{row.entry.title or row.entry.method}, {supervision_name(row.entry)}",
                "results": [{
                    "task": {"type": "keypoint-detection", "name": "3D human pose estimation"},
                    "dataset": {"type": row.entry.board, "name": f"{benchmark.title}{generated}",
                                "split": benchmark.split},
                    "metrics": metrics,
                }],
            })  # fmt: skip
    return yaml.safe_dump({"model-index": models}, sort_keys=False, allow_unicode=True, width=120)


def _header(benchmark: Benchmark) -> list[str]:
    names, headline = metric_names(benchmark), benchmark.headline[0]
    return [
        "group", "track", "rank", "method", "title", "settings", "supervision", "target_labels_seen", "training_data",
        "seeds", "samples", *names, *(f"{name}_sd" for name in names), f"{headline}_low", f"{headline}_high", "entries",
    ]  # fmt: skip


def _lines(benchmark: Benchmark, entries: Sequence[Entry]) -> Iterator[list[Any]]:
    """The values under ``_header``, row by row."""
    names, headline = metric_names(benchmark), benchmark.headline[0]
    for number, group in enumerate(ranked_groups(entries, benchmark), 1):
        for row in group.rows:
            yield [
                number, row.track, row.rank, *_words(row), group.samples,
                *(row.value(name) for name in names), *(row.spread(name) for name in names),
                *(row.interval(headline) or (None, None)), " ".join(entry.file_name for entry in row.entries),
            ]  # fmt: skip


def _words(row: Row) -> list[str]:
    entry = row.entry
    settings = " ".join(f"{name}={value}" for name, value in sorted(entry.settings.items()))
    seeds = " ".join(map(str, row.seeds))
    words = (entry.method, entry.title, settings, supervision_name(entry), entry.flags.target_labels_seen,
             training_data_text(entry), seeds)  # fmt: skip
    return list(map(plain, words))


def _text(line: str) -> str:
    return f"'{line}" if line.startswith(_FORMULA) else line
