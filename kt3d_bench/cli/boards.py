"""Commands about numbers: score, submit, leaderboard build and check."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from kt3d_bench.cli.base import FILE, FOLDER, SHARDS, main, run_folder
from kt3d_bench.errors import ArtefactError, UsageError
from kt3d_bench.files import default_data_root
from kt3d_bench.plugins import registry


@main.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, readable=False))
@click.option("--benchmark", help="[default: what the run or the file says]")
@click.option("--run", "run", help="Score this run instead of the newest.")
@click.option("--name", help="Name of the method on the board, for a FILE made elsewhere.")
@click.option("--shards", type=SHARDS, help="Test shards, a folder or a URL. [default: kt3d-data/shards/DATASET]")
@click.option("--leaderboards", type=FOLDER, help="[default: ./leaderboards if present, else kt3d-data/leaderboards]")
@click.option("--incomplete", is_flag=True, help="Accept missing, unknown and NaN: counted, said, and not ranked.")
@click.option("--json", "as_json", is_flag=True, help="Print the scores as JSON instead of the table.")
@click.option(
    "--as",
    "conventions",
    multiple=True,
    metavar="NAME",
    help="Only print what another program would print for the same predictions: mmpose, videopose3d, "
    "3d-pose-baseline, integral, posepile, kt3d, or all.",
)
@click.option(
    "--rescore", is_flag=True, help="Measure every entry again whose predictions and test shards are at hand."
)
def score(
    file: Path | None,
    benchmark: str | None,
    run: str | None,
    name: str | None,
    shards: Path | None,
    leaderboards: Path | None,
    incomplete: bool,
    as_json: bool,
    conventions: tuple[str, ...],
    rescore: bool,
) -> None:
    """Score the newest run, or anybody's predictions FILE.npz: write the entry, render the boards, print the table."""
    from kt3d_bench import results
    from kt3d_bench.cli.console import Terminal

    if file is not None and run is not None:
        raise UsageError("give a FILE or --run, not both")
    if file is not None and file.is_dir():
        file, run = None, str(file)
    if rescore:
        if any((file, benchmark, run, name, shards, incomplete, as_json, conventions)):
            raise UsageError("--rescore measures all entries again and goes with --leaderboards alone")
        _rescore(leaderboards)
        return
    if conventions:
        if any((name, leaderboards, incomplete, as_json)):
            raise UsageError("--as only prints: it goes with a FILE or --run, --benchmark and --shards")
        lines = results.printed_as(
            conventions, file, benchmark, data_root=default_data_root(), run=run_folder(run), shards=shards
        )
        click.echo("\n".join(lines))
        return
    if file is None and (name is not None or shards is not None):
        raise UsageError(
            "--name and --shards go with a FILE of predictions", hint="leave them out to score a run of yours"
        )
    if file is not None:
        result = results.score_file(
            file,
            benchmark,
            data_root=default_data_root(),
            name=name,
            shards=shards,
            leaderboards=leaderboards,
            incomplete=incomplete,
        )
    else:
        with Terminal() as report:
            result = results.score_run(
                run_folder(run),
                benchmark,
                data_root=default_data_root(),
                leaderboards=leaderboards,
                incomplete=incomplete,
                report=report,
            )
    if as_json:
        click.echo(json.dumps(result.scores.summary(), indent=1, sort_keys=True))
        return
    _print_board(result)
    for warning in result.scores.warnings:
        click.echo(f"Note: {warning}")
    click.echo(f"Entry: {result.entry_path}")
    click.echo(f"Board: {result.board_folder / 'index.html'}")


def _print_board(result: Any) -> None:
    from kt3d_bench.cli.console import console
    from kt3d_bench.leaderboard.tables import terminal_table

    official = result.entry.origin == "official"
    out = console()
    out.print(
        terminal_table(
            result.benchmark,
            result.board_entries(),
            published=registry.published().get(result.benchmark.id) if official else None,
            highlight=result.entry.file_name,
            width=out.width,
        )
    )


