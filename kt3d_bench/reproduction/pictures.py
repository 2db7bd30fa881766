"""Pictures of a recipe's finished runs: poses over test images, and error against the number of labelled joints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kt3d_bench.drawing import comparison, new_figure, save
from kt3d_bench.leaderboard.ranking import Row
from kt3d_bench.leaderboard.wording import column
from kt3d_bench.metrics.benchmarks import Benchmark
from kt3d_bench.metrics.predictions import join, read_predictions
from kt3d_bench.metrics.truth import open_test
from kt3d_bench.plugins.hookspecs import Recipe, RecipePicture
from kt3d_bench.reproduction.runs import Outcome
from kt3d_bench.reproduction.tables import benchmarks, measured

SAMPLES_SHOWN = 4
_QUIET = "#6b6b6b"
_COLOURS = ("#1f5fa8", "#c4651a", "#2e8b57")
_CURVES = {"partial": "2D and 3D labels", "partial-2d": "2D labels", "partial-3d": "3D labels"}


def draw(recipe: Recipe, outcomes: Sequence[Outcome], folder: Path) -> list[Path]:
    """Write the recipe's pictures, as far as finished rows allow: ``<folder>/<recipe>-<kind>-<benchmark>.png``."""
    written = []
    for picture in recipe.pictures:
        for name, benchmark in benchmarks(outcomes).items():
            own = [one for one in outcomes if one.result.benchmark.id == name]
            path = folder / f"{recipe.name}-{picture.kind}-{name}.png"
            if picture.kind == "poses":
                order = picture.rows or tuple(one.label for one in own)
                chosen = sorted((one for one in own if one.label in order), key=lambda one: order.index(one.label))
                written += [poses(path, chosen)] if chosen else []
            else:
                drawn = joints(path, picture, own, benchmark)
                written += [drawn] if drawn is not None else []
    return written


def poses(path: Path, outcomes: Sequence[Outcome]) -> Path:
    """Draw test images, spread evenly over the test set, with the true pose and that of each row's first seed."""
    first = {one.label: one for one in reversed(outcomes)}
    chosen = [first[name] for name in dict.fromkeys(one.label for one in outcomes)]
    shards = open_test(chosen[0].result.benchmark, chosen[0].job.config.shards["target"])
    shown = np.linspace(0, len(shards) - 1, SAMPLES_SHOWN).astype(int)
    columns = [("image", None), ("truth", shards.labels.joints_cam_mm[shown])]
    for outcome in chosen:
        predicted, _, _ = join(read_predictions(outcome.result.predictions), shards.keys)
        columns.append((_title(outcome), predicted[shown]))
    return comparison(path, [shards.sample(int(index)) for index in shown], columns)


def _title(outcome: Outcome) -> str:
    row = outcome.job.row
    headline = outcome.result.scores.overall[outcome.result.benchmark.headline[0]]
    words = [row.label] if row.label else [row.method, " ".join([row.supervision, *map(str, row.settings.values())])]
    return "\n".join([*words, f"{headline:.0f} mm"])


def joints(path: Path, picture: RecipePicture, outcomes: Sequence[Outcome], benchmark: Benchmark) -> Path | None:
    """Draw the headline error over the number of joints with labels, one curve per kind of label, with 95 % intervals
    over clips; reference rows as horizontal lines. Return ``None`` without a row to draw."""
    metric = benchmark.headline[0]
    rows = measured(outcomes, benchmark.id)
    curves: dict[str, list[tuple[int, Row]]] = {}
    for name, (row, found) in rows.items():
        if name in picture.reference or (picture.rows and name not in picture.rows) or found.value(metric) is None:
            continue
        curves.setdefault(_CURVES.get(row.supervision, row.supervision), []).append((row.joints, found))
    if not curves:
        return None
    figure = new_figure(5.6, 3.8)
    axes = figure.subplots()
    for number, (title, points) in enumerate(curves.items()):
        counts, values, around = _series(sorted(points, key=lambda point: point[0]), metric)
        aside = [count + 0.14 * (number - (len(curves) - 1) / 2) for count in counts]
        style: dict[str, Any] = {"color": _COLOURS[number % 3], "marker": "osD"[number % 3], "label": title}
        axes.errorbar(aside, values, yerr=around, markersize=4.5, capsize=3, linewidth=1.6, elinewidth=1.0, **style)
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize=8)
    for number, name in enumerate(picture.reference):
        value = rows[name][1].value(metric) if name in rows else None
        if value is not None:
            axes.axhline(value, color=_QUIET, linestyle=("--", ":", "-.")[number % 3], linewidth=1.1)
            axes.annotate(f"{name}  {value:.1f}", (9, value), fontsize=8, color=_QUIET, ha="center",
                          va="bottom", textcoords="offset points", xytext=(0, 2))  # fmt: skip
    stand_in = any(one.result.entry.origin != "official" for one in outcomes)
    axes.set_title(f"{picture.title}\n{'generated stand-in of ' if stand_in else ''}{benchmark.id}", fontsize=9)
    axes.set_xlabel("joints with labels")
    axes.set_ylabel(column(metric))
    axes.set_xticks(sorted({count for points in curves.values() for count, _ in points}))
    axes.set_xlim(0.3, 17.7)
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    return save(figure, path, dpi=160)


def _series(points: Sequence[tuple[int, Row]], metric: str) -> tuple[list[int], list[float], list[list[float]]]:
    """Joints, values, and how far the interval reaches below and above each."""
    counts, values, below, above = [], [], [], []
    for count, row in points:
        value = row.value(metric)
        assert value is not None
        low, high = row.interval(metric) or (value, value)
        counts.append(count)
        values.append(value)
        below.append(max(0.0, value - low))
        above.append(max(0.0, high - value))
    return counts, values, [below, above]
