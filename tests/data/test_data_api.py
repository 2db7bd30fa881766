"""Data from Python: ``kt.generate``, ``kt.prepare``, ``kt.load``, ``kt.validate`` and ``kt.inspect``, by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import kt3d_bench as kt
from kt3d_bench.cli import main
from kt3d_bench.data.checks.belonging import BLIND
from kt3d_bench.plugins import registry
from kt3d_bench.progress import Reporter


class Heard(Reporter):
    def __init__(self) -> None:
        self.tasks, self.notes = list[str](), list[str]()

    def start(self, task: str, total: int, *, done: int = 0) -> None:
        self.tasks.append(task)

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with a tiny stand-in of MPII, generated and prepared from Python."""
    root = tmp_path_factory.mktemp("root")
    heard = Heard()
    counts = kt.generate("mpii", data=root, people=4, frames=1, seed=3, workers=1, report=heard)
    raw = root / "generated" / "mpii" / "raw"
    manifest = kt.prepare("mpii", data=root, raw=raw, workers=1, report=heard)
    assert {name: split.samples for name, split in manifest.splits.items()} == counts
    assert manifest.origin == "generated"
    assert heard.tasks == ["generate mpii", "prepare mpii"]
    unseen = f"the joints of every clip lie on the person in its images ({BLIND})"
    assert f"Not checked in train: {unseen}." in heard.notes
    return root


def test_what_was_prepared_is_loaded_by_name(root: Path) -> None:
    train = kt.load("mpii", "train", data=root)
    assert len(train) == len(train.keys) >= 4
    assert train[0].rgb is not None
    assert np.isfinite(train.joints_px).all(axis=-1).sum() > len(train)


def test_shards_are_validated_and_inspected(root: Path) -> None:
    shards = root / "shards" / "mpii"
    heard = Heard()
    found = kt.validate(shards, sampled=None, report=heard)
    assert found.sound
    assert found.samples == found.images_read == len(kt.load("mpii", "train", data=root))
    assert heard.tasks == ["train: reading shards", "train: checking images"]
    said = kt.inspect(str(shards))
    assert said[0].startswith("Shards of mpii")
    assert said[-1] == f"Next: kt3d validate {shards}"


def test_refusals_name_what_is_wrong(root: Path, tmp_path: Path) -> None:
    with pytest.raises(kt.UsageError, match="is not empty; choose another --out"):
        kt.generate("mpii", data=root)
    with pytest.raises(kt.UsageError, match="there is no dataset 'mpi'; did you mean 'mpii'"):
        kt.generate("mpi", data=tmp_path)
    with pytest.raises(kt.UsageError, match="there is no dataset 'mpi'; did you mean 'mpii'"):
        kt.prepare("mpi", data=tmp_path)
    with pytest.raises(kt.RawDataError, match="there is no raw data of mpii"):
        kt.prepare("mpii", data=tmp_path)
    silent = dataclasses.replace(registry.dataset("mpii"), generate=None)
    with pytest.raises(kt.UsageError, match="the dataset 'mpii' has no generator, so there is no stand-in of it"):
        kt.generate(silent, data=tmp_path)
    assert not list(tmp_path.iterdir())


def test_traceback_shows_where_a_converter_raised(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(item: Any) -> Any:
        raise LookupError("no such joint")

    monkeypatch.setattr(registry.load(registry.dataset("mpii").convert), "convert", broken)
    raw = root / "generated" / "mpii" / "raw"
    words = ["prepare", "mpii", "--raw", str(raw), "--out", str(tmp_path / "out"), "--workers", "1"]
    short = CliRunner().invoke(main, words)
    assert short.exit_code == 1
    assert "before its first sample: the converter raised LookupError: no such joint; correct" in short.stderr
    assert "Traceback" not in short.output
    long = CliRunner().invoke(main, [*words, "--traceback"])
    assert long.exit_code == 1
    assert 'raise LookupError("no such joint")' in long.stderr
