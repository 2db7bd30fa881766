"""A method's part of the contract: config, presets, stages, short training runs, prediction, an entry."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import numpy as np
import torch

from kt3d_bench.data.format import holds
from kt3d_bench.data.prepare import prepare
from kt3d_bench.errors import UsageError, did_you_mean
from kt3d_bench.method import Method, MethodContext
from kt3d_bench.metrics.predictions import Predictions, read_predictions
from kt3d_bench.plugins import registry
from kt3d_bench.plugins.hookspecs import DatasetPlugin, MethodPlugin
from kt3d_bench.progress import Reporter
from kt3d_bench.run_folder import final_checkpoint
from kt3d_bench.scoring import score
from kt3d_bench.testing.findings import BrokenRuleError, Checklist, require
from kt3d_bench.testing.observed import Observed, observed
from kt3d_bench.testing.tiny import NUM_PARTS, tiny_dataset, tiny_plugin, write_tiny_raw
from kt3d_bench.training import checkpoint
from kt3d_bench.training.config import PRECISIONS, RunConfig
from kt3d_bench.training.predict import predict
from kt3d_bench.training.settings import build_config, convert
from kt3d_bench.training.sources import domain
from kt3d_bench.training.stages import check_stages
from kt3d_bench.training.train import build_method, train

METHOD = "method-under-test"
PRESET = "tiny"
"""The preset that checks and demos train."""
BATCH_SIZES = (2, 5)
SAME_MM = 0.5
"""How far two predictions of one image may lie apart when only the batch around it differs."""


class _Role(NamedTuple):
    """What the tiny data of one role are like: as the dataset that the method uses by default."""

    modalities: tuple[str, ...]
    labels: str
    modality: str
    """What a benchmark on it gives to a method."""
    reference: str


def check_method(plugin: MethodPlugin, checks: Checklist, folder: Path) -> None:
    """Check the contract of a method: findings go to ``checks``, files below ``folder``."""
    kind = checks.check("its class can be loaded and is a Method", lambda: _kind(plugin))
    roles = checks.check("the datasets it uses by default are installed", lambda: _roles(plugin))
    if kind is None:
        return
    config = checks.check("Config is a frozen dataclass with a default for every field", lambda: _config(kind))
    presets = checks.check("PRESETS are those of the record, and set what Config has", lambda: _presets(plugin, kind))
    if config is None or presets is None:
        return
    known = roles or _substitutes(plugin)
    if checks.check("every preset builds a method with valid stages", lambda: _builds(plugin, kind, known)) is None:
        return
    datasets = {
        role: tiny_dataset(folder / "datasets" / role, f"tiny-{role}", **wanted._asdict())
        for role, wanted in known.items()
    }
    defaults = {role: dataset.name for role, dataset in datasets.items()}
    with observed(kind) as seen:
        subject = dataclasses.replace(plugin, name=METHOD, load=seen.reference, defaults=defaults)
        with registry.lent({"kt3d-check": tiny_plugin(list(datasets.values()), [subject])}):
            _check_runs(plugin, datasets, checks, folder, seen)


def _kind(plugin: MethodPlugin) -> type[Method]:
    kind = registry.load(plugin.load)
    if not isinstance(kind, type) or not issubclass(kind, Method):
        raise BrokenRuleError(f"{plugin.load} is {kind!r}", "make it a subclass of kt3d_bench.method.Method")
    left = sorted(getattr(kind, "__abstractmethods__", ()))
    require(not left, f"{kind.__name__} lacks {', '.join(left)}", f"define {''.join(left[:1])} in {plugin.load}")
    return kind


def _roles(plugin: MethodPlugin) -> dict[str, _Role]:
    require(
        "target" in plugin.defaults,
        f"defaults names {', '.join(sorted(plugin.defaults)) or 'nothing'}, and no target",
        f"give MethodPlugin {plugin.name!r} a default target, so that kt3d train works as typed",
    )
    found = {role: domain(name) for role, name in plugin.defaults.items()}
    return {
        role: _Role(one.plugin.modalities, one.plugin.labels, one.modality,
                    one.benchmark.reference if one.benchmark else "root-given")
        for role, one in found.items()
    }  # fmt: skip


def _substitutes(plugin: MethodPlugin) -> dict[str, _Role]:
    """Data for every role, where the default datasets are not installed."""
    kinds = {"target": (("rgb",), "3d"), "source": (("depth", "parts"), "3d"), "pretrain": (("rgb",), "2d")}
    return {
        role: _Role(modalities, labels, modalities[0], "root-given")
        for role, (modalities, labels) in kinds.items()
        if role == "target" or role in plugin.defaults
    }


def _config(kind: type[Method]) -> type[Any]:
    config = getattr(kind, "Config", None)
    if not dataclasses.is_dataclass(config) or not isinstance(config, type):
        raise BrokenRuleError(f"Config is {config!r}", f"set {kind.__name__}.Config to a frozen dataclass")
    frozen = config.__dataclass_params__.frozen  # type: ignore[attr-defined]
    require(frozen, "Config is not frozen", "write @dataclass(frozen=True) above it")
    missing = dataclasses.MISSING
    bare = [one.name for one in dataclasses.fields(config) if one.default is missing and one.default_factory is missing]
    require(not bare, f"these fields have no default: {', '.join(bare)}", "the defaults are the preset 'paper'")
    hints, made = get_type_hints(config), config()
    for one in dataclasses.fields(config):
        value = getattr(made, one.name)
        try:
            json.dumps(value)
            if convert(value, hints[one.name]) != value:
                raise ValueError(value)
        except (TypeError, ValueError):
            raise BrokenRuleError(
                f"--set cannot set '{one.name}': its type is {hints[one.name]}, its default {value!r}",
                "use int, float, bool, str, Literal, tuples and unions of these, and a default of that type",
            ) from None
    return config


def _presets(plugin: MethodPlugin, kind: type[Method]) -> Mapping[str, Mapping[str, Any]]:
    presets = getattr(kind, "PRESETS", None)
    if not isinstance(presets, Mapping) or not all(isinstance(values, Mapping) for values in presets.values()):
        raise BrokenRuleError(f"PRESETS is {presets!r:.80}", "map each preset's name to the fields that differ")
    require(
        set(presets) == set(plugin.presets),
        f"PRESETS has {', '.join(sorted(presets))}, the record says {', '.join(sorted(plugin.presets))}",
        "let MethodPlugin.presets name those of PRESETS",
    )
    known = [one.name for one in dataclasses.fields(kind.Config)]
    for preset, values in presets.items():
        for name in (one for one in values if one not in known):
            raise BrokenRuleError(f"preset '{preset}' sets '{name}', {did_you_mean(name, known)}", "correct PRESETS")
    for preset, precision in kind.PRECISIONS.items():
        right = preset in presets and precision in PRECISIONS
        wanted = f"map presets to one of {', '.join(PRECISIONS)}"
        require(right, f"PRECISIONS maps '{preset}' to '{precision}'", wanted)
    require(PRESET in presets, f"there is no preset '{PRESET}'", "offer one that trains in minutes on a laptop")
    return presets


def _builds(plugin: MethodPlugin, kind: type[Method], roles: Mapping[str, _Role]) -> bool:
    parts = "source" in roles and "parts" in roles["source"].modalities
    context = MethodContext(roles["target"].modality, NUM_PARTS if parts else 0, plugin.supervision[0], True)
    for preset in plugin.presets:
        try:
            method = build_method(kind, build_config(kind.Config, kind.PRESETS, preset, {}), context, 0)
            check_stages(method, method.stages())
            _check_inputs(method, roles)
        except UsageError as error:
            raise BrokenRuleError(
                f"preset '{preset}': {error.message}", f"change {kind.__name__} or its PRESETS"
            ) from error
    return True


def _check_inputs(method: Method, roles: Mapping[str, _Role]) -> None:
    is_size = type(method.input_px) is int and method.input_px >= 1
    require(is_size, f"input_px is {method.input_px!r}", "return the side of the network's input in px")
    for stage in method.stages():
        for role, modalities in stage.roles.items():
            require(
                role in roles,
                f"stage '{stage.name}' reads {role} data, and the record names no default {role}",
                f"add it to MethodPlugin.defaults; {did_you_mean(role, roles)}",
            )
            there = roles[role].modalities
            absent = ", ".join(name for name in modalities if not holds(there, [name]))
            require(
                not absent,
                f"stage '{stage.name}' reads {absent} of the {role}, which has {', '.join(there)}",
                "read what the default dataset holds",
            )
        try:
            json.dumps(dict(stage.recipe))
        except TypeError as error:
            raise BrokenRuleError(
                f"the recipe of stage '{stage.name}' is not plain data: {error}", "use plain data"
            ) from None
    absent = ", ".join(name for name in method.reads if not holds(roles["target"].modalities, [name]))
    require(not absent, f"predict() reads {absent}, which the target does not have", "change reads")


def _check_runs(
    plugin: MethodPlugin, datasets: Mapping[str, DatasetPlugin], checks: Checklist, folder: Path, seen: Observed
) -> None:
    shards = checks.check("the data it reads can be prepared", lambda: _prepared(datasets, folder))
    if shards is None:
        return

    def config(level: str, name: str, **changes: Any) -> RunConfig:
        fields: dict[str, Any] = {"shards": shards, "data_root": folder / name, **changes}
        return RunConfig(method=METHOD, supervision=level, preset=PRESET, device="cpu", name="run", **fields)

    runs: dict[str, Path] = {}
    last_stage: dict[str, str] = {}
    for level in _levels(plugin):
        run = checks.check(
            f"a short run with supervision '{level}' trains: finite losses, gradients and changes only in trains",
            partial(train, config(level, f"run-{level}")),
        )
        if run is not None:
            runs[level] = run
            last_stage[level] = next(reversed(seen.stages), "")
    if not runs:
        return
    checks.check("every submodule that a stage trains is reached by a loss", lambda: _all_reached(seen))
    level, run = next(iter(runs.items()))
    checks.check(
        "the same seed gives the same weights, bit for bit",
        lambda: _same_weights(
            run,
            train(config(level, "again")),
            "a second run with the same seed gave other weights",
            "draw random numbers only from torch's own generator or from numpy.random.default_rng(seed)",
        ),
    )
    if last_stage[level]:
        checks.check(
            "an interrupted run resumes to the same weights",
            lambda: _same_weights(
                run,
                _resumed(config(level, "resumed", checkpoint_steps=1), last_stage[level]),
                "a run that was stopped and resumed gave other weights",
                "keep everything that training changes in parameters and registered buffers",
            ),
        )
    if "none" in runs:
        target = {"target": datasets["target"]}
        checks.check(
            "without supervision, the target's labels change nothing",
            lambda: _same_weights(
                runs["none"],
                train(config("none", "blind", shards=shards | _prepared(target, folder / "corrupt", corrupt=True))),
                "with other target labels the run gave other weights",
                "read the target only through the batches that step() is given",
            ),
        )
    predicted = checks.check(
        "predict() gives finite positions for every sample", lambda: _predicted(run, BATCH_SIZES[0])
    )
    if predicted is not None:
        checks.check(
            "predict() is deterministic and does not depend on the batch size", lambda: _steady(run, predicted)
        )
        checks.check("score writes an entry", lambda: _scored(run, folder))


def _prepared(datasets: Mapping[str, DatasetPlugin], folder: Path, *, corrupt: bool = False) -> dict[str, Path]:
    """Role -> shards of its tiny data."""
    found = {}
    for role, dataset in datasets.items():
        test = 5 if dataset.labels == "3d" else 1
        raw = folder / "raw" / role
        write_tiny_raw(raw, dataset, test=test, seed=len(role), corrupt=corrupt, generated=True)
        found[role] = folder / "shards" / dataset.name
        prepare(dataset, raw=raw, out=found[role], workers=1, check=not corrupt)
    return found


def _levels(plugin: MethodPlugin) -> list[str]:
    """One level of each group that the method accepts: none, partial, full."""
    groups = (
        [level for level in plugin.supervision if level.startswith(group)] for group in ("none", "partial", "full")
    )
    return [min(levels, key=lambda level: "-" in level) for levels in groups if levels]


def _resumed(config: RunConfig, stage: str) -> Path:
    with suppress(_StoppedError):
        train(config, _Stopper(stage))
        raise BrokenRuleError("the run could not be interrupted", "take at least two steps in a stage")
    return train(config, resume=True)


class _StoppedError(Exception):
    """Stands for a killed process."""


class _Stopper(Reporter):
    """Stops the run in the second step of a stage."""

    def __init__(self, stage: str) -> None:
        self._wanted, self._task = f"stage {stage}", ""

    def start(self, task: str, total: int, *, done: int = 0) -> None:
        self._task = task

    def advance(
        self, done: int, *, total: int | None = None, samples: int | None = None, values: Mapping[str, float] = {}
    ) -> None:
        if (self._task, done) == (self._wanted, 2):
            raise _StoppedError


def _same_weights(one: Path, other: Path, what: str, hint: str) -> None:
    first, second = _weights(one), _weights(other)
    same = {name for name in first.keys() & second.keys() if torch.equal(first[name], second[name])}
    different = sorted((first.keys() | second.keys()) - same)
    require(not different, f"{what}, in {', '.join(different[:3])}", hint)


def _weights(run: Path) -> dict[str, torch.Tensor]:
    model: dict[str, torch.Tensor] = checkpoint.load(final_checkpoint(run))["model"]
    return {name: tensor.nan_to_num(0.0) if tensor.is_floating_point() else tensor for name, tensor in model.items()}


def _all_reached(seen: Observed) -> None:
    unreached = ", ".join(
        f"'{name}' in stage '{stage.name}'"
        for stage in seen.stages.values()
        for name in stage.trains
        if name not in seen.learning[stage.name]
    )
    hint = "remove it from the stage's trains, or let a loss of step() depend on it"
    require(not unreached, f"no loss reached {unreached}", hint)


def _predicted(run: Path, batch_size: int) -> Predictions:
    found = read_predictions(predict(run, device="cpu", batch_size=batch_size))
    finite = np.isfinite(found.joints_cam_mm)
    broken = np.asarray(~finite.all(axis=(1, 2)))
    joints = ", ".join(map(str, np.flatnonzero(~finite.all(axis=(0, 2)))))
    require(
        not broken.any(),
        f"{broken.sum()} of {len(broken)} samples have positions that are not finite, in joints {joints}",
        "let predict() give all 17 joints of every sample",
    )
    return found


def _steady(run: Path, first: Predictions) -> None:
    again = _predicted(run, BATCH_SIZES[0])
    same = np.array_equal(first.joints_cam_mm, again.joints_cam_mm)
    require(same, "the same images gave other positions the second time", "use no randomness in predict()")
    other = _predicted(run, BATCH_SIZES[1])
    apart = float(np.abs(first.joints_cam_mm - other.joints_cam_mm).max())
    require(
        apart <= SAME_MM,
        f"in batches of {BATCH_SIZES[0]} and {BATCH_SIZES[1]} positions differ by {apart:.1f} mm",
        "use no statistics over the batch in predict()",
    )


def _scored(run: Path, folder: Path) -> None:
    result = score(run, data=run.parent.parent, leaderboards=folder / "leaderboards")
    headline = result.scores.overall[result.benchmark.headline[0]]
    scored = result.entry_path.is_file() and headline is not None and np.isfinite(headline)
    require(scored, f"the entry's headline is {headline}", "let predict() answer every sample")
