"""From predictions and truth to numbers: per-sample, per-joint values first, every table a fold over them.

Shapes: N test samples, J joints (17). What counts is the truth's affair alone: a joint counts where the benchmark
names it, its label is there and its mapping is good enough. A method cannot shrink that set: where it gives no answer
the sample is undefined (MPJPE, PA-MPJPE) or wrong (PCK), is counted as unanswered, and keeps the row from being ranked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import ArtefactError, UsageError, did_you_mean
from kt3d_bench.files import npz_bytes, write_whole
from kt3d_bench.metrics.benchmarks import Benchmark
from kt3d_bench.metrics.degenerate import FEW_JOINTS, degenerate_samples
from kt3d_bench.metrics.functional import METRIC_VERSION, METRICS, JointInput, mean_over_joints, pck_curve
from kt3d_bench.metrics.predictions import Predictions, join, looks_like_metres, some
from kt3d_bench.metrics.uncertainty import ClipValues, clip_interval, clip_values
from kt3d_bench.skeletons import H36M17, NUM_JOINTS, Quality

FloatArray = npt.NDArray[np.float64]
TextArray = npt.NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Truth:
    """What scoring needs of the test samples."""

    keys: TextArray
    """(N,) sample keys."""
    joints_cam_mm: npt.NDArray[np.float32]
    """(N, J, 3) mm, camera frame; NaN = not labelled."""
    quality: npt.NDArray[np.uint8]
    """(N, J) ``skeletons.Quality`` codes."""
    action: TextArray
    subject: TextArray
    sequence: TextArray
    """(N,) the clip a frame belongs to: the unit of the bootstrap."""
    sample_list_digest: str
    labels_digest: str
    origin: str
    """"official" or "generated"."""
    dataset: str = ""
    split: str = ""
    box_rule: str = ""
    """Where the crops' boxes came from; "" = not known."""
    foreground: str = ""
    """Rule by which persons are found in the depth images; "" = not known."""

    camera: TextArray | None = None
    """(N,) camera names, where known."""

    def __post_init__(self) -> None:
        count = len(self.keys)
        if self.joints_cam_mm.shape != (count, NUM_JOINTS, 3) or self.quality.shape != (count, NUM_JOINTS):
            raise ValueError(
                f"expected ({count}, {NUM_JOINTS}, 3) joints and ({count}, {NUM_JOINTS}) quality codes, found "
                f"{self.joints_cam_mm.shape} and {self.quality.shape}"
            )
        for name in ("action", "subject", "sequence", "camera"):
            if getattr(self, name) is not None and getattr(self, name).shape != (count,):
                raise ValueError(f"expected {count} values of '{name}', found {getattr(self, name).shape}")


class _Labels(Protocol):
    joints_cam_mm: Any
    quality: Any
    action: Any
    subject: Any
    sequence: Any
    camera_id: Any


class ShardLabels(Protocol):
    """The part of an opened shard set that scoring reads; no image is touched."""

    @property
    def manifest(self) -> Any: ...
    @property
    def split(self) -> str: ...
    @property
    def keys(self) -> Any: ...
    @property
    def labels(self) -> Any: ...
    @property
    def sample_list_digest(self) -> str: ...
    @property
    def labels_digest(self) -> str: ...
    @property
    def origin(self) -> str: ...


