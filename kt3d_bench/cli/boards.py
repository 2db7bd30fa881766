"""Commands about numbers: score, leaderboard build."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from kt3d_bench.cli.base import FOLDER, main, run_folder
from kt3d_bench.errors import UsageError
from kt3d_bench.places import default_data_root


@main.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--benchmark", help="[default: what the run or the file says]")
@click.option("--run", "run", help="Score this run instead of the newest.")
@click.option("--name", help="Name of the method on the board, for a FILE made elsewhere.")
@click.option("--shards", type=FOLDER, help="Test shards. [default: kt3d-data/shards/DATASET]")
@click.option("--leaderboards", type=FOLDER, help="[default: ./leaderboards if present, else kt3d-data/leaderboards]")
@click.option("--json", "as_json", is_flag=True, help="Print the scores as JSON instead of the table.")
def score(
    file: Path | None,
    benchmark: str | None,
    run: str | None,
    name: str | None,
    shards: Path | None,
    leaderboards: Path | None,
    as_json: bool,
) -> None:
    """Score the newest run, or anybody's predictions FILE.npz: write the entry, render the boards, print the table."""
    from kt3d_bench import results
    from kt3d_bench.console import TrainReport

    if file is not None and run is not None:
        raise UsageError("give a FILE or --run, not both")
    if file is not None and file.is_dir():
        file, run = None, str(file)
    if file is None and (name is not None or shards is not None):
        raise UsageError(
            "--name and --shards go with a FILE of predictions", mend="leave them out to score a run of yours"
        )
    if file is not None:
        result = results.score_file(
            file, benchmark, data_root=default_data_root(), name=name, shards=shards, leaderboards=leaderboards
        )
    else:
        with TrainReport() as report:
            result = results.score_run(
                run_folder(run), benchmark, data_root=default_data_root(), leaderboards=leaderboards, report=report
            )
    if as_json:
        click.echo(json.dumps(result.scores.summary(), indent=1, sort_keys=True))
        return
    _print_board(result)
    for warning in result.scores.warnings:
        click.echo(f"Note: {warning}")
    click.echo(f"Entry: {result.entry_path}")
    click.echo(f"Board: {result.board_folder / 'README.md'}")


def _print_board(result: Any) -> None:
    from kt3d_bench import results
    from kt3d_bench.console import console
    from kt3d_bench.leaderboard.tables import terminal_table

    official = result.entry.origin == "official"
    out = console()
    out.print(
        terminal_table(
            result.benchmark,
            result.board_entries(),
            published=results.published().get(result.benchmark.id) if official else None,
            highlight=result.entry.file_name,
            width=out.width,
        )
    )


@main.group()
def leaderboard() -> None:
    """Work with the boards."""


@leaderboard.command("build")
@click.option("--leaderboards", type=FOLDER, help="[default: ./leaderboards if present, else kt3d-data/leaderboards]")
def leaderboard_build(leaderboards: Path | None) -> None:
    """Render every board from its entries."""
    from kt3d_bench import results

    if leaderboards is not None and not leaderboards.is_dir():
        raise UsageError("there is no such folder", where=leaderboards, mend="name one that holds boards")
    for path in results.render(leaderboards or results.default_leaderboards(default_data_root())):
        click.echo(str(path))
