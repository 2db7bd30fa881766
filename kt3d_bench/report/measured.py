"""What a run predicted and how that scores: measured anew where the test shards are at hand, else as it was stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.data.reader import ShardSet
from kt3d_bench.errors import ArtefactError, Kt3dError
from kt3d_bench.files import default_data_root
from kt3d_bench.metrics.benchmarks import Benchmark
from kt3d_bench.metrics.evaluate import find_answers
from kt3d_bench.metrics.functional import METRIC_VERSION, METRICS, mean_over_joints
from kt3d_bench.metrics.predictions import Predictions, join, load_npz, read_predictions
from kt3d_bench.skeletons import NUM_JOINTS

FloatArray = npt.NDArray[np.float64]
FOLDS = {"by_action": "action", "by_subject": "subject", "by_camera": "camera"}
_MAX_JSON_BYTES = 64 << 20


@dataclass(frozen=True, eq=False)
class Measured:
    """One benchmark's numbers. Shapes: N test samples."""

    benchmark: Benchmark
    summary: Mapping[str, Any]
    """As ``scoring.score.Scores.summary`` gives it."""
    keys: npt.NDArray[np.str_]
    per_sample: FloatArray
    """(N,) the headline of each sample; NaN = undefined."""
    counts: Mapping[str, Mapping[str, int]]
    """Fold -> group -> samples; empty where only stored scores are at hand."""
    notes: tuple[str, ...]
    test: ShardSet | None = None
    pred_mm: npt.NDArray[np.float32] | None = None
    """(N, 17, 3) in the order of ``test``; ``None`` without shards."""
    counted: npt.NDArray[np.bool_] | None = None
    """(N, 17) joints that count."""
    reads: tuple[str, ...] = ()
    """Modalities that the method was given."""


@dataclass(frozen=True)
class Missing:
    """A benchmark that was predicted, and why there are no numbers."""

    benchmark: str
    notes: tuple[str, ...]


def measure(
    folder: Path, document: Mapping[str, Any], known: Mapping[str, Benchmark], shards: Path | None
) -> tuple[Measured | Missing, ...]:
    """Every benchmark that a run predicted or scored, by name. ``shards`` is where its test shards lie, where that is
    another place than the run and the data root say. Never raises for files that are missing or damaged."""
    found = [*(folder / "predictions").glob("*.npz"), *(folder / "scores").glob("*.npz")]
    return tuple(
        _measure(folder, document, name, known.get(name), shards) for name in sorted({path.stem for path in found})
    )


def shards_places(folder: Path, document: Mapping[str, Any], dataset: str) -> list[Path]:
    """Where the shards of a dataset may lie, in the order of trying."""
    target = document["shards"]["target"]
    own = [Path(str(target["folder"]))] if target["dataset"] == dataset else []
    roots = [Path(str(document["config"].get("data_root", "."))), folder.absolute().parent.parent, default_data_root()]
    return [*own, *(root / "shards" / dataset for root in roots)]


def _measure(
    folder: Path, document: Mapping[str, Any], name: str, benchmark: Benchmark | None, given: Path | None
) -> Measured | Missing:
    if benchmark is None:
        return Missing(name, (f"The benchmark '{name}' is not installed, so nothing is said of it.",))
    path, notes = folder / "predictions" / f"{name}.npz", []
    try:
        predictions = read_predictions(path)
        notes += _stale(predictions, document)
        return _anew(predictions, _shards(folder, document, benchmark, given), benchmark, path, notes)
    except Kt3dError as error:
        notes.append(f"{error.message}.")
    try:
        stored = _stored(folder / "scores" / f"{name}.npz", benchmark, notes)
    except ArtefactError as error:
        return Missing(name, (*notes, f"There are no stored scores either: {error.message}."))
    return stored


def _stale(predictions: Predictions, document: Mapping[str, Any]) -> list[str]:
    made_by = predictions.meta.get("checkpoint_sha256")
    if made_by == document.get("checkpoint_sha256"):
        return []
    return ["The predictions were made by another checkpoint than the run's last: kt3d predict makes them anew."]