def truth_from_shards(shards: ShardLabels) -> Truth:
    """The truth of an opened split (``shards.reader.ShardSet``)."""
    labels: _Labels = shards.labels
    joints = np.asarray(labels.joints_cam_mm, np.float32)
    return Truth(
        keys=np.asarray(shards.keys, np.str_),
        joints_cam_mm=joints,
        quality=np.broadcast_to(np.asarray(labels.quality, np.uint8), joints.shape[:2]),
        action=np.asarray(labels.action, np.str_),
        subject=np.asarray(labels.subject, np.str_),
        sequence=np.asarray(labels.sequence, np.str_),
        sample_list_digest=str(shards.sample_list_digest),
        labels_digest=str(shards.labels_digest),
        origin=str(shards.origin),
        dataset=str(shards.manifest.dataset),
        split=str(shards.split),
        box_rule=str(shards.manifest.box_rule),
        camera=np.asarray(labels.camera_id, np.str_),
        foreground=str(shards.manifest.foreground),
    )


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
    """PCK at ``metrics.CURVE_MM``, aligned as the benchmark says."""
    undefined: Mapping[str, int]
    """Metric -> samples without a value, for whatever reason."""
    unanswered: int
    """Samples in which at least one counted joint has no (finite) prediction."""
    degenerate: Mapping[str, int]
    """Kind of pose that is none (``scoring.degenerate``) -> samples."""
    samples: int
    sample_list_digest: str
    labels_digest: str
    origin: str
    metric_version: int = METRIC_VERSION
    warnings: tuple[str, ...] = ()

    def summary(self) -> dict[str, Any]:
        """Plain JSON data without the per-sample values; NaN becomes ``None``."""
        return {
            "benchmark": self.benchmark,
            "benchmark_version": self.benchmark_version,
            "metric_version": self.metric_version,
            "origin": self.origin,
            "samples": self.samples,
            "unanswered": self.unanswered,
            "undefined": dict(self.undefined),
            "degenerate": dict(self.degenerate),
            "overall": _plain(self.overall),
            "action_mean": _plain(self.action_mean),
            "intervals": {name: list(interval) for name, interval in self.intervals.items()},
            "pck_curve": [value if np.isfinite(value) else None for value in self.pck_curve],
            "by_action": {name: _plain(fold) for name, fold in self.by_action.items()},
            "by_subject": {name: _plain(fold) for name, fold in self.by_subject.items()},
            "by_camera": {name: _plain(fold) for name, fold in self.by_camera.items()},
            "by_joint": {name: _plain(fold) for name, fold in self.by_joint.items()},
            "sample_list_digest": self.sample_list_digest,
            "labels_digest": self.labels_digest,
            "warnings": list(self.warnings),
        }


def score(
    predictions: Predictions,
    truth: Truth,
    benchmark: Benchmark,
    *,
    also: Sequence[str] = (),
    incomplete: bool = False,
    where: object = None,
) -> Scores:
    """Measure ``predictions`` against ``truth`` as ``benchmark`` says, and by the metrics named in ``also``.

    Predictions must answer the samples of the test and no others, with finite numbers. With ``incomplete`` samples
    without an answer are counted, predictions of other samples left out, and both said in ``warnings``. ``where`` names
    the file in errors. Raises ``ArtefactError`` when that does not hold, nothing fits, or the numbers look like metres;
    ``UsageError`` when the truth is another split than the benchmark's, was cut by another box rule, or a metric is
    unknown.
    """
    file = None if where is None else str(where)
    unknown = [name for name in also if name not in METRICS]
    if unknown:
        raise UsageError(f"there is no metric '{unknown[0]}'", hint=did_you_mean(unknown[0], METRICS))
    homeless = [name for name in also if METRICS[name].joints == "original" and not benchmark.original_joints]
    if homeless:
        raise UsageError(
            f"'{homeless[0]}' counts the dataset's own joints, and benchmark '{benchmark.id}' names none",
            hint="leave the metric out, or give the benchmark 'original_joints'",
        )
    if (truth.dataset or benchmark.dataset, truth.split or benchmark.split) != (benchmark.dataset, benchmark.split):
        raise UsageError(
            f"benchmark '{benchmark.id}' tests on {benchmark.dataset}/{benchmark.split}, "
            f"these labels are {truth.dataset}/{truth.split}",
            hint="open that split's shards",
        )
    if truth.box_rule not in ("", benchmark.box_rule):
        raise UsageError(
            f"benchmark '{benchmark.id}' takes person boxes from '{benchmark.box_rule}', these shards from "
            f"'{truth.box_rule}'",
            hint="prepare the dataset with its default boxes",
        )
    if truth.foreground not in ("", benchmark.foreground):
        raise UsageError(
            f"benchmark '{benchmark.id}' finds persons in depth images by the rule '{benchmark.foreground}', these "
            f"shards say '{truth.foreground}'",
            hint="prepare the dataset again with this version",
        )
    if truth.origin == "official" and benchmark.sample_list_digest not in (None, truth.sample_list_digest):
        raise UsageError(
            f"benchmark '{benchmark.id}' version {benchmark.version} tests on the sample list "
            f"{str(benchmark.sample_list_digest)[:12]}, these shards hold {truth.sample_list_digest[:12]}",
            hint="prepare the dataset again with its default options, from the whole official download",
        )
    pred, missing, extra = join(predictions, truth.keys)
    counted, original = _counted(truth, benchmark), _labelled(truth, benchmark.original_joints)
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
        overall={name: _mean(per_sample) for name, per_sample in sample_values.items()},
        action_mean={
            name: _mean(np.array([fold[name] for fold in by_action.values()])) for name in values if by_action
        },
        by_action=by_action,
        by_subject=_folds(sample_values, truth.subject),
        by_camera={} if truth.camera is None else _folds(sample_values, truth.camera),
        by_joint={
            H36M17.joints[joint]: {name: _mean(per_joint[:, joint]) for name, per_joint in values.items()}
            for joint in sorted({*benchmark.joints, *benchmark.original_joints})
        },
        intervals=_intervals(sample_values, truth.sequence),
        clips=clip_values(sample_values, truth.sequence),
        pck_curve=tuple(pck_curve(pred, truth.joints_cam_mm, root=benchmark.root, mask=counted).tolist()),
        undefined=undefined,
        unanswered=unanswered,
        degenerate=degenerate,
        samples=len(truth.keys),
        sample_list_digest=truth.sample_list_digest,
        labels_digest=truth.labels_digest,
        origin=truth.origin,
        warnings=_warnings(missing, extra, unanswered, undefined, degenerate),
    )


