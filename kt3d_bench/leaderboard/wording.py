"""How boards word rows, numbers and notes, in Markdown, in a terminal and on pages; and text of others as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kt3d_bench.leaderboard.entries import ACTION_MEAN, Entry
from kt3d_bench.leaderboard.ranking import RankedGroup, Row
from kt3d_bench.metrics.benchmarks import Benchmark, PublishedRow
from kt3d_bench.metrics.evaluate import FEW_JOINTS
from kt3d_bench.metrics.functional import METRICS
from kt3d_bench.supervision import level_name

NONE = "–"
_SPECIAL = re.compile(r"([\\`*_{}\[\]<#|~&$])")
REPORTED_TITLE = "As reported elsewhere, never ranked"
REFERENCES = {
    "root-given": "camera-frame positions use the hip's true depth (root-given)",
    "from-depth": "camera-frame depth comes from the depth image alone (from-depth)",
}
TRACK_TITLES = {
    "none": "Without target labels",
    "some": "With some target labels",
    "all": "With all target labels",
    "not stated": "Target labels not stated",
}
SETTINGS = {
    "not stated": "of unknown origin",
    "published": "as the paper gives them",
    "validation": "chosen on validation people, who are in neither training nor test",
    "test": "chosen by scores on the test itself",
}
"""Where a row's settings come from, in words."""


def reported_name(metric: str, shown: Sequence[str] = ()) -> str:
    """A paper's metric without our qualifier, since which variant it means is not known; with it where another metric
    in ``shown`` has the same name without."""
    bare = [METRICS[name].title.split(" (")[0] for name in (metric, *shown)]
    return METRICS[metric].title if bare[1:].count(bare[0]) > 1 else bare[0]


def reported_value(value: float | None, metric: str) -> str:
    if value is None:
        return NONE
    return f"{value:.1f}" if METRICS[metric].unit == "mm" and value == round(value, 1) else f"{value:g}"


def reported_columns(
    rows: Sequence[PublishedRow], benchmark: Benchmark
) -> tuple[list[str], list[str], list[str], list[list[str]]]:
    """Return the titles that all tables share, the details' and the metrics' names, and each row's words, raw."""
    details = list(dict.fromkeys(name for row in rows for name in row.details))
    levels = any(row.supervision for row in rows)
    sources = any(row.source for row in rows)
    words = []
    for row in rows:
        method = row.method if row.cite is None else f"{row.method} ({row.cite})"
        level = [row.supervision] if levels else []
        source = [row.source or "see above"] if sources else []
        words.append(
            [method, row.category, *level, row.protocol_text, *source, *(row.details.get(name, "") for name in details)]
        )
    names = [name for name in benchmark.metrics if any(name in row.scores for row in rows)]
    titles = ["Method", "Category", *(["Supervision"] if levels else []), "Protocol", *(["Source"] if sources else [])]
    return titles, details, names, words


def metric_names(benchmark: Benchmark) -> tuple[str, ...]:
    """Return the metrics in the order of their columns: the headline's first, its action mean beside it."""
    first, *others = benchmark.metrics
    return (first, *([ACTION_MEAN + first] if benchmark.action_mean else []), *others)


def metric_title(name: str) -> str:
    title = METRICS[name.removeprefix(ACTION_MEAN)].title
    return f"{title} (action mean)" if name.startswith(ACTION_MEAN) else title


def column(name: str) -> str:
    return with_unit(metric_title(name), METRICS[name.removeprefix(ACTION_MEAN)].unit)


def with_unit(title: str, unit: str) -> str:
    return f"{title} ({unit})" if "(" not in title else f"{title[:-1]}, {unit})"


def rank_text(row: Row) -> str:
    return NONE if row.rank is None else f"{row.rank}=" if row.tied else str(row.rank)


def value_text(row: Row, name: str, *, interval: bool) -> str:
    value, spread = row.value(name), row.spread(name)
    shown = NONE if value is None else f"{value:.1f}"
    if spread is not None:
        shown += f" ± {spread:.1f}"
    around = row.interval(name) if interval else None
    if around is not None and value is not None:
        shown += f" [{around[0]:.1f}, {around[1]:.1f}]"
    missing = max(entry.undefined.get(name, 0) for entry in row.entries)
    return f"{shown} ({missing} undefined)" if missing else shown


def method_name(row: Row) -> str:
    entry = row.entry
    settings = ", ".join(f"{name}={value}" for name, value in sorted(entry.settings.items()))
    name = entry.title or (f"{entry.method} ({settings})" if settings else entry.method)
    notes = [f"also reads {also_reads_text(entry)}"] if entry.flags.also_reads else []
    notes += [f"{len(row.entries)} seeds"] if len(row.entries) > 1 else []
    unanswered = max(one.unanswered for one in row.entries)
    notes += [f"{unanswered} unanswered"] if unanswered else []
    return f"{name} ({', '.join(notes)})" if notes else name


