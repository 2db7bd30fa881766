"""What stands on each page, as records for the templates: pure functions of entries, benchmarks and reported rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from kt3d_bench.leaderboard.entries import GENERATED, Entry
from kt3d_bench.leaderboard.ranking import RankedGroup, Row, ranked_groups
from kt3d_bench.leaderboard.site.charts import TONES, Bar, Curve, Heat, bar, bar_scale, curve, heat, pck_shares
from kt3d_bench.leaderboard.site.rows import (
    Column,
    MeasuredTable,
    ReportedTable,
    full_names,
    interval_text,
    measured_table,
    metric_columns,
    reported_table,
    row_id,
    row_name,
)
from kt3d_bench.leaderboard.transfer import Transfer, transfers
from kt3d_bench.leaderboard.words import REFERENCES, capital, notes_on, reported_value, supervision_name
from kt3d_bench.metrics.benchmarks import Benchmark, Published
from kt3d_bench.metrics.functional import METRICS, Metric
from kt3d_bench.skeletons import H36M17

FOLDS = (("by_action", "action"), ("by_subject", "subject"), ("by_camera", "camera"))
_BOXES = {
    "joints": "Around the projected joints: a label in disguise, as usual in the literature.",
    "mask": "Around the foreground of the image, without labels.",
    "detector": "From a person detector, without labels.",
}
_SELECTION = {
    "last": "The last checkpoint of a schedule fixed beforehand.",
    "source-validation": "The best on held-out source data.",
    "2d-validation": "The best on 2D labels of held-out data.",
    "oracle": "The best on labelled test data: an upper bound, not a result.",
}
_NO_SOURCE = "no source"
_MOST_STEPS = 10


@dataclass(frozen=True)
class Step:
    """One row of the section on domains."""

    row: str
    name: str
    labels_seen: str
    kind: str
    sources: tuple[tuple[str, str], ...]
    value: str
    start: str
    """Name and value of the method's row without data of the target."""
    end: str
    """Of its oracle."""
    closed: float | None
    why_undefined: str

    @property
    def percent(self) -> str:
        return "" if self.closed is None else f"{100 * self.closed:.0f} %"

    @property
    def filled(self) -> float:
        """0..100, what a bar shows of ``closed``."""
        return 0.0 if self.closed is None else min(100.0, max(0.0, 100 * self.closed))


@dataclass(frozen=True)
class BoardPage:
    board: str
    benchmark: Benchmark
    generated: bool
    entries: int
    ranked_by: Metric
    lead: str
    protocol: tuple[tuple[str, str], ...]
    columns: tuple[Column, ...]
    tables: tuple[MeasuredTable, ...]
    best: tuple[tuple[str, str, str], ...]
    """(row, name, value in words) of every row that shares the first rank."""
    levels: tuple[str, ...]
    curves: tuple[Curve, ...]
    curves_missing: tuple[str, ...]
    by_joint: Heat | None
    folds: tuple[Heat, ...]
    folds_missing: tuple[str, ...]
    """Folds that no entry holds."""
    steps: tuple[Step, ...]
    published: Published | None
    reported: ReportedTable | None
    ablation: ReportedTable | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class BoardLine:
    """One board on the index."""

    board: str
    benchmark: Benchmark
    generated: bool
    rows: int
    entries: int
    metric: Metric
    best: tuple[tuple[str, str], ...]
    """(name, supervision)."""
    value: str
    sort: str
    interval: str
    bar: Bar | None
    reported: str
    """Best value that the paper prints, with its method."""
    search: str


@dataclass(frozen=True)
class GridCell:
    board: str
    steps: tuple[Step, ...]
    left_out: int
    """Rows beyond ``_MOST_STEPS``, those first whose share of the gap is undefined."""


@dataclass(frozen=True)
class Grid:
    """Source by target, of boards that test on data of one origin."""

    origin: Literal["official", "generated"]
    targets: tuple[tuple[str, str, str], ...]
    """(board, benchmark, what is ranked by)."""
    lines: tuple[tuple[str, tuple[GridCell, ...]], ...]
    """(sources in words, one cell per target)."""


@dataclass(frozen=True)
class IndexPage:
    real: tuple[BoardLine, ...]
    generated: tuple[BoardLine, ...]
    grids: tuple[Grid, ...]


