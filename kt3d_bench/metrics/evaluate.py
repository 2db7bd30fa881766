"""Measure predictions against the truth: per-sample, per-joint values first; every table is a fold over them.

``evaluate`` is behind ``kt3d score``, ``submit``, ``--rescore``, ``--as``, the report and Python alike. Shapes: N test
samples, J joints (17). Only the ground truth decides which joints count: a joint counts where the benchmark names it,
its label exists and its mapping is good enough. A method cannot shrink that set: where it gives no answer the sample is
undefined (MPJPE, PA-MPJPE) or wrong (PCK), counts as unanswered, and keeps the row from being ranked.

Degenerate predictions are counted by kind, so that no table hides them; none ever counts as an error of 0. A joint
without a finite answer leaves MPJPE, N-MPJPE and PA-MPJPE of its sample undefined (NaN) and is wrong for PCK, AUC and
mAP; joints all in one point leave PA-MPJPE undefined, and N-MPJPE too as they lie at the root; joints on a line are
measured like any others; fewer than three counted joints leave PA-MPJPE undefined.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.data.folders import shards_folder
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.errors import ArtefactError, UsageError, did_you_mean
from kt3d_bench.files import default_data_root, npz_bytes, write_whole
from kt3d_bench.metrics.benchmarks import Benchmark
from kt3d_bench.metrics.forms import read_prediction_file
from kt3d_bench.metrics.functional import METRIC_VERSION, METRICS, JointInput, defined_mean, mean_over_joints, pck_curve
from kt3d_bench.metrics.plausibility import Suspicion, half_precision, suspicions_of
from kt3d_bench.metrics.predictions import (
    HINT,
    Cameras,
    PredictionFile,
    Predictions,
    join,
    looks_like_metres,
    nearest,
    placed,
    some,
)
from kt3d_bench.metrics.truth import Truth, open_test, require_test, truth_from_shards
from kt3d_bench.metrics.uncertainty import ClipValues, bootstrap_interval, clip_values
from kt3d_bench.plugins import registry
from kt3d_bench.skeletons import H36M17, NUM_JOINTS, Quality

FloatArray = npt.NDArray[np.float64]
TextArray = npt.NDArray[np.str_]
NO_ANSWER = "a counted joint without a finite answer"
ALL_ZERO = "every joint at the origin"
ONE_POINT = "all joints in one point"
ON_A_LINE = "all joints on one line"
FEW_JOINTS = "fewer than three counted joints"
_FACTS = (
    "benchmark", "benchmark_version", "metric_version", "origin", "samples", "unanswered", "sample_list_digest",
    "labels_digest",
)  # fmt: skip
"""Fields of ``Scores`` that a summary holds as they are."""
IN_METRES = "the bones are about a thousandth of the true ones, so the joints seem to be in metres"
_FLAT = 1e-6
"""Second over first singular value of the centred joints, at or below which they lie on a line."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Everything measured for one set of predictions on one benchmark. Undefined numbers are NaN, and counted."""

    benchmark: str
    benchmark_version: int
    keys: TextArray
    sequence: TextArray
    """(N,) the clip of each sample."""
    values: Mapping[str, FloatArray]
    """Metric -> (N, J) values (mm, or 0/100 for PCK); NaN = not counted or undefined."""
    counted: npt.NDArray[np.bool_]
    """(N, J) true = the joint counts."""
    overall: Mapping[str, float]
    """Metric -> mean over the samples where it is defined."""
    action_mean: Mapping[str, float]
    """Metric -> unweighted mean of the per-action means; empty where no action is named."""
    by_action: Mapping[str, Mapping[str, float]]
    by_subject: Mapping[str, Mapping[str, float]]
    by_camera: Mapping[str, Mapping[str, float]]
    by_joint: Mapping[str, Mapping[str, float]]
    intervals: Mapping[str, tuple[float, float]]
    """Metric -> 95 % interval of a bootstrap over clips; absent where there are fewer than two clips."""
    clips: ClipValues | None
    """Every metric per clip, for paired tests between rows."""
    pck_curve: tuple[float, ...]
    """PCK at ``metrics.functional.CURVE_MM``, aligned as the benchmark says."""
    undefined: Mapping[str, int]
    """Metric -> samples without a value, for whatever reason."""
    unanswered: int
    """Samples in which at least one counted joint has no (finite) prediction."""
    degenerate: Mapping[str, int]
    """Kind of degenerate pose -> samples."""
    samples: int
    sample_list_digest: str
    labels_digest: str
    origin: str
    metric_version: int = METRIC_VERSION
    warnings: tuple[str, ...] = ()

    def summary(self) -> dict[str, Any]:
        """Return plain JSON data without the per-sample values; NaN becomes ``None``."""
        folds = ("by_action", "by_subject", "by_camera", "by_joint")
        return {
            **{name: getattr(self, name) for name in _FACTS},
            "undefined": dict(self.undefined),
            "degenerate": dict(self.degenerate),
            "overall": _plain(self.overall),
            "action_mean": _plain(self.action_mean),
            "intervals": {name: list(interval) for name, interval in self.intervals.items()},
            "pck_curve": [value if np.isfinite(value) else None for value in self.pck_curve],
            **{fold: {name: _plain(means) for name, means in getattr(self, fold).items()} for fold in folds},
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, eq=False)
class Answers:
    """Predictions, by sample key, and the test set that they answer."""

    benchmark: Benchmark
    test: ShardSet
    truth: Truth
    predictions: Predictions
    file: PredictionFile | None = None
    """What was read, where the predictions come from a file."""
    path: Path | None = None

    def scores(self, *, incomplete: bool = False, also: Sequence[str] = ()) -> Scores:
        """Measure them; see ``measure`` for the arguments and errors."""
        return measure(self.predictions, self.truth, self.benchmark, also=also, incomplete=incomplete, where=self.path)

    def strays(self) -> Iterator[str]:
        """Yield sentences about what ``scores`` would refuse: predictions of other samples, and metres.

        Raises ``ArtefactError`` where no prediction is of a test sample.
        """
        pred, missing, extra = join(self.predictions, self.truth.keys)
        if extra and len(missing) == len(self.truth.keys):
            near = nearest(extra[0], self.truth.keys)
            raise ArtefactError(f"no pose is of a test sample ({some(extra)}){near}", where=self.path, hint=HINT)
        if extra:
            are = "is" if len(extra) == 1 else "are"
            yield f"{len(extra)} of them {are} of no test sample ({some(extra)}){nearest(extra[0], self.truth.keys)}"
        if looks_like_metres(pred, self.truth.joints_cam_mm):
            yield IN_METRES

    def suspicions(self) -> tuple[Suspicion, ...]:
        """Return what is likely wrong with the predictions, each kind once."""
        units = () if self.file is None else (self.file.joints_mm, self.file.joints_mm / 1000.0)
        found = [
            *filter(None, map(half_precision, units)),
            *suspicions_of(self.predictions, self.truth, self.benchmark),
        ]
        return tuple({one.name: one for one in found}.values())


