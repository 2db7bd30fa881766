"""``kt3d demo``: the whole line on generated stand-ins, in minutes, without a download or a GPU.

Runs a recipe, by default the one called ``demo``: generates and prepares the datasets its rows need, trains, predicts
and scores every row with the preset ``tiny``, renders the boards, draws true and predicted skeletons over their
images, and writes the report of each board's last row.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kt3d_bench import plugins, results
from kt3d_bench.console import PrepareReport, ProgressReport, TrainReport, console
from kt3d_bench.errors import UsageError
from kt3d_bench.geometry.cameras import project_arrays
from kt3d_bench.hookspecs import DatasetPlugin, RecipeRow
from kt3d_bench.leaderboard.tables import terminal_table
from kt3d_bench.pictures import Panel, comparison
from kt3d_bench.results import Result
from kt3d_bench.run_report.build import write_report
from kt3d_bench.scoring.predictions import join, read_predictions
from kt3d_bench.shards.reader import ShardSet
from kt3d_bench.training.sources import domain

PRESET = "tiny"
FULL_BUDGET_MINUTES = 7.0
"""Training time for which the methods' own time budgets are meant."""
BUDGET_MINUTES = 6.0
"""Training time by default: with installation and data the whole stays below ten minutes on two cores."""
SEED = 0
MARK = "kt3d-demo.txt"
SAMPLES_SHOWN = 4


@dataclass(frozen=True)
class Outcome:
    """One finished row of the demo."""

    row: RecipeRow
    result: Result


def run_demo(
    out: Path, *, recipe: str = "demo", budget_minutes: float = BUDGET_MINUTES, workers: int | None = None
) -> list[Outcome]:
    """Run a recipe below ``out`` and say where everything is.

    What a demo generated and prepared before is used again; runs, trained stages and boards are made anew, so that
    the numbers always come from this call. Raises whatever the parts raise.
    """
    began = time.monotonic()
    say = console()
    rows = plugins.recipe(recipe).rows
    _make_room(out)
    for name in _datasets(rows):
        _stand_in(plugins.dataset(name), out, workers or os.cpu_count() or 1)
    ready = time.monotonic()
    outcomes = [_row(row, out, budget_minutes / FULL_BUDGET_MINUTES) for row in rows]
    for board in dict.fromkeys(outcome.result.entry.board for outcome in outcomes):
        last = next(outcome.result for outcome in reversed(outcomes) if outcome.result.entry.board == board)
        say.print(terminal_table(last.benchmark, last.board_entries(), width=say.width))
    pictures = draw(outcomes, out / "pictures")
    reports = [write_report(run) for run in _last_runs(outcomes)]
    say.print(f"Data took {ready - began:.0f} s, training and scoring {time.monotonic() - ready:.0f} s.", markup=False)
    say.print(f"Boards: {out / 'leaderboards' / 'index.html'}", markup=False)
    for picture in pictures:
        say.print(f"Picture: {picture}", markup=False)
    for path in reports:
        say.print(f"Report of a run: {path} (kt3d report writes it for any other)", markup=False)
    say.print(
        "These numbers are of generated stand-ins. For the real data: kt3d list, then kt3d prepare.", markup=False
    )
    return outcomes


def _last_runs(outcomes: Sequence[Outcome]) -> list[Path]:
    """The folder of each board's last row."""
    last = {outcome.result.entry.board: outcome.result.predictions.parent.parent for outcome in outcomes}
    return list(last.values())


def _make_room(out: Path) -> None:
    """Clear what an earlier demo trained. Raises ``UsageError`` when such things are there and no demo made them."""
    made_anew = ("runs", "stages", "leaderboards", "pictures")
    present = [name for name in made_anew if (out / name).exists()]
    if present and not (out / MARK).exists():
        raise UsageError(
            f"holds {', '.join(present)} that no demo made, and a demo would replace them",
            where=out,
            mend="choose another --out",
        )
    out.mkdir(parents=True, exist_ok=True)
    for name in present:
        shutil.rmtree(out / name)
    (out / MARK).write_text("Everything in this folder was made by kt3d demo and may be deleted.\n")


