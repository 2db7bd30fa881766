"""Commands about data: prepare, generate, inspect."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from kt3d_bench import plugins
from kt3d_bench.cli.base import FILE, FOLDER, main
from kt3d_bench.errors import UsageError, did_you_mean
from kt3d_bench.places import default_data_root


def _dataset_options(name: str, extra: Iterable[str]) -> dict[str, Any]:
    """``--train-every 5 --drop x`` -> {"train_every": 5, "drop": "x"}, typed by the dataset's own options."""
    known = plugins.dataset(name).options
    given: dict[str, Any] = {}
    words = list(extra)
    while words:
        flag, equals, value = words.pop(0).partition("=")
        option = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--") or option not in known:
            raise UsageError(
                f"'{flag}' is no option of prepare {name}",
                mend=did_you_mean(flag, [f"--{n.replace('_', '-')}" for n in known]),
            )
        if not equals:
            if not words:
                raise UsageError(f"{flag} needs a value", mend=known[option].help)
            value = words.pop(0)
        given[option] = _typed(flag, value, known[option].default)
    return given


def _typed(flag: str, text: str, default: Any) -> Any:
    if isinstance(default, bool):
        if text.lower() in ("true", "yes", "1", "on", "false", "no", "0", "off"):
            return text.lower() in ("true", "yes", "1", "on")
        raise UsageError(f"{flag} wants true or false, found '{text}'")
    if isinstance(default, int | float):
        try:
            return type(default)(text)
        except ValueError:
            raise UsageError(f"{flag} wants a number like {default}, found '{text}'") from None
    if isinstance(default, tuple | list):
        return tuple(word for word in text.split(",") if word)
    return text


@main.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("dataset")
@click.option("--raw", type=FOLDER, help="The official download. [default: kt3d-data/raw/DATASET]")
@click.option("--out", type=FOLDER, help="Where the shards go. [default: kt3d-data/shards/DATASET]")
@click.option("--split", "splits", multiple=True, help="Only this split; may be repeated. [default: all]")
@click.option("--view", "views", multiple=True, help="Of datasets with several views: only this one. [default: all]")
@click.option("--workers", type=click.IntRange(min=1), default=os.cpu_count, show_default="cores", help="Processes.")
@click.option("--overwrite", is_flag=True, help="Replace shards of another configuration in --out.")
@click.pass_context
def prepare(
    ctx: click.Context,
    dataset: str,
    raw: Path | None,
    out: Path | None,
    splits: tuple[str, ...],
    views: tuple[str, ...],
    workers: int,
    overwrite: bool,
) -> None:
    """Convert an official download into shards.

    Options of the dataset itself are given the same way, for example --train-every 5; kt3d list DATASET shows them.
    """
    from kt3d_bench.console import PrepareReport
    from kt3d_bench.shards import prepare as shards

    plugin = plugins.dataset(dataset)
    options = _dataset_options(dataset, ctx.args)
    raw, out = raw or default_data_root() / "raw" / dataset, out or default_data_root() / "shards" / dataset
    with PrepareReport() as report:
        manifest = shards.prepare(
            plugin,
            raw=raw,
            out=out,
            splits=splits or None,
            views=views or None,
            workers=workers,
            options=options,
            overwrite=overwrite,
            report=report,
        )
    for line in shards.summary(manifest):
        click.echo(line)
    click.echo(f"Manifest: {out / 'manifest.json'}")
    click.echo(f"Next: {_next_step(plugin.name, out)}")


def _next_step(dataset: str, shards: Path) -> str:
    """The command that goes on from a dataset's shards; ``kt3d train`` finds only those at the usual place."""
    from kt3d_bench.training.sources import benchmarks_of

    tested = benchmarks_of(plugins.dataset(dataset))
    methods = list(plugins.methods().values())
    if not tested or not methods or shards.absolute() != (default_data_root() / "shards" / dataset).absolute():
        return f"kt3d inspect {shlex.quote(str(shards))}"
    users = [method for method in methods if method.defaults.get("target") == dataset]
    target = "" if users else f" --target {dataset if len(tested) == 1 else tested[0].id}"
    widest = max(users or methods, key=lambda method: (len(method.supervision), len(method.defaults)))
    return f"kt3d train --method {widest.name}{target} --supervision {widest.supervision[0]}"


@main.command()
@click.argument("dataset")
@click.option("--out", type=FOLDER, help="Where it goes. [default: kt3d-data/generated/DATASET/raw]")
@click.option(
    "--people",
    type=click.IntRange(min=1),
    help="How many people; the dataset's README says what that gives. [default: a small stand-in]",
)
@click.option(
    "--frames",
    type=click.IntRange(min=1),
    help="How many frames or images of each; see the dataset's README. [default: a small stand-in]",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all random draws.")
@click.option("--motion", type=FILE, help="Take poses from this .bvh or .amc file (an .amc needs its .asf beside it).")
@click.option("--device", default="cpu", show_default=True, help="Where bodies are rendered: cpu, cuda or auto.")
@click.option("--workers", type=click.IntRange(min=1), default=os.cpu_count, show_default="cores", help="Processes.")
def generate(
    dataset: str,
    out: Path | None,
    people: int | None,
    frames: int | None,
    seed: int,
    motion: Path | None,
    device: str,
    workers: int,
) -> None:
    """Write a licence-free stand-in of generated people, in the dataset's own official layout."""
    from kt3d_bench.console import ProgressReport
    from kt3d_bench.training.run import device_kind

    plugin = plugins.dataset(dataset)
    kind = device_kind(device)
    out = out or default_data_root() / "generated" / dataset / "raw"
    _refuse_occupied(out)
    make = plugins.load_function(plugin.generate, "generate")
    small = dict(plugins.load(f"{plugin.generate}:DEMO"))
    sizes = {"people": people or small.pop("people"), "frames": frames or small.pop("frames")}
    with ProgressReport() as report:
        report.task(f"generating {dataset}", 1)
        counts = make(
            out,
            **sizes,
            seed=seed,
            motion=motion,
            device=kind if device == "auto" else device,
            workers=workers,
            progress=lambda done, total: report.update(done, total=total),
        )
        report.finish(", ".join(f"{split} {count} samples" for split, count in counts.items()))
    click.echo(f"Next: kt3d prepare {dataset} --raw {shlex.quote(str(out))}")


def _refuse_occupied(out: Path) -> None:
    if out.exists() and any(out.iterdir()):
        raise UsageError("is not empty", where=out, mend="choose another --out, or remove what is there")


@main.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--dataset", help="Which dataset a raw folder should be. [default: all are asked]")
def inspect(path: Path, dataset: str | None) -> None:
    """Say what is at PATH: shards, a run, predictions, or a raw dataset and what it lacks."""
    from kt3d_bench.inspection import describe

    for line in describe(path, dataset):
        click.echo(line)
