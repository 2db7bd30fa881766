"""A method's part of the contract: config, presets, stages, short training runs, prediction, a row."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, get_type_hints

import numpy as np

from kt3d_bench.errors import UsageError, did_you_mean
from kt3d_bench.plugins import registry
from kt3d_bench.plugins.hookspecs import DatasetPlugin, MethodPlugin, hookimpl
from kt3d_bench.progress import Reporter
from kt3d_bench.rehearsal import props
from kt3d_bench.rehearsal.log import BrokenError, Log
from kt3d_bench.rehearsal.props import Prop

if TYPE_CHECKING:
    from kt3d_bench.method import Method, MethodContext
    from kt3d_bench.rehearsal.watched import Seen
    from kt3d_bench.training.config import RunConfig

METHOD = "rehearsed"
PRESET = "tiny"
"""The preset that rehearsals and demos train."""
BATCH_SIZES = (2, 5)
SAME_MM = 0.5
"""How far two predictions of one image may lie apart when only the batch around it differs."""


def check_method(plugin: MethodPlugin, log: Log, folder: Path) -> None:
    """Go through the contract of a method; findings go to ``log``, files below ``folder``."""
    kind = log.attempt("its class can be loaded and is a Method", lambda: _kind(plugin))
    wanted = log.attempt("the datasets it uses by default are installed", lambda: _props(plugin))
    if kind is None:
        return
    config = log.attempt("Config is a frozen dataclass with a default for every field", lambda: _config(kind))
    presets = log.attempt("PRESETS are those of the record, and set what Config has", lambda: _presets(plugin, kind))
    if config is None or presets is None:
        return
    wanted = wanted or _fallback(plugin)
    built = log.attempt("every preset builds a method with valid stages", lambda: _builds(plugin, kind, wanted))
    if built is None:
        return
    from kt3d_bench.rehearsal import watched

    seen, reference = watched.watch(kind)
    offered = _offered(plugin, wanted, folder / "datasets", reference)
    try:
        with registry.lent({"kt3d-rehearsal": offered}):
            _runs(plugin, wanted, log, folder, seen)
    finally:
        watched.forget()


def _kind(plugin: MethodPlugin) -> type[Method]:
    from kt3d_bench.method import Method

    kind = registry.load(plugin.load)
    if not isinstance(kind, type) or not issubclass(kind, Method):
        raise BrokenError(f"{plugin.load} is {kind!r}", "let it be a subclass of kt3d_bench.method.Method")
    left = sorted(getattr(kind, "__abstractmethods__", ()))
    if left:
        raise BrokenError(f"{kind.__name__} lacks {', '.join(left)}", f"define {left[0]} in {plugin.load}")
    return kind


def _props(plugin: MethodPlugin) -> tuple[Prop, ...]:
    """What the rehearsal's data must be like: as the datasets that the method uses by default."""
    from kt3d_bench.training.sources import domain

    if "target" not in plugin.defaults:
        raise BrokenError(
            f"defaults names {', '.join(sorted(plugin.defaults)) or 'nothing'}, and no target",
            f"give MethodPlugin {plugin.name!r} a default target, so that kt3d train works as typed",
        )
    made = []
    for role, name in plugin.defaults.items():
        found = domain(name)
        benchmark = found.benchmark
        made.append(
            Prop(
                role=role,
                modalities=found.plugin.modalities,
                labels=found.plugin.labels,
                modality=found.modality,
                reference=benchmark.reference if benchmark else "root-given",
            )
        )
    return tuple(made)


def _fallback(plugin: MethodPlugin) -> tuple[Prop, ...]:
    """Something for every role, where the default datasets are not there."""
    kinds = {"target": (("rgb",), "3d"), "source": (("depth", "parts"), "3d"), "pretrain": (("rgb",), "2d")}
    return tuple(
        Prop(role, modalities, labels, modalities[0], "root-given")
        for role, (modalities, labels) in kinds.items()
        if role == "target" or role in plugin.defaults
    )


