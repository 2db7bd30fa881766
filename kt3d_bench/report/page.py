"""What stands in a report, as records for its template: a function of the run's files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kt3d_bench.leaderboard.site.charts import LEVELS, MAX_GROUPS, Scale, curve
from kt3d_bench.metrics.benchmarks import Benchmark
from kt3d_bench.metrics.functional import CURVE_MM, METRICS, Metric
from kt3d_bench.progress import duration
from kt3d_bench.report.curves import Histogram, Overview, Panel, histogram, overview, panel
from kt3d_bench.report.log import LOG, Series, StageLog, flag_sentences, read_log, trained_elsewhere
from kt3d_bench.report.measured import FOLDS, Measured, Missing, measure
from kt3d_bench.report.samples import GROUPS, SampleView, sample_views
from kt3d_bench.skeletons import H36M17
from kt3d_bench.supervision import level_name

NONE = "–"


@dataclass(frozen=True)
class RoleLine:
    """One data set that the run was given."""

    role: str
    name: str
    split: str
    samples: str
    generated: bool
    digests: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class StageBlock:
    """One stage with its curves."""

    name: str
    facts: tuple[tuple[str, str], ...]
    panels: tuple[Panel, ...]
    note: str
    left_out: int
    seconds: float


@dataclass(frozen=True)
class MetricLine:
    title: str
    unit: str
    value: str
    interval: str
    undefined: int
    about: str
    headline: bool


@dataclass(frozen=True)
class JointCell:
    joint: str
    text: str
    level: int | None
    values: tuple[str, ...]
    """By the benchmark's metrics."""


@dataclass(frozen=True)
class FoldTable:
    title: str
    counted: bool
    """Whether samples per group are known."""
    rows: tuple[tuple[str, int, tuple[str, ...], float], ...]
    """(group, samples, values by the benchmark's metrics, 0..100 of the largest headline)."""
    left_out: int


@dataclass(frozen=True)
class SampleGroup:
    name: str
    views: tuple[SampleView, ...]


@dataclass(frozen=True)
class BenchmarkPart:
    """Everything on one benchmark."""

    benchmark: Benchmark
    generated: bool
    samples: int
    metrics: tuple[MetricLine, ...]
    action_mean: str
    """Of the headline, with its unit, where the benchmark shows it."""
    pck: str
    """Points of the PCK curve; "" = not known."""
    pck_at_100: str
    auc: str
    joints: tuple[JointCell, ...]
    joint_scale: tuple[str, str]
    folds: tuple[FoldTable, ...]
    histogram: Histogram | None
    median: str
    groups: tuple[SampleGroup, ...]
    poses: dict[str, Any]
    """What the viewer reads."""
    notes: tuple[str, ...]
    terms: str
    """On what terms images of the data may be passed on; "" = they show generated people."""
    pictured: bool

    @property
    def headline(self) -> Metric:
        return METRICS[self.benchmark.headline[0]]


@dataclass(frozen=True)
class ReportPage:
    name: str
    method: str
    supervision: str
    preset: str
    seed: str
    facts: tuple[tuple[str, str], ...]
    command: str
    roles: tuple[RoleLine, ...]
    digests: tuple[tuple[str, str], ...]
    settings: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]
    """What could not be shown and why."""
    warnings: tuple[str, ...]
    stages: tuple[StageBlock, ...]
    overview: Overview | None
    parts: tuple[BenchmarkPart, ...]

    @property
    def has_samples(self) -> bool:
        return any(part.groups for part in self.parts)

    @property
    def seconds(self) -> float:
        return math.fsum(stage.seconds for stage in self.stages)


def report_page(
    folder: Path,
    document: Mapping[str, Any],
    known: Mapping[str, Benchmark],
    *,
    shards: Path | None,
    samples: int,
    images: bool,
) -> ReportPage:
    """Read a run's files and lay them out. ``document`` is its ``run.yaml``."""
    logs, complaints = read_log(folder / LOG)
    stages, drawn = _stages(folder, document, logs)
    measured = measure(folder, document, known, shards)
    parts = tuple(_part(one, samples, images) for one in measured if isinstance(one, Measured))
    config = document["config"]
    missing = [*_unfinished(document, logs), *complaints]
    missing += [note for one in measured if isinstance(one, Missing) for note in one.notes]
    if not logs and not any(stage.panels for stage in stages):
        missing.append(f"There is no {LOG} with curves.")
    if not measured:
        then = ": kt3d score predicts and scores" if document.get("state") == "finished" else ""
        missing.append(f"The run has not predicted a benchmark yet{then}.")
    return ReportPage(
        name=folder.absolute().name,
        method=str(config["method"]),
        supervision=_supervision(config),
        preset=str(config["preset"]),
        seed=str(config["seed"]),
        facts=tuple(_facts(document, stages)),
        command=str(document.get("command") or ""),
        roles=tuple(_roles(document)),
        digests=tuple(_digests(document)),
        settings=tuple(_settings(document)),
        missing=tuple(missing),
        warnings=tuple(sentence for log in drawn for sentence in flag_sentences(log)),
        stages=stages,
        overview=overview(drawn),
        parts=parts,
    )


