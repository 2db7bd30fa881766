"""Commands about data: prepare, generate, inspect, validate."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import click

import kt3d_bench as kt
from kt3d_bench.cli.base import ANY_PLACE, FILE, FOLDER, SHARDS, completing, held_out_option, main, workers_option
from kt3d_bench.cli.console import Terminal, console, say
from kt3d_bench.errors import PluginError, UsageError, did_you_mean
from kt3d_bench.files import default_data_root


def _dataset_options(name: str, extra: Iterable[str], own: Iterable[str]) -> dict[str, str]:
    """Return the dataset's own options: ``--train-every 5 --drop x`` -> {"train_every": "5", "drop": "x"}."""
    if name not in kt.datasets():
        return {}
    known = kt.datasets()[name].options
    given: dict[str, str] = {}
    words = list(extra)
    while words:
        flag, equals, value = words.pop(0).partition("=")
        option = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--") or option not in known:
            hint = did_you_mean(flag, [*own, *(f"--{n.replace('_', '-')}" for n in known)])
            raise UsageError(f"'{flag}' is not an option of prepare {name}", hint=hint)
        if not equals:
            if not words:
                raise UsageError(f"{flag} needs a value", hint=known[option].help)
            value = words.pop(0)
        given[option] = value
    return given


@main.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("dataset", shell_complete=completing("datasets"))
@click.option("--raw", type=FOLDER, help="Folder with the official download. [default: kt3d-data/raw/DATASET]")
@click.option("--out", type=FOLDER, help="Folder for the shards. [default: kt3d-data/shards/DATASET]")
@click.option("--split", "splits", multiple=True, help="Prepare only this split; may be repeated. [default: all]")
@click.option("--view", "views", multiple=True, help="Prepare only this view of a dataset with several. [default: all]")
@workers_option
@click.option("--cluster", metavar="ADDRESS", help="Convert on the workers of this Dask scheduler instead.")
@click.option("--overwrite", is_flag=True, help="Replace shards of another configuration in --out.")
@click.option(
    "--check/--no-check",
    default=True,
    show_default=True,
    help="Refuse labels that belong to other images or people.",
)
@click.option("--traceback", is_flag=True, help="Show where a converter raised an unexpected exception.")
@click.pass_context
def prepare(
    ctx: click.Context,
    /,
    dataset: str,
    out: Path | None,
    splits: tuple[str, ...],
    views: tuple[str, ...],
    traceback: bool,
    **choices: Any,
) -> None:
    """Convert an official download into shards.

    Options of the dataset itself are given the same way, for example --train-every 5; kt3d list DATASET shows them.
    """
    own = [flag for option in ctx.command.params for flag in (*option.opts, *option.secondary_opts)]
    options = _dataset_options(dataset, ctx.args, own)
    out = out or default_data_root() / "shards" / dataset
    with Terminal() as report:
        try:
            manifest = kt.prepare(
                dataset, out=out, splits=splits or None, views=views or None, options=options, report=report, **choices
            )
        except PluginError as error:
            for note in getattr(error, "__notes__", ()) if traceback else ():
                report.note(note)
            raise
    stand_in = " of generated stand-in data" if manifest.origin == "generated" else ""
    for name, split in sorted(manifest.splits.items()):
        say(f"{dataset} {name}: {split.samples} samples{stand_in} in {len(split.shards)} shards")
        for line in split.skipped_lines():
            say(line)
    say(f"Manifest: {out / 'manifest.json'}")
    say(f"Next: {_next_step(dataset, out)}")


def _next_step(dataset: str, shards: Path) -> str:
    """Return the command that continues from a dataset's shards; ``kt3d train`` finds only those in the usual place."""
    tested = [benchmark for benchmark in kt.benchmarks().values() if benchmark.dataset == dataset]
    methods = list(kt.methods().values())
    if not tested or not methods or shards.absolute() != (default_data_root() / "shards" / dataset).absolute():
        return f"kt3d inspect {shlex.quote(str(shards))}"
    users = [method for method in methods if method.defaults.get("target") == dataset]
    target = "" if users else f" --target {dataset if len(tested) == 1 else tested[0].id}"
    widest = max(users or methods, key=lambda method: (len(method.supervision), len(method.defaults)))
    return f"kt3d train --method {widest.name}{target} --supervision {widest.supervision[0]}"


