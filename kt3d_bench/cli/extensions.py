"""Commands about plugins: list."""

from __future__ import annotations

import json

import click

from kt3d_bench.cli.base import main


@main.command("list")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print names and facts as JSON, for scripts.")
def list_(name: str | None, as_json: bool) -> None:
    """What the installed plugins offer: datasets, methods, benchmarks and recipes; or everything about NAME."""
    from kt3d_bench import catalogue

    if name is not None:
        for line in catalogue.describe(name):
            click.echo(line)
    elif as_json:
        click.echo(json.dumps(catalogue.as_json(), indent=1, sort_keys=True))
    else:
        from kt3d_bench.console import console

        console().print(catalogue.tables())