def _datasets(rows: Sequence[RecipeRow]) -> list[str]:
    """Every dataset that a row trains or tests on, in a fixed order; 2D pre-training is for RGB targets."""
    needed: dict[str, None] = {}
    for row in rows:
        roles = {**plugins.method(row.method).defaults, **({"target": row.target} if row.target else {})}
        if domain(roles["target"]).modality != "rgb":
            roles.pop("pretrain", None)
        needed |= {domain(name).dataset: None for name in roles.values()}
    return sorted(needed)


def _stand_in(plugin: DatasetPlugin, out: Path, workers: int) -> None:
    from kt3d_bench.shards.prepare import prepare

    raw, shards = out / "raw" / plugin.name, out / "shards" / plugin.name
    version = plugins.load(f"{plugin.generate}:VERSION")
    arguments = dict(plugins.load(f"{plugin.generate}:DEMO"))
    made = raw / "kt3d-demo-made.txt"
    described = f"version {version}, {sorted(arguments.items())}\n"
    with ProgressReport() as report:
        if not made.exists() or made.read_text() != described:
            shutil.rmtree(raw, ignore_errors=True)
            shutil.rmtree(shards, ignore_errors=True)
            report.task(f"generate {plugin.name}", 1)
            counts = plugins.load_function(plugin.generate, "generate")(
                raw,
                seed=SEED,
                motion=None,
                device="cpu",
                workers=workers,
                progress=lambda done, total: report.update(done, total=total),
                **arguments,
            )
            made.write_text(described)
            report.finish(", ".join(f"{split} {count} samples" for split, count in counts.items()))
    with PrepareReport() as report:
        prepare(plugin, raw=raw, out=shards, workers=workers, report=report)
        report.finish(f"{plugin.name} in {shards}")


def _row(row: RecipeRow, out: Path, time_scale: float) -> Outcome:
    from kt3d_bench.training.run import RunConfig
    from kt3d_bench.training.train import train

    config = RunConfig(
        method=row.method,
        supervision=row.supervision,
        joints=row.joints,
        target=row.target,
        preset=PRESET,
        settings=row.settings,
        seed=SEED,
        device="cpu",
        data_root=out,
        time_scale=time_scale,
    )
    words = [row.method, row.supervision, *(f"{name}={value}" for name, value in row.settings.items())]
    with TrainReport() as report:
        report.note(f"{' '.join(words)} on {row.target or plugins.method(row.method).defaults['target']}")
        folder = train(config, report)
        result = results.score_run(folder, data_root=out, leaderboards=out / "leaderboards", report=report)
    return Outcome(row, result)


def draw(outcomes: Sequence[Outcome], folder: Path) -> list[Path]:
    """One PNG per benchmark: some test images with the true skeleton and each row's, all from the outcomes' files."""
    pictures = []
    for name in dict.fromkeys(outcome.result.benchmark.id for outcome in outcomes):
        chosen = [outcome for outcome in outcomes if outcome.result.benchmark.id == name]
        benchmark = chosen[0].result.benchmark
        shards = ShardSet.open(folder.parent / "shards" / benchmark.dataset, benchmark.split)
        shown = np.linspace(0, len(shards) - 1, SAMPLES_SHOWN).astype(int)
        field = "rgb" if "rgb" in shards.modalities else "depth_mm"
        images = [shards.image(int(index), field) for index in shown]
        poses = [("truth", shards.labels.joints_cam_mm[shown])]
        for outcome in chosen:
            joints, _, _ = join(read_predictions(outcome.result.predictions), shards.keys)
            poses.append((_title(outcome), joints[shown]))
        pixels = [
            project_arrays(
                shards.labels.intrinsics_px[shown], shards.labels.distortion[shown], shards.tangential_factor, joints
            )
            for _, joints in poses
        ]
        rows = [
            [
                Panel(title, images[sample], pixels[number][sample], joints[sample] - joints[sample, :1])
                for number, (title, joints) in enumerate(poses)
            ]
            for sample in range(len(shown))
        ]
        pictures.append(comparison(folder / f"{name}.png", rows))
    return pictures


def _title(outcome: Outcome) -> str:
    row = outcome.row
    extra = [str(value) for value in row.settings.values()]
    headline = outcome.result.scores.overall[outcome.result.benchmark.headline[0]]
    return "\n".join([row.method, " ".join([row.supervision, *extra]), f"{headline:.0f} mm"])