def _shards(folder: Path, document: Mapping[str, Any], benchmark: Benchmark, given: Path | None) -> Path:
    places = [given] if given is not None else shards_places(folder, document, benchmark.dataset)
    present = [place for place in places if (place / "manifest.json").is_file()]
    return present[0] if present else places[0]


def _anew(predictions: Predictions, shards: Path, benchmark: Benchmark, path: Path, notes: list[str]) -> Measured:
    found = replace(find_answers(benchmark, predictions, shards=shards), path=path)
    scores, truth = found.scores(incomplete=True), found.truth
    headline = benchmark.headline[0]
    counted = scores.counted
    if METRICS[headline].joints == "original":
        counted = np.isfinite(truth.joints_cam_mm).all(axis=-1) & np.isin(
            np.arange(NUM_JOINTS), benchmark.original_joints
        )
    folds = {"by_action": truth.action, "by_subject": truth.subject, "by_camera": truth.camera}
    reads = predictions.meta.get("reads")
    return Measured(
        benchmark=benchmark,
        summary=scores.summary(),
        keys=scores.keys,
        per_sample=mean_over_joints(scores.values[headline], counted),
        counts={fold: _tally(groups) for fold, groups in folds.items() if groups is not None},
        notes=(*notes, *(f"{warning}." for warning in scores.warnings)),
        test=found.test,
        pred_mm=join(predictions, truth.keys)[0],
        counted=counted,
        reads=tuple(str(one) for one in reads) if isinstance(reads, list) else (),
    )


def _tally(groups: npt.NDArray[np.str_]) -> dict[str, int]:
    names, counts = np.unique(groups, return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True) if name}


def _stored(path: Path, benchmark: Benchmark, notes: list[str]) -> Measured:
    """Scores as ``kt3d score`` wrote them. Raises ``ArtefactError`` where they are missing or damaged."""
    arrays = load_npz(path)
    described = path.with_suffix(".json")
    try:
        if described.stat().st_size > _MAX_JSON_BYTES:
            raise ValueError("it is too large")
        summary = json.loads(described.read_text(encoding="utf-8"))
        headline = benchmark.headline[0]
        keys, values = arrays["keys"], np.asarray(arrays[headline], np.float64)
        counted = np.asarray(arrays["counted"], bool)
        whole = (
            summary["benchmark"] == benchmark.id
            and summary["benchmark_version"] == benchmark.version
            and summary["metric_version"] == METRIC_VERSION
            and values.shape == (len(keys), NUM_JOINTS) == counted.shape
            and keys.dtype.kind == "U"
            and _is_summary(summary)
        )
        if not whole:
            raise ValueError("it is of another version, or incomplete")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtefactError(f"cannot be used ({error})", where=described, hint="kt3d score writes it anew") from error
    said = (*notes, "The numbers below are the stored ones, from when the run was scored; samples cannot be shown.")
    named = METRICS[headline].joints == "original"
    mask = np.isfinite(values) if named else counted
    return Measured(benchmark, summary, keys, mean_over_joints(values, mask), {}, said)


def _is_summary(summary: Mapping[str, Any]) -> bool:
    """Whether it holds numbers (or null) where the report looks for them."""

    def numbers(fold: Any) -> bool:
        return isinstance(fold, dict) and all(
            value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in fold.values()
        )

    return (
        all(numbers(summary[name]) for name in ("overall", "undefined", "action_mean"))
        and all(
            isinstance(summary[name], dict) and all(numbers(fold) for fold in summary[name].values())
            for name in ("by_action", "by_subject", "by_camera", "by_joint")
        )
        and isinstance(summary["intervals"], dict)
        and all(len(one) == 2 and numbers(dict(enumerate(one))) for one in summary["intervals"].values())
        and numbers(dict(enumerate(summary["pck_curve"])))
        and isinstance(summary["samples"], int)
        and summary["origin"] in ("official", "generated")
    )
