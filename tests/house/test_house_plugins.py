"""Strict registration: every way in which a plugin can be wrong stops the program with the plugin's name."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kt3d_bench import DatasetPlugin, MethodPlugin, PluginError, UsageError, hookimpl, plugins


def module(name: str, **functions: Any) -> ModuleType:
    made = ModuleType(name)
    for key, function in functions.items():
        setattr(made, key, hookimpl(function))
    return made


def a_method(name: str) -> MethodPlugin:
    return MethodPlugin(name=name, summary="", load="x:y")


def test_everything_installed_is_found_sorted_and_loads() -> None:
    assert list(plugins.datasets()) == sorted(plugins.datasets())
    assert {"h36m", "mpii", "ubc3v"} <= set(plugins.datasets())
    assert {"integral-pose", "knowledge-transfer", "lift-mlp", "mean-pose", "source-only"} <= set(plugins.methods())
    for dataset in plugins.datasets().values():
        for function in ("plan", "convert", "describe"):
            plugins.load_function(dataset.convert, function)
        plugins.load_function(dataset.generate, "generate")
        assert plugins.load(f"{dataset.generate}:VERSION") >= 1
        assert plugins.load(f"{dataset.generate}:DEMO")
        assert (dataset.folder / "card.yaml").is_file()
    for method in plugins.methods().values():
        loaded = plugins.load(method.load)
        assert set(method.presets) == set(loaded.PRESETS)
        assert set(method.defaults.values()) <= set(plugins.datasets())


def test_order_of_installation_does_not_matter() -> None:
    one = module("one", kt3d_methods=lambda: [a_method("z")])
    two = module("two", kt3d_methods=lambda: [a_method("a")])
    for modules in ({"one": one, "two": two}, {"two": two, "one": one}):
        assert list(plugins.collect(plugins.manager(modules), "kt3d_methods", MethodPlugin)) == ["a", "z"]


def test_a_misspelt_hook_names_the_plugin() -> None:
    with pytest.raises(PluginError, match=r"plugin 'bad': defines a hook that does not exist.*hookspecs"):
        plugins.manager({"bad": module("bad", kt3d_datasetz=lambda: [])})


def test_wrong_arguments_name_the_plugin() -> None:
    with pytest.raises(PluginError, match="plugin 'bad': cannot be registered"):
        plugins.manager({"bad": module("bad", kt3d_datasets=lambda wrong: [])})


def test_a_name_offered_twice_names_both_plugins() -> None:
    found = plugins.manager({n: module(n, kt3d_methods=lambda: [a_method("same")]) for n in ("one", "two")})
    with pytest.raises(PluginError, match=r"offers 'same', which plugin '(one|two)' offers too"):
        plugins.collect(found, "kt3d_methods", MethodPlugin)


@pytest.mark.parametrize(
    ("returned", "message"),
    [(3, "returned int, expected a sequence"), (["name"], "returned a str, expected DatasetPlugin")],
)
def test_wrong_return_types_name_the_plugin(returned: Any, message: str) -> None:
    found = plugins.manager({"bad": module("bad", kt3d_datasets=lambda: returned)})
    with pytest.raises(PluginError, match=f"plugin 'bad': kt3d_datasets {message}"):
        plugins.collect(found, "kt3d_datasets", DatasetPlugin)


def test_import_errors_name_the_plugin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "kt3d_broken.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("broken", "kt3d_broken", "kt3d_bench")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point])
    with pytest.raises(PluginError, match=r"plugin 'broken': cannot be imported \(ModuleNotFoundError: .*no_such"):
        plugins.manager()


def test_a_name_installed_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("json", "json", "kt3d_bench")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point, point])
    with pytest.raises(PluginError, match="plugin 'json': is registered twice"):
        plugins.manager()


def test_unknown_names_come_with_a_suggestion() -> None:
    with pytest.raises(UsageError, match=r"there is no dataset 'h36n'; did you mean 'h36m'\?"):
        plugins.dataset("h36n")
    with pytest.raises(UsageError, match=r"there is no method 'integral'; did you mean 'integral-pose'\?"):
        plugins.method("integral")
    with pytest.raises(UsageError, match="there is no recipe 'demp'"):
        plugins.recipe("demp")


def test_what_a_plugin_promises_must_be_there() -> None:
    with pytest.raises(PluginError, match=r"no_such_module: cannot be loaded \(ModuleNotFoundError"):
        plugins.load("no_such_module")
    with pytest.raises(PluginError, match=r"json:nothing: cannot be loaded \(AttributeError"):
        plugins.load("json:nothing")
    with pytest.raises(PluginError, match=r"module json: does not define the function plan\(\)"):
        plugins.load_function("json", "plan")
