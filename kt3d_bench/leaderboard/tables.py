"""Tables from entries: pure functions to Markdown boards and to a terminal table. Nothing here is ever edited by hand.

Each group of comparable rows (``leaderboard.ranking``) is a table of its own. Reported rows stand apart and are never
ranked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Group as RichGroup
from rich.console import RenderableType
from rich.markup import escape as escape_rich
from rich.table import Table
from rich.text import Text

from kt3d_bench.files import write_whole
from kt3d_bench.leaderboard.entries import ACTION_MEAN, ENTRIES, GENERATED, Entry, read_boards
from kt3d_bench.leaderboard.markdown import as_markdown, markdown_table, plain
from kt3d_bench.leaderboard.ranking import RankedGroup, Row, may_be_tested, ranked_groups
from kt3d_bench.scoring.benchmarks import Benchmark, Published, PublishedRow
from kt3d_bench.scoring.metrics import METRICS

REPORTED_TITLE = "As reported by the paper, not measured here"
_NONE = "–"
_TEXT_COLUMNS = ("Method", "Supervision", "Target labels seen", "Training data")
FULL_WIDTH = 140
"""Columns of a terminal that hold a whole board without breaking its numbers."""
_REFERENCES = {
    "root-given": "camera-frame positions use the hip's true depth (root-given)",
    "from-depth": "camera-frame depth comes from the depth image alone (from-depth)",
}


def board_markdown(
    board: str, benchmark: Benchmark, entries: Sequence[Entry], published: Published | None = None
) -> str:
    """The README of one board."""
    generated = board.startswith(f"{GENERATED}/")
    lines = [f"# {as_markdown(benchmark.title)}{' (stand-in)' if generated else ''}", ""]
    if generated:
        lines += [
            "**The test set is a generated stand-in, not the real dataset.** Numbers here say how methods compare on",
            "it, and nothing about the dataset it stands in for.",
            "",
        ]
    ranked_by = METRICS[benchmark.headline[0]]
    lines += [
        f"Benchmark `{benchmark.id}`, version {benchmark.version}: {benchmark.dataset}/{benchmark.split}, "
        f"{benchmark.modality}. Ranked by {ranked_by.title} ({ranked_by.better} is better).",
        f"A method sees {as_markdown(benchmark.sees)}.",
        "",
        "## Measured",
        "",
    ]
    groups = ranked_groups(entries, benchmark)
    if not groups:
        lines += ["No entries yet.", ""]
    for group in groups:
        lines += [_group_sentence(group), "", *markdown_table(*_measured(group, benchmark)), ""]
    if len(groups) > 1:
        lines += ["Rows of different tables must not be compared: version, samples, labels or metrics differ.", ""]
    lines += [f"- {as_markdown(note)}" for note in _notes(benchmark, groups)]
    if published is not None:
        lines += ["", f"## {REPORTED_TITLE}", "", f"{as_markdown(published.source)}.", ""]
        if generated:
            lines += ["These are of the real dataset: nothing above may be compared with them.", ""]
        lines += markdown_table(*_reported(published.rows, benchmark))
        if published.ablation:
            lines += [
                "",
                f"{as_markdown(published.ablation_note)}",
                "",
                *markdown_table(*_reported(published.ablation, benchmark)),
            ]
        if published.notes:
            lines += ["", *(f"- {as_markdown(note)}" for note in published.notes)]
    lines += ["", f"Rendered from `{ENTRIES}/*.json` by `kt3d score`; edits are overwritten.", ""]
    return "\n".join(lines)


def index_markdown(boards: Mapping[str, Sequence[Entry]], benchmarks: Mapping[str, Benchmark]) -> str:
    """The README over all boards: one row per board with its best ranked result."""
    rows = []
    for board in sorted(boards, key=lambda name: (name.startswith(GENERATED), name)):
        benchmark = benchmarks[board.removeprefix(f"{GENERATED}/")]
        groups = ranked_groups(boards[board], benchmark)
        first = [row for row in groups[0].rows if row.rank == 1] if groups else []
        headline = benchmark.headline[0]
        rows.append([
            f"[{as_markdown(board)}]({board}/README.md)",
            as_markdown(benchmark.title),
            "stand-in" if board.startswith(GENERATED) else "real",
            str(len(boards[board])),
            "; ".join(as_markdown(f"{_method(row)} ({_supervision(row.entry)})") for row in first) or _NONE,
            "; ".join(f"{METRICS[headline].title} {_value(row, headline, interval=True)}" for row in first) or _NONE,
        ])  # fmt: skip
    header = ["Board", "Benchmark", "Test data", "Entries", "Best measured", "Result"]
    return "\n".join([
        "# Leaderboards",
        "",
        *markdown_table(header, rows),
        "",
        "Boards of stand-ins and of real data are never mixed. Rendered by `kt3d score`; edits are overwritten.",
        "",
    ])  # fmt: skip


def rendered_boards(
    leaderboards: Path, benchmarks: Mapping[str, Benchmark], published: Mapping[str, Published]
) -> dict[Path, str]:
    """File -> text of every board and the index, as ``render_boards`` writes them.

    Every known benchmark has its real board, entries or not; boards of unknown benchmarks are left alone. Raises
    ``ArtefactError`` for a broken entry.
    """
    root = Path(leaderboards)
    boards: dict[str, tuple[Entry, ...]] = dict.fromkeys(sorted(benchmarks), ())
    for board, entries in read_boards(root).items():
        if board.removeprefix(f"{GENERATED}/") in benchmarks:
            boards[board] = entries
    files = {root / "README.md": index_markdown(boards, benchmarks)}
    for board, entries in boards.items():
        name = board.removeprefix(f"{GENERATED}/")
        files[root / board / "README.md"] = board_markdown(board, benchmarks[name], entries, published.get(name))
    return files


def render_boards(
    leaderboards: Path, benchmarks: Mapping[str, Benchmark], published: Mapping[str, Published]
) -> list[Path]:
    """Write the README of every board and the index over them; returns the files. All is rendered before any is
    written, so a broken entry (``ArtefactError``) leaves the boards as they were."""
    files = rendered_boards(leaderboards, benchmarks, published)
    for path, text in files.items():
        write_whole(path, text.encode())
    return sorted(files)


def terminal_table(
    benchmark: Benchmark,
    entries: Sequence[Entry],
    *,
    published: Published | None = None,
    highlight: str | None = None,
    width: int | None = None,
) -> RenderableType:
    """The board for a terminal; ``highlight`` = file name of the entry to set off. Third-party text is escaped.

    In fewer than ``FULL_WIDTH`` columns only the headline's are shown, whole, and what is left out is said.
    """
    narrow = width is not None and width < FULL_WIDTH
    headline = ("#", "Method", "Supervision", *map(_column, benchmark.headline))
    parts: list[RenderableType] = []
    for group in ranked_groups(entries, benchmark):
        header, rows = _measured(group, benchmark, markdown=False)
        kept = [number for number, name in enumerate(header) if not narrow or name in headline]
        left_out = f" {len(header) - len(kept)} more columns are on the board." if narrow else ""
        stand_in = "" if group.rows[0].entry.origin == "official" else "On a generated stand-in: "
        table = Table(
            title=stand_in + escape_rich(benchmark.title),
            caption=Text(_group_sentence(group, markdown=False) + left_out),
        )
        for number in kept:
            text = header[number] in _TEXT_COLUMNS
            whole = narrow and not text
            table.add_column(
                escape_rich(header[number].replace(" (", "\n(") if whole else header[number]),
                justify="left" if text else "right",
                overflow="fold",
                no_wrap=whole,
            )
        for row, cells in zip(group.rows, rows, strict=True):
            style = "bold" if highlight in [entry.file_name for entry in row.entries] else None
            table.add_row(*(escape_rich(cells[number]) for number in kept), style=style)
        parts.append(table)
    if published is not None:
        header, rows = _reported(published.rows, benchmark, markdown=False)
        table = Table(title=REPORTED_TITLE, caption=Text(published.source), style="dim")
        for name in header:
            table.add_column(escape_rich(name), overflow="fold")
        for cells in rows:
            table.add_row(*(escape_rich(cell) for cell in cells))
        parts.append(table)
    return RichGroup(*parts)


def _measured(group: RankedGroup, benchmark: Benchmark, *, markdown: bool = True) -> tuple[list[str], list[list[str]]]:
    text = as_markdown if markdown else plain
    names = [*benchmark.metrics]
    if benchmark.action_mean:
        names.insert(1, ACTION_MEAN + benchmark.headline[0])
    header = ["#", *_TEXT_COLUMNS, *map(_column, names), "Seed"]
    rows = []
    for row in group.rows:
        entry = row.entry
        rows.append([
            _rank(row),
            text(_method(row)),
            text(_supervision(entry)),
            text(entry.flags.target_labels_seen),
            text(_training_data(entry)),
            *(_value(row, name, interval=name == benchmark.headline[0]) for name in names),
            ", ".join(map(str, row.seeds)) or _NONE,
        ])  # fmt: skip
    return header, rows


def _reported(
    rows: Sequence[PublishedRow], benchmark: Benchmark, *, markdown: bool = True
) -> tuple[list[str], list[list[str]]]:
    text = as_markdown if markdown else plain
    names = [name for name in benchmark.metrics if any(name in row.scores for row in rows)]
    details = list(dict.fromkeys(name for row in rows for name in row.details))
    levels = any(row.supervision for row in rows)
    header = ["Method", "Category", *(["Supervision"] if levels else []), *(_capital(text(name)) for name in details)]
    header += [f"{_reported_name(name)} ({METRICS[name].unit})" for name in names]
    cells = []
    for row in rows:
        method = row.method if row.cite is None else f"{row.method} ({row.cite})"
        cells.append([
            text(method),
            text(row.category) or _NONE,
            *([text(row.supervision) or _NONE] if levels else []),
            *(text(row.details.get(name, "")) or _NONE for name in details),
            *(_reported_value(row.scores.get(name), name) for name in names),
        ])  # fmt: skip
    return header, cells


def _reported_name(metric: str) -> str:
    """A paper's metric without our qualifier: which variant it means is not known."""
    return METRICS[metric].title.split(" (")[0]


