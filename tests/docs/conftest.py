"""Tiny stand-ins, made once for all pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from docs_pages import Reader, reader

from kt3d_bench.cli import main
from kt3d_bench.plugins import registry

SIZES: dict[str, dict[str, Any]] = {
    "h36m": {"people": 3, "frames": 1, "frame_px": 200, "actions": 15, "takes": 1, "long_clip": False},
    "mpii": {"people": 60, "frames": 1},
    "ubc3v": {"people": 4, "frames": 10, "test_postures": 8},
}


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the raw stand-ins and shards of every dataset that the pages name."""
    data = tmp_path_factory.mktemp("docs") / "kt3d-data"
    for name, sizes in SIZES.items():
        plugin = registry.dataset(name)
        raw = data / "raw" / name
        registry.load_function(plugin.generate, "generate")(
            raw, seed=1, motion=None, device="cpu", workers=1, progress=lambda done, total: None, **sizes
        )
        done = CliRunner(env={"KT3D_DATA": str(data)}).invoke(main, ["prepare", name, "--workers", "1"])
        assert done.exit_code == 0, done.output
    return data


@pytest.fixture
def at_the_desk(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """A reader in a folder with the stand-ins' shards."""
    for name in SIZES:
        shutil.copytree(data / "shards" / name, tmp_path / "kt3d-data" / "shards" / name)
    yield from reader(tmp_path, monkeypatch)


@pytest.fixture
def newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """A reader in an empty folder, where stand-ins are as small as they can be."""
    monkeypatch.setattr("kt3d_ubc3v.generate.DEMO", {"people": 1, "frames": 4, "test_postures": 2})
    yield from reader(tmp_path, monkeypatch)