@main.command()
@click.argument("dataset", shell_complete=completing("datasets"))
@click.option("--out", type=FOLDER, help="Folder for the stand-in. [default: kt3d-data/generated/DATASET/raw]")
@click.option(
    "--people",
    type=click.IntRange(min=1),
    help="Number of people; the dataset's README says what that yields. [default: a small stand-in]",
)
@click.option(
    "--frames",
    type=click.IntRange(min=1),
    help="Number of frames or images per person; see the dataset's README. [default: a small stand-in]",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Random seed.")
@click.option(
    "--motion",
    type=click.Path(path_type=Path),
    help="Take poses from this .bvh or .amc file (an .amc needs its .asf beside it), or from all files in this folder.",
)
@click.option(
    "--motion-rate", type=float, help="Frames per second of motions whose files state none (AMC) or a wrong one."
)
@click.option(
    "--motion-joints",
    default="",
    metavar="ROLE=NAME,...",
    help="Which joint of the motion files is which, where that is not found: knee_l=LeftLeg,knee_r=RightLeg.",
)
@click.option("--device", default="cpu", show_default=True, help="Device that renders bodies: cpu, cuda or auto.")
@held_out_option("Whose people the test split shows: validation people serve to choose settings.")
@workers_option
def generate(dataset: str, out: Path | None, **choices: Any) -> None:
    """Write a licence-free stand-in of generated people, in the dataset's own official layout."""
    out = out or default_data_root() / "generated" / dataset / "raw"
    with Terminal() as report:
        counts = kt.generate(dataset, out=out, report=report, **choices)
    say(", ".join(f"{split} {count} samples" for split, count in counts.items()))
    say(f"Next: kt3d prepare {dataset} --raw {shlex.quote(str(out))}")


@main.command()
@click.argument("path", type=ANY_PLACE)
@click.option("--dataset", help="Dataset that a raw folder should hold. [default: try all]")
@click.option("--picture", type=FILE, help="Write this .png of skeletons: samples of shards, or a motion file.")
@click.option(
    "--by",
    type=click.Choice(["dataset", "action", "worst"]),
    default="dataset",
    show_default=True,
    help="Samples in the picture: evenly spread, by action, or those closest to or beyond the limit of a check.",
)
@click.option("--count", type=click.IntRange(min=1), default=24, show_default=True, help="Samples in the picture.")
@click.option("--split", help="Show only this split in the picture. [default: all]")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, for scripts.")
def inspect(
    path: Path,
    dataset: str | None,
    picture: Path | None,
    by: Literal["dataset", "action", "worst"],
    count: int,
    split: str | None,
    as_json: bool,
) -> None:
    """Describe what is at PATH: shards, a run, predictions, a motion file, or a raw dataset and what it lacks."""
    from kt3d_bench.inspection import facts, is_motion, shards_folders

    folders, motion = shards_folders(path), is_motion(path)
    if picture is not None and not folders and not motion:
        hint = "leave out --picture, or name a folder of shards or a motion file"
        raise UsageError("only shards and motions have pictures", where=path, hint=hint)
    if picture is not None and picture.suffix.lower() != ".png":
        raise UsageError("pictures are .png files", where=picture, hint=f"--picture {shlex.quote(f'{picture}.png')}")
    if as_json:
        if picture is not None:
            raise UsageError("--json and --picture were both given", hint="call inspect twice")
        say(json.dumps(facts(path, dataset), indent=1, default=str))
        return
    for line in kt.inspect(path, dataset):
        say(line)
    if picture is not None:
        from kt3d_bench.cli.contact_sheet import motion_sheet, sheet
        from kt3d_bench.data.remote import complete

        for line in motion_sheet(path, picture, count=count) if motion else ():
            say(line)
        for folder in folders:
            complete(folder, [split] if split else None)
        for line in sheet(folders, picture, by=by, count=count, split=split) if folders else ():
            say(line)


@main.command()
@click.argument("shards", type=SHARDS)
@click.option("--split", "splits", multiple=True, help="Check only this split; may be repeated. [default: all]")
@click.option("--raw", type=FOLDER, help="Raw folder to name in the commands that repair the shards.")
@click.option("--all", "every", is_flag=True, help="Read every image. [default: 512 samples per split, evenly spread]")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, for scripts.")
@click.pass_context
def validate(
    ctx: click.Context, shards: Path, splits: tuple[str, ...], raw: Path | None, every: bool, as_json: bool
) -> None:
    """Check prepared shards: files, counts, labels, geometry, bodies and images.

    Names what is wrong in which sample, and the prepare command that repairs it. Exits with 1 when something is wrong.
    """
    from kt3d_bench.cli import validation

    with Terminal() as report:
        found = kt.validate(shards, splits=splits or None, **({"sampled": None} if every else {}), report=report)
    if as_json:
        say(json.dumps(validation.as_json(found, raw=raw), indent=1))
    else:
        out = console()
        out.print(validation.table(found, out.width))
        for line in validation.lines(found, raw=raw):
            say(line)
        if found.sound:
            say("Nothing is wrong in what was checked." if found.unchecked else "Nothing is wrong.")
            say(f"Next: kt3d inspect {shlex.quote(str(shards))} --by worst --picture worst.png")
        else:
            say(f"Next: repair it as shown above, then: kt3d validate {shlex.quote(str(shards))}")
    if not found.sound:
        ctx.exit(1)