def _reported_value(value: float | None, metric: str) -> str:
    if value is None:
        return _NONE
    return f"{value:.1f}" if METRICS[metric].unit == "mm" and value == round(value, 1) else f"{value:g}"


def _column(name: str) -> str:
    metric = METRICS[name.removeprefix(ACTION_MEAN)]
    title = f"{metric.title} (action mean)" if name.startswith(ACTION_MEAN) else metric.title
    return f"{title} ({metric.unit})" if "(" not in title else f"{title[:-1]}, {metric.unit})"


def _rank(row: Row) -> str:
    return _NONE if row.rank is None else f"{row.rank}=" if row.tied else str(row.rank)


def _value(row: Row, name: str, *, interval: bool) -> str:
    value, spread = row.value(name), row.spread(name)
    shown = _NONE if value is None else f"{value:.1f}"
    if spread is not None:
        shown += f" ± {spread:.1f}"
    around = row.interval(name) if interval else None
    if around is not None and value is not None:
        shown += f" [{around[0]:.1f}, {around[1]:.1f}]"
    missing = max(entry.undefined.get(name, 0) for entry in row.entries)
    return f"{shown} ({missing} undefined)" if missing else shown


def _method(row: Row) -> str:
    entry = row.entry
    settings = ", ".join(f"{name}={value}" for name, value in sorted(entry.settings.items()))
    name = entry.title or (f"{entry.method} ({settings})" if settings else entry.method)
    notes = [f"{len(row.entries)} seeds"] if len(row.entries) > 1 else []
    unanswered = max(one.unanswered for one in row.entries)
    notes += [f"{unanswered} unanswered"] if unanswered else []
    return f"{name} ({', '.join(notes)})" if notes else name


