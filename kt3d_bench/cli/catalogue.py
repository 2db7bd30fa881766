"""What ``kt3d list`` prints: the installed datasets, methods, benchmarks and recipes, or everything about one."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import fields
from itertools import pairwise
from typing import Any, Literal, get_args, get_origin, get_type_hints

from rich.console import Group
from rich.markup import escape
from rich.table import Table

import kt3d_bench as kt
from kt3d_bench.errors import UsageError, did_you_mean
from kt3d_bench.metrics.benchmarks import Benchmark, protocol_digest
from kt3d_bench.plugins import registry
from kt3d_bench.skeletons import H36M17


def tables() -> Group:
    """Return one table each of datasets, methods, benchmarks and recipes."""
    datasets = _table("Datasets", "name", "what", "modalities", "splits", "redistribution")
    for one in kt.datasets().values():
        _add(datasets, one.name, one.title, one.modalities, one.splits, kt.card(one.name).redistribution)
    methods = _table("Methods", "name", "what", "presets", "supervision")
    for method in kt.methods().values():
        _add(methods, method.name, method.summary, method.presets, method.supervision)
    benchmarks = _table("Benchmarks", "id", "what", "headline", "reference depth", "box")
    for test in kt.benchmarks().values():
        _add(benchmarks, f"{test.id} v{test.version}", test.title, test.headline, test.reference, test.box_rule)
    recipes = _table("Recipes", "name", "what")
    for recipe in kt.recipes().values():
        _add(recipes, recipe.name, recipe.summary)
    return Group(datasets, methods, benchmarks, recipes)


def _table(title: str, *header: str) -> Table:
    table = Table(title=title, title_justify="left")
    for name in header:
        table.add_column(name, overflow="fold")
    return table


def _add(table: Table, *cells: str | Iterable[str]) -> None:
    table.add_row(*(escape(cell if isinstance(cell, str) else ", ".join(cell)) for cell in cells))


def as_json() -> dict[str, Any]:
    """Return names and facts, for scripts."""
    return {
        "datasets": _facts(kt.datasets(), "title", "modalities", "splits"),
        "methods": _facts(kt.methods(), "summary", "presets", "supervision", "defaults"),
        "benchmarks": _facts(kt.benchmarks(), "version", "dataset", "split", "train", "foreground", "headline"),
        "recipes": {one.name: one.summary for one in kt.recipes().values()},
    }


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
    if name in kt.recipes():
        return _recipe_lines(kt.recipes()[name])
    known = [*kt.datasets(), *kt.methods(), *kt.benchmarks(), *kt.recipes()]
    raise UsageError(f"nothing is called '{name}'", hint=did_you_mean(name, known))


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
        f"Tests on {benchmark.dataset}/{benchmark.split}, {benchmark.modality} images",
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