def write_scores(path: Path, scores: Scores) -> None:
    """``path`` (.npz): keys, clips, the counted mask and per-sample, per-joint values by metric; ``.json`` beside it:
    the summary. Bytes depend on the content alone. Raises ``ArtefactError`` when the folder cannot be written."""
    path = Path(path)
    arrays: dict[str, npt.NDArray[Any]] = {
        "keys": scores.keys,
        "sequence": scores.sequence,
        "counted": scores.counted,
    }
    write_whole(path, npz_bytes(arrays | {name: np.asarray(values) for name, values in scores.values.items()}))
    write_whole(path.with_suffix(".json"), (json.dumps(scores.summary(), indent=1, sort_keys=True) + "\n").encode())


def _counted(truth: Truth, benchmark: Benchmark) -> npt.NDArray[np.bool_]:
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
        raise ArtefactError(found, where=where, hint=f"predict exactly the samples of benchmark '{benchmark.id}'")
    if not np.isfinite(pred).all(axis=-1).any():
        raise ArtefactError(
            "no joint has finite coordinates", where=where, hint="write joints_cam_mm in millimetres, NaN = no answer"
        )
    if looks_like_metres(pred, truth.joints_cam_mm):
        raise ArtefactError(
            "the bones are about a thousandth of the true ones, so the joints seem to be in metres",
            where=where,
            hint="write joints_cam_mm in millimetres",
        )
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


def _warnings(
    missing: Sequence[str],
    extra: Sequence[str],
    unanswered: int,
    undefined: Mapping[str, int],
    degenerate: Mapping[str, int],
) -> tuple[str, ...]:
    said = []
    if missing:
        said.append(f"{len(missing)} test samples have no prediction ({some(missing)})")
    if extra:
        said.append(f"{len(extra)} predictions are of no test sample and were left out ({some(extra)})")
    if unanswered:
        said.append(f"{unanswered} samples lack a finite prediction of a counted joint: the row is not ranked")
    said += [f"{METRICS[name].title} is undefined for {count} samples" for name, count in undefined.items() if count]
    said += [f"{count} samples: {kind}" for kind, count in degenerate.items() if count and kind != FEW_JOINTS]
    return tuple(said)


def _intervals(sample_values: Mapping[str, FloatArray], sequence: TextArray) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for name, per_sample in sample_values.items():
        clips = clip_values({name: per_sample}, sequence)
        interval = None if clips is None else clip_interval(clips.means[name], clips.counts)
        if interval is not None:
            found[name] = interval
    return found


def _folds(sample_values: Mapping[str, FloatArray], groups: TextArray) -> dict[str, dict[str, float]]:
    return {
        str(group): {name: _mean(per_sample[groups == group]) for name, per_sample in sample_values.items()}
        for group in np.unique(groups)
        if group
    }


def _mean(values: FloatArray) -> float:
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def _plain(fold: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if np.isfinite(value) else None for name, value in fold.items()}
