"""Commands about numbers: score, convert, submit, leaderboard build and check."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from click.core import ParameterSource

import kt3d_bench as kt
from kt3d_bench.cli.base import FILE, FOLDER, SHARDS, completing, main
from kt3d_bench.cli.console import Terminal, console, say
from kt3d_bench.errors import ArtefactError, UsageError
from kt3d_bench.files import default_data_root

if TYPE_CHECKING:
    from kt3d_bench.scoring import PrintedAs

_LEADERBOARDS = click.option(
    "--leaderboards", type=FOLDER, help="Folder of the boards. [default: ./leaderboards, else kt3d-data/leaderboards]"
)
_SHARDS = click.option(
    "--shards", type=SHARDS, help="Test shards, a folder or a URL. [default: kt3d-data/shards/DATASET]"
)

_REPLACE = click.option("--replace", is_flag=True, help="Take the place of another result of this name.")


@main.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, readable=False))
@click.option("--benchmark", shell_complete=completing("benchmarks"), help="[default: what the run or the file says]")
@click.option("--run", "run", shell_complete=completing("runs"), help="Score this run instead of the newest.")
@click.option("--name", help="Name of the method on the board, for a FILE made elsewhere.")
@_SHARDS
@_LEADERBOARDS
@_REPLACE
@click.option("--incomplete", is_flag=True, help="Accept missing, unknown and NaN answers; the row is not ranked.")
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
    "--rescore", is_flag=True, help="Measure every entry again whose predictions and test shards are on this machine."
)
def score(
    file: Path | None,
    benchmark: str | None,
    run: str | None,
    name: str | None,
    shards: Path | None,
    leaderboards: Path | None,
    replace: bool,
    incomplete: bool,
    as_json: bool,
    conventions: tuple[str, ...],
    rescore: bool,
) -> None:
    """Score the newest run, or a prediction FILE of any accepted form: write the entry, render the boards, print the
    table. leaderboards/SUBMITTING.md describes the forms."""
    if file is not None and run is not None:
        raise UsageError("give a FILE or --run, not both")
    if rescore:
        if any((file, benchmark, run, name, shards, replace, incomplete, as_json, conventions)):
            raise UsageError("--rescore measures all entries again and goes with --leaderboards alone")
        outcomes = kt.rescore(leaderboards)
        for one in outcomes:
            how = "measured again" if one.done else "left as it is"
            say(f"{how}: {one.entry.board}/{one.entry.file_name}: {one.outcome}")
        say(f"{sum(one.done for one in outcomes)} of {len(outcomes)} entries were measured again.")
        return
    what = file
    if run is not None:
        from kt3d_bench.run_folder import found_run

        what = found_run(run, default_data_root())
    if conventions:
        if any((name, leaderboards, replace, incomplete, as_json)):
            raise UsageError("--as only prints: it goes with a FILE or --run, --benchmark and --shards")
        _print_as(kt.score_as(conventions, what, benchmark, shards=shards))
        return
    with Terminal() as report:
        result = kt.score(
            what,
            benchmark,
            name=name,
            shards=shards,
            leaderboards=leaderboards,
            incomplete=incomplete,
            replace=replace,
            report=report,
        )
    if as_json:
        say(json.dumps(result.scores.summary(), indent=1, sort_keys=True))
        return
    out = console()
    out.print(result.table(out.width))
    for warning in result.scores.warnings:
        say(f"Note: {warning}")
    if result.replaced:
        say(f"Replaced: {result.replaced}")
    say(f"Entry: {result.entry_path}")
    say(f"Board: {result.board_folder / 'index.html'}")


def _print_as(found: PrintedAs) -> None:
    say(f"{found.path} on {found.benchmark}, {found.samples} samples. The same predictions in other programs:")
    for convention, numbers, used in found.programs:
        left_out = f" ({found.samples - used} samples left out)" if used < found.samples else ""
        say(f"\n{convention.name}: {convention.source}{left_out}\n  Why it differs: {convention.why}.")
        for one in numbers:
            say(f"  {one.label:<42} {one.value:8.2f} {one.unit:<2}  {one.why}")
    for warning in found.warnings:
        say(f"Note: {warning}")


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--from",
    "program",
    metavar="PROGRAM",
    help="Which program wrote FILE: mmpose, videopose3d, motionbert or posepile. [default: told by content]",
)
@click.option(
    "--benchmark",
    shell_complete=completing("benchmarks"),
    help="The benchmark that the predictions answer. [default: what the file says]",
)
@_SHARDS
@click.option("--to", "form", type=click.Choice(["coco", "bvh"]), help="Write our predictions in another format.")
@click.option(
    "--rate",
    "rate_hz",
    type=click.FloatRange(1, 1000),
    default=30.0,
    help="Frames per second of a benchmark's .npz, for BVH.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="BVH: a folder. [default: FILE.kt3d.npz, .coco.json or .bvh]"
)
@click.pass_context
def convert(
    ctx: click.Context,
    /,
    file: Path,
    program: str | None,
    benchmark: str | None,
    shards: Path | None,
    form: Literal["coco", "bvh"] | None,
    rate_hz: float,
    out: Path | None,
) -> None:
    """Write predictions of another program as a file of our own form, or ours as COCO keypoints or BVH.

    FILE is the program's plain form, described in leaderboards/SUBMITTING.md, or a folder of .npy files as VideoPose3D
    exports them. Of a pickled file, which is never loaded, it prints the Python lines that make it plain.
    """
    from kt3d_bench.metrics.converting import ScriptNeededError

    rated = ctx.get_parameter_source("rate_hz") is ParameterSource.COMMANDLINE
    if rated and not (form == "bvh" and file.suffix.lower() == ".npz"):
        raise UsageError("--rate is of --to bvh and an .npz", hint="leave it out; other files tell their own times")
    if form is not None:
        if program or benchmark or shards:
            raise UsageError("--to writes our own predictions, and --from, --benchmark and --shards are for others",
                             hint="leave them out")  # fmt: skip
        with Terminal() as report:
            written = kt.write_as(file, form, out=out, rate_hz=rate_hz, report=report)
        for path in written:
            say(f"Written: {path}")
        return
    try:
        done = kt.convert(file, program, benchmark=benchmark, shards=shards, out=out)
    except ScriptNeededError as error:
        say(error.script)
        raise
    say(f"{len(done.predictions)} poses of {done.form}: {done.path}")
    for warning in done.warnings:
        say(f"Note: {warning}")
    say(f"Next: {shlex.join(['kt3d', 'score', str(done.path), *(['--shards', str(shards)] if shards else [])])}")


@main.command()
@click.argument("file", type=FILE)
@click.option(
    "--benchmark",
    shell_complete=completing("benchmarks"),
    required=True,
    help="The benchmark that the predictions answer; kt3d list shows all.",
)
@click.option("--name", required=True, help="Name of the method; part of the entry's file name.")
@click.option("--title", default="", help="Shown on the board instead of the name.")
@click.option("--supervision", default="not stated", help="Labels it was trained with, in a word or two.")
@click.option("--labels-seen", default="not stated", help="Labels of the test's dataset that it saw; 'none' if none.")
@click.option("--seed", type=int, help="Seed of the training; several seeds of one method become one row.")
@click.option("--link", default="", help="Address of its code or paper.")
@click.option("--external", multiple=True, help="Weights or data from outside; may be repeated.")
@click.option("--accept", multiple=True, help="Name of a suspicion that is unfounded; the entry records it.")
@_REPLACE
@_SHARDS
@_LEADERBOARDS
def submit(file: Path, benchmark: str, **statement: Any) -> None:
    """Check and measure predictions made elsewhere; write their entry and model card for a pull request.

    FILE is our .npz, or the plain form of mmpose (.json), VideoPose3D, MotionBERT or PosePile (.npz), as described in
    leaderboards/SUBMITTING.md.
    """
    done = kt.submit(file, benchmark, **statement)
    for metric, value in done.scores.overall.items():
        say(f"{metric}: {value:.2f}")
    for warning in (*done.scores.warnings, *done.suspicions):
        say(f"Note: {warning}")
    say(f"Entry: {done.entry_path}")
    say(f"Model card: {done.card_path}")
    say("Answer the card's questions, then commit the entry, the card and the rendered boards together.")


@main.group()
def leaderboard() -> None:
    """Render and check the boards."""


@leaderboard.command("build")
@_LEADERBOARDS
@click.option(
    "--html", type=FOLDER, help="Write the pages and the entries into this folder. [default: beside README.md]"
)
@click.option("--url", default="", help="Address where the pages will be published, for previews of links to them.")
def leaderboard_build(leaderboards: Path | None, html: Path | None, url: str) -> None:
    """Render every board from its entries: README.md for a code host, index.html for a browser."""
    from kt3d_bench.leaderboard.entries import ENTRIES

    written = kt.build_boards(leaderboards, html=html, url=url)
    folders = Counter(path.parents[path.parent.name == ENTRIES] for path in written)
    for folder, files in sorted(folders.items()):
        say(f"{folder}: {files} file{'s' * (files != 1)}")


@leaderboard.command("samples")
@click.argument("board")
@click.option(
    "--row",
    "rows",
    multiple=True,
    metavar="ENTRY",
    help="An entry's file name; give two. [default: those that the board's answer compares]",
)
@_LEADERBOARDS
def leaderboard_samples(board: str, rows: tuple[str, ...], leaderboards: Path | None) -> None:
    """Show six test samples of BOARD under two rows, side by side in 3D.

    BOARD is one of stand-ins, such as generated/itop-front: poses of real data may not be passed on. The entries'
    predictions and test shards must be on this machine.
    """
    say(f"Samples: {kt.show_samples(board, rows, leaderboards=leaderboards)}")


@leaderboard.command("check")
@_LEADERBOARDS
def leaderboard_check(leaderboards: Path | None) -> None:
    """Report what a pull request may not bring: edited tables or numbers, doubled or unverifiable entries."""
    found = kt.check_boards(leaderboards)
    for problem in found:
        say(problem)
    if found:
        raise ArtefactError(f"{len(found)} problems", where=leaderboards)
    say("The boards have no problems.")
