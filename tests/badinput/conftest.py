"""Tiny stand-ins in the official layouts, made once; every case damages a copy of its own."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "h36m")]

from badinput_bench import SMALLEST_SHARD, Bench, clean_shards, copy_tree, make_standin


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tiny sets make several shards too; nothing of the user's own is touched."""
    monkeypatch.setattr("kt3d_bench.data.plan._FEWEST_PER_SHARD", SMALLEST_SHARD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KT3D_DATA", str(tmp_path / "data"))


@pytest.fixture(scope="session")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``standin("h36m")`` -> its raw folder, never to be changed."""

    @functools.cache
    def made(dataset: str) -> Path:
        return make_standin(dataset, tmp_path_factory.mktemp(dataset) / "raw")

    return made


@pytest.fixture(scope="session")
def clean(standin: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``clean("h36m")`` -> shards of the undamaged stand-in, all splits, never to be changed."""

    @functools.cache
    def made(dataset: str) -> Path:
        return clean_shards(dataset, standin(dataset), tmp_path_factory.mktemp(f"{dataset}-clean") / "shards")

    return made


@pytest.fixture
def bench(standin: Callable[[str], Path], clean: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Bench]:
    """``bench("h36m")`` -> a copy of the raw folder to damage, and where its shards go."""

    def made(dataset: str) -> Bench:
        raw = tmp_path / "raw"
        copy_tree(standin(dataset), raw)
        return Bench(dataset, raw, tmp_path / "shards", clean(dataset))

    return made