def board_page(
    board: str, benchmark: Benchmark, entries: Sequence[Entry], published: Published | None = None
) -> BoardPage:
    """Charts and the section on domains show the first group of comparable rows: the newest and largest."""
    groups = ranked_groups(entries, benchmark)
    tables = tuple(measured_table(group, benchmark) for group in groups)
    ranked_by = METRICS[benchmark.headline[0]]
    names = full_names(groups[0].rows) if groups else {}
    named = [(row_id(row), names[row_id(row)], row) for row in groups[0].rows] if groups else []
    curves, curves_missing = _curves(named)
    folds = {title: heat(f"By {title}", named, fold, ranked_by.name) for fold, title in FOLDS}
    reported = None if published is None else reported_table(published.rows, benchmark)
    return BoardPage(
        board=board,
        benchmark=benchmark,
        generated=board.startswith(f"{GENERATED}/"),
        entries=len(entries),
        ranked_by=ranked_by,
        lead=_lead(benchmark),
        protocol=_protocol(benchmark),
        columns=metric_columns(benchmark),
        tables=tables,
        best=tuple(
            (row_id(row), row_name(row), f"{supervision_name(row.entry)}: {interval_text(row, ranked_by.name)}")
            for row in _first(groups)
        ),
        levels=_levels(tables, reported),
        curves=curves,
        curves_missing=curves_missing,
        by_joint=heat("By joint", named, "by_joint", ranked_by.name, order=H36M17.joints),
        folds=tuple(one for one in folds.values() if one is not None),
        folds_missing=tuple(title for title, one in folds.items() if one is None) if named else (),
        steps=_steps(groups, benchmark),
        published=published,
        reported=reported,
        ablation=reported_table(published.ablation, benchmark)
        if published is not None and published.ablation
        else None,
        notes=tuple(notes_on(benchmark, groups)),
    )


def index_page(
    boards: Mapping[str, Sequence[Entry]], benchmarks: Mapping[str, Benchmark], published: Mapping[str, Published]
) -> IndexPage:
    """Every board in one line, real ones first, and the grids of sources and targets."""
    lines, steps = [], {}
    for board in sorted(boards):
        benchmark = benchmarks[board.removeprefix(f"{GENERATED}/")]
        groups = ranked_groups(boards[board], benchmark)
        lines.append(_line(board, benchmark, boards[board], groups, published.get(benchmark.id)))
        steps[board] = (benchmark, _steps(groups, benchmark))
    return IndexPage(
        tuple(line for line in lines if not line.generated),
        tuple(line for line in lines if line.generated),
        tuple(grid for grid in (_grid("official", steps), _grid("generated", steps)) if grid is not None),
    )


def _first(groups: Sequence[RankedGroup]) -> list[Row]:
    return [row for row in groups[0].rows if row.rank == 1] if groups else []


def _curves(named: Sequence[tuple[str, str, Row]]) -> tuple[tuple[Curve, ...], tuple[str, ...]]:
    found: list[Curve] = []
    missing: list[str] = []
    for identity, name, row in named:
        shares = pck_shares(row)
        if shares is None:
            missing.append(name)
            continue
        found.append(curve(identity, name, shares, len(found) if len(found) < TONES else None))
    return tuple(found), tuple(missing)


def _levels(tables: Sequence[MeasuredTable], reported: ReportedTable | None) -> tuple[str, ...]:
    measured = {row.level for table in tables for row in table.rows}
    return tuple(sorted(measured | {level for _, level, _ in (reported.rows if reported else ())} - {""}))


def _lead(benchmark: Benchmark) -> str:
    metric = METRICS[benchmark.headline[0]]
    where = "of absolute positions"
    if benchmark.root is not None:
        where = f"after both poses are moved so that the {_joint(benchmark.root)} is at the origin"
    return f"A method sees {benchmark.sees}. Rows are ranked by {metric.title} {where}; {metric.better} is better."


def _joint(index: int) -> str:
    return H36M17.joints[index].replace("_", " ")


def _protocol(benchmark: Benchmark) -> tuple[tuple[str, str], ...]:
    """What a number on this board means, each as one sentence."""
    headline = METRICS[benchmark.headline[0]]
    if benchmark.modality != "depth":
        foreground = "No depth image is given."
    elif benchmark.foreground == "given":
        foreground = "The depth image holds the person alone."
    else:
        foreground = f"Rule '{benchmark.foreground}', which reads the depth image and no label."
    return (
        ("A method sees", f"{capital(benchmark.sees)}."),
        ("Ranked by", f"{headline.title}, {headline.better} is better."),
        (
            "Alignment",
            "None: absolute positions in the camera's frame."
            if benchmark.root is None
            else f"Both poses are moved so that the {_joint(benchmark.root)} is at the origin.",
        ),
        ("Reference depth", f"{capital(REFERENCES[benchmark.reference])}."),
        ("Person boxes", _BOXES[benchmark.box_rule]),
        ("Foreground", foreground),
        ("Checkpoint", _SELECTION[benchmark.selection_rule]),
        ("Joints", f"{len(benchmark.joints)}, whose mapping is at least {benchmark.min_quality}."),
    )