def _config(kind: type[Method]) -> type[Any]:
    from kt3d_bench.training.settings import convert

    config = getattr(kind, "Config", None)
    if not dataclasses.is_dataclass(config) or not isinstance(config, type):
        raise BrokenError(f"Config is {config!r}", f"set {kind.__name__}.Config to a frozen dataclass")
    if not config.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise BrokenError("Config is not frozen", "write @dataclass(frozen=True) above it")
    missing = dataclasses.MISSING
    bare = [one.name for one in dataclasses.fields(config) if one.default is missing and one.default_factory is missing]
    if bare:
        raise BrokenError(f"these fields have no default: {', '.join(bare)}", "the defaults are the preset 'paper'")
    hints, made = get_type_hints(config), config()
    for one in dataclasses.fields(config):
        value = getattr(made, one.name)
        try:
            if convert(value, hints[one.name]) != value:
                raise ValueError(value)
        except ValueError:
            raise BrokenError(
                f"--set cannot set '{one.name}': its type is {hints[one.name]}, its default {value!r}",
                "use int, float, bool, str, Literal, tuples and unions of these, and a default of that type",
            ) from None
    return config


def _presets(plugin: MethodPlugin, kind: type[Method]) -> Mapping[str, Mapping[str, Any]]:
    presets = getattr(kind, "PRESETS", None)
    if not isinstance(presets, Mapping) or not all(isinstance(values, Mapping) for values in presets.values()):
        raise BrokenError(f"PRESETS is {presets!r:.80}", "map each preset's name to the fields that differ")
    if set(presets) != set(plugin.presets):
        raise BrokenError(
            f"PRESETS has {', '.join(sorted(presets))}, the record says {', '.join(sorted(plugin.presets))}",
            "let MethodPlugin.presets name those of PRESETS",
        )
    known = [one.name for one in dataclasses.fields(kind.Config)]
    for preset, values in presets.items():
        for name in values:
            if name not in known:
                raise BrokenError(f"preset '{preset}' sets '{name}', {did_you_mean(name, known)}", "mend PRESETS")
    if PRESET not in presets:
        raise BrokenError(f"there is no preset '{PRESET}'", "offer one that trains in minutes on a laptop")
    return presets


def _context(plugin: MethodPlugin, wanted: tuple[Prop, ...]) -> MethodContext:
    from kt3d_bench.method import MethodContext
    from kt3d_bench.synth import PARTS

    roles = {prop.role: prop for prop in wanted}
    parts = "source" in roles and "parts" in roles["source"].modalities
    return MethodContext(roles["target"].modality, len(PARTS) + 1 if parts else 0, plugin.supervision[0], True)


def _builds(plugin: MethodPlugin, kind: type[Method], wanted: tuple[Prop, ...]) -> bool:
    from kt3d_bench.training.settings import build_config
    from kt3d_bench.training.stages import check_stages
    from kt3d_bench.training.train import build_method

    for preset in plugin.presets:
        try:
            config = build_config(kind.Config, kind.PRESETS, preset, {})
            method = build_method(kind, config, _context(plugin, wanted), 0)
            stages = method.stages()
            check_stages(method, stages)
            _check_inputs(plugin, method, wanted)
        except UsageError as error:
            raise BrokenError(
                f"preset '{preset}': {error.message}", f"change {kind.__name__} or its PRESETS"
            ) from error
    return True


def _check_inputs(plugin: MethodPlugin, method: Method, wanted: tuple[Prop, ...]) -> None:
    if type(method.input_px) is not int or method.input_px < 1:
        raise BrokenError(f"input_px is {method.input_px!r}", "return the side of the network's input in px")
    roles = {prop.role: prop for prop in wanted}
    for stage in method.stages():
        for role, modalities in stage.roles.items():
            if role not in roles:
                raise BrokenError(
                    f"stage '{stage.name}' reads {role} data, and the record names no default {role}",
                    f"add it to MethodPlugin.defaults; {did_you_mean(role, roles)}",
                )
            absent = [name for name in modalities if name not in roles[role].modalities]
            if absent:
                raise BrokenError(
                    f"stage '{stage.name}' reads {', '.join(absent)} of the {role}, which has "
                    f"{', '.join(roles[role].modalities)}",
                    "ask for what the default dataset holds",
                )
        try:
            json.dumps(dict(stage.recipe))
        except TypeError as error:
            raise BrokenError(
                f"the recipe of stage '{stage.name}' is not plain data: {error}", "use plain data"
            ) from None
    foreign = [name for name in method.reads if name not in roles["target"].modalities]
    if foreign:
        raise BrokenError(f"predict() reads {', '.join(foreign)}, which the target does not have", "change reads")


