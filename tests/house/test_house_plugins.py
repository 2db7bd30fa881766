"""Strict registration: every way in which a plugin can be wrong stops the program with the plugin's name."""

from __future__ import annotations

import dataclasses
import shutil
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kt3d_bench import (
    DatasetPlugin,
    MethodPlugin,
    MetricPlugin,
    Option,
    PluginError,
    Recipe,
    RecipeClaim,
    RecipePicture,
    RecipeRow,
    UsageError,
    WeightFile,
    hookimpl,
)
from kt3d_bench.metrics import benchmarks
from kt3d_bench.plugins import hookspecs, manager, registry
from kt3d_bench.schema import parse, read_yaml


def module(name: str, **functions: Any) -> ModuleType:
    made = ModuleType(name)
    for key, function in functions.items():
        setattr(made, key, hookimpl(function))
    return made


def a_method(name: str) -> MethodPlugin:
    return MethodPlugin(name=name, summary="", load="json:JSONDecoder")


def test_everything_installed_is_found_sorted_and_loads() -> None:
    assert list(registry.datasets()) == sorted(registry.datasets())
    assert {"h36m", "mpii", "ubc3v"} <= set(registry.datasets())
    assert {"integral-pose", "knowledge-transfer", "martinez", "mean-pose", "source-only"} <= set(registry.methods())
    for dataset in registry.datasets().values():
        for function in ("plan", "convert", "describe"):
            registry.load_function(dataset.convert, function)
        registry.load_function(dataset.generate, "generate")
        assert registry.load(f"{dataset.generate}:VERSION") >= 1
        assert registry.load(f"{dataset.generate}:DEMO")
        assert (dataset.folder / "card.yaml").is_file()
    for method in registry.methods().values():
        loaded = registry.load(method.load)
        assert set(method.presets) == set(loaded.PRESETS)
        assert set(method.defaults.values()) <= {*registry.datasets(), *registry.benchmarks()}


def test_order_of_installation_does_not_matter() -> None:
    one = module("one", kt3d_methods=lambda: [a_method("z")])
    two = module("two", kt3d_methods=lambda: [a_method("a")])
    for modules in ({"one": one, "two": two}, {"two": two, "one": one}):
        assert list(manager.collect(manager.manager(modules), "kt3d_methods", MethodPlugin)) == ["a", "z"]


def test_a_misspelt_hook_names_the_plugin() -> None:
    with pytest.raises(PluginError, match=r"plugin 'bad': defines a hook that does not exist.*hookspecs"):
        manager.manager({"bad": module("bad", kt3d_datasetz=lambda: [])})


def test_a_misspelt_hook_comes_with_a_suggestion() -> None:
    with pytest.raises(PluginError, match=r"kt3d_datasetz\(\); did you mean 'kt3d_datasets'\?"):
        manager.manager({"bad": module("bad", kt3d_datasetz=lambda: [])})


@pytest.mark.parametrize("name", ["kt3d_methods", "kt3d_method", "kt3d_metods"])
def test_a_hook_that_is_not_marked_names_the_plugin(name: str) -> None:
    bad = ModuleType("bad")
    namespace: dict[str, Any] = {}
    exec(f"def {name}(): return []", namespace)
    setattr(bad, name, namespace[name])
    with pytest.raises(PluginError, match=rf"plugin 'bad': defines {name}\(\), which is not marked.*@hookimpl.*"):
        manager.manager({"bad": bad})


def test_a_module_without_hooks_names_the_plugin() -> None:
    with pytest.raises(PluginError, match=r"plugin 'empty': defines no hook.*kt3d_datasets, kt3d_methods"):
        manager.manager({"empty": ModuleType("empty")})


def test_a_hook_that_raises_names_the_plugin() -> None:
    def broken() -> list[MethodPlugin]:
        raise KeyError("colour")

    def late() -> Any:
        yield a_method("a")
        raise ValueError("too late")

    for function, message in ((broken, "KeyError: 'colour'"), (late, "ValueError: too late")):
        found = manager.manager({"bad": module("bad", kt3d_methods=function)})
        with pytest.raises(PluginError, match=f"plugin 'bad': kt3d_methods raised {message}"):
            manager.collect(found, "kt3d_methods", MethodPlugin)


