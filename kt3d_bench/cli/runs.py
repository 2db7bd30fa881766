"""Commands about runs: train, predict, report."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from kt3d_bench.cli.base import FILE, SHARDS, main, run_folder
from kt3d_bench.errors import UsageError
from kt3d_bench.files import default_data_root
from kt3d_bench.plugins import registry
from kt3d_bench.supervision import LEVELS

DEVICES = "1, or what torchrun or srun started"


@main.command()
@click.option("--method", required=True, help="kt3d list shows them.")
@click.option("--supervision", type=str, default="none", show_default=True, help=f"One of {', '.join(LEVELS)}.")
@click.option(
    "--joints", type=int, default=6, show_default=True, help="How many joints partial gives: 1, 3, 6, 12, 17."
)
@click.option("--target", help="Dataset or benchmark to adapt to and be tested on. [default: the method's]")
@click.option("--source", help="Synthetic dataset; generated[:NAME]: drawn on the fly. [default: the method's]")
@click.option("--pretrain", help="2D dataset for pre-training. [default: the method's]")
@click.option(
    "--shards",
    multiple=True,
    metavar="ROLE=FOLDER|URL",
    help="Where the shards of target, source or pretrain lie; may be repeated. [default: below kt3d-data/shards]",
)
@click.option("--preset", default="paper", show_default=True, help="Size and schedule: paper, small or tiny.")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="One option of the method; may be repeated."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all random draws.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:INDEX.")
@click.option("--devices", type=click.IntRange(min=1), default=1, show_default=DEVICES, help="Processes, one a device.")
@click.option("--nodes", type=click.IntRange(min=1), default=1, show_default=True, help="How many machines.")
@click.option("--precision", default="auto", show_default=True, help="auto, 32-true, bf16-mixed or 16-mixed.")
@click.option("--compile/--no-compile", "compiled", default=None, help="torch.compile. [default: on a GPU]")
@click.option("--name", help="Name of the run. [default: derived]")
@click.option("--resume", is_flag=True, help="Go on with the unfinished run of the same name.")
@click.option("--predict/--no-predict", "then_predict", default=True, help="Predict the target's benchmark at the end.")
def train(
    method: str,
    settings: tuple[str, ...],
    shards: tuple[str, ...],
    nodes: int,
    resume: bool,
    then_predict: bool,
    **options: Any,
) -> None:
    """Train a method, and predict the benchmark of its target."""
    from kt3d_bench.cli.console import Terminal
    from kt3d_bench.training.config import RunConfig
    from kt3d_bench.training.predict import predict as predict_run
    from kt3d_bench.training.run import is_main_process
    from kt3d_bench.training.sources import domain
    from kt3d_bench.training.train import train as train_run

    config = RunConfig(
        method=method,
        settings=_settings(settings),
        shards=_folders(shards),
        num_nodes=nodes,
        data_root=default_data_root(),
        **options,
    )
    with Terminal() as report:
        folder = train_run(config, report, resume=resume)
        target = config.target or registry.method(method).defaults.get("target", "")
        tested = bool(registry.benchmarks_of(domain(target).dataset))
        if then_predict and tested:
            predict_run(folder, device=config.device, devices=config.devices, nodes=nodes, report=report)
    if not is_main_process():
        return
    click.echo(f"Run: {folder}")
    if tested:
        click.echo("Next: kt3d score")
    else:
        click.echo(f"No benchmark tests on {target}; kt3d predict --benchmark ID tries another (kt3d list).")


@main.command()
@click.option("--method", required=True, help="kt3d list shows them.")
@click.option("--supervision", type=str, default="none", show_default=True, help=f"One of {', '.join(LEVELS)}.")
@click.option("--target", help="As for train. [default: the method's]")
@click.option("--source", help="As for train. [default: the method's]")
@click.option("--pretrain", help="As for train. [default: the method's]")
@click.option("--shards", multiple=True, metavar="ROLE=FOLDER|URL", help="Whose samples to count. [default: as train]")
@click.option(
    "--samples", multiple=True, metavar="ROLE=N", help="Training samples of a role whose shards are not here."
)
@click.option("--preset", default="paper", show_default=True, help="Size and schedule: paper, small or tiny.")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="One option of the method; may be repeated."
)
@click.option("--devices", type=click.IntRange(min=1), default=1, show_default=True, help="On each machine.")
@click.option("--nodes", type=click.IntRange(min=1), default=1, show_default=True, help="Machines.")
@click.option("--precision", default="auto", show_default=True, help="auto, 32-true, bf16-mixed or 16-mixed.")
@click.option("--hardware", help="A row of the table of measured rates, such as cpu-2-cores.")
@click.option("--images-per-second", type=float, help="A rate you know, through the longest stage on one device.")
@click.option("--measure", is_flag=True, help="Time a few steps of every stage on this machine instead.")
@click.option("--device", default="auto", show_default=True, help="Where --measure times: auto, cpu, cuda, cuda:INDEX.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, for scripts.")
def estimate(
    settings: tuple[str, ...],
    shards: tuple[str, ...],
    samples: tuple[str, ...],
    nodes: int,
    hardware: str | None,
    images_per_second: float | None,
    measure: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """What a training run will cost: hours, memory of a GPU, disk. Nothing is trained, and no rate is invented."""
    from kt3d_bench.costs import estimate as costs
    from kt3d_bench.training.config import RunConfig

    config = RunConfig(
        settings=_settings(settings), shards=_folders(shards), num_nodes=nodes, data_root=default_data_root(), **options
    )
    found = costs.estimate(
        config,
        samples=_counts(samples),
        hardware=hardware,
        images_per_second=images_per_second,
        measure=measure,
    )
    for line in [json.dumps(costs.document(found), indent=1)] if as_json else costs.lines(found):
        click.echo(line)


def _counts(pairs: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for pair in pairs:
        role, equals, number = pair.partition("=")
        digits = number.replace(",", "").replace("_", "")
        if not equals or not role or not digits.isdecimal() or not int(digits):
            raise UsageError(f"--samples wants ROLE=N, found '{pair}'", hint="for example: --samples target=300000")
        counts[role.strip()] = int(digits)
    return counts


def _settings(pairs: Iterable[str]) -> dict[str, str]:
    settings: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--set wants NAME=VALUE, found '{pair}'")
        settings[name.strip().replace("-", "_")] = value.strip()
    return settings


def _folders(pairs: Iterable[str]) -> dict[str, Path | str]:
    from kt3d_bench.data.remote import is_url

    folders: dict[str, Path | str] = {}
    for pair in pairs:
        role, equals, folder = pair.partition("=")
        if not equals or not role or not folder:
            raise UsageError(f"--shards wants ROLE=FOLDER, found '{pair}'", hint="for example: --shards source=FOLDER")
        folders[role.strip()] = folder if is_url(folder) else Path(folder).expanduser()
    return folders


@main.command()
@click.argument("run", required=False)
@click.option("--benchmark", help="[default: the one of the run's target]")
@click.option("--shards", type=SHARDS, help="Test shards, a folder or a URL. [default: where the run found its target]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:INDEX.")
@click.option("--devices", type=click.IntRange(min=1), default=1, show_default=DEVICES, help="Processes, one a device.")
@click.option("--nodes", type=click.IntRange(min=1), default=1, show_default=True, help="How many machines.")
def predict(run: str | None, benchmark: str | None, shards: Path | None, device: str, devices: int, nodes: int) -> None:
    """Predict a benchmark with a finished RUN, by default the newest."""
    from kt3d_bench.cli.console import Terminal
    from kt3d_bench.run_folder import newest_run
    from kt3d_bench.training.predict import predict as predict_run
    from kt3d_bench.training.run import is_main_process

    folder = run_folder(run) or newest_run(default_data_root())
    with Terminal() as report:
        path = predict_run(folder, benchmark, shards=shards, device=device, devices=devices, nodes=nodes, report=report)
    if not is_main_process():
        return
    click.echo(f"Predictions: {path}")
    words = [str(path), "--shards", str(shards)] if shards else ["--run", str(folder)] if run else []
    words += ["--benchmark", benchmark] if benchmark else []
    click.echo(f"Next: {shlex.join(['kt3d', 'score', *words])}")


@main.command()
@click.argument("run", required=False)
@click.option("--no-images", is_flag=True, help="Leave the dataset's images out: skeletons only.")
@click.option("--samples", type=int, default=3, show_default=True, help="How many best, median and worst samples.")
@click.option("--shards", type=SHARDS, help="Test shards, a folder or a URL. [default: where the run found its target]")
@click.option("--out", type=FILE, help="[default: report.html in the run's folder]")
def report(run: str | None, no_images: bool, samples: int, shards: Path | None, out: Path | None) -> None:
    """Write a RUN, by default the newest, as one HTML file: curves, scores, and samples that can be turned in 3D."""
    from kt3d_bench import write_report
    from kt3d_bench.report.build import run_to_report
    from kt3d_bench.run_folder import finished

    folder = run_to_report(run)
    path = write_report(folder, images=not no_images, samples=samples, shards=shards, out=out)
    click.echo(f"Report: {path}")
    if any((folder / "predictions").glob("*.npz")):
        click.echo("Next: open it in a browser; it needs no network.")
    elif finished(folder):
        click.echo(f"Next: {shlex.join(['kt3d', 'score', '--run', str(folder)])}, then this again to see samples.")
    else:
        click.echo("Next: give the run's kt3d train command again with --resume to continue it.")