def _supervision(config: Mapping[str, Any]) -> str:
    return level_name(str(config["supervision"]), config["joints"])


def _facts(document: Mapping[str, Any], stages: Sequence[StageBlock]) -> Iterator[tuple[str, str]]:
    yield "Device", f"{document.get('accelerator', '')} {document.get('precision', '')}".strip()
    yield "State", str(document.get("state", ""))
    trained = math.fsum(stage.seconds for stage in stages)
    yield "Training time", duration(trained) if trained else ""
    yield "Started", str(document.get("started", ""))
    yield "Finished", str(document.get("finished", ""))
    yield "Checkpoint by", str(document.get("selection_rule", ""))
    for name, version in _mapping(document.get("versions")).items():
        yield str(name), str(version)


def _roles(document: Mapping[str, Any]) -> Iterator[RoleLine]:
    order = {"target": 0, "source": 1, "pretrain": 2}
    for role, shards in sorted(document["shards"].items(), key=lambda one: (order.get(one[0], 9), str(one[0]))):
        names = ("manifest_digest", "split_digest", "labels_digest", "sample_list_digest")
        yield RoleLine(
            role=str(role),
            name=str(shards.get("name") or shards["dataset"]),
            split=f"{shards['dataset']}/{shards['split']}" if shards.get("split") else str(shards["dataset"]),
            samples=str(shards["samples"]),
            generated=shards["origin"] != "official",
            digests=tuple(
                (name.replace("_", " ").removesuffix(" digest"), str(shards.get(name, ""))) for name in names
            ),
        )