def _steps(groups: Sequence[RankedGroup], benchmark: Benchmark) -> tuple[Step, ...]:
    names = full_names(groups[0].rows) if groups else {}
    return tuple(_step(one, names, benchmark.headline[0]) for one in transfers(groups[0], benchmark)) if groups else ()


def _step(one: Transfer, names: Mapping[str, str], metric: str) -> Step:
    return Step(
        row=row_id(one.row),
        name=names[row_id(one.row)],
        labels_seen=one.row.entry.flags.target_labels_seen,
        kind=one.kind,
        sources=one.sources,
        value=_shown(one.row, metric),
        start="" if one.unadapted is None else f"{row_name(one.unadapted)} {_shown(one.unadapted, metric)}",
        end="" if one.oracle is None else f"{row_name(one.oracle)} {_shown(one.oracle, metric)}",
        closed=one.closed,
        why_undefined=one.why_undefined,
    )


def _shown(row: Row, metric: str) -> str:
    value = row.value(metric)
    return "undefined" if value is None else f"{value:.1f}"


def _line(
    board: str,
    benchmark: Benchmark,
    entries: Sequence[Entry],
    groups: Sequence[RankedGroup],
    published: Published | None,
) -> BoardLine:
    metric, first = METRICS[benchmark.headline[0]], _first(groups)
    generated = board.startswith(f"{GENERATED}/")
    rows = groups[0].rows if groups else ()
    value = first[0].value(metric.name) if first else None
    return BoardLine(
        board=board,
        benchmark=benchmark,
        generated=generated,
        rows=sum(len(group.rows) for group in groups),
        entries=len(entries),
        metric=metric,
        best=tuple((row_name(row), supervision_name(row.entry)) for row in first),
        value="" if value is None else f"{value:.1f}",
        sort="" if value is None else f"{value:.6f}",
        interval=interval_text(first[0], metric.name) if first else "",
        bar=bar(first[0], metric.name, bar_scale(rows, metric.name)) if first else None,
        reported=_best_reported(published, metric),
        search=f"{board} {benchmark.title} {benchmark.dataset} {benchmark.modality}".lower(),
    )


def _best_reported(published: Published | None, metric: Metric) -> str:
    rows = [] if published is None else [
        (value, row.method) for row in published.rows if (value := row.scores.get(metric.name)) is not None
    ]  # fmt: skip
    if not rows:
        return ""
    value, method = (min if metric.better == "lower" else max)(rows)
    return f"{reported_value(value, metric.name)} {metric.unit}, {method}"


def _grid(
    origin: Literal["official", "generated"], boards: Mapping[str, tuple[Benchmark, tuple[Step, ...]]]
) -> Grid | None:
    """``None`` where no row on boards of that origin says what it was trained on."""
    chosen = {
        board: (benchmark, [step for step in steps if step.kind != "not stated"])
        for board, (benchmark, steps) in boards.items()
        if board.startswith(f"{GENERATED}/") == (origin == "generated")
    }
    chosen = {board: found for board, found in chosen.items() if found[1]}
    sources = sorted({step.sources for _, steps in chosen.values() for step in steps}, key=lambda one: (not one, one))
    if not chosen:
        return None
    return Grid(
        origin,
        tuple((board, benchmark.id, METRICS[benchmark.headline[0]].title) for board, (benchmark, _) in chosen.items()),
        tuple(
            (
                sources_text(source),
                tuple(
                    _grid_cell(board, [step for step in steps if step.sources == source])
                    for board, (_, steps) in chosen.items()
                ),
            )
            for source in sources
        ),
    )


def _grid_cell(board: str, steps: Sequence[Step]) -> GridCell:
    first = sorted(steps, key=lambda step: step.kind == "adapted" and step.closed is None)[:_MOST_STEPS]
    return GridCell(board, tuple(step for step in steps if step in first), max(0, len(steps) - _MOST_STEPS))


def sources_text(sources: Sequence[tuple[str, str]]) -> str:
    words = [dataset if origin == "official" else f"{dataset} (stand-in)" for dataset, origin in sources]
    return " + ".join(words) or _NO_SOURCE
