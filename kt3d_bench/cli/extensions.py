"""Commands about plugins: list, new, check."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kt3d_bench.cli.base import FOLDER, main

if TYPE_CHECKING:
    from kt3d_bench.rehearsal import Finding


@main.command("list")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print names and facts as JSON, for scripts.")
def list_(name: str | None, as_json: bool) -> None:
    """What the installed plugins offer: datasets, methods, benchmarks and recipes; or everything about NAME."""
    from kt3d_bench.cli import catalogue

    if name is not None:
        for line in catalogue.describe(name):
            click.echo(line)
    elif as_json:
        click.echo(json.dumps(catalogue.as_json(), indent=1, sort_keys=True))
    else:
        from kt3d_bench.cli.console import console

        console().print(catalogue.tables())


@main.group()
def new() -> None:
    """Write a plugin package that works as it is written, to be changed bit by bit."""


@new.command("dataset")
@click.argument("name")
@click.option("--out", type=FOLDER, default=Path(), help="Where its folder goes. [default: here]")
def new_dataset(name: str, out: Path) -> None:
    """A dataset called NAME: card, converter, generated stand-in, benchmark, tests."""
    from kt3d_bench.scaffold import write_plugin

    _written(write_plugin("dataset", name, out), name)


@new.command("method")
@click.argument("name")
@click.option("--out", type=FOLDER, default=Path(), help="Where its folder goes. [default: here]")
@click.option("--target", help="Dataset that it is trained for. [default: what most installed methods have]")
def new_method(name: str, out: Path, target: str | None) -> None:
    """A method called NAME: a small one that trains, with its tests."""
    from kt3d_bench.scaffold import write_plugin

    _written(write_plugin("method", name, out, target=target), name)


def _written(folder: Path, name: str) -> None:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        click.echo(f"  {path}")
    click.echo(f"Next: {shlex.quote(sys.executable)} -m pip install -e {shlex.quote(str(folder.absolute()))}")
    click.echo(f"Next: kt3d check {name}")


@main.command()
@click.argument("name")
@click.option("--keep", type=FOLDER, help="Keep what was generated and trained, in this empty folder.")
@click.option("--traceback", "with_traceback", is_flag=True, help="Show the whole traceback of what broke.")
@click.pass_context
def check(ctx: click.Context, name: str, keep: Path | None, with_traceback: bool) -> None:
    """Rehearse NAME (a plugin, method or dataset) on generated data: every part of the contract, in words."""
    from kt3d_bench.rehearsal import rehearse

    findings = rehearse(name, keep=keep, say=lambda finding: tell(finding, with_traceback))
    broken = sum(not finding.holds for finding in findings)
    click.echo(f"{len(findings) - broken} of {len(findings)} parts of the contract hold.")
    if keep is not None:
        click.echo(f"Kept: {keep}")
    if broken:
        ctx.exit(1)


def tell(finding: Finding, with_traceback: bool) -> None:
    """One line for what holds; what happened and what to change below it for what does not."""
    tick, cross = ("\u2713", "\u2717") if "utf" in (sys.stdout.encoding or "").lower() else ("ok", "NO")
    click.echo(f"{tick if finding.holds else cross} {finding.subject}: {finding.rule}")
    for text in (finding.what, finding.hint):
        if text:
            click.echo(f"    {text}")
    if with_traceback and finding.traceback:
        click.echo(finding.traceback)
