"""Commands about data: prepare, generate, inspect, validate."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import click

from kt3d_bench.cli.base import ANY_PLACE, FILE, FOLDER, SHARDS, main
from kt3d_bench.errors import UsageError, did_you_mean
from kt3d_bench.files import default_data_root
from kt3d_bench.plugins import registry


def _dataset_options(name: str, extra: Iterable[str]) -> dict[str, Any]:
    """``--train-every 5 --drop x`` -> {"train_every": 5, "drop": "x"}, typed by the dataset's own options."""
    known = registry.dataset(name).options
    given: dict[str, Any] = {}
    words = list(extra)
    while words:
        flag, equals, value = words.pop(0).partition("=")
        option = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--") or option not in known:
            raise UsageError(
                f"'{flag}' is no option of prepare {name}",
                hint=did_you_mean(flag, [f"--{n.replace('_', '-')}" for n in known]),
            )
        if not equals:
            if not words:
                raise UsageError(f"{flag} needs a value", hint=known[option].help)
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
@click.option("--cluster", metavar="ADDRESS", help="Convert on this Dask scheduler's workers instead.")
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
    cluster: str | None,
    overwrite: bool,
) -> None:
    """Convert an official download into shards.

    Options of the dataset itself are given the same way, for example --train-every 5; kt3d list DATASET shows them.
    """
    from kt3d_bench.cli.console import Terminal
    from kt3d_bench.data import prepare as shards

    plugin = registry.dataset(dataset)
    options = _dataset_options(dataset, ctx.args)
    raw, out = raw or default_data_root() / "raw" / dataset, out or default_data_root() / "shards" / dataset
    with Terminal() as report:
        manifest = shards.prepare(
            plugin,
            raw=raw,
            out=out,
            splits=splits or None,
            views=views or None,
            workers=workers,
            cluster=cluster,
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

    tested = registry.benchmarks_of(dataset)
    methods = list(registry.methods().values())
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
@click.option(
    "--motion",
    type=click.Path(path_type=Path),
    help="Take poses from this .bvh or .amc file (an .amc needs its .asf beside it), or from all below this folder.",
)
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
    from kt3d_bench.cli.console import Terminal
    from kt3d_bench.training.run import device_kind

    plugin = registry.dataset(dataset)
    kind = device_kind(device)
    out = out or default_data_root() / "generated" / dataset / "raw"
    _refuse_occupied(out)
    make = registry.load_function(plugin.generate, "generate")
    small = dict(registry.load(f"{plugin.generate}:DEMO"))
    sizes = {"people": people or small.pop("people"), "frames": frames or small.pop("frames")}
    if motion is not None:
        from kt3d_bench.synth import read_motions

        for line in read_motions(motion).lines():
            click.echo(line)
    with Terminal() as report:
        report.start(f"generate {dataset}", 1)
        counts = make(
            out,
            **sizes,
            seed=seed,
            motion=motion,
            device=kind if device == "auto" else device,
            workers=workers,
            progress=lambda done, total: report.advance(done, total=total),
        )
        report.finish(", ".join(f"{split} {count} samples" for split, count in counts.items()))
    click.echo(f"Next: kt3d prepare {dataset} --raw {shlex.quote(str(out))}")


def _refuse_occupied(out: Path) -> None:
    if out.exists() and any(out.iterdir()):
        raise UsageError("is not empty", where=out, hint="choose another --out, or remove what is there")


@main.command()
@click.argument("path", type=ANY_PLACE)
@click.option("--dataset", help="Which dataset a raw folder should be. [default: all are asked]")
@click.option("--picture", type=FILE, help="Of shards: write this .png, samples with their skeletons drawn over them.")
@click.option(
    "--by",
    type=click.Choice(["dataset", "action", "worst"]),
    default="dataset",
    show_default=True,
    help="Samples of the picture: spread evenly, by action, or what is nearest to or beyond the limit of a check.",
)
@click.option("--count", type=click.IntRange(min=1), default=24, show_default=True, help="Samples of the picture.")
@click.option("--split", help="Only this split in the picture. [default: all]")
def inspect(
    path: Path,
    dataset: str | None,
    picture: Path | None,
    by: Literal["dataset", "action", "worst"],
    count: int,
    split: str | None,
) -> None:
    """Say what is at PATH: shards, a run, predictions, or a raw dataset and what it lacks."""
    from kt3d_bench.cli.inspection import describe, shards_folders

    folders = shards_folders(path)
    if picture is not None and not folders:
        raise UsageError(
            "only shards have pictures", where=path, hint="leave out --picture, or name a folder of shards"
        )
    if picture is not None and picture.suffix.lower() != ".png":
        raise UsageError("pictures are .png files", where=picture, hint=f"--picture {shlex.quote(f'{picture}.png')}")
    for line in describe(path, dataset):
        click.echo(line)
    if picture is not None:
        from kt3d_bench.cli.sheets import sheet
        from kt3d_bench.data.remote import complete

        for folder in folders:
            complete(folder, [split] if split else None)
        for line in sheet(folders, picture, by=by, count=count, split=split):
            click.echo(line)


@main.command()
@click.argument("shards", type=SHARDS)
@click.option("--split", "splits", multiple=True, help="Only this split; may be repeated. [default: all]")
@click.option("--raw", type=FOLDER, help="Where they were prepared from, for the commands that mend them.")
@click.option("--all", "every", is_flag=True, help="Read every image. [default: 512 samples per split, spread evenly]")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, for scripts.")
@click.pass_context
def validate(
    ctx: click.Context, shards: Path, splits: tuple[str, ...], raw: Path | None, every: bool, as_json: bool
) -> None:
    """Check prepared shards: files, counts, labels, geometry, bodies and images.

    Says what is wrong in which sample and which prepare mends it. Exits with 1 when something is wrong.
    """
    from kt3d_bench.cli import validation
    from kt3d_bench.cli.console import Terminal, console
    from kt3d_bench.data.remote import complete
    from kt3d_bench.data.validate import IMAGES
    from kt3d_bench.data.validate import validate as check

    complete(shards, splits or None)
    with Terminal() as report:
        found = check(
            shards,
            splits=splits or None,
            sampled=None if every else IMAGES,
            progress=_following(report.start, report.advance),
        )
    if as_json:
        click.echo(json.dumps(validation.as_json(found, raw=raw), indent=1))
    else:
        out = console()
        out.print(validation.table(found, out.width))
        for line in validation.lines(found, raw=raw):
            click.echo(line)
        if found.sound:
            click.echo("Nothing is wrong.")
            click.echo(f"Next: kt3d inspect {shlex.quote(str(shards))} --by worst --picture worst.png")
        else:
            click.echo(f"Next: mend it as said above, then: kt3d validate {shlex.quote(str(shards))}")
    if not found.sound:
        ctx.exit(1)


def _following(task: Callable[[str, int], None], update: Callable[[int], None]) -> Callable[[str, int, int], None]:
    """Progress that names what it does, as tasks of a progress report."""
    current = ""

    def follow(what: str, done: int, total: int) -> None:
        nonlocal current
        if what != current:
            current = what
            task(what, total)
        update(done)

    return follow
