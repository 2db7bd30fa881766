"""What is installed, each kind collected once per process: datasets, methods, metrics, recipes, benchmarks and
published rows."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from kt3d_bench.errors import PluginError, UsageError, did_you_mean
from kt3d_bench.plugins import manager
from kt3d_bench.plugins.hookspecs import DatasetPlugin, MethodPlugin, MetricPlugin, Recipe

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from kt3d_bench.metrics.benchmarks import Benchmark, Published
    from kt3d_bench.plugins.cards import Card

    Detector = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float64]]


Found = TypeVar("Found")


_modules: Mapping[str, Any] | None = None
"""Plugin name -> module of what is lent; ``None`` = everything installed."""


@cache
def _manager() -> pluggy.PluginManager:
    return manager.manager(_modules)


@cache
def datasets() -> dict[str, DatasetPlugin]:
    """Return the installed datasets by name, sorted."""
    return manager.collect(_manager(), "kt3d_datasets", DatasetPlugin)


@cache
def methods() -> dict[str, MethodPlugin]:
    """Return the installed methods by name, sorted."""
    return manager.collect(_manager(), "kt3d_methods", MethodPlugin)


@cache
def metrics() -> dict[str, MetricPlugin]:
    """Return the metrics that plugins offer, by name, sorted."""
    return manager.collect(_manager(), "kt3d_metrics", MetricPlugin)


@cache
def recipes() -> dict[str, Recipe]:
    """Return the installed recipes by name, sorted."""
    return manager.collect(_manager(), "kt3d_recipes", Recipe)


@cache
def benchmarks() -> dict[str, Benchmark]:
    """Return the benchmarks of all installed datasets by id, sorted."""
    return dict(sorted(_benchmarks().items()))


@cache
def _benchmarks() -> dict[str, Benchmark]:
    """Return the benchmarks in the order of the datasets' names and of their files."""
    from kt3d_bench.metrics.benchmarks import all_benchmarks

    found = all_benchmarks([plugin.folder for plugin in datasets().values()])
    for name, metric in metrics().items():
        for one in (found[key] for key in metric.benchmarks if key in found):
            if name not in one.metrics:
                found[one.id] = replace(one, beside=(*one.beside, name))
    return found


@cache
def published() -> dict[str, Published]:
    """Return what papers report, by benchmark id."""
    from kt3d_bench.metrics.benchmarks import read_published

    found = [read_published(plugin.folder) for plugin in datasets().values()]
    return {name: block for blocks in found for name, block in blocks.items() if name in _benchmarks()}


@cache
def card(dataset_name: str) -> Card:
    """Return the card of an installed dataset: what it is, its terms, and how its joints map onto the 17.

    Raise ``UsageError`` for an unknown dataset and ``PluginError`` for a card that is missing or wrong.
    """
    from kt3d_bench.plugins.cards import read_card

    return read_card(dataset(dataset_name).folder)


def clear() -> None:
    """Forget everything collected: the next question calls the hooks and reads the plugins' files again."""
    for cached in _CACHED:
        cached.cache_clear()


_CACHED = (_manager, datasets, methods, metrics, recipes, benchmarks, _benchmarks, published, card)


@contextmanager
def lent(modules: Mapping[str, Any], *, alone: bool = False) -> Iterator[None]:
    """Offer more modules (plugin name -> module) as if they were installed; ``alone``: instead of what is installed.

    Raise ``PluginError`` as ``manager.manager`` does.
    """
    global _modules
    before, offered = _modules, modules if alone else {**registered(), **modules}
    try:
        _modules = offered
        clear()
        _manager()
        yield
    finally:
        _modules = before
        clear()


def dataset(name: str) -> DatasetPlugin:
    """Return the dataset of that name; ``UsageError`` with a suggestion when there is none."""
    return _named("dataset", name, datasets())


def method(name: str) -> MethodPlugin:
    """Return the method of that name; ``UsageError`` with a suggestion when there is none."""
    return _named("method", name, methods())


def recipe(name: str) -> Recipe:
    """Return the recipe of that name; ``UsageError`` with a suggestion when there is none."""
    return _named("recipe", name, recipes())


def benchmark(name: str) -> Benchmark:
    """Return the benchmark of that id; ``UsageError`` with a suggestion when there is none."""
    return _named("benchmark", name, benchmarks())


def benchmarks_of(dataset: str) -> tuple[Benchmark, ...]:
    """Return the benchmarks that test on a dataset, in the order of its ``benchmarks.yaml``."""
    return tuple(one for one in _benchmarks().values() if one.dataset == dataset)


def _named(kind: str, name: str, known: Mapping[str, Found]) -> Found:
    if name not in known:
        raise UsageError(f"there is no {kind} '{name}'", hint=did_you_mean(name, known))
    return known[name]


def person_detector(preferred: str = "") -> tuple[str, Detector]:
    """Return a detector of people and the name of the method that offers it: ``preferred``, else the first by name.

    A detector takes a picture, (H, W, 3) uint8 RGB, and returns (N, 4) x0, y0, x1, y1 px. Raise ``UsageError`` where no
    installed method offers one, and what the method raises that cannot make its own.
    """
    offered = {plugin.name: plugin.detector for plugin in methods().values() if plugin.detector}
    if not offered:
        what = "no installed method finds people in pictures"
        raise UsageError(what, hint="give the people's boxes in a file (--boxes FILE), or use --boxes whole")
    name = preferred if preferred in offered else min(offered)
    make = load(offered[name])
    return name, make()


def registered() -> dict[str, Any]:
    """Return entry point name -> module of every plugin."""
    return {name: module for name, module in sorted(_manager().list_name_plugin()) if module is not None}


def owner_of(kind: str, name: str) -> str | None:
    """Return the entry point name of the plugin that offers the "dataset", "method" or "metric" of that name."""
    for implementation in getattr(_manager().hook, f"kt3d_{kind}s").get_hookimpls():
        if any(record.name == name for record in manager.returned(f"kt3d_{kind}s", implementation)):
            return str(implementation.plugin_name)
    return None


def load(reference: str) -> Any:
    """Import and return the ``"module"`` or ``"module:object"`` that a plugin names.

    Raise ``PluginError`` when it does not exist or its import fails, naming the plugin that owns the module.
    """
    module_name, _, attribute = reference.partition(":")
    try:
        module = importlib.import_module(module_name)
        return getattr(module, attribute) if attribute else module
    except Exception as error:
        package = module_name.partition(".")[0]
        owners = [name for name, module in registered().items() if module.__name__.partition(".")[0] == package]
        owner = f" of {manager.where(owners[0])}" if owners else ""
        what = f"cannot be loaded ({type(error).__name__}: {error})"
        raise PluginError(what, where=f"{reference}{owner}", hint="repair the plugin") from error


def generator(plugin: DatasetPlugin) -> str:
    """Return the module that generates stand-ins of a dataset; ``UsageError`` when its plugin has no generator."""
    if plugin.generate is None:
        what = f"the dataset '{plugin.name}' has no generator, so there is no stand-in of it"
        raise UsageError(what, hint=f"obtain the real data (kt3d list {plugin.name} says how)")
    return plugin.generate


def load_function(module_reference: str, name: str) -> Callable[..., Any]:
    """Return a function that a plugin's module must define; raise ``PluginError`` when it is missing."""
    function = getattr(load(module_reference), name, None)
    if not callable(function):
        hint = "kt3d_bench/plugins/hookspecs.py lists what it must define"
        raise PluginError(f"does not define the function {name}()", where=f"module {module_reference}", hint=hint)
    return function  # type: ignore[no-any-return]
