"""What ``kt3d list`` prints: the installed datasets, methods, benchmarks and recipes, or everything about one."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, fields
from itertools import pairwise
from typing import Any, Literal, get_args, get_origin, get_type_hints

import kt3d_bench as kt
from kt3d_bench.errors import UsageError, did_you_mean
from kt3d_bench.metrics.benchmarks import Benchmark, protocol_digest
from kt3d_bench.plugins import registry
from kt3d_bench.skeletons import H36M17


def lines(width: int | None) -> list[str]:
    """Return one line per dataset, method, benchmark and recipe, cut to ``width`` columns (``None`` = not cut)."""
    groups = {
        "Datasets": {one.name: one.title for one in kt.datasets().values()},
        "Methods": {one.name: one.summary for one in kt.methods().values()},
        "Benchmarks": {one.id: one.title for one in kt.benchmarks().values()},
        "Metrics of plugins": {one.name: one.about for one in registry.metrics().values()},
        "Recipes": {one.name: one.summary for one in kt.recipes().values()},
    }
    longest = max(len(name) for group in groups.values() for name in group)
    found: list[str] = []
    for title, group in groups.items():
        found += ["", title] if found else [title]
        found += [shortened(f"  {name:<{longest}}  {' '.join(what.split())}", width) for name, what in group.items()]
    return [*found, "", "Everything about one of them: kt3d list NAME"]


def shortened(line: str, width: int | None) -> str:
    """Cut a line at a word, with "..." at its end, where it is longer than ``width``."""
    if width is None or len(line) <= width:
        return line
    return f"{line[: width - 3].rsplit(' ', 1)[0]}..."


def as_json() -> dict[str, Any]:
    """Return names and facts, for scripts."""
    return {
        "datasets": _facts(kt.datasets(), "title", "modalities", "splits"),
        "methods": _facts(kt.methods(), "summary", "presets", "supervision", "defaults"),
        "benchmarks": _facts(kt.benchmarks(), "version", "dataset", "split", "train", "foreground", "headline"),
        "metrics": _facts(registry.metrics(), "title", "unit", "better", "about", "benchmarks"),
        "recipes": {one.name: one.summary for one in kt.recipes().values()},
    }


def fact_sheet(name: str) -> dict[str, Any]:
    """Return what is known of one dataset (its card), method (with its options), benchmark or recipe, for scripts.

    Raise ``UsageError`` with a suggestion for an unknown name.
    """
    if name in kt.datasets():
        return {"kind": "dataset", **asdict(kt.card(name))}
    if name in kt.methods():
        method = kt.methods()[name]
        loaded = registry.load(method.load)
        facts = {key: getattr(method, key) for key in ("name", "summary", "presets", "supervision", "defaults")}
        return {"kind": "method", **facts, "options": asdict(loaded.Config()), "preset_options": dict(loaded.PRESETS)}
    if name in kt.benchmarks():
        return {"kind": "benchmark", **asdict(kt.benchmarks()[name])}
    if name in registry.metrics():
        return {"kind": "metric", **asdict(registry.metrics()[name])}
    if name in kt.recipes():
        return {"kind": "recipe", **asdict(kt.recipes()[name])}
    raise _unknown(name)


def _facts(records: Mapping[str, Any], *names: str) -> dict[str, dict[str, Any]]:
    return {key: {name: getattr(record, name) for name in names} for key, record in records.items()}


def describe(name: str) -> list[str]:
    """Return everything about a dataset, method, benchmark or recipe, line by line.

    Raise ``UsageError`` with a suggestion for an unknown name.
    """
    if name in kt.datasets():
        return _dataset_lines(kt.datasets()[name])
    if name in kt.methods():
        return _method_lines(kt.methods()[name])
    if name in kt.benchmarks():
        return _benchmark_lines(kt.benchmarks()[name])
    if name in registry.metrics():
        return _metric_lines(registry.metrics()[name])
    if name in kt.recipes():
        return _recipe_lines(kt.recipes()[name])
    raise _unknown(name)


def _unknown(name: str) -> UsageError:
    known = [*kt.datasets(), *kt.methods(), *kt.benchmarks(), *registry.metrics(), *kt.recipes()]
    return UsageError(f"nothing is called '{name}'", hint=did_you_mean(name, known))


def _dataset_lines(plugin: kt.DatasetPlugin) -> list[str]:
    card = kt.card(plugin.name)
    options = [
        f"  --{name.replace('_', '-')} (default {option.default!r}): {option.help}"
        for name, option in plugin.options.items()
    ]
    joints = [
        f"  {number:2d} {row.joint}: {row.quality}" + (f" ({row.note})" if row.note else "")
        for number, row in enumerate(card.joints)
    ]
    return [
        f"{card.name}: {card.title}",
        card.what,
        f"Home: {card.homepage}",
        f"Size: {card.download_size}",
        "How to obtain it:",
        *(f"  {number}. {step}" for number, step in enumerate(card.how_to_obtain, 1)),
        f"Terms: {card.licence}",
        f"Redistribution: {card.redistribution}",
        f"Protocol: {card.protocol}",
        f"Box rule: {card.box_rule}; part classes: {card.num_parts}",
        "Joints:",
        *joints,
        *(["Options of prepare:", *options] if options else []),
        "Cite:",
        card.citation.strip(),
    ]


def _metric_lines(metric: kt.MetricPlugin) -> list[str]:
    return [
        f"{metric.name}: {metric.title}, {metric.unit}, {metric.better} is better",
        f"{metric.about[:1].upper()}{metric.about[1:]}.",
        *([f"Paper: {metric.paper}"] if metric.paper else []),
        f"On the boards of: {', '.join(metric.benchmarks) or 'none'}",
        f"Measure it: kt.evaluate(BENCHMARK, FILE, also=['{metric.name}'])",
    ]


def _method_lines(method: kt.MethodPlugin) -> list[str]:
    return [
        f"{method.name}: {method.summary}",
        f"Presets: {', '.join(method.presets)}",
        f"Supervision: {', '.join(method.supervision)}",
        *(f"Default {role}: {dataset}" for role, dataset in method.defaults.items()),
        f"Class: {method.load}",
        "Options (--set name=value; in brackets what a preset sets instead):",
        *_option_lines(method),
    ]


def _option_lines(method: kt.MethodPlugin) -> list[str]:
    """Return one line per option that ``kt3d train --set`` takes, with default, presets, choices and documentation.

    This imports the method, and torch with it. Raise ``PluginError`` when that fails.
    """
    loaded = registry.load(method.load)
    config, presets = loaded.Config, loaded.PRESETS
    defaults = config()
    documentation = _documentation(config)
    hints = get_type_hints(config)
    lines = []
    for field in fields(config):
        default = getattr(defaults, field.name)
        others = [
            f"{name} {_shown(presets[name][field.name])}"
            for name in method.presets
            if field.name in presets.get(name, {}) and presets[name][field.name] != default
        ]
        extra = f" ({', '.join(others)})" if others else ""
        choices = get_args(hints[field.name]) if get_origin(hints[field.name]) is Literal else ()
        known = f" one of {', '.join(map(str, choices))}." if choices else ""
        text = documentation.get(field.name, "")
        colon = ":" if text or known else ""
        lines.append(f"  {field.name} = {_shown(default)}{extra}{colon}{known}{' ' + text if text else ''}")
    return lines


def _documentation(config: type[Any]) -> dict[str, str]:
    """Return field -> the text below it in the source of a dataclass, on one line; empty where there is no source."""
    found: dict[str, str] = {}
    for cls in reversed(config.__mro__[:-1]):
        try:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        except (OSError, TypeError, SyntaxError, ValueError):
            continue
        body = getattr(tree, "body", [])
        for statement, below in pairwise(body):
            if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
                continue
            value = below.value if isinstance(below, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found[statement.target.id] = " ".join(value.value.split())
    return found


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _recipe_lines(recipe: kt.Recipe) -> list[str]:
    rows = []
    for row in recipe.rows:
        joints = f" --joints {row.joints}" if row.supervision.startswith("partial") else ""
        target = f" --target {row.target}" if row.target else ""
        settings = "".join(f" --set {name}={value}" for name, value in row.settings.items())
        rows.append(f"  kt3d train --method {row.method} --supervision {row.supervision}{joints}{target}{settings}")
    return [f"{recipe.name}: {recipe.summary}", "Runs:", *rows]


def _benchmark_lines(benchmark: Benchmark) -> list[str]:
    own = ", ".join(H36M17.joints[joint] for joint in benchmark.original_joints or ())
    alignment = "absolute positions" if benchmark.root is None else f"aligned at joint {benchmark.root}"
    return [
        f"{benchmark.id} version {benchmark.version}: {benchmark.title}",
        f"Tests on {benchmark.dataset}/{benchmark.split}, {benchmark.modality} images"
        + (f", frames 0, {every}, {2 * every} and so on" if (every := benchmark.frames_every) > 1 else ""),
        f"Headline: {', '.join(benchmark.headline)}; beside it: {', '.join(benchmark.beside) or 'nothing'}",
        f"{len(benchmark.joints)} joints of quality '{benchmark.min_quality}' or better, {alignment}",
        f"Reference depth: {benchmark.reference}; box rule: {benchmark.box_rule}; foreground: {benchmark.foreground}",
        f"Methods train on split: {benchmark.train or 'the first that no benchmark tests on'}",
        *([f"The dataset's own joints: {own}"] if own else []),
        f"Selection of a checkpoint: {benchmark.selection_rule}",
        f"A method sees {benchmark.sees}",
        f"Official sample list: {benchmark.sample_list_digest or 'not pinned'}",
        f"Protocol digest: {protocol_digest(benchmark)}",
        *benchmark.footnotes,
    ]
