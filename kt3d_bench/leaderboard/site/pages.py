"""``index.html`` of every board and of their index: pure functions of entries, benchmarks and reported rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace

from kt3d_bench.leaderboard.answer import answer, pairs
from kt3d_bench.leaderboard.commands import row_command
from kt3d_bench.leaderboard.entries import ENTRIES, GENERATED, Entry
from kt3d_bench.leaderboard.ranking import RankedGroup, Row, ranked_groups
from kt3d_bench.leaderboard.samples import ShownSamples
from kt3d_bench.leaderboard.site.about import BIBTEX, About, dataset_cards, embedded, method_cards, strip, verbatim
from kt3d_bench.leaderboard.site.forest import forest, forest_text
from kt3d_bench.leaderboard.site.rows import (
    fold_values,
    full_names,
    measured_table,
    metric_columns,
    pck_shares,
    reported_table,
    row_id,
    row_name,
)
from kt3d_bench.leaderboard.site.turning import turning
from kt3d_bench.leaderboard.transfer import Transfer, transfers
from kt3d_bench.leaderboard.wording import (
    REFERENCES,
    REPORTED_TITLE,
    TRACK_TITLES,
    capital,
    notes_on,
    reported_value,
)
from kt3d_bench.metrics.benchmarks import Benchmark, Published
from kt3d_bench.metrics.functional import METRICS, Metric
from kt3d_bench.skeletons import H36M17
from kt3d_bench.web.charts import TONES, curve, heat
from kt3d_bench.web.page import render, spoken

PAGE, CSV, JSON, MODEL_INDEX = "index.html", "board.csv", "board.json", "model-index.yml"
FOLDS = {"by_action": "action", "by_subject": "subject", "by_camera": "camera"}
_BOXES = {
    "joints": "Around the projected joints. The box is a hidden label, as usual in the literature.",
    "mask": "Around the foreground of the image, without labels.",
    "detector": "From a person detector, without labels.",
}
_SELECTION = {
    "last": "The last checkpoint of a schedule fixed beforehand.",
    "source-validation": "The best on held-out source data.",
    "2d-validation": "The best on 2D labels of held-out data.",
    "oracle": "The best on labelled test data: an upper bound, not a result.",
}
_MOST_STEPS = 10
_MOST_COMPARED = 10
_MOST_DRAWN = 30
"""Rows that figures show."""
_MOST_WHOLE = 50
"""Rows that a page gives in full detail. Those of longer boards have one command each, sort by what they show, and are
searched by what they say, so that a page of 500 entries stays below 1 MB."""


def page_text(page: SimpleNamespace, board: str = "", about: About | None = None) -> str:
    """Return the text of the page of a board, by default that of the index. ``about``: what is installed."""
    template, root = ("board.html", "../" * (board.count("/") + 1)) if board else ("boards.html", "")
    return render(
        "kt3d_bench.leaderboard.site", template, own="turning" if page.samples else "", page=page, root=root,
        entries_folder=ENTRIES, csv=CSV, json=JSON, model_index=MODEL_INDEX, about=about or About(), bibtex=BIBTEX,
        verbatim=verbatim,
    )  # fmt: skip


def board_page(
    board: str,
    benchmark: Benchmark,
    entries: Sequence[Entry],
    published: Published | None = None,
    samples: ShownSamples | None = None,
) -> SimpleNamespace:
    """Return what stands on a board's page.

    Charts and the section on domains show the first group of comparable rows, the newest and largest: the first rows of
    its tracks where there are many.
    """
    groups = ranked_groups(entries, benchmark)
    answers = [answer(group, benchmark) for group in groups]
    tables = [measured_table(group, benchmark, found) for group, found in zip(groups, answers, strict=True)]
    ranked_by = METRICS[benchmark.headline[0]]
    names = full_names(groups[0].rows) if groups else {}
    named = [(row_id(row), names[row_id(row)], row) for row in _drawn(groups[0])] if groups else []
    curves, curves_missing = _curves(named)
    folds = {title: _heat(f"By {title}", named, fold, ranked_by) for fold, title in FOLDS.items()}
    reported = None if published is None else reported_table(published.rows, benchmark)
    ablation = reported_table(published.ablation, benchmark) if published and published.ablation else None
    levels = {row.level for table in tables for row in table.rows}
    levels |= {level for _, level, _ in (reported.rows if reported else ())}
    return SimpleNamespace(
        board=board,
        benchmark=benchmark,
        generated=board.startswith(f"{GENERATED}/"),
        ranked_by=ranked_by,
        lead=_lead(benchmark),
        protocol=_protocol(benchmark),
        columns=metric_columns(benchmark),
        whole=sum(len(group.rows) for group in groups) <= _MOST_WHOLE,
        not_drawn=len(groups[0].rows) - len(named) if groups else 0,
        tables=tables,
        answer=answers[0] if answers else None,
        command=row_command(answers[0].first.entry) if answers and answers[0].first else "",
        samples=turning(board, samples, groups),
        matrices=[_matrix(title, rows, ranked_by.name) for title, rows in _compared(groups)],
        levels=sorted(levels - {""}),
        curves=curves,
        curves_missing=curves_missing,
        by_joint=_heat("By joint", named, "by_joint", ranked_by, order=H36M17.joints),
        folds=[one for one in folds.values() if one is not None],
        folds_missing=[title for title, one in folds.items() if one is None] if named else [],
        steps=_steps(groups, benchmark),
        published=published,
        reported=reported,
        reported_title=REPORTED_TITLE,
        ablation=ablation,
        notes=notes_on(benchmark, groups),
        methods=sorted({entry.method for entry in entries}),
    )


def index_page(
    boards: Mapping[str, Sequence[Entry]],
    benchmarks: Mapping[str, Benchmark],
    published: Mapping[str, Published],
    about: About | None = None,
    samples: Mapping[str, ShownSamples] | None = None,
) -> SimpleNamespace:
    """Return the first answer, the samples of its board, else of the first that has some, every board in one line, real
    ones first, the grids of sources and targets, and what is installed."""
    lines, steps, ranked, about = [], {}, [], about or About()
    for board in sorted(boards):
        benchmark = benchmarks[board.removeprefix(f"{GENERATED}/")]
        groups = ranked_groups(boards[board], benchmark)
        lines.append(_line(board, benchmark, boards[board], groups, published.get(benchmark.id)))
        steps[board] = (benchmark, _steps(groups, benchmark))
        ranked.append((board, benchmark, groups))
    ranked.sort(key=lambda one: one[0].startswith(f"{GENERATED}/"))
    grids = (_grid(steps, generated=generated) for generated in (False, True))
    lead = next((one for one in (_lead_board(*board) for board in ranked) if one is not None), None)
    shown = [turning(board, (samples or {}).get(board), groups) for board, _, groups in ranked]
    shown.sort(key=lambda one: one is None or lead is None or one.board != lead.board)
    return SimpleNamespace(
        real=[line for line in lines if not line.generated],
        generated=[line for line in lines if line.generated],
        grids=[grid for grid in grids if grid is not None],
        lead=lead,
        samples=next((one for one in shown if one is not None), None),
        strip=embedded(strip()),
        datasets=dataset_cards(about),
        methods=method_cards(about, ranked),
    )


def _lead_board(board: str, benchmark: Benchmark, groups: Sequence[RankedGroup]) -> SimpleNamespace | None:
    """The answer and the forest plot of a board that can say what adaptation gains; ``None`` for any other."""
    found = answer(groups[0], benchmark) if groups else None
    if found is None or found.first is None or found.floor is None:
        return None
    drawing = forest(groups[0], benchmark, found)
    return SimpleNamespace(
        board=board,
        benchmark=benchmark,
        generated=board.startswith(f"{GENERATED}/"),
        text=found.text,
        command=row_command(found.first.entry),
        compared=bool(_compared(groups)),
        picture=embedded(forest_text(drawing).encode(), "svg+xml") if drawing else "",
    )


def _drawn(group: RankedGroup) -> list[Row]:
    """At most ``_MOST_DRAWN`` rows, the first of every track, in the order of the group."""
    places = {id(row): place for _, rows in group.tracks for place, row in enumerate(rows)}
    kept = {id(row) for row in sorted(group.rows, key=lambda row: places[id(row)])[:_MOST_DRAWN]}
    return [row for row in group.rows if id(row) in kept]


def _compared(groups: Sequence[RankedGroup]) -> list[tuple[str, list[Row]]]:
    """The ranked rows of the first group by track, where at least two can be compared."""
    tracks = groups[0].tracks if groups else ()
    ranked = [(TRACK_TITLES[track], [row for row in rows if row.rank is not None]) for track, rows in tracks]
    return [(title, rows) for title, rows in ranked if len(rows) > 1]


def _matrix(title: str, rows: Sequence[Row], metric: str) -> SimpleNamespace:
    """Differences row - column of the best ``_MOST_COMPARED`` rows of a track, as texts."""
    shown = rows[:_MOST_COMPARED]
    names, lower = full_names(rows), METRICS[metric].better == "lower"
    lines = []
    for row, cells in zip(shown, pairs(shown, metric), strict=True):
        texts = []
        for cell in cells:
            if cell is None:
                texts.append(("", "", ""))
                continue
            value, (low, high) = cell
            kind = "" if low <= 0 <= high else "better" if (high < 0) == lower else "worse"
            texts.append((f"{value:+.1f}", f"[{low:.1f}, {high:.1f}]", kind))
        lines.append((row_id(row), names[row_id(row)], texts))
    return SimpleNamespace(title=title, lines=lines, left_out=len(rows) - len(shown))


def _heat(
    title: str, named: Sequence[tuple[str, str, Row]], fold: str, metric: Metric, order: Sequence[str] = ()
) -> SimpleNamespace | None:
    rows = [(identity, name, fold_values(row, fold, metric.name)) for identity, name, row in named]
    return heat(title, rows, metric.unit, lower_is_better=metric.better == "lower", order=order)


def _curves(named: Sequence[tuple[str, str, Row]]) -> tuple[list[SimpleNamespace], list[str]]:
    """The curves, and the names of rows without one."""
    found: list[SimpleNamespace] = []
    missing: list[str] = []
    for identity, name, row in named:
        shares = pck_shares(row)
        if shares is None:
            missing.append(name)
        else:
            found.append(curve(identity, name, shares, len(found) if len(found) < TONES else None))
    return found, missing


def _lead(benchmark: Benchmark) -> str:
    metric = METRICS[benchmark.headline[0]]
    where = "of absolute positions"
    if benchmark.root is not None:
        where = f"after both poses are moved so that the {spoken(H36M17.joints[benchmark.root])} is at the origin"
    return f"A method sees {benchmark.sees}. Rows are ranked by {metric.title} {where}; {metric.better} is better."


def _protocol(benchmark: Benchmark) -> dict[str, str]:
    """What a number on this board means, each as one sentence."""
    headline = METRICS[benchmark.headline[0]]
    if benchmark.modality != "depth":
        foreground = "No depth image is given."
    elif benchmark.foreground == "given":
        foreground = "The depth image shows nothing but the person."
    else:
        foreground = f"Rule '{benchmark.foreground}', which reads the depth image and no label."
    alignment = "None: absolute positions in the camera's frame."
    if benchmark.root is not None:
        alignment = f"Both poses are moved so that the {spoken(H36M17.joints[benchmark.root])} is at the origin."
    return {
        "A method sees": f"{capital(benchmark.sees)}.",
        "Ranked by": f"{headline.title}, {headline.better} is better.",
        "Alignment": alignment,
        "Reference depth": f"{capital(REFERENCES[benchmark.reference])}.",
        "Person boxes": _BOXES[benchmark.box_rule],
        "Foreground": foreground,
        "Checkpoint": _SELECTION[benchmark.selection_rule],
        "Joints": f"{len(benchmark.joints)}, whose mapping is at least {benchmark.min_quality}.",
    }


def _steps(groups: Sequence[RankedGroup], benchmark: Benchmark) -> list[SimpleNamespace]:
    """The rows of the section on domains."""
    if not groups:
        return []
    names, metric, drawn = full_names(groups[0].rows), benchmark.headline[0], _drawn(groups[0])
    return [_step(one, names[row_id(one.row)], metric) for one in transfers(groups[0], benchmark, drawn)]


def _step(one: Transfer, name: str, metric: str) -> SimpleNamespace:
    def shown(row: Row) -> str:
        value = row.value(metric)
        return "undefined" if value is None else f"{value:.1f}"

    percent = None if one.closed is None else 100 * one.closed
    return SimpleNamespace(
        row=row_id(one.row),
        name=name,
        labels_seen=one.row.entry.flags.target_labels_seen,
        kind=one.kind,
        sources=one.sources,
        sources_text=sources_text(one.sources),
        value=shown(one.row),
        start="" if one.unadapted is None else f"{row_name(one.unadapted)} {shown(one.unadapted)}",
        end="" if one.oracle is None else f"{row_name(one.oracle)} {shown(one.oracle)}",
        closed=one.closed,
        why_undefined=one.why_undefined,
        percent="" if percent is None else f"{percent:.0f} %",
        interval="" if one.interval is None else f"[{100 * one.interval[0]:.0f}, {100 * one.interval[1]:.0f}]",
        filled=min(100.0, max(0.0, percent or 0.0)),
    )


def _line(
    board: str,
    benchmark: Benchmark,
    entries: Sequence[Entry],
    groups: Sequence[RankedGroup],
    published: Published | None,
) -> SimpleNamespace:
    """One board on the index."""
    return SimpleNamespace(
        board=board,
        benchmark=benchmark,
        generated=board.startswith(f"{GENERATED}/"),
        rows=sum(len(group.rows) for group in groups),
        entries=len(entries),
        answer=answer(groups[0], benchmark).text if groups else "",
        reported=_best_reported(published, METRICS[benchmark.headline[0]]),
        search=f"{board} {benchmark.title} {benchmark.dataset} {benchmark.modality}".lower(),
    )


def _best_reported(published: Published | None, metric: Metric) -> str:
    """The best reported value whose protocol is known to be the benchmark's, with its method."""
    reported = () if published is None else published.rows
    scores = ((row.scores.get(metric.name), row.method) for row in reported if row.comparable and row.protocol)
    rows = [(value, method) for value, method in scores if value is not None]
    if not rows:
        return ""
    value, method = (min if metric.better == "lower" else max)(rows)
    return f"{reported_value(value, metric.name)} {metric.unit}, {method}"


