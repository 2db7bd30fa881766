"""Measure what a run predicted: again where its test shards are found, else from its stored scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ValidationError

from kt3d_bench.budgets import read_whole
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
_AGAIN = "write it again: kt3d score"
Fold = dict[str, float | None]


@dataclass(frozen=True, eq=False)
class Measured:
    """One benchmark's numbers. Shapes: N test samples."""

    benchmark: Benchmark
    summary: Mapping[str, Any]
    """As ``Scores.summary`` returns it."""
    keys: npt.NDArray[np.str_]
    per_sample: FloatArray
    """(N,) the headline of each sample; NaN = undefined."""
    counts: Mapping[str, Mapping[str, int]]
    """Fold -> group -> samples; empty for stored scores."""
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
    """A predicted benchmark without numbers, and why there are none."""

    benchmark: str
    notes: tuple[str, ...]


def measure(
    folder: Path, document: Mapping[str, Any], known: Mapping[str, Benchmark], shards: Path | None
) -> tuple[Measured | Missing, ...]:
    """Measure every benchmark that a run predicted or scored, by name.

    ``shards`` is where its test shards are, if not where the run and the data root say. Never raises for files that
    are missing or corrupt."""
    found = [*(folder / "predictions").glob("*.npz"), *(folder / "scores").glob("*.npz")]
    return tuple(
        _measure(folder, document, name, known.get(name), shards) for name in sorted({path.stem for path in found})
    )


def _measure(
    folder: Path, document: Mapping[str, Any], name: str, benchmark: Benchmark | None, given: Path | None
) -> Measured | Missing:
    if benchmark is None:
        return Missing(name, (f"The benchmark '{name}' is not installed, so its results are not shown.",))
    path, notes = folder / "predictions" / f"{name}.npz", []
    try:
        predictions = read_predictions(path)
        if predictions.meta.get("checkpoint_sha256") != document.get("checkpoint_sha256"):
            notes.append(
                "The predictions are from another checkpoint than the run's last. Run kt3d predict to replace them."
            )
        return _measured(predictions, given or _shards(folder, document, benchmark.dataset), benchmark, path, notes)
    except Kt3dError as error:
        notes.append(f"{error.message}.")
    try:
        return _stored(folder / "scores" / f"{name}.npz", benchmark, notes)
    except ArtefactError as error:
        return Missing(name, (*notes, f"There are no stored scores either: {error.message}."))


def _shards(folder: Path, document: Mapping[str, Any], dataset: str) -> Path:
    """Where the run, its folder's data root or the default one has the shards of a dataset."""
    target = document["shards"]["target"]
    own = [Path(str(target["folder"]))] if target["dataset"] == dataset else []
    roots = [Path(str(document["config"].get("data_root", "."))), folder.absolute().parent.parent, default_data_root()]
    places = [*own, *(root / "shards" / dataset for root in roots)]
    return next((place for place in places if (place / "manifest.json").is_file()), places[0])


def _measured(predictions: Predictions, shards: Path, benchmark: Benchmark, path: Path, notes: list[str]) -> Measured:
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


class _Summary(BaseModel):
    """The parts of stored scores that the report shows: numbers, or null where undefined."""

    benchmark: str
    benchmark_version: int
    metric_version: int
    origin: Literal["official", "generated"]
    samples: int
    overall: Fold
    undefined: Fold
    action_mean: Fold
    by_action: dict[str, Fold]
    by_subject: dict[str, Fold]
    by_camera: dict[str, Fold]
    by_joint: dict[str, Fold]
    intervals: dict[str, tuple[float | None, float | None]]
    pck_curve: list[float | None]


def _stored(path: Path, benchmark: Benchmark, notes: list[str]) -> Measured:
    """Return scores as ``kt3d score`` wrote them. Raises ``ArtefactError`` where they are missing or corrupt."""
    arrays = load_npz(path)
    described, headline = path.with_suffix(".json"), benchmark.headline[0]
    try:
        summary = _Summary.model_validate_json(read_whole(described, _MAX_JSON_BYTES), strict=True)
        keys, values = arrays["keys"], np.asarray(arrays[headline], np.float64)
        counted = np.asarray(arrays["counted"], bool)
        versions = (summary.benchmark, summary.benchmark_version, summary.metric_version)
        if versions != (benchmark.id, benchmark.version, METRIC_VERSION):
            raise ValueError("it is of another version")
        if not values.shape == (len(keys), NUM_JOINTS) == counted.shape or keys.dtype.kind != "U":
            raise ValueError("its arrays do not fit")
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
        raise ArtefactError(f"cannot be used ({reason})", where=described, hint=_AGAIN) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"cannot be used ({error})", where=described, hint=_AGAIN) from error
    stored = "The numbers below are stored ones, from when the run was scored. Samples cannot be shown."
    mask = np.isfinite(values) if METRICS[headline].joints == "original" else counted
    return Measured(benchmark, summary.model_dump(), keys, mean_over_joints(values, mask), {}, (*notes, stored))
