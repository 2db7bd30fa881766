"""Register plugins strictly: records are sorted by name, and every error names the plugin."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from typing import Any, TypeVar

import pluggy

from kt3d_bench.errors import PluginError, did_you_mean
from kt3d_bench.plugins import hookspecs
from kt3d_bench.plugins.hookspecs import PROJECT, DatasetPlugin, MethodPlugin, MetricPlugin, Recipe
from kt3d_bench.schema import parse

Record = TypeVar("Record", DatasetPlugin, MethodPlugin, MetricPlugin, Recipe)


@cache
def _points() -> tuple[EntryPoint, ...]:
    """Return the entry points of the group ``kt3d_bench``; the interpreter is asked once."""
    return tuple(entry_points(group=PROJECT))


def manager(modules: Mapping[str, Any] | None = None) -> pluggy.PluginManager:
    """Return a new manager of ``modules`` (name -> module), by default everything installed under ``kt3d_bench``.

    Raise ``PluginError`` naming the plugin that cannot be imported, defines no hook, misspells one, forgets to mark
    one, or is registered twice.
    """
    found = pluggy.PluginManager(PROJECT)
    found.add_hookspecs(hookspecs)
    for name, module in sorted((_installed() if modules is None else modules).items()):
        _check_hooks(name, module)
        try:
            found.register(module, name=name)
        except (ValueError, pluggy.PluginValidationError) as error:
            raise PluginError(f"cannot be registered: {error}", where=where(name)) from error
    return found


def where(name: str) -> str:
    """Return ``plugin 'x' of <distribution>`` for an error message."""
    owners = {_distribution_name(point.dist) for point in _points() if point.name == name and point.dist}
    return f"plugin '{name}'" + (f" of {' and '.join(sorted(owners))}" if owners else "")


@cache
def _distribution_name(found: Distribution) -> str:
    """Return the name of a distribution; all its metadata is parsed for that."""
    return found.name


def _check_hooks(name: str, module: Any) -> None:
    """Raise ``PluginError`` unless the module marks at least one hook and every hook's name is one that exists."""
    hooks = [hook for hook, value in vars(hookspecs).items() if hasattr(value, f"{PROJECT}_spec")]
    marked: list[str] = []
    for attribute, value in vars(module).items():
        marks = getattr(value, f"{PROJECT}_impl", None)
        if isinstance(marks, dict):
            hook = str(marks.get("specname") or attribute)
            if hook not in hooks:
                hint = f"{did_you_mean(hook, hooks)} See kt3d_bench/plugins/hookspecs.py"
                raise PluginError(f"defines a hook that does not exist: {hook}()", where=where(name), hint=hint)
            marked.append(hook)
        elif inspect.isfunction(value) and difflib.get_close_matches(attribute, hooks, cutoff=0.85):
            hint = f"write @hookimpl (from kt3d_bench import hookimpl) above it; {did_you_mean(attribute, hooks)}"
            raise PluginError(f"defines {attribute}(), which is not marked as a hook", where=where(name), hint=hint)
    if not marked:
        hint = f"its entry point must name the module with a function marked @hookimpl: {', '.join(sorted(hooks))}"
        raise PluginError("defines no hook, so it offers nothing", where=where(name), hint=hint)


def _installed() -> dict[str, Any]:
    modules: dict[str, Any] = {}
    for point in _points():
        if point.name in modules:
            hint = "rename or uninstall one of the distributions"
            raise PluginError("is registered twice", where=where(point.name), hint=hint)
        try:
            modules[point.name] = point.load()
        except (Exception, SystemExit) as error:
            what = f"cannot be imported ({type(error).__name__}: {error})"
            hint = f"repair or uninstall it; its entry point is {point.value}"
            raise PluginError(what, where=where(point.name), hint=hint) from error
    return modules


def collect(found: pluggy.PluginManager, hook: str, kind: type[Record]) -> dict[str, Record]:
    """Return the records that all plugins return for one hook, by name, sorted.

    Raise ``PluginError`` naming the plugin whose hook raises, returns something of a wrong type, a record with
    impossible fields (all of them at once), or a name that is offered twice.
    """
    records: dict[str, Record] = {}
    owners: dict[str, str] = {}
    for implementation in getattr(found.hook, hook).get_hookimpls():
        owner = where(implementation.plugin_name)
        for record in returned(hook, implementation):
            if not isinstance(record, kind):
                what = f"{hook} returned a {type(record).__name__}, expected {kind.__name__} records"
                raise PluginError(what, where=owner, hint=f"return a list of {kind.__name__}(...)")
            hint = f"see {kind.__name__} in kt3d_bench/plugins/hookspecs.py"
            offered = f"{owner}: {hook} offers {kind.__name__} {record.name!r}"
            record = parse(kind, record, error=PluginError, where=offered, hint=hint)
            if record.name in records:
                other = "itself" if owners[record.name] == owner else owners[record.name]
                what = f"offers '{record.name}', which {other} offers too"
                raise PluginError(what, where=owner, hint="rename or uninstall one of them")
            records[record.name], owners[record.name] = record, owner
    return dict(sorted(records.items()))


def returned(hook: str, implementation: Any) -> list[Any]:
    """Return the list of records that one plugin's hook returns."""
    owner = where(implementation.plugin_name)
    try:
        records = implementation.function()
        if not isinstance(records, Iterable) or isinstance(records, str):
            what = f"{hook} returned {type(records).__name__}, expected a sequence"
            raise PluginError(what, where=owner, hint="return a list of records")
        return list(records)
    except PluginError:
        raise
    except Exception as error:
        what = f"{hook} raised {type(error).__name__}: {error}"
        raise PluginError(what, where=owner, hint="repair or uninstall the plugin") from error
