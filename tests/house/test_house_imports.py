"""Imports run downwards only, the core names no plugin, and what must stay light imports nothing heavy."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "kt3d_bench"

LAYER = {
    "errors": 0, "progress": 0, "records": 0, "skeletons": 0, "supervision": 0,
    "files": 1, "geometry": 1,
    "plugins": 2, "standins": 2,
    "data": 3, "synth": 3, "metrics": 3,
    "leaderboard": 4, "loading": 4, "method": 4, "nn": 4,
    "training": 5, "costs": 6, "drawing": 6, "results": 6,
    "report": 7, "submissions": 7, "rescoring": 7,
    "recipes": 8, "scaffold": 8, "rehearsal": 8, "cli": 9, "__main__": 10, "__init__": 11,
}  # fmt: skip
MAY_MEET = (
    {"errors", "records", "skeletons", "supervision"},
    {"loading", "method", "nn"},
)
"""Rooms of one layer that may import each other."""
DATASETS_MAY = {"", "errors", "records", "skeletons", "geometry", "synth", "standins"}
METHODS_MAY = {"", "errors", "skeletons", "supervision", "loading", "method", "nn"}


def imports(path: Path) -> list[tuple[int, str]]:
    """(line, dotted module) of every import in a file; ``from package import name`` counts as ``package.name``."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def room(module: str) -> str:
    """``kt3d_bench.data.reader.X`` -> ``data``; names defined in the package itself -> ""."""
    first = module.split(".")[1] if "." in module else ""
    return first if first in LAYER else ""


def test_core_imports_run_downwards() -> None:
    wrong = []
    for path in CORE.rglob("*.py"):
        own = path.relative_to(CORE).parts[0].removesuffix(".py")
        assert own in LAYER, f"{path} is in a room that has no layer"
        for line, module in imports(path):
            if module.split(".")[0].startswith("kt3d_") and not module.startswith("kt3d_bench"):
                wrong.append(f"{path}:{line}: the core imports the plugin {module}")
            elif module.startswith("kt3d_bench"):
                other = room(module)
                if other in ("", own):
                    continue
                together = any(own in rooms and other in rooms for rooms in MAY_MEET)
                if LAYER[other] >= LAYER[own] and not together:
                    wrong.append(f"{path}:{line}: {own} imports {other}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("folder", "allowed"), [("datasets", DATASETS_MAY), ("plugins", METHODS_MAY)])
def test_plugins_import_only_what_the_contract_offers(folder: str, allowed: set[str]) -> None:
    wrong = []
    for path in (ROOT / folder).rglob("*.py"):
        own = path.relative_to(ROOT / folder).parts[0]
        for line, module in imports(path):
            top = module.split(".")[0]
            if top == "kt3d_bench" and room(module) not in allowed:
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


LIGHT = {
    "kt3d_bench": ("torch", "webdataset", "scipy", "cv2", "h5py", "pydantic"),
    "kt3d_bench.cli": ("torch", "webdataset", "scipy", "cv2", "h5py", "matplotlib", "numba"),
    "kt3d_bench.synth": ("numba",),
    "kt3d_bench.data.prepare": ("torch", "webdataset"),
    "kt3d_bench.data.reader": ("torch", "webdataset"),
    "kt3d_bench.metrics.evaluate": ("torch", "webdataset", "scipy"),
    "kt3d_bench.leaderboard.render": ("torch", "webdataset", "scipy"),
    "kt3d_bench.report.build": ("torch", "webdataset", "scipy", "matplotlib"),
    "kt3d_ubc3v": ("torch", "scipy", "cv2", "h5py"),
    "kt3d_itop": ("torch", "scipy", "cv2", "h5py"),
    "kt3d_h36m": ("torch", "scipy", "cv2", "h5py", "av", "cdflib"),
    "kt3d_mpii": ("torch", "scipy", "cv2", "h5py"),
    "kt3d_knowledge_transfer": ("torch", "scipy", "cv2"),
    "kt3d_integral_pose": ("torch", "scipy", "cv2"),
    "kt3d_floor": ("torch", "scipy", "cv2"),
}


@pytest.mark.parametrize("module", sorted(LIGHT))
def test_light_modules_import_nothing_heavy(module: str) -> None:
    script = f"import sys, {module}; print(','.join(n for n in {LIGHT[module]!r} if n in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "", f"{module} imports {done.stdout.strip()}"
