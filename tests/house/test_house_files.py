"""Files are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from kt3d_bench.errors import ArtefactError
from kt3d_bench.files import npz_bytes, write_whole


def test_a_write_that_fails_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "f.json"
    write_whole(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArtefactError, match=r"f\.json: cannot be written .*No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [one.name for one in path.parent.iterdir()] == ["f.json"]


def test_an_interrupted_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f.json"
    write_whole(path, b"old")

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["f.json"]


def test_object_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="Object arrays"):
        npz_bytes({"a": np.array([None, 1], dtype=object)})


def test_layout_does_not_change_the_content(tmp_path: Path) -> None:
    array = np.arange(12.0).reshape(3, 4)
    (tmp_path / "a.npz").write_bytes(npz_bytes({"a": np.asfortranarray(array), "b": np.array("text")}))
    with np.load(tmp_path / "a.npz", allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored["a"], array)
        assert stored["b"].shape == ()
    assert npz_bytes({"a": np.asfortranarray(array)}) == npz_bytes({"a": array})
