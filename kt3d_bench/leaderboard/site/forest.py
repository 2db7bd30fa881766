"""The forest plot of a board as one drawing of its own, for pages that are not the board: who leads, by how much."""

from __future__ import annotations

from types import SimpleNamespace

from kt3d_bench.leaderboard.answer import Answer
from kt3d_bench.leaderboard.ranking import RankedGroup, Row
from kt3d_bench.leaderboard.site.rows import row_bar, row_name, shared_scale
from kt3d_bench.leaderboard.wording import TRACK_TITLES
from kt3d_bench.metrics.benchmarks import Benchmark
from kt3d_bench.metrics.functional import METRICS
from kt3d_bench.web.charts import bar_place, ticks
from kt3d_bench.web.page import render

FOREST = "forest.svg"
_TRACKS = ("none", "all")


def forest(group: RankedGroup, benchmark: Benchmark, found: Answer) -> SimpleNamespace | None:
    """Return the drawing of one group: of every method the best ranked row without and with all labels of the target.

    Where nothing is ranked it is ``None``: a drawing invites to compare. Places are in % of the drawing's width, as
    on the board; rows and headings have their ``line`` from the top.
    """
    metric = METRICS[benchmark.headline[0]]
    tracks = [(track, _best(rows)) for track, rows in group.tracks if track in _TRACKS]
    rows = [row for _, own in tracks for row in own]
    scale = shared_scale(rows, metric.name)
    if scale is None:
        return None
    lines, line = [], 0
    for track, own in tracks:
        if own:
            lines.append(SimpleNamespace(line=line, title=TRACK_TITLES[track], row=None))
            line += 1
        for row in own:
            value = row.value(metric.name)
            shown = SimpleNamespace(
                line=line, title="", row=row, name=row_name(row), bar=row_bar(row, metric.name, scale),
                text=f"{value:.1f}", interval=row.interval(metric.name),
            )  # fmt: skip
            lines.append(shown)
            line += 1
    ends = [(kind, row.value(metric.name)) for kind, row in (("floor", found.floor), ("ceiling", found.ceiling)) if row]
    return SimpleNamespace(
        title=f"{metric.title}, {metric.unit}, with 95 % intervals over clips",
        lines=lines,
        count=line,
        ticks=ticks(scale),
        marks=[(kind, bar_place(scale, value)) for kind, value in ends if value is not None],
    )


def forest_text(drawing: SimpleNamespace) -> str:
    """Return the drawing as an SVG file: its text is escaped, its colours follow the reader's light or dark scheme."""
    return render("kt3d_bench.leaderboard.site", FOREST, drawing=drawing)


def _best(rows: tuple[Row, ...]) -> list[Row]:
    """The best ranked row of every method and title, best first."""
    found: dict[str, Row] = {}
    for row in rows:
        if row.rank is not None:
            found.setdefault(row_name(row), row)
    return list(found.values())