def a_dataset(**changes: Any) -> DatasetPlugin:
    fields = {"name": "d", "title": "D", "modalities": ("rgb",), "splits": ("train",), "folder": Path(__file__).parent,
              "convert": "json", "generate": "json"}  # fmt: skip
    return DatasetPlugin(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "My Data"}, "name is 'My Data' .str.: expected a name of lower-case"),
        ({"title": None}, "title is None .NoneType.: expected text"),
        ({"splits": "train"}, "splits is 'train' .str.: expected a list"),
        ({"splits": ()}, r"splits is \(\) .tuple.: expected at least one"),
        ({"splits": ("train", "train")}, "splits is .*expected different ones"),
        ({"modalities": ("rgb", "dept")}, "modalities.1 is 'dept' .str.: did you mean 'depth'"),
        ({"folder": "here"}, "folder is 'here' .str.: expected an existing folder"),
        ({"folder": Path("nowhere")}, "folder is 'nowhere' .*expected an existing folder"),
        ({"convert": "no_such.convert"}, "convert is 'no_such.convert' .*: expected the name of a module that exists"),
        ({"generate": "json.no_such"}, "generate is 'json.no_such'"),
        ({"views": "front"}, "views is 'front' .str.: expected a list"),
        ({"views": ("front",), "splits": ("front-train", "test")}, "split 'test' belongs to no view"),
        ({"labels": "3D"}, "labels is '3D' .*did you mean '3d'"),
        ({"options": {"a": 3}}, "options.a is 3 .int.: expected a mapping"),
        ({"splits": "a", "labels": 3}, "splits is 'a'.*; labels is 3 .int.: expected text"),
    ],
)
def test_wrong_fields_of_a_dataset_name_plugin_and_field(changes: dict[str, Any], message: str) -> None:
    found = manager.manager({"bad": module("bad", kt3d_datasets=lambda: [a_dataset(**changes)])})
    with pytest.raises(PluginError, match=f"plugin 'bad': kt3d_datasets offers DatasetPlugin .*{message}.*hookspecs"):
        manager.collect(found, "kt3d_datasets", DatasetPlugin)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"load": "json"}, "load is 'json' .str.: expected 'module:Class'"),
        ({"load": "json:Nothing"}, "load is 'json:Nothing'"),
        ({"load": "no_such:Class"}, "load is 'no_such:Class'"),
        ({"presets": "tiny"}, "presets is 'tiny'"),
        ({"supervision": ("none", "ful")}, "supervision.1 is 'ful' .str.: did you mean 'full'"),
        ({"defaults": {"tagret": "d"}}, "defaults.name 'tagret' is 'tagret' .str.: did you mean 'target'"),
        ({"defaults": ("d",)}, "defaults is "),
    ],
)
def test_wrong_fields_of_a_method_name_plugin_and_field(changes: dict[str, Any], message: str) -> None:
    fields = {"name": "m", "summary": "", "load": "json:JSONDecoder"}
    found = manager.manager({"bad": module("bad", kt3d_methods=lambda: [MethodPlugin(**(fields | changes))])})
    with pytest.raises(PluginError, match=f"plugin 'bad': kt3d_methods offers MethodPlugin 'm': .*{message}"):
        manager.collect(found, "kt3d_methods", MethodPlugin)


RECORDS = [value for value in vars(hookspecs).values() if dataclasses.is_dataclass(value)]
GOOD = {
    "DatasetPlugin": a_dataset(),
    "MethodPlugin": a_method("m"),
    "MetricPlugin": MetricPlugin("m", "M", "mm", "lower", "json:JSONDecoder", "what"),
    "Option": Option(1, "help"),
    "Recipe": Recipe("r", "", ()),
    "RecipeClaim": RecipeClaim("a", "b"),
    "RecipePicture": RecipePicture("poses"),
    "RecipeRow": RecipeRow("m"),
    "WeightFile": WeightFile("a.bin", 1, "0" * 64, "command"),
}


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, field.name) for kind in RECORDS for field in dataclasses.fields(kind)]
)
def test_the_contract_check_knows_every_field_of_every_record(kind: Any, name: str) -> None:
    good = GOOD[kind.__name__]
    assert parse(kind, good, error=PluginError, where="record", hint="") == good
    with pytest.raises(PluginError, match=rf"^record: {name} is <object object .*\(object\): expected "):
        parse(kind, dataclasses.replace(good, **{name: object()}), error=PluginError, where="record", hint="")


def test_records_within_records_are_checked() -> None:
    wrong = Recipe("r", "", (RecipeRow("m", joints=18),), (RecipePicture("pose"),), (RecipeClaim("a", 3),))  # type: ignore[arg-type]
    with pytest.raises(PluginError) as caught:
        manager.collect(manager.manager({"bad": module("bad", kt3d_recipes=lambda: [wrong])}), "kt3d_recipes", Recipe)
    for part in ("rows.0.joints is 18 (int): expected at most 17", "pictures.0.kind is 'pose' (str): did you mean 'pos",
                 "claims.0.than is 3 (int): expected text"):  # fmt: skip
        assert part in caught.value.message


def test_plugins_and_their_files_are_asked_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parents[2] / "datasets" / "kt3d_h36m", tmp_path / "d")
    asked: list[str] = []

    def hook() -> list[DatasetPlugin]:
        asked.append("hook")
        return [a_dataset(folder=tmp_path / "d", name="h36m", splits=("train", "test"))]

    def read(path: Path, **options: Any) -> Any:
        asked.append(path.name)
        return read_yaml(path, **options)

    monkeypatch.setattr(benchmarks, "read_yaml", read)
    with registry.lent({"one": module("one", kt3d_datasets=hook)}, alone=True):
        for _ in range(3):
            assert list(registry.datasets()) == ["h36m"]
            assert [one.id for one in registry.benchmarks_of("h36m")] == ["h36m-s9s11-64"]
            assert registry.benchmark("h36m-s9s11-64").dataset == "h36m"
            assert len(registry.published()["h36m-s9s11-64"].rows) >= 27
        assert asked == ["hook", "benchmarks.yaml", "published.yaml"]
        registry.clear()
        registry.published()
        assert sorted(asked) == sorted(["hook", "benchmarks.yaml", "published.yaml"] * 2)


