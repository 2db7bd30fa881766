"""Commands about runs: train, estimate, predict, report."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

import kt3d_bench as kt
from kt3d_bench.cli.base import FILE, FOLDER, SHARDS, Command, completing, main
from kt3d_bench.cli.console import Terminal, say
from kt3d_bench.errors import UsageError
from kt3d_bench.supervision import LEVELS
from kt3d_bench.training.config import TRACKERS

_ROLE_SHARDS = "Where the shards of target, source or pretrain are; repeatable. [default: below kt3d-data/shards]"
_RUN_OPTIONS = (
    click.option("--method", shell_complete=completing("methods"), help="Method to train; kt3d list shows them."),
    click.option("--supervision", default="none", show_default=True, help=f"One of {', '.join(LEVELS)}."),
    click.option(
        "--joints", type=int, default=6, show_default=True, help="Labelled joints of partial levels: 1, 3, 6, 12, 17."
    ),
    click.option(
        "--target",
        shell_complete=completing("datasets", "benchmarks"),
        help="Dataset or benchmark to adapt to and be tested on. [default: the method's]",
    ),
    click.option("--source", help="Synthetic dataset; generated[:NAME] draws it on the fly. [default: the method's]"),
    click.option("--pretrain", help="2D dataset for pre-training. [default: the method's]"),
    click.option("--shards", multiple=True, metavar="ROLE=FOLDER|URL", help=_ROLE_SHARDS),
    click.option(
        "--preset", default="paper", show_default=True, help="Size and schedule: paper, small, laptop or tiny."
    ),
    click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Option of the method; repeatable."),
    click.option("--precision", default="auto", show_default=True, help="auto, 32-true, bf16-mixed or 16-mixed."),
)


def _device_options(device: str) -> tuple[Callable[[Command], Command], ...]:
    """Return the options about devices; ``device`` is the help of ``--device``."""
    launched = "1, or what torchrun or srun started"
    return (
        click.option("--device", default="auto", show_default=True, help=device),
        click.option(
            "--devices", type=click.IntRange(min=1), default=1, show_default=launched, help="Processes, one per device."
        ),
        click.option("--nodes", type=click.IntRange(min=1), default=1, show_default=True, help="Number of machines."),
    )


def _with(*groups: Iterable[Callable[[Command], Command]]) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return add


_DEVICE = "auto, cpu, cuda or cuda:INDEX."


@main.command()
@_with(_RUN_OPTIONS, _device_options(_DEVICE))
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Random seed.")
@click.option("--compile/--no-compile", "compiled", default=None, help="Use torch.compile. [default: on a GPU]")
@click.option("--deterministic", is_flag=True, help="Use only operations that repeat exactly; a CPU's do anyway.")
@click.option(
    "--checkpoint-every",
    "checkpoint_steps",
    type=click.IntRange(min=1),
    metavar="STEPS",
    help="Write a checkpoint every so many steps, beside that of every 5 minutes.",
)
@click.option(
    "--validate-every",
    type=click.IntRange(min=1),
    metavar="STEPS",
    help="Measure a validation curve every so many steps, without hidden labels: log.jsonl, --log, the run's report.",
)
@click.option(
    "--hold-out",
    type=float,
    default=0.0,
    metavar="SHARE",
    help="Validate on this share of the training data, and do not train on it. [default: on data that is trained on]",
)
@click.option("--masks", default="", metavar="NAME", help="Take the target's foreground from masks of kt3d detect.")
@click.option(
    "--pseudo-labels",
    default="",
    metavar="NAME",
    help="Learn from 2D joints of kt3d detect in the place of the target's labels.",
)
@click.option(
    "--again",
    metavar="RUN",
    help="Train what this run was asked for: a name, folder or run.yaml. Only with --name, --resume and --predict.",
)
@click.option("--init", metavar="RUN|FILE", help="Finished run or weight file to start from. [default: random weights]")
@click.option(
    "--log",
    type=click.Choice(TRACKERS),
    multiple=True,
    help="Show the curves there too, beside log.jsonl; repeatable. Each is an extra: pip install 'kt3d-bench[NAME]'.",
)
@click.option("--name", help="Name of the run. [default: derived from the options]")
@click.option("--resume", is_flag=True, help="Continue the unfinished run of the same name.")
@click.option("--predict/--no-predict", "then_predict", default=True, help="Predict the target's benchmark at the end.")
def train(
    settings: tuple[str, ...],
    shards: tuple[str, ...],
    nodes: int,
    again: str | None,
    then_predict: bool,
    **options: Any,
) -> None:
    """Train a method, then predict the benchmark of its target.

    Asked to stop by SIGTERM or SIGUSR1, as schedulers do, it writes a checkpoint and exits with code 75: start it again
    with --resume.
    """
    with Terminal() as report:
        if again is not None:
            _refuse_beside_again(click.get_current_context())
            run = kt.train_again(again, name=options["name"], resume=options["resume"], report=report)
        else:
            _require_method(options)
            run = kt.train(
                settings=_settings(settings), shards=_folders(shards), num_nodes=nodes, report=report, **options
            )
        target = run.document["shards"]["target"]["dataset"]
        tested = any(benchmark.dataset == target for benchmark in kt.benchmarks().values())
        if then_predict and tested:
            asked = run.config
            run.predict(device=asked.device, devices=asked.devices, nodes=asked.num_nodes, report=report)
    if not run.in_main_process:
        return
    say(f"Run: {run.folder}")
    if tested:
        say("Next: kt3d score")
    else:
        say(f"No benchmark tests on {target}. To predict another one: kt3d predict --benchmark ID (kt3d list)")


def _refuse_beside_again(ctx: click.Context) -> None:
    given = [name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    options = {option.name: option.opts[0] for option in ctx.command.params}
    for name in sorted(set(given) - {"again", "name", "resume", "then_predict"}):
        raise UsageError(f"{options[name]} stands beside --again, which repeats a run as it was", hint="leave one out")


def _require_method(options: Mapping[str, Any]) -> None:
    if options["method"] is None:
        raise UsageError("no method is named", hint="name one with --method; kt3d list shows them")


@main.command()
@_with(_RUN_OPTIONS, _device_options("Where --measure times: auto, cpu, cuda or cuda:INDEX."))
@click.option("--samples", multiple=True, metavar="ROLE=N", help="Training samples of a role without shards here.")
@click.option("--hardware", help="Row of the table of measured rates, such as cpu-2-cores-busy.")
@click.option("--images-per-second", type=float, help="Rate you know, through the longest stage on one device.")
@click.option("--measure", is_flag=True, help="Time a few steps of every stage on this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, for scripts.")
def estimate(
    settings: tuple[str, ...],
    shards: tuple[str, ...],
    samples: tuple[str, ...],
    nodes: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Estimate the hours, GPU memory and disk space of a training run. Nothing is trained."""
    _require_method(options)
    folders, counts = _folders(shards), _counts(samples)
    found = kt.estimate(settings=_settings(settings), shards=folders, samples=counts, num_nodes=nodes, **options)
    for line in [json.dumps(found.document(), indent=1)] if as_json else found.lines():
        say(line)


