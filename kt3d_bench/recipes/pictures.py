"""What a recipe's finished runs look like: poses over test images, and error against the number of labelled joints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kt3d_bench.geometry.cameras import project_arrays
from kt3d_bench.hookspecs import Recipe, RecipePicture
from kt3d_bench.leaderboard.ranking import Row
from kt3d_bench.leaderboard.words import column
from kt3d_bench.pictures import Panel, comparison
from kt3d_bench.recipes.reproduce import Outcome
from kt3d_bench.recipes.tables import benchmarks, measured
from kt3d_bench.scoring.benchmarks import Benchmark
from kt3d_bench.scoring.predictions import join, read_predictions
from kt3d_bench.shards.reader import ShardSet

SAMPLES_SHOWN = 4
_INK, _QUIET = "#1a4f8a", "#8a5a1a"


def draw(recipe: Recipe, outcomes: Sequence[Outcome], folder: Path) -> list[Path]:
    """The recipe's pictures, as far as finished rows allow: ``<folder>/<recipe>-<kind>-<benchmark>.png``."""
    written = []
    for picture in recipe.pictures:
        for name, benchmark in benchmarks(outcomes).items():
            own = [one for one in outcomes if one.result.benchmark.id == name]
            path = folder / f"{recipe.name}-{picture.kind}-{name}.png"
            if picture.kind == "poses":
                chosen = [one for one in own if not picture.rows or one.label in picture.rows]
                written += [poses(path, chosen)] if chosen else []
            else:
                drawn = joints(path, picture, own, benchmark)
                written += [drawn] if drawn is not None else []
    return written


def poses(path: Path, outcomes: Sequence[Outcome]) -> Path:
    """Test images, spread evenly over the test set, with the true skeleton and that of each row's first seed."""
    first = {one.label: one for one in reversed(outcomes)}
    chosen = [first[name] for name in dict.fromkeys(one.label for one in outcomes)]
    benchmark = chosen[0].result.benchmark
    shards = ShardSet.open(chosen[0].job.config.shards["target"], benchmark.split)
    shown = np.linspace(0, len(shards) - 1, SAMPLES_SHOWN).astype(int)
    field = "rgb" if "rgb" in shards.modalities else "depth_mm"
    images = [shards.image(int(index), field) for index in shown]
    listed = [("image", np.full((len(shown), 17, 3), np.nan)), ("truth", shards.labels.joints_cam_mm[shown])]
    for outcome in chosen:
        predicted, _, _ = join(read_predictions(outcome.result.predictions), shards.keys)
        listed.append((_title(outcome), predicted[shown]))
    labels = shards.labels
    pixels = [
        project_arrays(labels.intrinsics_px[shown], labels.distortion[shown], shards.tangential_factor, joints)
        for _, joints in listed
    ]
    rows = [
        [
            Panel(title, images[sample], pixels[number][sample], joints[sample] - joints[sample, :1])
            for number, (title, joints) in enumerate(listed)
        ]
        for sample in range(len(shown))
    ]
    return comparison(path, rows)


def _title(outcome: Outcome) -> str:
    row = outcome.job.row
    headline = outcome.result.scores.overall[outcome.result.benchmark.headline[0]]
    words = [row.label] if row.label else [row.method, " ".join([row.supervision, *map(str, row.settings.values())])]
    return "\n".join([*words, f"{headline:.0f} mm"])


def joints(path: Path, picture: RecipePicture, outcomes: Sequence[Outcome], benchmark: Benchmark) -> Path | None:
    """Headline error over the number of joints with labels, with 95 % intervals over clips and the standard deviation
    over seeds; reference rows as level lines. ``None`` without a row to draw."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    metric = benchmark.headline[0]
    rows = measured(outcomes, benchmark.id)
    drawn = {name: pair for name, pair in rows.items() if not picture.rows or name in picture.rows}
    points = sorted(
        ((row.joints, found) for name, (row, found) in drawn.items()
         if name not in picture.reference and found.value(metric) is not None),
        key=lambda point: point[0],
    )  # fmt: skip
    if not points:
        return None
    figure, axes = pyplot.subplots(figsize=(5.6, 3.8))
    counts, values, around = _series(points, metric)
    axes.errorbar(
        counts, values, yerr=around, color=_INK, marker="o", markersize=5, capsize=4, linewidth=1.8, label=picture.title
    )
    for count, mean in zip(counts, values, strict=True):
        axes.annotate(f"{mean:.1f}", (count, mean), textcoords="offset points", xytext=(7, 6), fontsize=8)
    for number, name in enumerate(picture.reference):
        value = rows[name][1].value(metric) if name in rows else None
        if value is not None:
            axes.axhline(value, color=_QUIET, linestyle=("--", ":", "-.")[number % 3], linewidth=1.1)
            axes.annotate(f"{name}  {value:.1f}", (17.4, value), fontsize=8, color=_QUIET, ha="right",
                          va="bottom", textcoords="offset points", xytext=(0, 2))  # fmt: skip
    stand_in = any(one.result.entry.origin != "official" for one in outcomes)
    axes.set_title(f"{picture.title}\n{'generated stand-in of ' if stand_in else ''}{benchmark.id}", fontsize=9)
    axes.set_xlabel("joints with labels")
    axes.set_ylabel(column(metric))
    axes.set_xticks(counts)
    axes.set_xlim(0.3, 17.7)
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160)
    pyplot.close(figure)
    return path


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
