"""The guide's code runs. Blocks and commands of all documents are tested in tests/docs."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def python_blocks(document: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), flags=re.S)


def test_the_guides_method_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from kt3d_bench.method import MethodContext, Progress
    from kt3d_bench.testing import tiny_batch

    (source,) = [block for block in python_blocks("CONTRIBUTING.md") if "class OneNet" in block]
    guide = ModuleType("guide")
    monkeypatch.setitem(sys.modules, "guide", guide)
    names: dict[str, Any] = guide.__dict__
    exec(compile(source, "CONTRIBUTING.md", "exec"), names)
    config = names["Config"](**names["OneNet"].PRESETS["tiny"])
    torch.manual_seed(0)
    method = names["OneNet"](config, MethodContext("rgb", 0, "full", transfers=False))
    batch = tiny_batch(4, input_px=64)
    optimiser = torch.optim.Adam(method.parameters(), lr=3e-3)
    (stage,) = method.stages()
    losses = []
    for step in range(30):
        (loss,) = method.step(stage, {"target": batch}, Progress(step, step / 30)).losses.values()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert method.eval().predict(batch).joints_px.shape == (4, 17, 2)


def guide_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: str, modules: tuple[str, ...]) -> ModuleType:
    """The guide's example of a package's top module, as a package beside empty modules of the names it promises."""
    (source,) = [block for block in python_blocks("CONTRIBUTING.md") if f"def {hook}" in block]
    name = f"kt3d_guide_{hook}"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text(re.sub(r"kt3d_(mydata|onenet)\b", name, source))
    for module in modules:
        (folder / f"{module}.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module(name)


def test_the_guides_dataset_registers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kt3d_bench.plugins import hookspecs, manager

    module = guide_package(tmp_path, monkeypatch, "kt3d_datasets", ("convert", "generate"))
    found = manager.collect(manager.manager({"mydata": module}), "kt3d_datasets", hookspecs.DatasetPlugin)
    assert list(found) == ["mydata"]


def test_the_guides_method_registers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kt3d_bench.plugins import hookspecs, manager

    (guide,) = [block for block in python_blocks("CONTRIBUTING.md") if "class OneNet" in block]
    module = guide_package(tmp_path, monkeypatch, "kt3d_methods", ("method",))
    (method,) = manager.collect(manager.manager({"one-net": module}), "kt3d_methods", hookspecs.MethodPlugin).values()
    assert "none" not in method.supervision, "its step reads labels"
    for preset in method.presets:
        assert f'"{preset}": {{' in guide


def test_every_hook_is_used_by_a_plugin() -> None:
    from kt3d_bench.plugins import hookspecs, manager

    found = manager.manager()
    hooks = [name for name in vars(hookspecs) if name.startswith("kt3d_")]
    assert hooks
    for name in hooks:
        assert getattr(found.hook, name).get_hookimpls(), f"no plugin uses {name}"
        assert getattr(hookspecs, name).__doc__