def _offered(plugin: MethodPlugin, wanted: tuple[Prop, ...], folder: Path, reference: str) -> ModuleType:
    """A plugin module with the rehearsal's datasets and the watched method."""
    datasets = [props.plugin(prop, folder / prop.role) for prop in wanted]
    defaults = {prop.role: prop.name for prop in wanted}
    subject = dataclasses.replace(plugin, name=METHOD, load=reference, defaults=defaults)

    def offer_datasets() -> list[DatasetPlugin]:
        return datasets

    def offer_methods() -> list[MethodPlugin]:
        return [subject]

    module = ModuleType("kt3d_rehearsal")
    module.__dict__["kt3d_datasets"] = hookimpl(specname="kt3d_datasets")(offer_datasets)
    module.__dict__["kt3d_methods"] = hookimpl(specname="kt3d_methods")(offer_methods)
    return module


def _runs(plugin: MethodPlugin, wanted: tuple[Prop, ...], log: Log, folder: Path, seen: Seen) -> None:
    shards = log.attempt("what it reads can be generated and prepared", lambda: _prepared(wanted, folder))
    if shards is None:
        return
    levels = _levels(plugin)
    runs: dict[str, Path] = {}
    for level in levels:
        run = log.attempt(
            f"a short run with supervision '{level}' trains: finite losses, gradients and changes only in trains",
            lambda level=level: _train(_config_of(level, shards, folder / f"run-{level}")),  # type: ignore[misc]
        )
        if run is not None:
            runs[level] = run
    if not runs:
        return
    log.attempt("every submodule that a stage trains is reached by a loss", lambda: _all_reached(seen))
    level, run = next(iter(runs.items()))
    log.attempt(
        "the same seed gives the same weights, bit for bit",
        lambda: _same_weights(
            run,
            _train(_config_of(level, shards, folder / "again")),
            "a second run with the same seed ended elsewhere",
            "draw random numbers from torch's own generator or from numpy.random.default_rng(seed) alone",
        ),
    )
    if seen.stages:
        log.attempt(
            "an interrupted run goes on to the same weights",
            lambda: _same_weights(
                run,
                _resumed(_config_of(level, shards, folder / "resumed"), list(seen.stages)[-1]),
                "a run that was stopped and resumed ended elsewhere",
                "keep everything that training changes in parameters and registered buffers",
            ),
        )
    if "none" in runs:
        log.attempt(
            "without supervision, labels of the target change nothing",
            lambda: _same_weights(
                runs["none"],
                _train(_config_of("none", {**shards, **_corrupt(wanted, folder)}, folder / "blind")),
                "with other target labels the run ended elsewhere",
                "read the target through the batches that step() is given, and nothing else",
            ),
        )
    predicted = log.attempt("predict() answers every sample with finite positions", lambda: _predicted(run))
    if predicted is not None:
        log.attempt("predict() is deterministic and does not depend on the batch size", lambda: _steady(run, predicted))
        log.attempt("score writes an entry", lambda: _scored(run, folder))


def _prepared(wanted: tuple[Prop, ...], folder: Path, *, corrupt: bool = False) -> dict[str, Path]:
    """Role -> shards of its rehearsal data."""
    from kt3d_bench.data.prepare import prepare

    found = {}
    for prop in wanted:
        raw = props.write_raw(folder / "raw" / prop.role, prop, corrupt=corrupt)
        found[prop.role] = folder / "shards" / prop.name
        prepare(registry.dataset(prop.name), raw=raw, out=found[prop.role], workers=1)
    return found


def _corrupt(wanted: tuple[Prop, ...], folder: Path) -> dict[str, Path]:
    """The target's shards with nonsense for labels."""
    return _prepared(tuple(prop for prop in wanted if prop.role == "target"), folder / "corrupt", corrupt=True)


def _levels(plugin: MethodPlugin) -> list[str]:
    """One level of each group that the method accepts: none, partial, full."""
    groups = ("none", "partial", "full")
    chosen = []
    for group in groups:
        members = [level for level in plugin.supervision if level.partition("-")[0] == group]
        if members:
            chosen.append(group if group in members else members[0])
    return chosen