_INPUTS = {"foreground": "motion foreground"}


def also_reads_text(entry: Entry) -> str:
    """Return what the predictions were made from beside the benchmark's images: "motion foreground"."""
    return ", ".join(_INPUTS.get(name, name) for name in entry.flags.also_reads)


def supervision_name(entry: Entry) -> str:
    return level_name(entry.supervision, entry.joints)


def training_data_text(entry: Entry) -> str:
    named = [f"{one.role} {one.dataset} ({one.origin})" for one in entry.flags.training_data]
    return ", ".join(named + [f"external {name}" for name in entry.flags.external_data]) or "not stated"


def _at_root(name: str, benchmark: Benchmark) -> bool:
    alignment = METRICS[name].alignment
    return alignment == "root" or (alignment == "benchmark" and benchmark.root is not None)


def notes_on(benchmark: Benchmark, groups: Sequence[RankedGroup]) -> list[str]:
    """Which metric, which alignment, which depth, which boxes; then the benchmark's own footnotes."""
    where = "absolute" if benchmark.root is None else f"after moving joint {benchmark.root} of both poses to the origin"
    notes = []
    for metric in (METRICS[name] for name in benchmark.metrics):
        suffix = f", {where}" if metric.alignment == "benchmark" else ""
        notes.append(f"{metric.title}: {metric.about}{suffix}.")
    if any("pck" in name and _at_root(name, benchmark) for name in benchmark.metrics):
        notes.append("Root-aligned PCK counts the root as right by definition.")
    notes.append(f"{len(benchmark.joints)} joints; means over joints, then over samples.")
    notes.append(
        "Rows are ranked within their track: none, some or all (2D and 3D of every joint) of the target's labels seen."
    )
    notes += _uncertainty_notes([row for group in groups for row in group.rows])
    notes.append(
        f"Reference: {REFERENCES[benchmark.reference]}. Boxes: rule '{benchmark.box_rule}'. "
        f"Checkpoint selection: '{benchmark.selection_rule}' unless a row says otherwise."
    )
    rows = [row for group in groups for row in group.rows]
    others = sorted({r.entry.flags.selection_rule for r in rows} - {benchmark.selection_rule})
    for rule in others:
        names = ", ".join(
            sorted({r.entry.title or r.entry.method for r in rows if r.entry.flags.selection_rule == rule})
        )
        notes.append(f"Checkpoint selection '{rule}': {names}.")
    rules: dict[str, set[str]] = {}
    for row in rows:
        rules.setdefault(row.entry.flags.settings_rule, set()).add(row.entry.title or row.entry.method)
    notes += [f"Settings {SETTINGS[rule]}: {', '.join(sorted(names))}." for rule, names in sorted(rules.items())]
    unranked: dict[str, list[str]] = {}
    for row in rows:
        if row.why_unranked:
            unranked.setdefault(row.why_unranked, []).append(method_name(row))
    notes += [f"Not ranked: {', '.join(dict.fromkeys(names))}; {why}." for why, names in unranked.items()]
    for row in rows:
        kinds = {kind: count for entry in row.entries for kind, count in entry.degenerate.items() if kind != FEW_JOINTS}
        if kinds:
            counts = ", ".join(f"{kind} in {count} samples" for kind, count in sorted(kinds.items()))
            notes.append(f"Predictions of {method_name(row)} that are no poses: {counts}.")
    return notes + list(benchmark.footnotes)


def _uncertainty_notes(rows: Sequence[Row]) -> list[str]:
    notes = ["Brackets: 95 % bootstrap interval over clips; it does not cover the spread over seeds."]
    if any(len(row.entries) > 1 for row in rows):
        notes.append("±: standard deviation over the seeds, whose mean the row shows.")
    if any(row.tied for row in rows):
        notes.append(
            "= after a rank: a paired bootstrap over clips, at 95 %, cannot tell the row from the first of that rank."
        )
    if any(entry.interval_rule == "percentile" and entry.intervals for row in rows for entry in row.entries):
        notes.append("Brackets of rows without values per clip are plain percentiles, too narrow where clips are few.")
    return notes


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def group_sentence(group: RankedGroup, *, markdown: bool = True) -> str:
    tick = "`" if markdown else ""
    unranked = f" These rows are not ranked: {group.unranked}." if group.unranked else ""
    return (
        f"{group.samples} samples, benchmark version {group.benchmark_version}, metric version "
        f"{group.metric_version}, sample list {tick}{group.sample_list_digest[:12]}{tick}, labels "
        f"{tick}{group.labels_digest[:12]}{tick}.{unranked}"
    )


def plain(text: str) -> str:
    """Return one line without control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def as_markdown(text: str) -> str:
    """Return one line that Markdown shows as it is."""
    return _SPECIAL.sub(r"\\\1", plain(text))


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table whose cells are Markdown already."""
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
