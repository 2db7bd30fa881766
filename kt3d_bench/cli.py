"""The command line: each command parses, calls one function, prints. Whatever ``kt3d`` does, Python can do in one call.

Heavy libraries are imported inside the commands that need them, so that ``kt3d --help`` answers at once.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from kt3d_bench import __version__, plugins
from kt3d_bench.errors import Kt3dError, UsageError, did_you_mean
from kt3d_bench.places import default_data_root
from kt3d_bench.supervision import LEVELS

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
USERS_TO_MEND = frozenset(
    {errno.EACCES, errno.EDQUOT, errno.EEXIST, errno.EISDIR, errno.ENOSPC, errno.ENOTDIR, errno.EPERM, errno.EROFS}
)
"""What a system says of a full disk, a folder without permission, a file where a folder should be."""


class Commands(click.Group):
    """Expected errors become one sentence and an exit code; anything else is a bug and keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Kt3dError as error:
            click.echo(f"Error: {error.message}", err=True)
            ctx.exit(error.exit_code)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            if error.errno not in USERS_TO_MEND or (error.filename is None and not full):
                raise
            where = "" if error.filename is None else f"{error.filename}: "
            click.echo(f"Error: {where}{error.strerror}; free space, or choose another folder", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo("Interrupted; run the same command again.", err=True)
            ctx.exit(1)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kt3d")
def main() -> None:
    """Datasets, methods and one honest harness for 3D human pose estimation across domains.

    raw dataset -> prepare -> shards -> train -> checkpoint -> predict -> predictions -> score -> leaderboard

    Try it without any download: kt3d demo
    """


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
@click.option("--workers", type=click.IntRange(min=1), default=os.cpu_count, show_default="cores", help="Processes.")
@click.option("--overwrite", is_flag=True, help="Replace shards of another configuration in --out.")
@click.pass_context
def prepare(
    ctx: click.Context,
    dataset: str,
    raw: Path | None,
    out: Path | None,
    splits: tuple[str, ...],
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
    users = [method for method in plugins.methods().values() if method.defaults.get("target") == dataset]
    if not users or shards.absolute() != (default_data_root() / "shards" / dataset).absolute():
        return f"kt3d inspect {shlex.quote(str(shards))}"
    widest = max(users, key=lambda method: (len(method.supervision), len(method.defaults)))
    return f"kt3d train --method {widest.name} --supervision {widest.supervision[0]}"


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


@main.command()
@click.option("--method", required=True, help="kt3d list shows them.")
@click.option("--supervision", type=str, default="none", show_default=True, help=f"One of {', '.join(LEVELS)}.")
@click.option(
    "--joints", type=int, default=6, show_default=True, help="How many joints partial gives: 1, 3, 6, 12, 17."
)
@click.option("--target", help="Dataset to adapt to and be tested on. [default: the method's]")
@click.option("--source", help="Synthetic dataset to learn from. [default: the method's]")
@click.option("--pretrain", help="2D dataset for pre-training. [default: the method's]")
@click.option("--preset", default="paper", show_default=True, help="Size and schedule: paper, small or tiny.")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="One option of the method; may be repeated."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all random draws.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:INDEX.")
@click.option("--devices", type=click.IntRange(min=1), default=1, show_default=True, help="Processes, one a device.")
@click.option("--nodes", type=click.IntRange(min=1), default=1, show_default=True, help="How many machines.")
@click.option("--precision", default="auto", show_default=True, help="auto, 32-true, bf16-mixed or 16-mixed.")
@click.option("--name", help="Name of the run. [default: derived]")
@click.option("--resume", is_flag=True, help="Go on with the unfinished run of the same name.")
@click.option("--predict/--no-predict", "then_predict", default=True, help="Predict the target's benchmark at the end.")
def train(method: str, settings: tuple[str, ...], nodes: int, resume: bool, then_predict: bool, **options: Any) -> None:
    """Train a method, and predict the benchmark of its target."""
    from kt3d_bench.console import TrainReport
    from kt3d_bench.training.predict import predict as predict_run
    from kt3d_bench.training.run import RunConfig, is_main_process
    from kt3d_bench.training.sources import benchmarks_of
    from kt3d_bench.training.train import train as train_run

    config = RunConfig(
        method=method, settings=_settings(settings), num_nodes=nodes, data_root=default_data_root(), **options
    )
    with TrainReport() as report:
        folder = train_run(config, report, resume=resume)
        if not is_main_process():
            return
        target = config.target or plugins.method(method).defaults.get("target", "")
        tested = bool(benchmarks_of(plugins.dataset(target)))
        if then_predict and tested:
            predict_run(folder, device=config.device, report=report)
    click.echo(f"Run: {folder}")
    if tested:
        click.echo("Next: kt3d score")
    else:
        click.echo(f"No benchmark tests on {target}; kt3d predict --benchmark ID tries another (kt3d list).")


def _settings(pairs: Iterable[str]) -> dict[str, str]:
    settings: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--set wants NAME=VALUE, found '{pair}'")
        settings[name.strip().replace("-", "_")] = value.strip()
    return settings


def _run_folder(run: str | None) -> Path | None:
    """A run by name or by folder; ``None`` = the newest."""
    if run is None:
        return None
    folder = Path(run)
    runs = default_data_root() / "runs"
    if folder.is_dir():
        return folder
    if (runs / run).is_dir():
        return runs / run
    raise UsageError(f"there is no run '{run}'", where=runs, mend=did_you_mean(run, _names_in(runs)))


def _names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


@main.command()
@click.argument("run", required=False)
@click.option("--benchmark", help="[default: the one of the run's target]")
@click.option("--shards", type=FOLDER, help="Test shards. [default: where the run found its target]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:INDEX.")
def predict(run: str | None, benchmark: str | None, shards: Path | None, device: str) -> None:
    """Predict a benchmark with a finished RUN, by default the newest."""
    from kt3d_bench.console import TrainReport
    from kt3d_bench.training.predict import predict as predict_run
    from kt3d_bench.training.run import newest_run

    folder = _run_folder(run) or newest_run(default_data_root())
    with TrainReport() as report:
        path = predict_run(folder, benchmark, shards=shards, device=device, report=report)
    click.echo(f"Predictions: {path}")
    words = [str(path), "--shards", str(shards)] if shards else ["--run", str(folder)] if run else []
    words += ["--benchmark", benchmark] if benchmark else []
    click.echo(f"Next: {shlex.join(['kt3d', 'score', *words])}")


@main.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--benchmark", help="[default: what the run or the file says]")
@click.option("--run", "run", help="Score this run instead of the newest.")
@click.option("--name", help="Name of the method on the board, for a FILE made elsewhere.")
@click.option("--shards", type=FOLDER, help="Test shards. [default: kt3d-data/shards/DATASET]")
@click.option("--leaderboards", type=FOLDER, help="[default: ./leaderboards if present, else kt3d-data/leaderboards]")
@click.option("--json", "as_json", is_flag=True, help="Print the scores as JSON instead of the table.")
def score(
    file: Path | None,
    benchmark: str | None,
    run: str | None,
    name: str | None,
    shards: Path | None,
    leaderboards: Path | None,
    as_json: bool,
) -> None:
    """Score the newest run, or anybody's predictions FILE.npz: write the entry, render the boards, print the table."""
    from kt3d_bench import results
    from kt3d_bench.console import TrainReport

    if file is not None and run is not None:
        raise UsageError("give a FILE or --run, not both")
    if file is not None and file.is_dir():
        file, run = None, str(file)
    if file is None and (name is not None or shards is not None):
        raise UsageError(
            "--name and --shards go with a FILE of predictions", mend="leave them out to score a run of yours"
        )
    if file is not None:
        result = results.score_file(
            file, benchmark, data_root=default_data_root(), name=name, shards=shards, leaderboards=leaderboards
        )
    else:
        with TrainReport() as report:
            result = results.score_run(
                _run_folder(run), benchmark, data_root=default_data_root(), leaderboards=leaderboards, report=report
            )
    if as_json:
        click.echo(json.dumps(result.scores.summary(), indent=1, sort_keys=True))
        return
    _print_board(result)
    for warning in result.scores.warnings:
        click.echo(f"Note: {warning}")
    click.echo(f"Entry: {result.entry_path}")
    click.echo(f"Board: {result.board_folder / 'README.md'}")


def _print_board(result: Any) -> None:
    from kt3d_bench import results
    from kt3d_bench.console import console
    from kt3d_bench.leaderboard.tables import terminal_table

    official = result.entry.origin == "official"
    out = console()
    out.print(
        terminal_table(
            result.benchmark,
            result.board_entries(),
            published=results.published().get(result.benchmark.id) if official else None,
            highlight=result.entry.file_name,
            width=out.width,
        )
    )


@main.group()
def leaderboard() -> None:
    """Work with the boards."""


@leaderboard.command("build")
@click.option("--leaderboards", type=FOLDER, help="[default: ./leaderboards if present, else kt3d-data/leaderboards]")
def leaderboard_build(leaderboards: Path | None) -> None:
    """Render every board from its entries."""
    from kt3d_bench import results

    if leaderboards is not None and not leaderboards.is_dir():
        raise UsageError("there is no such folder", where=leaderboards, mend="name one that holds boards")
    for path in results.render(leaderboards or results.default_leaderboards(default_data_root())):
        click.echo(str(path))


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


@main.command()
@click.option("--budget-minutes", type=click.FloatRange(min=0.1), default=6.0, show_default=True, help="For training.")
@click.option("--out", type=FOLDER, help="[default: kt3d-data/demo]")
@click.option("--workers", type=click.IntRange(min=1), default=os.cpu_count, show_default="cores", help="Processes.")
def demo(budget_minutes: float, out: Path | None, workers: int) -> None:
    """The whole line on generated stand-ins, with no download: generate, prepare, train, score, boards, a picture."""
    from kt3d_bench.demo import run_demo

    run_demo(out or default_data_root() / "demo", budget_minutes=budget_minutes, workers=workers)


def run() -> None:
    """Entry point of the ``kt3d`` program."""
    main(prog_name="kt3d", args=sys.argv[1:])