def _config_of(level: str, shards: Mapping[str, Path], root: Path) -> RunConfig:
    from kt3d_bench.training.config import RunConfig

    return RunConfig(
        method=METHOD, supervision=level, preset=PRESET, device="cpu", data_root=root, shards=shards, name="run"
    )


def _train(config: RunConfig) -> Path:
    from kt3d_bench.training.train import train

    return train(config)


def _resumed(config: RunConfig, stage: str) -> Path:
    from kt3d_bench.training.train import train

    config = dataclasses.replace(config, checkpoint_steps=1)
    with _expecting(_StoppedError):
        train(config, _Stopper(stage))
    return train(config, resume=True)


class _StoppedError(Exception):
    """Stands for a process that is gone."""


class _Stopper(Reporter):
    """Stops the run in the second step of a stage."""

    def __init__(self, stage: str) -> None:
        self._wanted, self._stage = stage, ""

    def start(self, task: str, total: int, *, done: int = 0) -> None:
        self._stage = task.removeprefix("stage ")

    def advance(self, done: int, **_: Any) -> None:
        if (self._stage, done) == (self._wanted, 2):
            raise _StoppedError


@contextmanager
def _expecting(kind: type[Exception]) -> Iterator[None]:
    try:
        yield
    except kind:
        return
    raise BrokenError("the run could not be interrupted", "take at least two steps in a stage")


def _same_weights(one: Path, other: Path, what: str, hint: str) -> None:
    import torch

    first, second = _weights(one), _weights(other)
    different = sorted(
        name for name in first.keys() | second.keys()
        if name not in first or name not in second or not torch.equal(first[name], second[name])
    )  # fmt: skip
    if different:
        raise BrokenError(f"{what}, in {', '.join(different[:3])}", hint)


def _weights(run: Path) -> dict[str, Any]:
    import torch

    from kt3d_bench.run_folder import final_checkpoint
    from kt3d_bench.training import checkpoint

    model: dict[str, torch.Tensor] = checkpoint.load(final_checkpoint(run))["model"]
    return {name: tensor.nan_to_num(0.0) if tensor.is_floating_point() else tensor for name, tensor in model.items()}


def _all_reached(seen: Seen) -> None:
    unreached = [f"'{name}' in stage '{stage}'" for stage, name in seen.unreached()]
    if unreached:
        raise BrokenError(
            f"no loss reached {', '.join(unreached)}",
            "leave it out of the stage's trains, or let a loss of step() depend on it",
        )


def _predicted(run: Path) -> Any:
    from kt3d_bench.training.predict import predict

    return _finite(predict(run, device="cpu", batch_size=BATCH_SIZES[0]))


def _finite(path: Path) -> Any:
    from kt3d_bench.metrics.predictions import read_predictions

    found = read_predictions(path)
    broken = np.asarray(~np.isfinite(found.joints_cam_mm).all(axis=(1, 2)))
    if broken.any():
        joints = np.flatnonzero(~np.isfinite(found.joints_cam_mm).all(axis=(0, 2)))
        raise BrokenError(
            f"{broken.sum()} of {len(broken)} samples have positions that are not finite, in joints "
            f"{', '.join(map(str, joints))}",
            "let predict() answer all 17 joints of every sample",
        )
    return found


def _steady(run: Path, first: Any) -> None:
    from kt3d_bench.training.predict import predict

    again = _finite(predict(run, device="cpu", batch_size=BATCH_SIZES[0]))
    if not np.array_equal(first.joints_cam_mm, again.joints_cam_mm):
        raise BrokenError("the same images gave other positions the second time", "draw nothing in predict()")
    other = _finite(predict(run, device="cpu", batch_size=BATCH_SIZES[1]))
    apart = float(np.abs(first.joints_cam_mm - other.joints_cam_mm).max())
    if apart > SAME_MM:
        raise BrokenError(
            f"in batches of {BATCH_SIZES[0]} and {BATCH_SIZES[1]} positions differ by {apart:.1f} mm",
            "use no statistics over the batch in predict()",
        )


def _scored(run: Path, folder: Path) -> None:
    from kt3d_bench import results

    result = results.score_run(run, data_root=run.parent.parent, leaderboards=folder / "leaderboards")
    headline = result.scores.overall[result.benchmark.headline[0]]
    if not result.entry_path.is_file() or headline is None or not np.isfinite(headline):
        raise BrokenError(f"the entry's headline is {headline}", "let predict() answer every sample")