def _digests(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "Checkpoint", str(document.get("checkpoint_sha256") or "")
    for stage in _stage_documents(document):
        yield f"Stage {stage.get('name', '')}", str(stage.get("digest", ""))


def _settings(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    chosen = _mapping(document["config"].get("settings"))
    for name, value in _mapping(document.get("method_config")).items():
        yield str(name), f"{value} (set)" if name in chosen else str(value)


def _unfinished(document: Mapping[str, Any], logs: Mapping[str, StageLog]) -> Iterator[str]:
    if document.get("state") == "finished":
        return
    at = ""
    if logs:
        last = list(logs.values())[-1]
        at = f" It was last heard of at step {last.steps} of stage '{last.name}'."
    yield f"The run has not finished.{at} The same command with --resume goes on with it."


def _stage_documents(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    stages = document.get("stages")
    return [stage for stage in stages if isinstance(stage, Mapping)] if isinstance(stages, list) else []


def _stages(
    folder: Path, document: Mapping[str, Any], logs: Mapping[str, StageLog]
) -> tuple[tuple[StageBlock, ...], list[StageLog]]:
    """Blocks in the order of training, and the logs they are drawn from."""
    known = {str(stage.get("name", "")): stage for stage in _stage_documents(document)}
    blocks, drawn = [], []
    for name in dict.fromkeys((*known, *logs)):
        stage = known.get(name, {})
        log, note = logs.get(name), ""
        if log is None and stage.get("reused"):
            other = trained_elsewhere(folder, str(stage.get("digest", "")), name)
            note = "An earlier run trained this stage and this run reused it; that run's log is not at hand."
            if other is not None:
                log = other[1]
                note = f"This run reused the stage; its curves are from the run that trained it, {other[0]}."
        elif log is None:
            note = "Nothing was logged of this stage."
        if log is not None:
            drawn.append(log)
        seconds = stage.get("seconds", log.elapsed_s if log is not None else None)
        spent = float(seconds) if isinstance(seconds, int | float) else 0.0
        facts = [
            ("Steps", str(stage.get("steps", log.steps if log is not None else ""))),
            ("Time", duration(spent) if spent else ""),
            ("Reads", ", ".join(str(role) for role in stage.get("roles") or ())),
            ("Trained", "by an earlier run" if stage.get("reused") else "here" if stage else "here, not finished"),
        ]
        curves = _curves(log) if log is not None else ()
        if log is not None and not any(one.kind == "loss" for one in curves):
            note = f"{note} The method logs no loss here.".strip()
        blocks.append(StageBlock(name, tuple(facts), curves, note, log.left_out if log is not None else 0, spent))
    return tuple(blocks), drawn


def _curves(log: StageLog) -> tuple[Panel, ...]:
    kinds = {"loss": 0, "log": 1, "rate": 2}
    series = sorted(log.series, key=lambda one: kinds[one.kind])
    total = log.total
    several = sum(one.kind == "loss" for one in series) > 1
    first: tuple[Series, ...] = (total,) if total is not None and several else ()
    return tuple(panel(one) for one in (*first, *series))


def _part(measured: Measured, samples: int, images: bool) -> BenchmarkPart:
    benchmark, summary = measured.benchmark, measured.summary
    values = [float(value) for value in measured.per_sample[np.isfinite(measured.per_sample)]]
    views = sample_views(measured, samples, images=images)
    groups = tuple(SampleGroup(group, tuple(view for view in views if view.group == group)) for group in GROUPS)
    official = summary["origin"] == "official"
    manifest = measured.test.manifest if measured.test is not None else None
    shares = [value for value in summary["pck_curve"] if value is not None]
    pck = curve("", "", shares, None) if len(shares) == len(CURVE_MM) else None
    marks = [(group.name, _value_of(view, measured)) for group in groups for view in group.views[:1]]
    return BenchmarkPart(
        benchmark=benchmark,
        generated=not official,
        samples=int(summary["samples"]),
        metrics=tuple(_metric(name, summary, benchmark) for name in benchmark.metrics if name in summary["overall"]),
        action_mean=_action_mean(summary, benchmark),
        pck="" if pck is None else pck.points,
        pck_at_100="" if pck is None else pck.shares[20],
        auc="" if pck is None else pck.auc,
        joints=_joints(summary, benchmark),
        joint_scale=_ends(_joint_values(summary, benchmark)),
        folds=tuple(_folds(measured)),
        histogram=histogram(values, [(name, value) for name, value in marks if math.isfinite(value)]),
        median=f"{np.median(values):.1f}" if values else NONE,
        groups=tuple(group for group in groups if group.views),
        poses={
            "joints": [name.replace("_", " ") for name in H36M17.joints],
            "parents": list(H36M17.parents),
            "left": sorted(left for _, left in H36M17.mirror_pairs),
            "samples": [view.pose for view in views],
        },
        notes=measured.notes,
        terms=manifest.redistribution if official and manifest is not None else "",
        pictured=any(view.shots for view in views),
    )


def _value_of(view: SampleView, measured: Measured) -> float:
    return float(measured.per_sample[int(np.flatnonzero(measured.keys == view.key)[0])])


def _metric(name: str, summary: Mapping[str, Any], benchmark: Benchmark) -> MetricLine:
    metric, interval = METRICS[name], summary["intervals"].get(name)
    shown = None not in (interval or [None])
    return MetricLine(
        metric.title,
        metric.unit,
        _value(summary["overall"][name]),
        f"{interval[0]:.1f} to {interval[1]:.1f}" if interval and shown else "",
        int(summary["undefined"].get(name) or 0),
        metric.about,
        name == benchmark.headline[0],
    )


def _action_mean(summary: Mapping[str, Any], benchmark: Benchmark) -> str:
    value = summary["action_mean"].get(benchmark.headline[0]) if benchmark.action_mean else None
    return "" if value is None else f"{value:.1f} {METRICS[benchmark.headline[0]].unit}"


def _value(value: float | None) -> str:
    return NONE if value is None else f"{value:.1f}"


def _joint_values(summary: Mapping[str, Any], benchmark: Benchmark) -> list[float]:
    """The headline of every joint but the one at which poses are aligned, which is right by definition."""
    aligned = None if benchmark.root is None else H36M17.joints[benchmark.root]
    folds = [fold for joint, fold in summary["by_joint"].items() if joint != aligned]
    return [fold[benchmark.headline[0]] for fold in folds if fold.get(benchmark.headline[0]) is not None]


def _ends(values: Sequence[float]) -> tuple[str, str]:
    return (_value(min(values)), _value(max(values))) if values else ("", "")


def _joints(summary: Mapping[str, Any], benchmark: Benchmark) -> tuple[JointCell, ...]:
    """In the skeleton's order; levels are steps of the style sheet's scale, 0 = best."""
    headline, folds = METRICS[benchmark.headline[0]], summary["by_joint"]
    values = _joint_values(summary, benchmark)
    scale = Scale(min(values), max(values)) if values else Scale(0, 0)
    cells = []
    for joint in H36M17.joints:
        fold = folds.get(joint, {})
        value = fold.get(headline.name)
        level = None
        if value is not None:
            badness = scale.at(value) if headline.better == "lower" else 1 - scale.at(value)
            level = max(0, min(LEVELS - 1, int(badness * LEVELS)))
        texts = tuple(_value(fold.get(name)) for name in benchmark.metrics)
        cells.append(JointCell(joint, NONE if value is None else f"{value:.0f}", level, texts))
    return tuple(cells)


def _folds(measured: Measured) -> Iterator[FoldTable]:
    headline = measured.benchmark.headline[0]
    for fold, title in FOLDS:
        groups = measured.summary[fold]
        counts = measured.counts.get(fold, {})
        if not groups:
            continue
        most = max((abs(one[headline]) for one in groups.values() if one.get(headline) is not None), default=1.0)
        rows = tuple(
            (
                str(group),
                counts.get(group, 0),
                tuple(_value(values.get(name)) for name in measured.benchmark.metrics),
                100 * abs(values.get(headline) or 0.0) / max(most, 1e-9),
            )
            for group, values in sorted(groups.items())
        )
        yield FoldTable(title, bool(counts), rows[:MAX_GROUPS], max(0, len(rows) - MAX_GROUPS))


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}