def find_answers(
    benchmark: Benchmark | str | None,
    predictions: Predictions | PredictionFile | os.PathLike[str] | str | Sequence[str] | TextArray,
    joints_cam_mm: npt.NDArray[Any] | None = None,
    *,
    data: Path | str | None = None,
    shards: Path | str | None = None,
) -> Answers:
    """Set predictions beside the test set of their benchmark; the arguments are those of ``evaluate``.

    ``benchmark=None`` takes the one that the predictions name. Raises what ``evaluate`` raises, but measures nothing.
    """
    given: Predictions | PredictionFile
    if isinstance(predictions, Predictions | PredictionFile):
        given = predictions
    elif isinstance(predictions, str | os.PathLike):
        given = read_prediction_file(Path(predictions))
    elif joints_cam_mm is not None:
        given = Predictions(np.asarray(predictions, np.str_), np.asarray(joints_cam_mm))
    else:
        raise UsageError("sample keys were given without joints_cam_mm", hint="give (N, 17, 3) positions in mm")
    if not isinstance(benchmark, Benchmark):
        named = benchmark or given.meta.get("benchmark")
        if not isinstance(named, str):
            raise UsageError(
                "the predictions do not name their benchmark",
                where=None if isinstance(given, Predictions) else given.path,
                hint=f"name one: --benchmark ID ({', '.join(registry.benchmarks())})",
            )
        benchmark = registry.benchmark(named)
    root = default_data_root() if data is None else Path(data)
    test = open_test(benchmark, shards or shards_folder(root, benchmark.dataset))
    if isinstance(given, Predictions):
        return Answers(benchmark, test, truth_from_shards(test), given)
    labels, names = test.labels, registry.dataset(benchmark.dataset).names
    cameras = Cameras(test.keys, labels.joints_cam_mm, labels.rotation, labels.position_world_mm)
    key_of = (lambda name: None) if names is None else registry.load_function(names, "sample_key")
    names_of = None if names is None else getattr(registry.load(names), "image_names", None)
    found = placed(given, cameras, key_of, root=benchmark.root, names_of=names_of)
    return Answers(benchmark, test, truth_from_shards(test), found, given, given.path)


