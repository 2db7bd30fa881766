"""What the installed plugins offer, for ``kt3d list``."""

from __future__ import annotations

from typing import Any

from rich.console import Group
from rich.markup import escape
from rich.table import Table

from kt3d_bench.cli.options import option_lines
from kt3d_bench.errors import UsageError, did_you_mean
from kt3d_bench.metrics.benchmarks import Benchmark, protocol_digest
from kt3d_bench.plugins import registry
from kt3d_bench.plugins.cards import read_card
from kt3d_bench.plugins.hookspecs import DatasetPlugin, MethodPlugin, Recipe
from kt3d_bench.skeletons import H36M17


def tables() -> Group:
    """One table each of datasets, methods, benchmarks and recipes."""
    return Group(
        _table(
            "Datasets",
            ("name", "what", "modalities", "splits", "redistribution"),
            [
                (p.name, p.title, ", ".join(p.modalities), ", ".join(p.splits), read_card(p.folder).redistribution)
                for p in registry.datasets().values()
            ],
        ),
        _table(
            "Methods",
            ("name", "what", "presets", "supervision"),
            [(m.name, m.summary, ", ".join(m.presets), ", ".join(m.supervision)) for m in registry.methods().values()],
        ),
        _table(
            "Benchmarks",
            ("id", "what", "headline", "reference depth", "box"),
            [
                (f"{b.id} v{b.version}", b.title, ", ".join(b.headline), b.reference, b.box_rule)
                for b in registry.benchmarks().values()
            ],
        ),
        _table("Recipes", ("name", "what"), [(r.name, r.summary) for r in registry.recipes().values()]),
    )


def _table(title: str, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


def as_json() -> dict[str, Any]:
    """Names and facts, for scripts."""
    return {
        "datasets": {
            p.name: {"title": p.title, "modalities": p.modalities, "splits": p.splits}
            for p in registry.datasets().values()
        },
        "methods": {
            m.name: {"summary": m.summary, "presets": m.presets, "supervision": m.supervision, "defaults": m.defaults}
            for m in registry.methods().values()
        },
        "benchmarks": {
            b.id: {
                "version": b.version,
                "dataset": b.dataset,
                "split": b.split,
                "train": b.train,
                "foreground": b.foreground,
                "headline": b.headline,
            }
            for b in registry.benchmarks().values()
        },
        "recipes": {r.name: r.summary for r in registry.recipes().values()},
    }


def describe(name: str) -> list[str]:
    """Everything about one name of whatever kind. Raises ``UsageError`` with a suggestion for another name."""
    benchmarks = registry.benchmarks()
    if name in registry.datasets():
        return _dataset_lines(registry.dataset(name))
    if name in registry.methods():
        return _method_lines(registry.method(name))
    if name in benchmarks:
        return _benchmark_lines(benchmarks[name])
    if name in registry.recipes():
        return _recipe_lines(registry.recipe(name))
    known = [*registry.datasets(), *registry.methods(), *benchmarks, *registry.recipes()]
    raise UsageError(f"nothing is called '{name}'", hint=did_you_mean(name, known))


def _dataset_lines(plugin: DatasetPlugin) -> list[str]:
    card = read_card(plugin.folder)
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


def _method_lines(method: MethodPlugin) -> list[str]:
    return [
        f"{method.name}: {method.summary}",
        f"Presets: {', '.join(method.presets)}",
        f"Supervision: {', '.join(method.supervision)}",
        *(f"Default {role}: {dataset}" for role, dataset in method.defaults.items()),
        f"Class: {method.load}",
        "Options (--set name=value; in brackets what a preset sets instead):",
        *option_lines(method),
    ]


def _recipe_lines(recipe: Recipe) -> list[str]:
    rows = []
    for row in recipe.rows:
        joints = f" --joints {row.joints}" if row.supervision.startswith("partial") else ""
        target = f" --target {row.target}" if row.target else ""
        settings = "".join(f" --set {name}={value}" for name, value in row.settings.items())
        rows.append(f"  kt3d train --method {row.method} --supervision {row.supervision}{joints}{target}{settings}")
    return [f"{recipe.name}: {recipe.summary}", "Runs:", *rows]


def _benchmark_lines(benchmark: Benchmark) -> list[str]:
    alignment = "absolute positions" if benchmark.root is None else f"aligned at joint {benchmark.root}"
    return [
        f"{benchmark.id} version {benchmark.version}: {benchmark.title}",
        f"Tests on {benchmark.dataset}/{benchmark.split}, {benchmark.modality} images",
        f"Headline: {', '.join(benchmark.headline)}; beside it: {', '.join(benchmark.beside) or 'nothing'}",
        f"{len(benchmark.joints)} joints of quality '{benchmark.min_quality}' or better, {alignment}",
        f"Reference depth: {benchmark.reference}; box rule: {benchmark.box_rule}; foreground: {benchmark.foreground}",
        f"Methods train on split: {benchmark.train or 'the first that no benchmark tests on'}",
        *(
            [f"The dataset's own joints: {', '.join(H36M17.joints[joint] for joint in benchmark.original_joints)}"]
            if benchmark.original_joints
            else []
        ),
        f"Selection of a checkpoint: {benchmark.selection_rule}",
        f"A method sees {benchmark.sees}",
        f"Official sample list: {benchmark.sample_list_digest or 'not pinned'}",
        f"Protocol digest: {protocol_digest(benchmark)}",
        *benchmark.footnotes,
    ]
