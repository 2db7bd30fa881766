"""A finished run on a made-up benchmark, made once and copied for whoever changes it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from report_fake import benchmarks, document, whole_run, write_document

from kt3d_bench.report import build


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with one run; not to be changed."""
    root = tmp_path_factory.mktemp("made")
    whole_run(root)
    return root


@pytest.fixture
def run(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of its own for each test, its benchmark installed."""
    monkeypatch.setattr(build.registry, "benchmarks", benchmarks)
    shutil.copytree(made, tmp_path / "data")
    folder = tmp_path / "data" / "runs" / "toy-yard"
    write_document(folder, document(tmp_path / "data" / "shards" / "yard"))
    return folder
