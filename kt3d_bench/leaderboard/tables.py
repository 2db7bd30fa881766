"""Make Markdown boards and terminal tables from entries. All functions are pure.

Each group of comparable rows (``leaderboard.ranking``) is a table of its own. Reported rows stand apart and are never
ranked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group as RichGroup
from rich.console import RenderableType
from rich.markup import escape as escape_rich
from rich.table import Table
from rich.text import Text

from kt3d_bench.leaderboard.answer import answer
from kt3d_bench.leaderboard.entries import ENTRIES, GENERATED, Entry
from kt3d_bench.leaderboard.ranking import RankedGroup, ranked_groups
from kt3d_bench.leaderboard.wording import (
    NONE,
    REPORTED_TITLE,
    TRACK_TITLES,
    as_markdown,
    capital,
    column,
    group_sentence,
    markdown_table,
    method_name,
    metric_names,
    notes_on,
    plain,
    rank_text,
    reported_columns,
    reported_name,
    reported_value,
    supervision_name,
    training_data_text,
    value_text,
    with_unit,
)
from kt3d_bench.metrics.benchmarks import Benchmark, Published, PublishedRow
from kt3d_bench.metrics.functional import METRICS

_TEXT_COLUMNS = ("Method", "Supervision", "Target labels seen", "Training data")
FULL_WIDTH = 200
"""Columns of a terminal that hold a whole board without breaking its numbers."""
_NARROW = 100
"""Columns of a terminal below which supervision is in lines below one another."""
_LONGEST_WORD = 40
"""Longer words are broken."""
_READABLE = 36
"""Characters of a text column that are readable in lines below one another."""


def board_markdown(
    board: str, benchmark: Benchmark, entries: Sequence[Entry], published: Published | None = None
) -> str:
    """Return the README of one board."""
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
    else:
        lines += [f"**{as_markdown(answer(groups[0], benchmark).text)}**", ""]
    for group in groups:
        lines += [group_sentence(group), ""]
        header, rows = _measured(group, benchmark)
        for track, _ in group.tracks:
            own = [cells for row, cells in zip(group.rows, rows, strict=True) if row.track == track]
            lines += [f"**{TRACK_TITLES[track]}**", "", *markdown_table(header, own), ""]
    if len(groups) > 1:
        lines += ["Rows of different tables must not be compared: version, samples, labels or metrics differ.", ""]
    lines += [f"- {as_markdown(note)}" for note in notes_on(benchmark, groups)]
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
    """Return the README over all boards: one row per board with its answer."""
    rows = []
    for board in sorted(boards, key=lambda name: (name.startswith(GENERATED), name)):
        benchmark = benchmarks[board.removeprefix(f"{GENERATED}/")]
        groups = ranked_groups(boards[board], benchmark)
        rows.append([
            f"[{as_markdown(board)}]({board}/README.md)",
            as_markdown(benchmark.title),
            "stand-in" if board.startswith(GENERATED) else "real",
            str(len(boards[board])),
            as_markdown(answer(groups[0], benchmark).text) if groups else NONE,
        ])  # fmt: skip
    header = ["Board", "Benchmark", "Test data", "Entries", "Answer"]
    return "\n".join([
        "# Leaderboards",
        "",
        *markdown_table(header, rows),
        "",
        "Boards of stand-ins and of real data are never mixed. Rendered by `kt3d score`; edits are overwritten.",
        "",
    ])  # fmt: skip


def terminal_table(
    benchmark: Benchmark,
    entries: Sequence[Entry],
    *,
    published: Published | None = None,
    highlight: str | None = None,
    width: int | None = None,
) -> RenderableType:
    """Return the board for a terminal; ``highlight`` = file name of the entry to set off. Third-party text is escaped.

    Columns are left out where ``width`` (default: ``FULL_WIDTH``) cannot hold them unbroken; the caption says how many.
    """
    parts: list[RenderableType] = []
    for group in ranked_groups(entries, benchmark):
        header, rows = _measured(group, benchmark, markdown=False)
        kept = _fitting(header, rows, benchmark, width or FULL_WIDTH)
        least = _least_widths(header, rows, kept, width or FULL_WIDTH)
        missing = len(header) - 1 - len(kept)
        more = "column is" if missing == 1 else "columns are"
        left_out = f" {missing} more {more} on the board." if missing else ""
        stand_in = "" if group.rows[0].entry.origin == "official" else "On a generated stand-in: "
        table = Table(
            title=stand_in + escape_rich(benchmark.title),
            caption=Text(group_sentence(group, markdown=False) + left_out),
        )
        for number in kept:
            text = header[number] in _TEXT_COLUMNS
            narrow = header[number] == "Supervision" and (width or FULL_WIDTH) < _NARROW
            table.add_column(
                escape_rich(header[number] if text else header[number].replace(" (", "\n(")),
                justify="left" if text else "right",
                overflow="fold",
                no_wrap=not text,
                min_width=least[number] if text else None,
                max_width=least[number] if narrow else None,
            )
        for track, own in group.tracks:
            table.add_section()
            table.add_row(
                *(TRACK_TITLES[track] if header[number] == "Method" else "" for number in kept), style="italic"
            )
            for row in own:
                cells = rows[group.rows.index(row)]
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


def _fitting(header: Sequence[str], rows: Sequence[Sequence[str]], benchmark: Benchmark, width: int) -> list[int]:
    """Return the numbers of the columns to show: the first headline metric, then what else fits, from the left.

    Training data comes last, and what the tracks say already is never shown.
    """
    first = ("#", "Method", "Supervision", column(benchmark.headline[0]))

    def needs(number: int) -> int:
        cells, name = [row[number] for row in rows], header[number]
        if name in _TEXT_COLUMNS:
            return 3 + max(len(name), *(min(_READABLE, len(cell)) for cell in cells))
        return 3 + max(*(len(line) for line in name.replace(" (", "\n(").split("\n")), *map(len, cells))

    others = [number for number, name in enumerate(header) if name not in (*first, *_TEXT_COLUMNS)]
    kept = [number for number, name in enumerate(header) if name in first]
    for number in [*others, header.index("Training data")]:
        if 1 + sum(map(needs, [*kept, number])) > width:
            break
        kept.append(number)
    return sorted(kept)


def _least_widths(
    header: Sequence[str], rows: Sequence[Sequence[str]], kept: Sequence[int], width: int
) -> dict[int, int]:
    """Return the characters that each column needs: of text its longest word, which Method breaks where there is no
    room."""
    least = {}
    for number in kept:
        name, cells = header[number], [row[number] for row in rows]
        if name in _TEXT_COLUMNS:
            least[number] = min(_LONGEST_WORD, max(len(word) for text in (name, *cells) for word in text.split()))
        else:
            least[number] = max(map(len, [*name.replace(" (", "\n(").split("\n"), *cells]))
    method = header.index("Method")
    room = width - 1 - sum(3 + wide for number, wide in least.items() if number != method)
    return {**least, method: max(1, min(least[method], room - 3))}


def _measured(group: RankedGroup, benchmark: Benchmark, *, markdown: bool = True) -> tuple[list[str], list[list[str]]]:
    text = as_markdown if markdown else plain
    names = metric_names(benchmark)
    header = ["#", *_TEXT_COLUMNS, *map(column, names), "Seed"]
    rows = []
    for row in group.rows:
        entry = row.entry
        rows.append([
            rank_text(row),
            text(method_name(row)),
            text(supervision_name(entry)),
            text(entry.flags.target_labels_seen),
            text(training_data_text(entry)),
            *(value_text(row, name, interval=name == benchmark.headline[0]) for name in names),
            ", ".join(map(str, row.seeds)) or NONE,
        ])  # fmt: skip
    return header, rows


def _reported(
    rows: Sequence[PublishedRow], benchmark: Benchmark, *, markdown: bool = True
) -> tuple[list[str], list[list[str]]]:
    text = as_markdown if markdown else plain
    titles, details, names, words = reported_columns(rows, benchmark)
    header = [*titles, *(capital(text(name)) for name in details)]
    header += [with_unit(reported_name(name, names), METRICS[name].unit) for name in names]
    return header, [
        [*(text(word) or NONE for word in own), *(reported_value(row.scores.get(name), name) for name in names)]
        for row, own in zip(rows, words, strict=True)
    ]