def _rescore(leaderboards: Path | None) -> None:
    from kt3d_bench.rescoring import rescore
    from kt3d_bench.results import default_leaderboards

    root = default_data_root()
    outcomes = rescore(leaderboards or default_leaderboards(root), data_root=root)
    for one in outcomes:
        what = "measured again" if one.done else "left as it is"
        click.echo(f"{what}: {one.entry.board}/{one.entry.file_name}: {one.said}")
    click.echo(f"{sum(one.done for one in outcomes)} of {len(outcomes)} entries were measured again.")


@main.command()
@click.argument("file", type=FILE)
@click.option("--benchmark", required=True, help="What the predictions answer; kt3d list shows all.")
@click.option("--name", required=True, help="Name of the method; part of the entry's file name.")
@click.option("--title", default="", help="Shown on the board instead of the name.")
@click.option("--supervision", default="not stated", help="What it was trained with, in a word or two.")
@click.option("--labels-seen", default="not stated", help="Labels of the test's dataset that it saw; 'none' if none.")
@click.option("--seed", type=int, help="Seed of the training; several seeds of one method become one row.")
@click.option("--link", default="", help="Where its code or paper is found.")
@click.option("--external", multiple=True, help="Weights or data from outside; may be repeated.")
@click.option("--accept", multiple=True, help="A suspicion that is unfounded, by name; the entry records it.")
@click.option("--shards", type=SHARDS, help="Test shards, a folder or a URL. [default: kt3d-data/shards/DATASET]")
@click.option("--leaderboards", type=FOLDER, help="[default: ./leaderboards if present, else kt3d-data/leaderboards]")
def submit(
    file: Path,
    benchmark: str,
    name: str,
    title: str,
    supervision: str,
    labels_seen: str,
    seed: int | None,
    link: str,
    external: tuple[str, ...],
    accept: tuple[str, ...],
    shards: Path | None,
    leaderboards: Path | None,
) -> None:
    """Check and measure predictions made elsewhere; write their entry and model card for a pull request.

    FILE is our .npz, or the plain form of mmpose (.json), VideoPose3D or PosePile (.npz), as described in
    leaderboards/SUBMITTING.md.
    """
    from kt3d_bench.submissions import Statement, submit

    statement = Statement(name, title, supervision, labels_seen, seed, link, external)
    done = submit(
        file,
        benchmark,
        statement,
        data_root=default_data_root(),
        shards=shards,
        leaderboards=leaderboards,
        accept=accept,
    )
    for metric, value in done.scores.overall.items():
        click.echo(f"{metric}: {value:.2f}")
    for warning in (*done.scores.warnings, *(f"{one.name}: {one.sentence}" for one in done.suspicions)):
        click.echo(f"Note: {warning}")
    click.echo(f"Entry: {done.entry_path}")
    click.echo(f"Model card: {done.card_path}")
    click.echo("Answer the card's questions, then commit the entry, the card and the rendered boards together.")


@main.group()
def leaderboard() -> None:
    """Work with the boards."""


@leaderboard.command("build")
@click.option("--leaderboards", type=FOLDER, help="[default: ./leaderboards if present, else kt3d-data/leaderboards]")
@click.option(
    "--html", type=FOLDER, help="Write the pages and the entries into this folder. [default: beside README.md]"
)
def leaderboard_build(leaderboards: Path | None, html: Path | None) -> None:
    """Render every board from its entries: README.md for a code host, index.html for a browser."""
    from kt3d_bench import results

    if leaderboards is not None and not leaderboards.is_dir():
        raise UsageError("there is no such folder", where=leaderboards, hint="name one that holds boards")
    for path in results.render(leaderboards or results.default_leaderboards(default_data_root()), html=html):
        click.echo(str(path))


@leaderboard.command("check")
@click.option("--leaderboards", type=FOLDER, help="[default: ./leaderboards if present, else kt3d-data/leaderboards]")
def leaderboard_check(leaderboards: Path | None) -> None:
    """Look for what a pull request may not bring: edited tables or numbers, doubled or unverifiable entries."""
    from kt3d_bench import results

    folder = leaderboards or results.default_leaderboards(default_data_root())
    if not folder.is_dir():
        raise UsageError("there is no such folder", where=folder, hint="name one that holds boards")
    found = results.board_problems(folder)
    for problem in found:
        click.echo(problem)
    if found:
        raise ArtefactError(f"{len(found)} problems", where=folder)
    click.echo(f"{folder}: nothing to complain of")
