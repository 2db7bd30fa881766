"""From a run or a prediction file to a row on a board: predict if needed, score, write the entry, render.

Importing this imports no torch; only a run that has not predicted yet needs it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kt3d_bench.data.folders import shards_folder, with_target_found
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.errors import ArtefactError, UsageError
from kt3d_bench.leaderboard.checks import problems
from kt3d_bench.leaderboard.entries import Entry, TrainingData, is_name, make_entry, read_entries, write_entry
from kt3d_bench.leaderboard.render import render_boards
from kt3d_bench.metrics.benchmarks import Benchmark
from kt3d_bench.metrics.conventions import CONVENTIONS, as_printed
from kt3d_bench.metrics.evaluate import Scores, score, truth_from_shards, write_scores
from kt3d_bench.metrics.plausibility import suspicions_of
from kt3d_bench.metrics.predictions import Predictions, join, read_predictions
from kt3d_bench.plugins import registry
from kt3d_bench.run_folder import newest_run, read_run

if TYPE_CHECKING:
    from kt3d_bench.progress import Reporter


@dataclass(frozen=True)
class Result:
    """One scored prediction file and where it went."""

    benchmark: Benchmark
    scores: Scores
    entry: Entry
    entry_path: Path
    predictions: Path
    leaderboards: Path

    @property
    def board_folder(self) -> Path:
        return self.leaderboards / self.entry.board

    def board_entries(self) -> tuple[Entry, ...]:
        return read_entries(self.board_folder)


def default_leaderboards(data_root: Path) -> Path:
    """``./leaderboards`` where there is one, else the data root's."""
    here = Path("leaderboards")
    return here if here.is_dir() else data_root / "leaderboards"


def board_problems(leaderboards: Path) -> list[str]:
    """What a pull request with these boards would be refused for, one sentence each."""
    return problems(leaderboards, registry.benchmarks(), registry.published())


def render(leaderboards: Path, *, html: Path | None = None) -> list[Path]:
    """Write every board and the index from their entries; returns the files. ``html`` as in ``render_boards``."""
    return render_boards(leaderboards, registry.benchmarks(), registry.published(), html=html)


def score_run(
    folder: Path | None = None,
    benchmark: str | None = None,
    *,
    data_root: Path,
    leaderboards: Path | None = None,
    report: Reporter | None = None,
    incomplete: bool = False,
) -> Result:
    """Score a run, by default the newest finished one; it predicts first where it has not.

    Raises what ``training.predict`` and ``score_file`` raise.
    """
    folder = folder or newest_run(data_root)
    document = with_target_found(read_run(folder), folder.absolute().parents[1], data_root)
    path = _predictions_of(folder, benchmark, document, report)
    chosen = registry.benchmark(path.stem)
    target = document["shards"]["target"]
    own = Path(target["folder"]) if target["dataset"] == chosen.dataset else shards_folder(data_root, chosen.dataset)
    shards = open_test(chosen, own)
    scores = score(read_predictions(path), truth_from_shards(shards), chosen, incomplete=incomplete, where=path)
    write_scores(folder / "scores" / f"{chosen.id}.npz", scores)
    entry = make_entry(scores, chosen, **_facts_of_run(document), **facts_of_files(path, shards))
    return _publish(chosen, scores, entry, path, leaderboards or default_leaderboards(data_root))


