"""Finding plugins: one strict manager, everything sorted by name, every failure naming the plugin."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import entry_points
from typing import Any, TypeVar

import pluggy

from kt3d_bench.errors import PluginError, UsageError, did_you_mean
from kt3d_bench.plugins import hookrecords, hookspecs
from kt3d_bench.plugins.hookspecs import PROJECT, DatasetPlugin, MethodPlugin, Recipe

Record = TypeVar("Record", DatasetPlugin, MethodPlugin, Recipe)


def manager(modules: Mapping[str, Any] | None = None) -> pluggy.PluginManager:
    """A fresh manager holding ``modules`` (name -> module), by default everything installed under ``kt3d_bench``.

    Raises ``PluginError`` naming the plugin that cannot be imported, defines no hook, misspells one, forgets to mark
    one, or is registered twice.
    """
    found = pluggy.PluginManager(PROJECT)
    found.add_hookspecs(hookspecs)
    for name, module in sorted((_installed() if modules is None else modules).items()):
        _check_hooks(name, module)
        try:
            found.register(module, name=name)
        except (ValueError, pluggy.PluginValidationError) as error:
            raise PluginError(f"cannot be registered: {error}", where=_where(name)) from error
    return found


@contextmanager
def lent(name: str, module: Any) -> Iterator[None]:
    """Offer one more module for as long as the context lasts, as if it were installed: rehearsals use it."""
    found = _default()
    _check_hooks(name, module)
    found.register(module, name=name)
    try:
        yield
    finally:
        found.unregister(name=name)


def _where(name: str) -> str:
    """``plugin 'x' of <distribution>``."""
    owners = {point.dist.name for point in entry_points(group=PROJECT) if point.name == name and point.dist}
    return f"plugin '{name}'" + (f" of {' and '.join(sorted(owners))}" if owners else "")


def _check_hooks(name: str, module: Any) -> None:
    """Raises ``PluginError`` unless the module marks at least one hook and every hook's name is one that exists."""
    hooks = [hook for hook, value in vars(hookspecs).items() if hasattr(value, f"{PROJECT}_spec")]
    marked: list[str] = []
    for attribute, value in vars(module).items():
        marks = getattr(value, f"{PROJECT}_impl", None)
        if isinstance(marks, dict):
            hook = str(marks.get("specname") or attribute)
            if hook not in hooks:
                raise PluginError(
                    f"defines a hook that does not exist: {hook}()",
                    where=_where(name),
                    hint=f"{did_you_mean(hook, hooks)} See kt3d_bench/plugins/hookspecs.py",
                )
            marked.append(hook)
        elif inspect.isfunction(value) and difflib.get_close_matches(attribute, hooks, cutoff=0.85):
            raise PluginError(
                f"defines {attribute}(), which is not marked as a hook",
                where=_where(name),
                hint=f"write @hookimpl (from kt3d_bench import hookimpl) above it; {did_you_mean(attribute, hooks)}",
            )
    if not marked:
        raise PluginError(
            "defines no hook, so it offers nothing",
            where=_where(name),
            hint=f"its entry point must name the module with a function marked @hookimpl: {', '.join(sorted(hooks))}",
        )


def _installed() -> dict[str, Any]:
    modules: dict[str, Any] = {}
    for point in entry_points(group=PROJECT):
        if point.name in modules:
            raise PluginError(
                "is registered twice", where=_where(point.name), hint="rename or uninstall one of the distributions"
            )
        try:
            modules[point.name] = point.load()
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"cannot be imported ({type(error).__name__}: {error})",
                where=_where(point.name),
                hint=f"repair or uninstall it; its entry point is {point.value}",
            ) from error
    return modules


def collect(found: pluggy.PluginManager, hook: str, kind: type[Record]) -> dict[str, Record]:
    """Everything the plugins return for one hook, by name, sorted.

    Raises ``PluginError`` naming the plugin whose hook raises, returns something of a wrong type, a record with
    impossible fields (all of them at once), or a name that is offered twice.
    """
    records: dict[str, Record] = {}
    owners: dict[str, str] = {}
    for implementation in getattr(found.hook, hook).get_hookimpls():
        owner = implementation.plugin_name
        for record in _returned(hook, implementation):
            if not isinstance(record, kind):
                raise PluginError(
                    f"{hook} returned a {type(record).__name__}, expected {kind.__name__} records",
                    where=_where(owner),
                    hint=f"return a list of {kind.__name__}(...)",
                )
            wrong = hookrecords.problems(record)
            if wrong:
                raise PluginError(
                    f"{hook} offers {kind.__name__} {record.name!r} with {'; '.join(wrong)}",
                    where=_where(owner),
                    hint=f"see {kind.__name__} in kt3d_bench/plugins/hookspecs.py",
                )
            if record.name in records:
                other = "itself" if owners[record.name] == owner else _where(owners[record.name])
                raise PluginError(
                    f"offers '{record.name}', which {other} offers too",
                    where=_where(owner),
                    hint="rename or uninstall one of them",
                )
            records[record.name], owners[record.name] = record, owner
    return dict(sorted(records.items()))


def _returned(hook: str, implementation: Any) -> list[Any]:
    """What one plugin's hook returns, in a list."""
    where = _where(implementation.plugin_name)
    try:
        returned = implementation.function()
        if not isinstance(returned, Iterable) or isinstance(returned, str):
            raise PluginError(
                f"{hook} returned {type(returned).__name__}, expected a sequence",
                where=where,
                hint="return a list of records",
            )
        return list(returned)
    except PluginError:
        raise
    except Exception as error:
        raise PluginError(
            f"{hook} raised {type(error).__name__}: {error}", where=where, hint="repair or uninstall the plugin"
        ) from error


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
        raise UsageError(f"there is no {kind} '{name}'", hint=did_you_mean(name, known))
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


def owner_of(kind: str, name: str) -> str | None:
    """The entry point name of the plugin that offers the "dataset" or "method" of that name."""
    for implementation in getattr(_default().hook, f"kt3d_{kind}s").get_hookimpls():
        if any(record.name == name for record in _returned(f"kt3d_{kind}s", implementation)):
            return str(implementation.plugin_name)
    return None


def registered() -> dict[str, Any]:
    """Entry point name -> module of every plugin."""
    return {name: module for name, module in sorted(_default().list_name_plugin()) if module is not None}


def load(reference: str) -> Any:
    """Import ``"module"`` or ``"module:object"`` that a plugin named; ``PluginError`` when it is not there or its
    import fails, naming the plugin that owns the module."""
    module_name, _, attribute = reference.partition(":")
    try:
        module = importlib.import_module(module_name)
        return getattr(module, attribute) if attribute else module
    except Exception as error:
        owner = next((f" of {_where(name)}" for name, value in registered().items() if _owns(value, module_name)), "")
        raise PluginError(
            f"cannot be loaded ({type(error).__name__}: {error})", where=f"{reference}{owner}", hint="repair the plugin"
        ) from error


def _owns(module: Any, name: str) -> bool:
    package: str = module.__name__.partition(".")[0]
    return name.partition(".")[0] == package


def load_function(module_reference: str, name: str) -> Callable[..., Any]:
    """A function that the contract demands of a plugin's module; ``PluginError`` when it is missing."""
    function = getattr(load(module_reference), name, None)
    if not callable(function):
        raise PluginError(
            f"does not define the function {name}()",
            where=f"module {module_reference}",
            hint="kt3d_bench/plugins/hookspecs.py lists what it must define",
        )
    return function  # type: ignore[no-any-return]