def _grid(boards: Mapping[str, tuple[Benchmark, list[SimpleNamespace]]], *, generated: bool) -> SimpleNamespace | None:
    """Sources by targets, of boards that test on data of one origin; ``None`` where no row names its training data."""
    chosen = {}
    for board, (benchmark, steps) in boards.items():
        stated = [step for step in steps if step.kind != "not stated"]
        if stated and board.startswith(f"{GENERATED}/") == generated:
            chosen[board] = (benchmark, stated)
    if not chosen:
        return None
    sources = sorted({step.sources for _, steps in chosen.values() for step in steps}, key=lambda one: (not one, one))
    lines = []
    for source in sources:
        cells = [
            _grid_cell(board, [step for step in steps if step.sources == source])
            for board, (_, steps) in chosen.items()
        ]
        lines.append((sources_text(source), cells))
    targets = [(board, one.id, METRICS[one.headline[0]].title) for board, (one, _) in chosen.items()]
    return SimpleNamespace(generated=generated, targets=targets, lines=lines)


def _grid_cell(board: str, steps: Sequence[SimpleNamespace]) -> SimpleNamespace:
    """At most ``_MOST_STEPS`` steps; those whose share of the gap is undefined are left out first."""
    first = sorted(steps, key=lambda step: step.kind == "adapted" and step.closed is None)[:_MOST_STEPS]
    shown = [step for step in steps if step in first]
    return SimpleNamespace(board=board, steps=shown, left_out=max(0, len(steps) - _MOST_STEPS))


def sources_text(sources: Sequence[tuple[str, str]]) -> str:
    words = [dataset if origin == "official" else f"{dataset} (stand-in)" for dataset, origin in sources]
    return " + ".join(words) or "no source"