def score_file(
    path: Path,
    benchmark: str | None = None,
    *,
    data_root: Path,
    name: str | None = None,
    shards: Path | None = None,
    leaderboards: Path | None = None,
    incomplete: bool = False,
) -> Result:
    """Score anybody's prediction file. ``benchmark`` defaults to what the file says of itself, ``name`` likewise.
    ``incomplete`` accepts gaps and samples of other tests (``scoring.score``).

    Raises ``ArtefactError`` for a file that cannot be used, and ``UsageError`` when the benchmark is not known.
    """
    predictions = read_predictions(path)
    method = name or _text(predictions.meta.get("method")) or path.stem
    if not is_name(method):
        raise UsageError(
            f"'{method}' is no name for a method",
            where=path,
            hint="give one of at most 100 letters, digits, '-', '_' and '.' with --name",
        )
    chosen = _benchmark_of(path, predictions, benchmark)
    opened = open_test(chosen, shards or shards_folder(data_root, chosen.dataset))
    truth = truth_from_shards(opened)
    scores = score(predictions, truth, chosen, incomplete=incomplete, where=path)
    suspected = tuple(f"{one.name}: {one.sentence}" for one in suspicions_of(predictions, truth, chosen))
    scores = replace(scores, warnings=scores.warnings + suspected)
    entry = make_entry(
        scores,
        chosen,
        method=method,
        supervision=_text(predictions.meta.get("supervision")) or "not stated",
        training_data=(),
        target_labels_seen=_text(predictions.meta.get("target_labels_seen")) or "not stated",
        **facts_of_files(path, opened),
    )
    return _publish(chosen, scores, entry, path, leaderboards or default_leaderboards(data_root))


def printed_as(
    conventions: Sequence[str],
    path: Path | None = None,
    benchmark: str | None = None,
    *,
    data_root: Path,
    run: Path | None = None,
    shards: Path | None = None,
) -> list[str]:
    """What other programs would print for a prediction file, or for the newest run's (or ``run``'s) predictions.

    Lines for a terminal; ``conventions`` as in ``scoring.conventions``, "all" = every one. Raises what ``score_file``
    raises, and ``UsageError`` for a run that has not predicted.
    """
    if path is None:
        folder = run or newest_run(data_root)
        found = [one for one in sorted((folder / "predictions").glob("*.npz")) if benchmark in (None, one.stem)]
        if not found:
            raise UsageError("the run has no such predictions yet", where=folder, hint="make them: kt3d predict")
        path, benchmark = found[0], found[0].stem
        document = with_target_found(read_run(folder), folder.absolute().parents[1], data_root)
        target = document["shards"]["target"]
        shards = shards or Path(target["folder"])
    predictions = read_predictions(path)
    chosen = _benchmark_of(path, predictions, benchmark)
    truth = truth_from_shards(open_test(chosen, shards or shards_folder(data_root, chosen.dataset)))
    pred, _, _ = join(predictions, truth.keys)
    lines = [f"{path} on {chosen.id}, {len(truth.keys)} samples. The same predictions, as other programs print them:"]
    for name in CONVENTIONS if "all" in conventions else conventions:
        printed, used = as_printed(name, pred, truth.joints_cam_mm, truth.action)
        about = CONVENTIONS[name]
        left_out = f" ({len(truth.keys) - used} samples left out)" if used < len(truth.keys) else ""
        lines += ["", f"{name}: {about.source}{left_out}", f"  Why it differs: {about.why}."]
        lines += [f"  {one.label:<42} {one.value:8.2f} {one.unit:<2}  {one.why}" for one in printed]
    return lines


def _predictions_of(folder: Path, benchmark: str | None, document: Mapping[str, Any], report: Reporter | None) -> Path:
    """The run's predictions of its final checkpoint, made now where they are missing or of an older checkpoint."""
    wanted = registry.benchmark(benchmark).id if benchmark else None
    for path in sorted((folder / "predictions").glob("*.npz")):
        fresh = read_predictions(path).meta.get("checkpoint_sha256") == document.get("checkpoint_sha256")
        if fresh and path.stem == (wanted or path.stem):
            return path
    from kt3d_bench.training.predict import predict

    return predict(folder, wanted, report=report)


def open_test(benchmark: Benchmark, folder: Path) -> ShardSet:
    """The benchmark's test split in ``folder``. Raises ``ArtefactError`` when there are no shards or damaged ones."""
    if not (folder / "manifest.json").is_file():
        raise ArtefactError(
            f"there are no shards of '{benchmark.dataset}' to score against",
            where=folder,
            hint=f"make them: kt3d prepare {benchmark.dataset}",
        )
    return ShardSet.open(folder, benchmark.split)


