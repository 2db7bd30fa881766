"""Files are written whole or not at all."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from kt3d_bench.errors import ArtefactError
from kt3d_bench.files import npz_bytes, write_atomically, write_whole


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


def test_what_a_killed_process_left_is_gone_after_the_next_write(tmp_path: Path) -> None:
    path, begun = tmp_path / "f.json", tmp_path / ".f.json.tmp"
    begun.write_bytes(b"cut in the mid")
    os.link(begun, tmp_path / "elsewhere")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert not begun.exists()
    assert (tmp_path / "elsewhere").read_bytes() == b"cut in the mid"


def test_a_link_in_place_of_the_unfinished_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"of someone")
    (tmp_path / ".f.json.tmp").symlink_to(tmp_path / "other")
    write_whole(tmp_path / "f.json", b"new")
    assert (tmp_path / "other").read_bytes() == b"of someone"
    assert (tmp_path / "f.json").read_bytes() == b"new"


def test_two_processes_that_write_one_file_leave_one_of_both_whole(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    contents = [bytes([one]) * 300_000 for one in b"abcd"]

    def write(content: bytes) -> None:
        for _ in range(5):
            write_atomically(path, content)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, contents))
    assert path.read_bytes() in contents
    assert [one.name for one in tmp_path.iterdir()] == ["f.json"]
