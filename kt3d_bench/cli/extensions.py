"""Commands about plugins: list, new, check, weights."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

import kt3d_bench as kt
from kt3d_bench.cli.base import FILE, FOLDER, completing, main
from kt3d_bench.cli.console import say

if TYPE_CHECKING:
    from kt3d_bench.testing import Finding


@main.command("list")
@click.argument("name", required=False, shell_complete=completing("datasets", "methods", "benchmarks", "recipes"))
@click.option("--json", "as_json", is_flag=True, help="Print names and facts, or those of NAME, as JSON, for scripts.")
def list_(name: str | None, as_json: bool) -> None:
    """List the installed datasets, methods, benchmarks and recipes, or describe NAME."""
    from kt3d_bench.cli import catalogue

    if as_json:
        facts = catalogue.as_json() if name is None else catalogue.fact_sheet(name)
        say(json.dumps(facts, indent=1, sort_keys=True, default=str))
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in catalogue.lines(width) if name is None else catalogue.describe(name):
        say(line)


@main.group()
def new() -> None:
    """Write a plugin package that works as it is, for you to change step by step."""


@new.command("dataset")
@click.argument("name")
@click.option("--out", type=FOLDER, default=Path(), help="Folder to write the package into. [default: here]")
def new_dataset(name: str, out: Path) -> None:
    """Write a dataset called NAME: card, converter, generator, benchmark, tests."""
    _written(kt.new_plugin("dataset", name, out), name)


@new.command("method")
@click.argument("name")
@click.option("--out", type=FOLDER, default=Path(), help="Folder to write the package into. [default: here]")
@click.option("--target", help="Dataset the method is trained for. [default: the one most installed methods use]")
@click.option(
    "--kind",
    default="image",
    show_default=True,
    help="What it reads: image (RGB or depth), lifting (2D joints of an image) or video (2D joints of clips).",
)
def new_method(name: str, out: Path, target: str | None, kind: str) -> None:
    """Write a method called NAME: a small one that trains, with its tests."""
    _written(kt.new_plugin("method", name, out, target=target, reads=kind), name)


@new.command("metric")
@click.argument("name")
@click.option("--out", type=FOLDER, default=Path(), help="Folder to write the package into. [default: here]")
def new_metric(name: str, out: Path) -> None:
    """Write a metric called NAME: one function, with its tests."""
    _written(kt.new_plugin("metric", name, out), name)


def _written(folder: Path, name: str) -> None:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        say(f"  {path}")
    say(f"Next: {shlex.quote(sys.executable)} -m pip install -e {shlex.quote(str(folder.absolute()))}")
    say(f"Next: kt3d check {name}")


@main.command()
@click.argument("name")
@click.option("--raw", type=FOLDER, help="Run the dataset's converter on a part of this raw folder instead.")
@click.option("--keep", type=FOLDER, help="Keep what is generated and trained, in this empty folder.")
@click.option("--traceback", "with_traceback", is_flag=True, help="Show the traceback of every rule that is broken.")
@click.pass_context
def check(ctx: click.Context, name: str, raw: Path | None, keep: Path | None, with_traceback: bool) -> None:
    """Check every rule of the plugin contract for NAME: a plugin, a method, a dataset or a metric.

    Methods are trained for a few steps on tiny data. A dataset's converter runs on its generated stand-in, or on the
    raw data of --raw.
    """
    found = kt.check_plugin(name, raw=raw, keep=keep, say=lambda finding: tell(finding, with_traceback))
    broken = sum(not finding.holds for finding in found)
    say(f"{len(found) - broken} of {len(found)} rules of the contract hold.")
    if keep is not None:
        say(f"Kept: {keep}")
    if broken:
        ctx.exit(1)


def tell(finding: Finding, with_traceback: bool) -> None:
    """Print one line for a rule, and below it what happened and what to change."""
    mark = "\u2713" if finding.holds else "\u2717"
    say(f"{mark} {finding.subject}: {finding.rule}")
    for text in (finding.what, finding.hint):
        if text:
            say(f"    {text}")
    if with_traceback and finding.traceback:
        say(finding.traceback)


@main.group(invoke_without_command=True)
@click.pass_context
def weights(ctx: click.Context) -> None:
    """Keep weight files of other authors, which some methods need; without a command, list them."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_weights)


@weights.command("list")
def list_weights() -> None:
    """List the weight files that methods need, which are here, and how to obtain the others."""
    for one in kt.weights():
        file = one.file
        missing = f"missing; {file.obtain}, then: kt3d weights add {one.method} FILE"
        place = one.path if one.present else missing
        say(f"{one.method} {file.name} ({file.size_bytes / 1e6:.1f} MB, {file.licence}): {place}")


@weights.command("add")
@click.argument("method")
@click.argument("file", type=FILE)
def add_weights(method: str, file: Path) -> None:
    """Keep the weights that METHOD needs out of FILE: a wheel or zip, a tar.gz, or the weight file itself."""
    for one in kt.add_weights(method, file):
        say(f"{one.file.name}: {one.path}")
