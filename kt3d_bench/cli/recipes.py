"""Commands about recipes: reproduce, demo."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from kt3d_bench.cli.base import FOLDER, main
from kt3d_bench.errors import Kt3dError
from kt3d_bench.files import default_data_root
from kt3d_bench.plugins import registry


@main.command()
@click.argument("name")
@click.option("--preset", default="paper", show_default=True, help="Size and schedule: paper, small or tiny.")
@click.option("--seeds", type=click.IntRange(min=1), help="Runs per row. [default: what each row asks for]")
@click.option(
    "--budget-minutes",
    type=click.FloatRange(min=0.01),
    help="Training time of the first seed's runs together, stages that they share counted once. [default: all steps]",
)
@click.option(
    "--steps-scale", type=click.FloatRange(min=1e-6), default=1.0, show_default=True, help="Times every stage's steps."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:INDEX.")
@click.option("--compile/--no-compile", "compiled", default=None, help="torch.compile. [default: on a GPU]")
@click.option("--generated", is_flag=True, help="Make generated stand-ins of targets that are not there.")
@click.option("--people", type=click.IntRange(min=1), help="Of stand-ins. [default: by preset]")
@click.option("--frames", type=click.IntRange(min=1), help="Of stand-ins, each. [default: by preset]")
@click.option("--data", type=FOLDER, help="Data root: shards, stages, runs. [default: kt3d-data]")
@click.option("--out", type=FOLDER, help="For table and pictures. [default: <data>/reproductions/<name>-<preset>]")
@click.option("--leaderboards", type=FOLDER, help="[default: ./leaderboards, or <data>/leaderboards]")
@click.option("--workers", type=click.IntRange(min=1), help="Processes that make stand-ins. [default: cores]")
def reproduce(name: str, data: Path | None, out: Path | None, leaderboards: Path | None, **options: Any) -> None:
    """Run every row of the recipe NAME (kt3d list shows them), and set the paper's numbers beside them.

    What rows share is trained once. Interrupt it and give the same command again: finished rows stay, the others go on.
    """
    from kt3d_bench.cli.console import Terminal, console
    from kt3d_bench.files import write_whole
    from kt3d_bench.leaderboard.publish import default_leaderboards
    from kt3d_bench.recipes import pictures, plan, tables
    from kt3d_bench.recipes.reproduce import reproduce as run_all

    recipe = plan.named(name)
    chosen = plan.Options(data_root=data or default_data_root(), **options)
    boards = leaderboards or default_leaderboards(chosen.data_root)
    with Terminal() as report:
        done = run_all(recipe, chosen, report, leaderboards=boards)
    if done.outcomes:
        say, published = console(), registry.published()
        say.print(tables.terminal(recipe, done.outcomes, published))
        folder = out or chosen.data_root / "reproductions" / f"{name}-{chosen.preset}"
        summary = folder / f"{name}.md"
        write_whole(summary, tables.markdown(recipe, done.outcomes, published).encode())
        for title, path in (
            ("Boards", boards / "README.md"),
            ("Table", summary),
            *(("Picture", path) for path in pictures.draw(recipe, done.outcomes, folder)),
        ):
            say.print(f"{title}: {path}", markup=False)
    if done.interrupted:
        raise Kt3dError("stopped; nothing is lost", hint="give the same command again: finished rows stay")
    if done.failures:
        rows = "; ".join(f"{one.job.label}, seed {one.job.config.seed}: {one.error.message}" for one in done.failures)
        raise Kt3dError(f"{len(done.failures)} of the runs failed: {rows}")


@main.command()
@click.option("--budget-minutes", type=click.FloatRange(min=0.1), default=6.0, show_default=True, help="For training.")
@click.option("--recipe", default="demo", show_default=True, help="Which list of runs; kt3d list shows them.")
@click.option("--out", type=FOLDER, help="[default: kt3d-data/demo]")
@click.option("--workers", type=click.IntRange(min=1), default=os.cpu_count, show_default="cores", help="Processes.")
def demo(budget_minutes: float, recipe: str, out: Path | None, workers: int) -> None:
    """The whole line on generated stand-ins, with no download: generate, prepare, train, score, boards, a picture."""
    from kt3d_bench.cli.demo import run_demo

    run_demo(out or default_data_root() / "demo", recipe=recipe, budget_minutes=budget_minutes, workers=workers)
