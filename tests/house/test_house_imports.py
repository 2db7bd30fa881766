"""Imports run downwards only, the core names no plugin, and what must stay light imports nothing heavy."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import kt3d_bench

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "kt3d_bench"

LAYER = {
    "rawfiles": 2,
    "budgets": 0, "cores": 0, "errors": 0, "progress": 0, "records": 0, "skeletons": 0, "supervision": 0,
    "files": 1, "geometry": 1, "interrupts": 1, "lifeline": 1, "locks": 1, "schema": 1,
    "drawing": 2, "metrics.functional": 2, "optimisation": 2, "packs": 2, "training.config": 2, "standins": 2,
    "metrics.benchmarks": 3, "run_folder": 3, "web": 3, "plugins": 4,
    "data": 5, "synth": 5, "weight_files": 5,
    "metrics": 6,
    "leaderboard": 7, "loading": 7, "method": 7, "nn": 7,
    "training": 8, "costs": 9, "generation": 9, "scoring": 9,
    "inspection": 10, "report": 10,
    "pictures": 11, "reproduction": 11, "scaffold": 11, "testing": 11, "training.runs": 12,
    "": 13, "cli": 14, "__main__": 15,
}  # fmt: skip
"""Package or file below ``kt3d_bench`` -> layer; the longest name counts. "" is ``kt3d_bench/__init__.py``."""
MAY_MEET = (
    {"errors", "records", "skeletons", "supervision"},
    {"loading", "method", "nn"},
)
"""Packages of one layer that may import each other."""
DATASETS_MAY = {"", "budgets", "cores", "errors", "rawfiles", "records", "skeletons", "geometry", "synth", "standins"}
METHODS_MAY = {"", "errors", "skeletons", "supervision", "loading", "method", "nn", "weight_files"}
CODE = {
    path.relative_to(home).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"): path
    for home in (ROOT, ROOT / "datasets", ROOT / "plugins")
    for path in sorted(home.glob("kt3d_*/**/*.py"))
}
"""Module -> file of everything shipped."""


@cache
def imports(path: Path) -> tuple[tuple[int, str], ...]:
    """(line, dotted name) of every import in a file, those in functions and for type checking included.

    ``from package import name`` counts as ``package.name``. The version, a constant, does not count.
    """
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return tuple((line, name) for line, name in found if name != "kt3d_bench.__version__")


def module_of(name: str) -> str | None:
    """Return the shipped module that an imported name is or lies in: ``kt3d_bench.data.reader.X`` -> without ``X``."""
    while name and name not in CODE:
        name = name.rpartition(".")[0]
    return name or None


def package(module: str) -> str:
    """Return the key of ``LAYER`` that a module of the core belongs to: ``kt3d_bench.data.reader`` -> ``data``."""
    name = module.removeprefix("kt3d_bench").removeprefix(".")
    while name not in LAYER:
        assert name, f"{module} has no layer"
        name = name.rpartition(".")[0]
    return name


def test_core_imports_run_downwards() -> None:
    wrong = []
    for name, path in CODE.items():
        if name.split(".")[0] != "kt3d_bench":
            continue
        own = package(name)
        for line, imported in imports(path):
            module = module_of(imported)
            if module is None or module == name:
                continue
            if module.split(".")[0] != "kt3d_bench":
                wrong.append(f"{path}:{line}: the core imports the plugin {imported}")
                continue
            other = package(module)
            together = other == own or any(own in group and other in group for group in MAY_MEET)
            if LAYER[other] >= LAYER[own] and not together:
                wrong.append(f"{path}:{line}: {own} imports {imported}")
    assert not wrong, "\n".join(wrong)


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules of which each can reach every other (Tarjan), sorted."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return sorted(found)


def test_a_cycle_is_found() -> None:
    chain: dict[str, set[str]] = {"a": {"b"}, "b": {"c"}, "c": {"d"}, "e": {"a", "d"}}
    assert cycles(chain) == []
    assert cycles({**chain, "c": {"d", "a"}, "f": {"e"}}) == [["a", "b", "c"]]


KNOWN_CYCLES: list[list[str]] = []
"""Cycles that are still to go; none may be added."""


def test_no_file_imports_itself_through_others() -> None:
    graph = {name: {str(module_of(one)) for _, one in imports(path)} - {name, "None"} for name, path in CODE.items()}
    assert any(graph.values())
    assert [group for group in cycles(graph) if group not in KNOWN_CYCLES] == []


@pytest.mark.parametrize(("folder", "allowed"), [("datasets", DATASETS_MAY), ("plugins", METHODS_MAY)])
def test_plugins_import_only_what_the_contract_offers(folder: str, allowed: set[str]) -> None:
    wrong = []
    for path in (ROOT / folder).rglob("*.py"):
        own = path.relative_to(ROOT / folder).parts[0]
        for line, module in imports(path):
            top = module.split(".")[0]
            if top == "kt3d_bench" and package(str(module_of(module))) not in allowed:
                wrong.append(f"{path}:{line}: {module}")
            elif top.startswith("kt3d_") and top not in ("kt3d_bench", own):
                wrong.append(f"{path}:{line}: imports another plugin, {module}")
    assert not wrong, "\n".join(wrong)


CITED = "Martinez et al."
"""The paper that a metric follows shares its name with a method."""


def test_core_names_no_dataset_and_no_method() -> None:
    packages = [path.name for folder in ("datasets", "plugins") for path in (ROOT / folder).iterdir()]
    names = {name.removeprefix("kt3d_") for name in packages}
    names |= {name.replace("_", "-") for name in names} | {"itop", "mean-pose", "martinez", "source-only"}
    names -= {"floor", "__pycache__"}
    assert {"h36m", "mpii", "ubc3v", "knowledge-transfer", "integral-pose"} <= names
    naming = re.compile(rf"(?<![a-z])({'|'.join(sorted(names))})(?![a-z0-9])")
    wrong = []
    for path in CORE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        documentation = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in documentation:
                continue
            if naming.search(node.value.replace(CITED, "").lower()):
                wrong.append(f"{path}:{node.lineno}: {node.value!r}")
    assert not wrong, "\n".join(wrong)


def test_every_public_name_is_where_the_stub_says() -> None:
    declared = [
        (str(node.module), alias.name, alias.asname)
        for node in ast.walk(ast.parse((CORE / "__init__.pyi").read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    names = [name for _, name, _ in declared]
    assert len(names) > 40
    assert sorted(kt3d_bench.__all__) == sorted({"__version__", *names})
    assert len(names) == len(set(names)), "two modules define one public name"
    modules = {path.stem for path in CORE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert not modules & set(names), "importing a module would replace the public name"
    for module, name, exported in declared:
        assert exported == name
        assert getattr(kt3d_bench, name) is getattr(importlib.import_module(module), name)
        assert name in dir(kt3d_bench)


def test_importing_the_package_imports_the_standard_library_alone() -> None:
    script = (
        "import sys; before = set(sys.modules); import kt3d_bench\n"
        "found = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(found - sys.stdlib_module_names), sorted(n for n in sys.modules if n.startswith('kt3d')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "['kt3d_bench'] ['kt3d_bench']"


LIGHT = {
    "kt3d_bench.plugins.registry": ("torch", "webdataset", "scipy", "cv2", "h5py", "pydantic", "yaml"),
    "kt3d_bench.schema": ("numpy", "pydantic", "yaml"),
    "kt3d_bench.cli": ("torch", "webdataset", "scipy", "cv2", "h5py", "matplotlib", "numba"),
    "kt3d_bench.synth": ("numba",),
    "kt3d_bench.data.prepare": ("torch", "webdataset"),
    "kt3d_bench.data.reader": ("torch", "webdataset"),
    "kt3d_bench.metrics.evaluate": ("torch", "webdataset", "scipy"),
    "kt3d_bench.leaderboard.render": ("torch", "webdataset", "scipy"),
    "kt3d_bench.pictures.predict": ("torch", "webdataset", "cv2", "av", "PIL", "matplotlib"),
    "kt3d_bench.report.build": ("torch", "webdataset", "scipy", "matplotlib"),
    "kt3d_ubc3v": ("torch", "scipy", "cv2", "h5py"),
    "kt3d_itop": ("torch", "scipy", "cv2", "h5py"),
    "kt3d_h36m": ("torch", "scipy", "cv2", "h5py", "av", "cdflib"),
    "kt3d_mpii": ("torch", "scipy", "cv2", "h5py"),
    "kt3d_knowledge_transfer": ("torch", "scipy", "cv2"),
    "kt3d_integral_pose": ("torch", "scipy", "cv2"),
    "kt3d_floor": ("torch", "scipy", "cv2"),
    "kt3d_a2j": ("torch", "scipy", "cv2"),
    "kt3d_v2v": ("torch", "scipy", "cv2"),
    "kt3d_simcc": ("torch", "scipy", "cv2"),
    "kt3d_videopose": ("torch", "scipy", "cv2"),
    "kt3d_dann": ("torch", "scipy", "cv2"),
    "kt3d_blazepose": ("torch", "scipy", "cv2", "ai_edge_litert"),
}


@pytest.mark.parametrize("module", sorted(LIGHT))
def test_light_modules_import_nothing_heavy(module: str) -> None:
    script = f"import sys, {module}; print(','.join(n for n in {LIGHT[module]!r} if n in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "", f"{module} imports {done.stdout.strip()}"
