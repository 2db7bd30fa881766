"""Lay out a report for its template: a function of the run's files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from kt3d_bench.metrics.benchmarks import Benchmark
from kt3d_bench.metrics.functional import CURVE_MM, METRICS
from kt3d_bench.progress import duration
from kt3d_bench.report.curves import histogram, overview, panel
from kt3d_bench.report.log import LOG, Series, StageLog, flag_sentences, read_log, trained_elsewhere
from kt3d_bench.report.measured import FOLDS, Measured, Missing, measure
from kt3d_bench.report.samples import GROUPS, sample_views
from kt3d_bench.skeletons import H36M17
from kt3d_bench.supervision import level_name
from kt3d_bench.web.charts import MAX_GROUPS, Scale, curve
from kt3d_bench.web.page import spoken

NONE = "–"
Facts = list[tuple[str, str]]


def report_page(
    folder: Path,
    document: Mapping[str, Any],
    known: Mapping[str, Benchmark],
    *,
    shards: Path | None,
    samples: int,
    images: bool,
) -> SimpleNamespace:
    """Read a run's files and lay them out. ``document`` is its ``run.yaml``.

    ``missing`` says what could not be shown and why.
    """
    logs, complaints = read_log(folder / LOG)
    stages, drawn = _stages(folder, document, logs)
    measured = measure(folder, document, known, shards)
    parts = [_part(one, samples, images) for one in measured if isinstance(one, Measured)]
    config = document["config"]
    missing = [*_unfinished(document, logs), *complaints]
    missing += [note for one in measured if isinstance(one, Missing) for note in one.notes]
    if not logs and not any(stage.panels for stage in stages):
        missing.append(f"There is no {LOG} with curves.")
    if not measured:
        then = ": kt3d score predicts and scores" if document.get("state") == "finished" else ""
        missing.append(f"The run has not predicted a benchmark yet{then}.")
    return SimpleNamespace(
        name=folder.absolute().name,
        method=str(config["method"]),
        supervision=level_name(str(config["supervision"]), config["joints"]),
        preset=str(config["preset"]),
        seed=str(config["seed"]),
        facts=_facts(document, stages),
        command=str(document.get("command") or ""),
        roles=list(_roles(document)),
        digests=_digests(document),
        settings=_settings(document),
        missing=missing,
        warnings=[sentence for log in drawn for sentence in flag_sentences(log)],
        stages=stages,
        seconds=math.fsum(stage.seconds for stage in stages),
        overview=overview(drawn),
        parts=parts,
        has_samples=any(part.groups for part in parts),
    )


def _facts(document: Mapping[str, Any], stages: Sequence[SimpleNamespace]) -> Facts:
    trained = math.fsum(stage.seconds for stage in stages)
    return _known(
        {
            "Device": f"{document.get('accelerator', '')} {document.get('precision', '')}".strip(),
            "State": document.get("state"),
            "Training time": duration(trained) if trained else "",
            "Started": document.get("started"),
            "Finished": document.get("finished"),
            "Checkpoint by": document.get("selection_rule"),
            "Settings from": document.get("settings_rule"),
            "Started from": (document.get("init") or {}).get("from"),
            **_mapping(document.get("versions")),
        }
    )


def _roles(document: Mapping[str, Any]) -> Iterator[SimpleNamespace]:
    """The data sets that the run was given."""
    order = {"target": 0, "source": 1, "pretrain": 2}
    for role, shards in sorted(document["shards"].items(), key=lambda one: (order.get(one[0], 9), str(one[0]))):
        names = ("manifest", "split", "labels", "sample_list")
        yield SimpleNamespace(
            role=str(role),
            name=str(shards.get("name") or shards["dataset"]),
            split=f"{shards['dataset']}/{shards['split']}" if shards.get("split") else str(shards["dataset"]),
            samples=str(shards["samples"]),
            generated=shards["origin"] != "official",
            digests=_known({f"{role}: {spoken(name)}": shards.get(f"{name}_digest") for name in names}),
        )


def _digests(document: Mapping[str, Any]) -> Facts:
    stages = {f"Stage {stage.get('name', '')}": stage.get("digest") for stage in _stage_documents(document)}
    return _known({"Checkpoint": document.get("checkpoint_sha256"), **stages})


def _settings(document: Mapping[str, Any]) -> Facts:
    chosen = _mapping(document["config"].get("settings"))
    options = _mapping(document.get("method_config")).items()
    return _known({name: f"{value} (set)" if name in chosen else str(value) for name, value in options})


def _known(facts: Mapping[Any, Any]) -> Facts:
    """The facts that have a value, as text."""
    return [(str(name), str(value)) for name, value in facts.items() if value is not None and value != ""]


def _unfinished(document: Mapping[str, Any], logs: Mapping[str, StageLog]) -> Iterator[str]:
    if document.get("state") == "finished":
        return
    at = ""
    if logs:
        last = list(logs.values())[-1]
        at = f" Its last log entry is step {last.steps} of stage '{last.name}'."
    yield f"The run has not finished.{at} Give the same command with --resume to continue it."


def _stage_documents(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    stages = document.get("stages")
    return [stage for stage in stages if isinstance(stage, Mapping)] if isinstance(stages, list) else []


def _stages(
    folder: Path, document: Mapping[str, Any], logs: Mapping[str, StageLog]
) -> tuple[list[SimpleNamespace], list[StageLog]]:
    """Blocks in the order of training, and the logs they are drawn from."""
    known = {str(stage.get("name", "")): stage for stage in _stage_documents(document)}
    blocks, drawn = [], []
    for name in dict.fromkeys((*known, *logs)):
        stage = known.get(name, {})
        log, note = logs.get(name), ""
        if log is None and stage.get("reused"):
            other = trained_elsewhere(folder, str(stage.get("digest", "")), name)
            note = "An earlier run trained this stage and this run reused it. That run's log was not found."
            if other is not None:
                log = other[1]
                note = f"This run reused the stage. Its curves are from the run that trained it, {other[0]}."
        elif log is None:
            note = "The log has nothing about this stage."
        if log is not None:
            drawn.append(log)
        seconds = stage.get("seconds", log.elapsed_s if log is not None else None)
        spent = float(seconds) if isinstance(seconds, int | float) else 0.0
        facts = {
            "Steps": stage.get("steps", log.steps if log is not None else ""),
            "Time": duration(spent) if spent else "",
            "Reads": ", ".join(str(role) for role in stage.get("roles") or ()),
            "Trained": "by an earlier run" if stage.get("reused") else "here" if stage else "here, not finished",
        }
        curves = _curves(log) if log is not None else []
        if log is not None and not any(one.kind == "loss" for one in curves):
            note = f"{note} The method logs no loss in this stage.".strip()
        blocks.append(
            SimpleNamespace(
                name=name,
                facts=_known(facts),
                panels=[panel(one) for one in curves],
                note=note,
                left_out=log.left_out if log is not None else 0,
                seconds=spent,
            )
        )
    return blocks, drawn


def _curves(log: StageLog) -> list[Series]:
    """Losses, their sum first where there are several, then the validation curve, other scalars and rates."""
    kinds = {"loss": 0, "validation": 1, "log": 2, "rate": 3}
    series = sorted(log.series, key=lambda one: kinds[one.kind])
    total = log.total
    several = sum(one.kind == "loss" for one in series) > 1
    return [*([total] if total is not None and several else []), *series]


def _part(measured: Measured, samples: int, images: bool) -> SimpleNamespace:
    """Everything about one benchmark."""
    benchmark, summary = measured.benchmark, measured.summary
    headline = METRICS[benchmark.headline[0]]
    values = [float(value) for value in measured.per_sample[np.isfinite(measured.per_sample)]]
    views = sample_views(measured, samples, images=images)
    groups = [SimpleNamespace(name=name, views=[view for view in views if view.group == name]) for name in GROUPS]
    official = summary["origin"] == "official"
    manifest = measured.test.manifest if measured.test is not None else None
    shares = [value for value in summary["pck_curve"] if value is not None]
    marks = [(group.name, _value_of(group.views[0], measured)) for group in groups if group.views]
    mean = summary["action_mean"].get(headline.name) if benchmark.action_mean else None
    joints, scale = _joints(summary, benchmark)
    return SimpleNamespace(
        benchmark=benchmark,
        headline=headline,
        generated=not official,
        samples=int(summary["samples"]),
        metrics=[_metric(name, summary, benchmark) for name in benchmark.metrics if name in summary["overall"]],
        action_mean="" if mean is None else f"{mean:.1f} {headline.unit}",
        pck=curve("", "", shares, None) if len(shares) == len(CURVE_MM) else None,
        joints=joints,
        joint_scale=scale,
        folds=list(_folds(measured)),
        histogram=histogram(values, [(name, value) for name, value in marks if math.isfinite(value)]),
        median=f"{np.median(values):.1f}" if values else NONE,
        groups=[group for group in groups if group.views],
        poses={
            "joints": [spoken(name) for name in H36M17.joints],
            "parents": list(H36M17.parents),
            "left": sorted(left for _, left in H36M17.mirror_pairs),
            "samples": [view.pose for view in views],
        },
        notes=measured.notes,
        terms=manifest.redistribution if official and manifest is not None else "",
        pictured=any(view.shots for view in views),
    )


def _value_of(view: SimpleNamespace, measured: Measured) -> float:
    return float(measured.per_sample[int(np.flatnonzero(measured.keys == view.key)[0])])


def _metric(name: str, summary: Mapping[str, Any], benchmark: Benchmark) -> SimpleNamespace:
    metric, interval = METRICS[name], summary["intervals"].get(name)
    known = interval is not None and None not in interval
    return SimpleNamespace(
        title=metric.title,
        unit=metric.unit,
        value=_value(summary["overall"][name]),
        interval=f"{interval[0]:.1f} to {interval[1]:.1f}" if known else "",
        undefined=int(summary["undefined"].get(name) or 0),
        about=metric.about,
        headline=name == benchmark.headline[0],
    )


def _value(value: float | None) -> str:
    return NONE if value is None else f"{value:.1f}"


def _joints(summary: Mapping[str, Any], benchmark: Benchmark) -> tuple[dict[str, SimpleNamespace], tuple[str, str]]:
    """Joint -> its cell, in the skeleton's order, and both ends of the scale that the levels share.

    The joint at which poses are aligned is right by definition and does not count for the scale.
    """
    headline, folds = METRICS[benchmark.headline[0]], summary["by_joint"]
    aligned = None if benchmark.root is None else H36M17.joints[benchmark.root]
    values = {joint: folds.get(joint, {}).get(headline.name) for joint in H36M17.joints}
    counted = [value for joint, value in values.items() if value is not None and joint != aligned]
    scale = Scale(min(counted), max(counted)) if counted else Scale(0, 0)
    cells = {}
    for joint, value in values.items():
        level = None if value is None else scale.level(value, lower_is_better=headline.better == "lower")
        texts = [_value(folds.get(joint, {}).get(name)) for name in benchmark.metrics]
        cells[joint] = SimpleNamespace(text=NONE if value is None else f"{value:.0f}", level=level, values=texts)
    return cells, (_value(scale.low), _value(scale.high)) if counted else ("", "")


def _folds(measured: Measured) -> Iterator[SimpleNamespace]:
    """Tables of (group, samples, values by the benchmark's metrics, headline in % of the largest)."""
    headline = measured.benchmark.headline[0]
    for fold, title in FOLDS.items():
        groups, counts = measured.summary[fold], measured.counts.get(fold, {})
        if not groups:
            continue
        most = max((abs(one[headline]) for one in groups.values() if one.get(headline) is not None), default=1.0)
        rows = []
        for group, values in sorted(groups.items()):
            texts = [_value(values.get(name)) for name in measured.benchmark.metrics]
            rows.append((group, counts.get(group, 0), texts, 100 * abs(values.get(headline) or 0.0) / max(most, 1e-9)))
        left_out = max(0, len(rows) - MAX_GROUPS)
        yield SimpleNamespace(title=title, counted=bool(counts), rows=rows[:MAX_GROUPS], left_out=left_out)


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}
