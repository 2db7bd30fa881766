"""A checkpoint survives a crash at every moment while it is written or replaced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from kt3d_bench.errors import ArtefactError
from kt3d_bench.files import file_sha256
from kt3d_bench.training import checkpoint


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("moment", range(4))
def test_a_crash_leaves_the_old_checkpoint_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: bool, moment: int
) -> None:
    """The moments are the renames: of the sidecar, of the file, and of the sidecar again."""
    path = tmp_path / "a.pt"
    if replaced:
        checkpoint.save(path, {"value": torch.zeros(3)})
    renames = 0
    real = os.replace

    def crashing(source: str, target: str) -> None:
        nonlocal renames
        renames += 1
        if renames > moment:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", crashing)
    try:
        checkpoint.save(path, {"value": torch.ones(3)})
    except KeyboardInterrupt:
        assert moment < (3 if replaced else 2)
    monkeypatch.undo()
    new = moment >= 2
    if new or replaced:
        assert checkpoint.load(path)["value"].tolist() == [float(new)] * 3
    else:
        with pytest.raises(ArtefactError, match="there is no checkpoint"):
            checkpoint.load(path)
    checkpoint.remove_unfinished(tmp_path)
    assert {one.name for one in tmp_path.iterdir()} <= {"a.pt", "a.pt.sha256"}
    assert path.exists() == checkpoint.sidecar(path).exists()


def test_what_is_to_be_written_before_a_checkpoint_is(tmp_path: Path) -> None:
    path, told = tmp_path / "a.pt", []
    digest = checkpoint.save(path, {}, ready=lambda digest: told.append((digest, path.exists())))
    assert told == [(digest, False)]
    assert digest == file_sha256(path)
