"""What the machine refuses is not blamed on files: permissions, memory, shared memory."""

from __future__ import annotations

import errno
import multiprocessing.context
from pathlib import Path
from typing import Any

import pytest
import torch

from kt3d_bench import packs
from kt3d_bench.data import estimate
from kt3d_bench.data.index import read_index
from kt3d_bench.errors import ArtefactError
from kt3d_bench.files import file_sha256, read_npy, read_npz, unreadable
from kt3d_bench.lifeline import require_shared_memory
from kt3d_bench.records import WorkItem
from kt3d_bench.standins import in_parallel
from kt3d_bench.training import checkpoint

MACHINE = [
    (MemoryError(), "cannot be read: not enough memory; free memory"),
    (PermissionError(errno.EACCES, "Permission denied"), r"cannot be read .Permission denied.; change its permissions"),
    (OSError(errno.EIO, "Input/output error"), r"cannot be read .Input/output error.; check the disk"),
]


@pytest.mark.parametrize(("error", "said"), MACHINE)
def test_a_file_that_the_machine_cannot_read_is_not_called_corrupt(error: Exception, said: str) -> None:
    with pytest.raises(ArtefactError, match=f"^x: {said}"):
        raise unreadable(error, Path("x")) or AssertionError
    assert unreadable(OSError("truncated file"), Path("x")) is None
    assert unreadable(OSError(errno.EINVAL, "Invalid argument"), Path("x")) is None


def test_every_reader_of_our_own_files_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    path = tmp_path / "x"
    path.write_bytes(b"x")
    monkeypatch.setattr("kt3d_bench.data.index.read_whole", locked)
    monkeypatch.setattr("zipfile.ZipFile", locked)
    monkeypatch.setattr("kt3d_bench.files._array", locked)
    readers = [
        lambda: read_index(path),
        lambda: read_npz(path, max_bytes=9, hint="again"),
        lambda: read_npy(path, max_bytes=9, hint="again"),
        lambda: packs.read_facts(path),
    ]
    for reader in readers:
        with pytest.raises(ArtefactError, match=r"x: cannot be read .Permission denied.; change its permissions"):
            reader()


def test_too_little_memory_is_no_fault_of_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "final.pt"
    torch.save({}, path)
    checkpoint.sidecar(path).write_text(f"{file_sha256(path)}  final.pt\n")

    def starved(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(torch, "load", starved)
    with pytest.raises(MemoryError):
        checkpoint.load(path)


def test_unusable_shared_memory_is_named_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    require_shared_memory()

    def absent(_: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(multiprocessing.context.BaseContext, "Lock", absent)
    said = r"/dev/shm: shared memory, which worker processes need, cannot be used .Read-only file system.; free it or"
    with pytest.raises(ArtefactError, match=said):
        list(in_parallel(abs, [1], workers=2, device="cpu"))
    assert list(in_parallel(abs, [-1], workers=1, device="cpu")) == [1]
    items = [WorkItem("a", 1, {})]
    assert "shared memory" in str(estimate.probe("json", items))
