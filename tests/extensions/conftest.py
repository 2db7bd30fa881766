"""Packages written by ``kt3d new``, offered as if they were installed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from kt3d_bench import new_plugin
from kt3d_bench.plugins import registry

Edit = tuple[str, str, str]
"""(file name, text in it, text instead)."""


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """``offer(kind, name, edits)``: write a plugin, change its files, register it beside the installed ones."""

    def call(kind: str, name: str, edits: Sequence[Edit] = ()) -> Path:
        folder = new_plugin(kind, name, tmp_path)
        package = folder / "src" / f"kt3d_{name.replace('-', '_')}"
        for file, old, new in edits:
            text = (package / file).read_text()
            assert old in text, f"{file} does not hold {old!r}"
            (package / file).write_text(text.replace(old, new))
        monkeypatch.syspath_prepend(package.parent)
        module = importlib.import_module(package.name)
        lent.enter_context(registry.lent({name: module}))
        return package

    with ExitStack() as lent:
        yield call
    for name in [name for name in sys.modules if name.startswith("kt3d_mutant")]:
        del sys.modules[name]