def _pairs(option: str, pairs: Iterable[str], form: str, example: str) -> dict[str, str]:
    """Split NAME=VALUE texts. Raises ``UsageError`` for a text without "=", or without a name or a value."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name or (not value and option != "--set"):
            raise UsageError(f"{option} needs {form}, found '{pair}'", hint=f"for example: {option} {example}")
        found[name.strip()] = value.strip()
    return found


def _counts(texts: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for role, number in _pairs("--samples", texts, "ROLE=N", "target=300000").items():
        digits = number.replace(",", "").replace("_", "")
        if not digits.isdecimal() or len(digits) > 15 or not int(digits):
            hint = "for example: --samples target=300000"
            raise UsageError(f"--samples needs ROLE=N, found '{role}={number}'", hint=hint)
        counts[role] = int(digits)
    return counts


def _settings(texts: Iterable[str]) -> dict[str, str]:
    pairs = _pairs("--set", texts, "NAME=VALUE", "steps=100")
    return {name.replace("-", "_"): value for name, value in pairs.items()}


def _folders(texts: Iterable[str]) -> dict[str, Path | str]:
    from kt3d_bench.data.remote import is_url

    pairs = _pairs("--shards", texts, "ROLE=FOLDER", "source=FOLDER")
    return {role: folder if is_url(folder) else Path(folder).expanduser() for role, folder in pairs.items()}


@main.command()
@click.argument("run", required=False, shell_complete=completing("runs"))
@click.argument("inputs", nargs=-1, metavar="[INPUT]...")
@click.option(
    "--benchmark",
    shell_complete=completing("benchmarks"),
    help="Benchmark to predict. [default: the one of the run's target]",
)
@click.option("--shards", type=SHARDS, help="Test shards, a folder or a URL. [default: where the run found its target]")
@_with(_device_options(_DEVICE))
@click.option("--out", type=FOLDER, help="Pictures: folder of the results. [default: kt3d-data/pictures/RUN]")
@click.option("--camera", metavar="FILE|FX,FY,CX,CY", help="Pictures: the camera. [default: as recorded, else assumed]")
@click.option(
    "--boxes",
    default="auto",
    metavar="FILE|whole|detect",
    help="Pictures: where people are. [default: detect or whole]",
)
@click.option("--root-depth", "root_depth_mm", type=float, metavar="MM", help="Pictures: depth of the hip.")
@click.option("--height", "height_mm", type=float, metavar="MM", help="Pictures: height of the people.")
@click.option("--depth-unit", type=click.Choice(["mm", "m"]), default="mm", show_default=True, help="Of depth images.")
@click.option("--smooth", is_flag=True, help="Videos: smooth poses over time (One-Euro filter).")
@click.option("--bvh", is_flag=True, help="Pictures: also write BVH, one file per person.")
@click.option("--replace", is_flag=True, help="Pictures: replace earlier results in the folder.")
@click.pass_context
def predict(ctx: click.Context, /, run: str | None, inputs: tuple[str, ...], **options: Any) -> None:
    """Predict a benchmark with a finished RUN, by default the newest; or the people in pictures, videos and folders.

    For pictures, RUN may also be the name of a method that needs no training: kt3d predict RUN photo.jpg clip.mp4
    """
    given = {name for name in options if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    other = {"benchmark", "shards", "devices", "nodes"} if inputs else set(options) - {"benchmark", "shards", *_WHERE}
    if wrong := sorted(given & other):
        named = {option.name: option.opts[0] for option in ctx.command.params}
        what = "is of benchmarks, and pictures are given" if inputs else "is of pictures, and none is given"
        raise UsageError(f"{named[wrong[0]]} {what}", hint="leave it out, or give: kt3d predict RUN INPUT...")
    if run is not None and Path(run).is_file() and not run.endswith(".kt3d") and run not in kt.methods():
        again = shlex.join(["kt3d", "predict", "RUN", run, *inputs])
        raise UsageError(f"'{run}' is a file where a run is expected", hint=f"name the run: {again}")
    if inputs and run is not None:
        _predict_pictures(run, inputs, {name: options[name] for name in options if name not in other})
    else:
        _predict_benchmark(run, **{name: options[name] for name in ("benchmark", "shards", *_WHERE)})


_WHERE = ("device", "devices", "nodes")


def _predict_pictures(run: str, inputs: tuple[str, ...], options: dict[str, Any]) -> None:
    from kt3d_bench.files import default_data_root

    out = options.pop("out") or default_data_root() / "pictures" / Path(run).name
    with Terminal() as report:
        found = kt.predict_images(run, inputs, out=out, report=report, **options)
    sentences: dict[str, str] = {}
    for name, camera in found.meta["cameras"].items():
        sentences.setdefault(camera, name)
    for camera, name in sentences.items():
        say(f"{name}: {camera}")
    for sentence in found.meta["notes"]:
        say(f"Note: {sentence}")
    say(f"Poses: {len(found)}, in {out / 'predictions.json'} and predictions.npz; overlays beside them")
    say(f"Next: open {out / 'index.html'} in a browser; it needs no network.")


def _predict_benchmark(
    run: str | None, benchmark: str | None, shards: Path | None, device: str, devices: int, nodes: int
) -> None:
    opened = kt.load_run(run)
    with Terminal() as report:
        found = opened.predict(benchmark, shards=shards, device=device, devices=devices, nodes=nodes, report=report)
    if not opened.in_main_process:
        return
    path = opened.folder / "predictions" / f"{found.meta['benchmark']}.npz"
    say(f"Predictions: {path}")
    words = [str(path), "--shards", str(shards)] if shards else ["--run", str(opened.folder)] if run else []
    words += ["--benchmark", benchmark] if benchmark else []
    say(f"Next: {shlex.join(['kt3d', 'score', *words])}")


@main.command()
@click.argument("run", required=False, shell_complete=completing("runs"))
@click.option("--no-images", is_flag=True, help="Leave the dataset's images out: skeletons only.")
@click.option("--samples", type=int, default=3, show_default=True, help="How many best, median and worst samples.")
@click.option("--shards", type=SHARDS, help="Test shards, a folder or a URL. [default: where the run found its target]")
@click.option("--out", type=FILE, help="[default: report.html in the run's folder]")
def report(run: str | None, no_images: bool, samples: int, shards: Path | None, out: Path | None) -> None:
    """Write a RUN, by default the newest, as one HTML file: curves, scores, and samples that can be turned in 3D."""
    from kt3d_bench.report.build import run_to_report
    from kt3d_bench.run_folder import finished

    folder = run_to_report(run)
    path = kt.write_report(folder, images=not no_images, samples=samples, shards=shards, out=out)
    say(f"Report: {path}")
    if any((folder / "predictions").glob("*.npz")):
        say("Next: open it in a browser; it needs no network.")
    elif finished(folder):
        say(f"Next: {shlex.join(['kt3d', 'score', '--run', str(folder)])}, then this again to see samples.")
    else:
        say("Next: give the run's kt3d train command again with --resume to continue it.")


@main.command()
@click.argument("run", required=False, shell_complete=completing("runs"))
@click.option("--onnx", type=FILE, help="Write this ONNX file, and compare it with torch.")
@click.option("--torch", "program", type=FILE, help="Write this torch.export program (.pt2).")
@click.option("--shards", type=SHARDS, help="Test shards to compare on. [default: where the run found its target]")
def export(run: str | None, onnx: Path | None, program: Path | None, shards: Path | None) -> None:
    """Write a finished RUN, by default the newest, for use elsewhere: from images to poses in one graph."""
    done = kt.export(run, onnx=onnx, program=program, shards=shards)
    for path in done.files:
        say(f"Written: {path} (inputs {', '.join(done.inputs)}; outputs {', '.join(done.outputs)})")
    if done.deviation_mm is not None:
        what = f"{done.samples} test samples" if done.samples else "random images, as no test shards are here"
        say(f"ONNX and torch agree to {done.deviation_mm:.4f} mm on {what}.")


@main.command()
@click.argument("run", required=False, shell_complete=completing("runs"))
@click.option("--out", type=FILE, help="File to write. [default: RUN.kt3d here]")
def pack(run: str | None, out: Path | None) -> None:
    """Write a finished RUN, by default the newest, as one file that predict, export and --init accept elsewhere."""
    path = kt.pack(run, out)
    say(f"Packed: {path} ({path.stat().st_size / 1e6:.1f} MB)")
    say(f"Next: kt3d predict {shlex.quote(str(path))} photo.jpg")


@main.command()
@click.argument("shards", type=SHARDS)
@click.option("--with", "by", required=True, metavar="RUN|METHOD", help="Run, or method without training.")
@click.option("--split", "splits", multiple=True, help="Only this split; may be repeated. [default: all]")
@click.option("--device", default="auto", show_default=True, help=_DEVICE)
def detect(shards: Path, by: str, splits: tuple[str, ...], device: str) -> None:
    """Store 2D joints beside SHARDS, and masks where the method gives them, for kt3d train: --set detections=NAME lifts
    the joints, --pseudo-labels NAME learns from them, --masks NAME takes the masks for the target's foreground."""
    with Terminal() as report:
        for path in kt.detect(shards, by, splits=splits or None, device=device, report=report):
            say(f"Detections: {path}")