def evaluate(
    benchmark: Benchmark | str,
    predictions: Predictions | os.PathLike[str] | str | Sequence[str] | TextArray,
    joints_cam_mm: npt.NDArray[Any] | None = None,
    *,
    data: Path | str | None = None,
    shards: Path | str | None = None,
    also: Sequence[str] = (),
    incomplete: bool = False,
) -> Scores:
    """Measure predictions on a benchmark.

    ``predictions`` is a prediction file of any accepted form (``metrics.forms``), a ``Predictions`` record, or N
    sample keys, whose poses are then ``joints_cam_mm`` (N, 17, 3): mm, camera frame (x right, y down, z forward), NaN =
    no answer. The test set lies in ``shards`` (a folder or a URL), by default below the data root ``data`` or
    ``$KT3D_DATA``. ``also`` names metrics beside the benchmark's own. With ``incomplete``, samples without an answer
    are counted and predictions of other samples left out. ``Scores.warnings`` says so, and what looks wrong.

    Raises ``UsageError`` for an unknown benchmark or metric and for shards of another test; ``ArtefactError`` for
    missing shards, for a file that cannot be read, and for predictions that do not answer the test's samples.
    """
    found = find_answers(benchmark, predictions, joints_cam_mm, data=data, shards=shards)
    scores = found.scores(also=also, incomplete=incomplete)
    return replace(scores, warnings=(*scores.warnings, *map(str, found.suspicions())))


def measure(
    predictions: Predictions,
    truth: Truth,
    benchmark: Benchmark,
    *,
    also: Sequence[str] = (),
    incomplete: bool = False,
    where: object = None,
) -> Scores:
    """Measure ``predictions`` against ``truth`` as ``benchmark`` says, and by the metrics named in ``also``.

    Predictions must answer the samples of the test and no others, with finite numbers. With ``incomplete``, samples
    without an answer are counted, predictions of other samples are left out, and ``warnings`` says both. ``where``
    names the file in errors. Raises ``ArtefactError`` when that does not hold, nothing fits, or the numbers look like
    metres; ``UsageError`` when the truth is of another test than the benchmark's, or a metric is unknown.
    """
    file = None if where is None else str(where)
    _check_metrics(also, benchmark)
    require_test(benchmark, truth.dataset, truth.split, truth.box_rule, truth.foreground)
    pred, missing, extra = join(predictions, truth.keys)
    counted, original = counted_joints(truth, benchmark), _labelled(truth, benchmark.original_joints)
    _refuse_misfits(pred, missing, extra, counted, truth, benchmark, incomplete, file)
    given = JointInput(pred, truth.joints_cam_mm, counted, benchmark.root, original)
    values: dict[str, FloatArray] = {}
    sample_values: dict[str, FloatArray] = {}
    for name in dict.fromkeys((*benchmark.metrics, *also)):
        values[name] = METRICS[name].joint_values(given)
        sample_values[name] = mean_over_joints(values[name], METRICS[name].mask(given))
    unanswered = int(_unanswered(pred, counted).sum())
    undefined = {name: int(np.isnan(per_sample).sum()) for name, per_sample in sample_values.items()}
    degenerate = degenerate_samples(pred, counted)
    by_action = _folds(sample_values, truth.action)
    return Scores(
        benchmark=benchmark.id,
        benchmark_version=benchmark.version,
        keys=truth.keys,
        sequence=truth.sequence,
        values=values,
        counted=counted,
        overall={name: defined_mean(per_sample) for name, per_sample in sample_values.items()},
        action_mean={
            name: defined_mean(np.array([fold[name] for fold in by_action.values()])) for name in values if by_action
        },
        by_action=by_action,
        by_subject=_folds(sample_values, truth.subject),
        by_camera={} if truth.camera is None else _folds(sample_values, truth.camera),
        by_joint={
            H36M17.joints[joint]: {name: defined_mean(per_joint[:, joint]) for name, per_joint in values.items()}
            for joint in sorted({*benchmark.joints, *benchmark.original_joints})
        },
        intervals={
            name: interval
            for name, per_sample in sample_values.items()
            if (interval := bootstrap_interval(per_sample, truth.sequence)) is not None
        },
        clips=clip_values(sample_values, truth.sequence),
        pck_curve=tuple(pck_curve(pred, truth.joints_cam_mm, root=benchmark.root, mask=counted).tolist()),
        undefined=undefined,
        unanswered=unanswered,
        degenerate=degenerate,
        samples=len(truth.keys),
        sample_list_digest=truth.sample_list_digest,
        labels_digest=truth.labels_digest,
        origin=truth.origin,
        warnings=(*_other_list(truth, benchmark), *_warnings(missing, extra, unanswered, undefined, degenerate)),
    )


