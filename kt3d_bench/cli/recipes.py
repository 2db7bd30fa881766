"""Commands about recipes: reproduce, demo."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import kt3d_bench as kt
from kt3d_bench.cli.base import FOLDER, held_out_option, main, workers_option
from kt3d_bench.cli.console import Terminal, console
from kt3d_bench.errors import Kt3dError
from kt3d_bench.files import default_data_root
from kt3d_bench.interrupts import StoppedError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from kt3d_bench.reproduction.runs import Reproduction


@main.command()
@click.argument("name")
@click.option("--preset", default="paper", show_default=True, help="Size and schedule: paper, small, laptop or tiny.")
@click.option("--seeds", type=click.IntRange(min=1), help="Seeds per row. [default: as the row says]")
@click.option(
    "--budget-minutes",
    type=click.FloatRange(min=0.01),
    help="Training time of the first seed's runs together, shared stages counted once, at most 150 minutes a run. "
    "[default: all steps]",
)
@click.option("--steps-scale", type=click.FloatRange(min=1e-6), default=1.0, show_default=True,
              help="Factor on the steps of every stage.")  # fmt: skip
@click.option("--device", default="auto", show_default=True, help="Device: auto, cpu, cuda or cuda:INDEX.")
@click.option("--compile/--no-compile", "compiled", default=None, help="Use torch.compile. [default: on a GPU]")
@click.option("--generated", is_flag=True, help="Generate stand-ins of missing targets.")
@click.option("--people", type=click.IntRange(min=1), help="People in a stand-in. [default: by preset]")
@click.option("--frames", type=click.IntRange(min=1), help="Frames per person in a stand-in. [default: by preset]")
@click.option("--data", type=FOLDER, help="Folder with shards, stages and runs. [default: kt3d-data]")
@click.option(
    "--out", type=FOLDER, help="Folder for table and pictures. [default: <data>/reproductions/<name>-<preset>]"
)
@click.option("--leaderboards", type=FOLDER, help="[default: ./leaderboards, or <data>/leaderboards]")
@click.option("--workers", type=click.IntRange(min=1), help="Processes that generate stand-ins. [default: cores]")
@held_out_option(
    "Validation: stand-ins with other people in the test split, to choose settings; all below <data>/validation."
)
def reproduce(name: str, **options: Any) -> None:
    """Run every row of the recipe NAME (kt3d list shows them), and set the paper's numbers beside them.

    What rows share is trained once. If it is interrupted, give the same command again: finished rows stay, the others
    continue.
    """
    with Terminal() as report:
        done = kt.reproduce(name, report=report, **options)
    if done.outcomes:
        say = console()
        say.print(_tables(done))
        boards = done.outcomes[0].result.leaderboards / "README.md"
        pictures = [("Picture", path) for path in done.pictures]
        for title, path in (("Boards", boards), ("Table", done.summary), *pictures):
            say.print(f"{title}: {path}", markup=False)
    if done.interrupted:
        raise StoppedError("stopped; nothing is lost", hint="give the same command again: finished rows stay")
    if done.failures:
        rows = "; ".join(f"{one.job.label}, seed {one.job.config.seed}: {one.error.message}" for one in done.failures)
        raise Kt3dError(f"{len(done.failures)} of the runs failed: {rows}")


def _tables(done: Reproduction) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = []
    for one in done.tables:
        title = Text(f"{done.recipe.name} on {one.benchmark.title}", "table.title")
        table = Table(title=title, caption=Text(one.note) if one.note else None)
        for number, text in enumerate(one.header):
            table.add_column(Text(text), justify="left" if number == 0 else "right", overflow="fold")
        for row in one.rows:
            table.add_row(*map(Text, row))
        parts += [table, *map(Text, one.claims)]
    return Group(*parts)


@main.command()
@click.option("--budget-minutes", type=click.FloatRange(min=0.1), default=6.0, show_default=True, help="Training time.")
@click.option("--recipe", default="demo", show_default=True, help="List of runs; kt3d list shows all.")
@click.option("--out", type=FOLDER, help="[default: kt3d-data/demo]")
@workers_option
def demo(budget_minutes: float, recipe: str, out: Path | None, workers: int) -> None:
    """Run everything on generated stand-ins, without a download: generate, prepare, train, score, boards, pictures."""
    began, folder, say = time.monotonic(), out or default_data_root() / "demo", console()
    with Terminal() as report:
        done = kt.demo(folder, recipe=recipe, budget_minutes=budget_minutes, workers=workers, report=report)
    for failure in done.failures:
        raise failure.error
    if done.interrupted:
        raise KeyboardInterrupt
    newest = {outcome.result.entry.board: outcome.result for outcome in done.outcomes}
    shown = [one.result for one in done.outcomes if one.label == done.recipe.report] or list(newest.values())
    for last in newest.values():
        say.print(last.table(say.width))
    reports = [kt.write_report(one.predictions.parent.parent) for one in shown]
    for line in (
        f"Everything took {time.monotonic() - began:.0f} s.",
        f"Boards: {folder / 'leaderboards' / 'README.md'}",
        *(f"Picture: {path}" for path in done.pictures),
        *(f"Report of a run: {path} (kt3d report writes one of any other)" for path in reports),
        "These numbers are of generated stand-ins. For the real data: kt3d list, then kt3d prepare.",
    ):
        say.print(line, markup=False)