def _supervision(entry: Entry) -> str:
    partial = entry.supervision.startswith("partial") and entry.joints is not None
    return f"{entry.supervision}, {entry.joints} joints" if partial else entry.supervision


def _training_data(entry: Entry) -> str:
    named = [f"{one.role} {one.dataset} ({one.origin})" for one in entry.flags.training_data]
    return ", ".join(named + [f"external {name}" for name in entry.flags.external_data]) or "not stated"


def _at_root(name: str, benchmark: Benchmark) -> bool:
    alignment = METRICS[name].alignment
    return alignment == "root" or (alignment == "benchmark" and benchmark.root is not None)


def _group_sentence(group: RankedGroup, *, markdown: bool = True) -> str:
    tick = "`" if markdown else ""
    return (
        f"{group.samples} samples, benchmark version {group.benchmark_version}, metric version "
        f"{group.metric_version}, sample list {tick}{group.sample_list_digest[:12]}{tick}, labels "
        f"{tick}{group.labels_digest[:12]}{tick}."
    )


def _notes(benchmark: Benchmark, groups: Sequence[RankedGroup]) -> list[str]:
    """Which metric, which alignment, which depth, which boxes; then the benchmark's own footnotes."""
    where = "absolute" if benchmark.root is None else f"after moving joint {benchmark.root} of both poses to the origin"
    notes = []
    for metric in (METRICS[name] for name in benchmark.metrics):
        suffix = f", {where}" if metric.alignment == "benchmark" else ""
        notes.append(f"{metric.title}: {metric.about}{suffix}.")
    if any("pck" in name and _at_root(name, benchmark) for name in benchmark.metrics):
        notes.append("Root-aligned PCK counts the root as right by definition.")
    notes.append(f"{len(benchmark.joints)} joints; means over joints, then over samples.")
    notes += _uncertainty_notes(benchmark.headline[0], [row for group in groups for row in group.rows])
    notes.append(
        f"Reference: {_REFERENCES[benchmark.reference]}. Boxes: rule '{benchmark.box_rule}'. "
        f"Checkpoint selection: '{benchmark.selection_rule}' unless a row says otherwise."
    )
    rows = [row for group in groups for row in group.rows]
    others = sorted({r.entry.flags.selection_rule for r in rows} - {benchmark.selection_rule})
    for rule in others:
        names = ", ".join(
            sorted({r.entry.title or r.entry.method for r in rows if r.entry.flags.selection_rule == rule})
        )
        notes.append(f"Checkpoint selection '{rule}': {names}.")
    if any(row.rank is None for row in rows):
        notes.append("Rows without a rank left test samples unanswered, or have no headline value.")
    return notes + list(benchmark.footnotes)


def _uncertainty_notes(ranked_by: str, rows: Sequence[Row]) -> list[str]:
    notes = ["Brackets: 95 % bootstrap interval over clips; it does not cover the spread over seeds."]
    if any(len(row.entries) > 1 for row in rows):
        notes.append("±: standard deviation over the seeds, whose mean the row shows.")
    if any(row.tied for row in rows):
        notes.append(
            "= after a rank: a paired bootstrap over clips, at 95 %, cannot tell the row from the first of that rank."
        )
    compared = [row for row in rows if row.rank is not None]
    if len(compared) > 1 and not all(may_be_tested(row, ranked_by) for row in compared):
        notes.append(
            "Rows without values per clip, and test sets of fewer than six clips, are ranked by their values alone: "
            "whether such rows can be told apart is not known."
        )
    if any(entry.interval_rule == "percentile" and entry.intervals for row in rows for entry in row.entries):
        notes.append("Brackets of rows without values per clip are plain percentiles, too narrow where clips are few.")
    return notes


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