def degenerate_samples(pred_mm: npt.NDArray[Any], counted: npt.NDArray[np.bool_]) -> dict[str, int]:
    """Return kind -> number of (N, J, 3) predictions whose ``counted`` (N, J) joints are of that kind, each under its
    first kind. ``FEW_JOINTS`` comes from the truth, the other kinds from the prediction."""
    pred = np.asarray(pred_mm, np.float64)
    answered = np.isfinite(pred).all(axis=-1)
    kinds = np.full(len(pred), "", dtype=f"<U{max(map(len, (NO_ANSWER, ALL_ZERO, ONE_POINT, ON_A_LINE, FEW_JOINTS)))}")
    kinds[counted.sum(axis=1) < 3] = FEW_JOINTS
    kinds[(kinds == "") & (counted & ~answered).any(axis=1)] = NO_ANSWER
    rest = np.flatnonzero(kinds == "")
    used = np.where(counted[rest, :, None], pred[rest], 0.0)
    kinds[rest[(used == 0).all(axis=(1, 2))]] = ALL_ZERO
    weights = counted[rest].sum(axis=1)[:, None, None]
    centred = np.where(counted[rest, :, None], used - used.sum(axis=1, keepdims=True) / weights, 0.0)
    spread = np.einsum("njk,njl->nkl", centred, centred)
    largest, second = np.sqrt(np.maximum(np.linalg.eigvalsh(spread)[:, :0:-1], 0.0)).T
    magnitude = np.abs(used).max(axis=(1, 2), initial=0.0)
    kinds[rest[(kinds[rest] == "") & (largest <= 1e-9 * magnitude)]] = ONE_POINT
    kinds[rest[(kinds[rest] == "") & (second <= _FLAT * largest)]] = ON_A_LINE
    names, counts = np.unique(kinds[kinds != ""], return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}


def write_scores(path: Path, scores: Scores) -> None:
    """Write keys, clips, the counted mask and (N, J) values by metric to ``path`` (.npz), the summary to a ``.json``.

    Equal scores give equal bytes. Raises ``ArtefactError`` when the folder cannot be written.
    """
    path = Path(path)
    arrays: dict[str, npt.NDArray[Any]] = {
        "keys": scores.keys,
        "sequence": scores.sequence,
        "counted": scores.counted,
    }
    write_whole(path, npz_bytes(arrays | {name: np.asarray(values) for name, values in scores.values.items()}))
    write_whole(path.with_suffix(".json"), (json.dumps(scores.summary(), indent=1, sort_keys=True) + "\n").encode())


def _check_metrics(also: Sequence[str], benchmark: Benchmark) -> None:
    for name in also:
        if name not in METRICS:
            raise UsageError(f"there is no metric '{name}'", hint=did_you_mean(name, METRICS))
        if METRICS[name].joints == "original" and not benchmark.original_joints:
            raise UsageError(
                f"'{name}' counts the dataset's own joints, and benchmark '{benchmark.id}' names none",
                hint="leave the metric out, or give the benchmark 'original_joints'",
            )


def counted_joints(truth: Truth, benchmark: Benchmark) -> npt.NDArray[np.bool_]:
    """Return (N, J): the benchmark names the joint, its label exists, and its mapping is good enough."""
    good = truth.quality >= Quality[benchmark.min_quality.upper()]
    return _labelled(truth, benchmark.joints) & good