def _benchmark_of(path: Path, predictions: Predictions, benchmark: str | None) -> Benchmark:
    named = benchmark or _text(predictions.meta.get("benchmark"))
    if named is None:
        raise UsageError(
            "the file does not say which benchmark it answers",
            where=path,
            hint=f"name one: --benchmark ID ({', '.join(registry.benchmarks())})",
        )
    return registry.benchmark(named)


def facts_of_files(path: Path, shards: ShardSet) -> dict[str, Any]:
    return {
        "test_manifest_digest": shards.digest,
        "predictions_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "generator_version": shards.manifest.generator_version,
    }


def _facts_of_run(document: Mapping[str, Any]) -> dict[str, Any]:
    """What ``run.yaml`` knows of a run, as arguments of ``make_entry``."""
    config = document["config"]
    supervision = str(config["supervision"])
    return {
        "method": config["method"],
        "supervision": supervision,
        "joints": int(config["joints"]) if supervision.startswith("partial") else None,
        "settings": {"preset": config["preset"], **config["settings"]},
        "seed": config["seed"],
        "selection_rule": document.get("selection_rule"),
        "training_data": _training_data(document, supervision),
        "target_labels_seen": _labels_seen(document, supervision),
        "checkpoint_sha256": document.get("checkpoint_sha256"),
        "run": {key: document[key] for key in ("config", "method_config", "stages") if key in document},
        "versions": document.get("versions", {}),
        "command": document.get("command", ""),
        "device": f"{document.get('accelerator', '')} {document.get('precision', '')}".strip(),
        "wall_seconds": _wall_seconds(document),
    }


def _training_data(document: Mapping[str, Any], supervision: str) -> tuple[TrainingData, ...]:
    """Every data set the run read for training, with what it saw of the labels."""
    read = _roles_read(document)
    seen = {"source": "all", "pretrain": "2d", "target": "" if supervision == "none" else supervision}
    return tuple(
        TrainingData(
            role=role,
            dataset=shards["dataset"] + _drawn(shards.get("stream")),
            origin=shards["origin"],
            labels=seen[role],
            manifest_digest=shards["manifest_digest"],
        )
        for role, shards in sorted(document["shards"].items())
        if role in read
    )


def _drawn(stream: Mapping[str, Any] | None) -> str:
    """What a row adds to the name of a dataset whose samples were drawn while training."""
    return "" if stream is None else f" on the fly, version {stream['version']}, seed {stream['seed']}"


def _roles_read(document: Mapping[str, Any]) -> set[str]:
    """Roles that a stage of the run trained on; all of them where the run does not say."""
    stages = document.get("stages") or []
    roles = [set(stage["roles"]) for stage in stages if isinstance(stage, Mapping) and "roles" in stage]
    return set().union(*roles) if roles else set(document["shards"])


def _labels_seen(document: Mapping[str, Any], supervision: str) -> str:
    """Labels of the target's own dataset that the run saw, in whatever role."""
    roles = {role: shards["dataset"] for role, shards in document["shards"].items()}
    target = roles.get("target")
    also = [role for role in _roles_read(document) if role != "target" and roles[role] == target]
    return f"full ({also[0]} is the same dataset)" if also else supervision


def _wall_seconds(document: Mapping[str, Any]) -> float | None:
    spent = [stage.get("seconds") for stage in document.get("stages") or [] if isinstance(stage, Mapping)]
    known = [float(value) for value in spent if isinstance(value, int | float)]
    return round(sum(known), 1) if known else None


def _publish(benchmark: Benchmark, scores: Scores, entry: Entry, path: Path, leaderboards: Path) -> Result:
    written = write_entry(leaderboards, entry)
    render(leaderboards)
    return Result(benchmark, scores, entry, written, path, leaderboards)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
