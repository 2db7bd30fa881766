"""Finding plugins: one strict manager, everything sorted by name, every failure naming the plugin."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any, TypeVar

import pluggy

from kt3d_bench import hookspecs
from kt3d_bench.errors import PluginError, UsageError, did_you_mean
from kt3d_bench.hookspecs import PROJECT, DatasetPlugin, MethodPlugin, Recipe

Record = TypeVar("Record", DatasetPlugin, MethodPlugin, Recipe)


def manager(modules: Mapping[str, Any] | None = None) -> pluggy.PluginManager:
    """A fresh manager holding ``modules`` (name -> module), by default everything installed under ``kt3d_bench``.

    Raises ``PluginError`` naming the plugin that cannot be imported, misspells a hook or is registered twice.
    """
    found = pluggy.PluginManager(PROJECT)
    found.add_hookspecs(hookspecs)
    for name, module in sorted((_installed() if modules is None else modules).items()):
        try:
            found.register(module, name=name)
        except (ValueError, pluggy.PluginValidationError) as error:
            raise PluginError(f"cannot be registered: {error}", where=f"plugin '{name}'") from error
    try:
        found.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(
            f"defines a hook that does not exist: {error}",
            where=f"plugin '{found.get_name(error.plugin)}'",
            mend="see kt3d_bench/hookspecs.py for the hooks and their spelling",
        ) from error
    return found


def _installed() -> dict[str, Any]:
    modules: dict[str, Any] = {}
    for point in entry_points(group=PROJECT):
        where = f"plugin '{point.name}'" + (f" of {point.dist.name}" if point.dist else "")
        if point.name in modules:
            raise PluginError("is registered twice", where=where, mend="uninstall one of the two distributions")
        try:
            modules[point.name] = point.load()
        except Exception as error:
            raise PluginError(
                f"cannot be imported ({type(error).__name__}: {error})",
                where=where,
                mend=f"repair or uninstall it; its entry point is {point.value}",
            ) from error
    return modules


def collect(found: pluggy.PluginManager, hook: str, kind: type[Record]) -> dict[str, Record]:
    """Everything the plugins return for one hook, by name, sorted. Raises ``PluginError`` for a wrong type or a
    name offered twice, naming both plugins."""
    records: dict[str, Record] = {}
    owners: dict[str, str] = {}
    for implementation in getattr(found.hook, hook).get_hookimpls():
        owner = implementation.plugin_name
        returned = implementation.function()
        if not isinstance(returned, Iterable):
            raise PluginError(
                f"{hook} returned {type(returned).__name__}, expected a sequence", where=f"plugin '{owner}'"
            )
        for record in returned:
            if not isinstance(record, kind):
                raise PluginError(
                    f"{hook} returned a {type(record).__name__}, expected {kind.__name__}", where=f"plugin '{owner}'"
                )
            if record.name in records:
                raise PluginError(
                    f"offers '{record.name}', which plugin '{owners[record.name]}' offers too",
                    where=f"plugin '{owner}'",
                    mend="rename or uninstall one of them",
                )
            records[record.name], owners[record.name] = record, owner
    return dict(sorted(records.items()))


@cache
def _default() -> pluggy.PluginManager:
    return manager()


def datasets() -> dict[str, DatasetPlugin]:
    return collect(_default(), "kt3d_datasets", DatasetPlugin)


def methods() -> dict[str, MethodPlugin]:
    return collect(_default(), "kt3d_methods", MethodPlugin)


def recipes() -> dict[str, Recipe]:
    return collect(_default(), "kt3d_recipes", Recipe)


def _named(kind: str, name: str, known: Mapping[str, Record]) -> Record:
    if name not in known:
        raise UsageError(f"there is no {kind} '{name}'", mend=did_you_mean(name, known))
    return known[name]


def dataset(name: str) -> DatasetPlugin:
    """The dataset of that name; ``UsageError`` with a suggestion when there is none."""
    return _named("dataset", name, datasets())


def method(name: str) -> MethodPlugin:
    """The method of that name; ``UsageError`` with a suggestion when there is none."""
    return _named("method", name, methods())


def recipe(name: str) -> Recipe:
    """The recipe of that name; ``UsageError`` with a suggestion when there is none."""
    return _named("recipe", name, recipes())


def load(reference: str) -> Any:
    """Import ``"module"`` or ``"module:object"`` that a plugin named; ``PluginError`` when it is not there."""
    module_name, _, attribute = reference.partition(":")
    try:
        module = importlib.import_module(module_name)
        return getattr(module, attribute) if attribute else module
    except (ImportError, AttributeError) as error:
        raise PluginError(f"cannot be loaded ({type(error).__name__}: {error})", where=reference) from error


def load_function(module_reference: str, name: str) -> Callable[..., Any]:
    """A function that the contract demands of a plugin's module; ``PluginError`` when it is missing."""
    function = getattr(load(module_reference), name, None)
    if not callable(function):
        raise PluginError(f"does not define the function {name}()", where=f"module {module_reference}")
    return function  # type: ignore[no-any-return]