def test_a_recipe_of_something_else_names_the_plugin() -> None:
    wrong = Recipe("r", "", rows=("train",))  # type: ignore[arg-type]
    found = manager.manager({"bad": module("bad", kt3d_recipes=lambda: [wrong])})
    with pytest.raises(PluginError, match=r"Recipe 'r': rows.0 is 'train' .str.: expected a mapping"):
        manager.collect(found, "kt3d_recipes", Recipe)


def test_a_name_offered_twice_by_one_plugin_says_so() -> None:
    found = manager.manager({"bad": module("bad", kt3d_methods=lambda: [a_method("same"), a_method("same")])})
    with pytest.raises(PluginError, match="plugin 'bad': offers 'same', which itself offers too"):
        manager.collect(found, "kt3d_methods", MethodPlugin)


def test_a_lent_module_is_there_for_a_while() -> None:
    with registry.lent({"guest": module("guest", kt3d_methods=lambda: [a_method("visitor")])}):
        assert registry.method("visitor").name == "visitor"
        assert registry.owner_of("method", "visitor") == "guest"
        assert "guest" in registry.registered()
    assert "visitor" not in registry.methods()
    assert registry.owner_of("method", "visitor") is None


def test_a_plugin_that_exits_on_import_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "kt3d_leaver.py").write_text("raise SystemExit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(manager, "_points", lambda: [EntryPoint("leaver", "kt3d_leaver", "kt3d_bench")])
    with pytest.raises(PluginError, match=r"plugin 'leaver': cannot be imported \(SystemExit: 3\)"):
        manager.manager()


def test_what_fails_when_it_is_loaded_names_plugin_and_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "kt3d_late.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match=r"kt3d_late: cannot be loaded \(ZeroDivisionError: division by zero\)"):
        registry.load("kt3d_late")


def test_wrong_arguments_name_the_plugin() -> None:
    with pytest.raises(PluginError, match="plugin 'bad': cannot be registered"):
        manager.manager({"bad": module("bad", kt3d_datasets=lambda wrong: [])})


def test_a_name_offered_twice_names_both_plugins() -> None:
    found = manager.manager({n: module(n, kt3d_methods=lambda: [a_method("same")]) for n in ("one", "two")})
    with pytest.raises(PluginError, match=r"offers 'same', which plugin '(one|two)' offers too"):
        manager.collect(found, "kt3d_methods", MethodPlugin)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "returned NoneType, expected a sequence"),
        ("name", "returned str, expected a sequence"),
        (3, "returned int, expected a sequence"),
        (["name"], "returned a str, expected DatasetPlugin records"),
    ],
)
def test_wrong_return_types_name_the_plugin(returned: Any, message: str) -> None:
    found = manager.manager({"bad": module("bad", kt3d_datasets=lambda: returned)})
    with pytest.raises(PluginError, match=f"plugin 'bad': kt3d_datasets {message}"):
        manager.collect(found, "kt3d_datasets", DatasetPlugin)


def test_import_errors_name_the_plugin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "kt3d_broken.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("broken", "kt3d_broken", "kt3d_bench")
    monkeypatch.setattr(manager, "_points", lambda: [point])
    with pytest.raises(PluginError, match=r"plugin 'broken': cannot be imported \(ModuleNotFoundError: .*no_such"):
        manager.manager()


def test_a_name_installed_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("json", "json", "kt3d_bench")
    monkeypatch.setattr(manager, "_points", lambda: [point, point])
    with pytest.raises(PluginError, match="plugin 'json': is registered twice"):
        manager.manager()


def test_unknown_names_come_with_a_suggestion() -> None:
    with pytest.raises(UsageError, match=r"there is no dataset 'h36n'; did you mean 'h36m'\?"):
        registry.dataset("h36n")
    with pytest.raises(UsageError, match=r"there is no method 'integral'; did you mean 'integral-pose'\?"):
        registry.method("integral")
    with pytest.raises(UsageError, match="there is no recipe 'demp'"):
        registry.recipe("demp")


def test_what_a_plugin_promises_must_be_there() -> None:
    with pytest.raises(PluginError, match=r"no_such_module: cannot be loaded \(ModuleNotFoundError"):
        registry.load("no_such_module")
    with pytest.raises(PluginError, match=r"json:nothing: cannot be loaded \(AttributeError"):
        registry.load("json:nothing")
    with pytest.raises(PluginError, match=r"module json: does not define the function plan\(\)"):
        registry.load_function("json", "plan")