def _labelled(truth: Truth, joints: Sequence[int]) -> npt.NDArray[np.bool_]:
    named = np.zeros(NUM_JOINTS, bool)
    named[list(joints)] = True
    return named & np.isfinite(truth.joints_cam_mm).all(axis=-1)


def _unanswered(pred: npt.NDArray[np.float32], counted: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """(N,) samples with a counted joint that has no finite prediction."""
    return np.asarray((counted & ~np.isfinite(pred).all(axis=-1)).any(axis=1))


def _refuse_misfits(
    pred: npt.NDArray[np.float32],
    missing: Sequence[str],
    extra: Sequence[str],
    counted: npt.NDArray[np.bool_],
    truth: Truth,
    benchmark: Benchmark,
    incomplete: bool,
    where: str | None,
) -> None:
    total = len(truth.keys)
    if not total or not np.isfinite(truth.joints_cam_mm).any():
        raise ArtefactError(
            "the test shards hold no 3D labels", where=f"{benchmark.dataset}/{benchmark.split}", hint="prepare it again"
        )
    if len(missing) == total or (missing and not incomplete):
        at_end = len(missing) < total and missing == [str(key) for key in truth.keys[total - len(missing) :]]
        found = f"{len(missing)} of {total} test samples have no prediction ({some(missing)})"
        found = f"the tail is missing: {found}" if at_end else found
        if extra:
            found += f" and {len(extra)} predictions are of no test sample ({some(extra)})"
            found += nearest(extra[0], truth.keys)
        raise ArtefactError(found, where=where, hint=f"predict exactly the samples of benchmark '{benchmark.id}'")
    if not np.isfinite(pred).all(axis=-1).any():
        raise ArtefactError(
            "no joint has finite coordinates", where=where, hint="write joints_cam_mm in millimetres, NaN = no answer"
        )
    if looks_like_metres(pred, truth.joints_cam_mm):
        raise ArtefactError(IN_METRES, where=where, hint="write joints_cam_mm in millimetres")
    if incomplete:
        return
    if extra:
        raise ArtefactError(
            f"{len(extra)} predictions are of no test sample ({some(extra)})",
            where=where,
            hint=f"predict exactly the samples of benchmark '{benchmark.id}', or leave these out with kt3d score "
            "--incomplete",
        )
    gaps = [str(key) for key in truth.keys[_unanswered(pred, counted)]]
    if gaps:
        raise ArtefactError(
            f"{len(gaps)} samples lack a finite prediction of a counted joint ({some(gaps)})",
            where=where,
            hint="answer them, or have them counted with kt3d score --incomplete: the row is then not ranked",
        )


def _other_list(truth: Truth, benchmark: Benchmark) -> Iterator[str]:
    """Yield a sentence where real data are not the benchmark's official samples."""
    reason = benchmark.not_official(len(truth.keys), truth.sample_list_digest)
    if truth.origin == "official" and reason:
        pinned = benchmark.sample_list_digest or benchmark.samples
        hint = "; prepare the whole official download with default options to be ranked" if pinned else ""
        yield f"{reason}: the row is shown apart and never ranked{hint}"


def _warnings(
    missing: Sequence[str],
    extra: Sequence[str],
    unanswered: int,
    undefined: Mapping[str, int],
    degenerate: Mapping[str, int],
) -> tuple[str, ...]:
    found = []
    if missing:
        found.append(f"{len(missing)} test samples have no prediction ({some(missing)})")
    if extra:
        found.append(f"{len(extra)} predictions are of no test sample and were left out ({some(extra)})")
    if unanswered:
        found.append(f"{unanswered} samples lack a finite prediction of a counted joint: the row is not ranked")
    found += [f"{METRICS[name].title} is undefined for {count} samples" for name, count in undefined.items() if count]
    found += [f"{count} samples: {kind}" for kind, count in degenerate.items() if count and kind != FEW_JOINTS]
    return tuple(found)


def _folds(sample_values: Mapping[str, FloatArray], groups: TextArray) -> dict[str, dict[str, float]]:
    return {
        str(group): {name: defined_mean(per_sample[groups == group]) for name, per_sample in sample_values.items()}
        for group in np.unique(groups)
        if group
    }


def _plain(fold: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if np.isfinite(value) else None for name, value in fold.items()}
