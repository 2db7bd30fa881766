"""Raw files that are missing, damaged, too large or hostile end in one sentence, whoever reads them."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pytest
import simplejpeg

from kt3d_bench import rawfiles
from kt3d_bench.errors import RawDataError
from kt3d_bench.rawfiles import BoundedReader, contents, find, listed, own_dataset, read_bytes, read_jpeg, read_json

READER = "rawfiles_readers:read"
HINT = "get it again"


@pytest.fixture(autouse=True)
def readers_of_this_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)


@pytest.fixture
def reader() -> Iterator[BoundedReader]:
    with closing(BoundedReader(READER, timeout_s=20, memory_mb=1024)) as one:
        yield one


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_one_child_reads_many_files(reader: BoundedReader, tmp_path: Path) -> None:
    first = reader.read(write(tmp_path / "a", "1 2"), 2, where="a", hint=HINT)
    second = reader.read(write(tmp_path / "b", "3"), 0.5, where="b", hint=HINT)
    assert first["numbers"].tolist() == [2, 4]
    assert second["numbers"].tolist() == [1.5]
    assert first["child"] == second["child"] != os.getpid()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("other", "is something else"),
        ("1 x", "is damaged or cut short (ValueError: could not convert string"),
        ("crash", "is damaged: its reader crashed (Aborted)"),
        ("memory", "asks for more than 1024 MB of memory, as no intact file does"),
    ],
)
def test_a_bad_file_is_refused_and_the_next_is_read(
    reader: BoundedReader, tmp_path: Path, text: str, what: str
) -> None:
    with pytest.raises(RawDataError) as caught:
        reader.read(write(tmp_path / "bad", text), 1, where="archive:bad", hint=HINT)
    assert caught.value.what.startswith(what)
    assert (caught.value.where, caught.value.hint) == ("archive:bad", HINT)
    assert reader.read(write(tmp_path / "good", "7"), 1, where="good", hint=HINT)["numbers"].tolist() == [7]


def test_a_file_that_takes_for_ever_is_given_up_in_time(tmp_path: Path) -> None:
    with closing(BoundedReader(READER, timeout_s=1, memory_mb=1024)) as reader:
        start = time.monotonic()
        with pytest.raises(RawDataError, match=r"within 1 s: the file is damaged, or the machine is busy; get it"):
            reader.read(write(tmp_path / "slow", "sleep"), 1, where="slow", hint=HINT)
        assert time.monotonic() - start < 20


def test_a_child_that_cannot_start_is_an_error_too(
    reader: BoundedReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    path = write(tmp_path / "a", "1")
    said = r"a: the process that should read it could not work .exit code 1.; free memory and disk space, and run"
    with pytest.raises(RawDataError, match=said):
        reader.read(path, 1, where="a", hint=HINT)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    said = "a: no process could be started to read it .Cannot allocate memory.; free memory, or use fewer --workers"
    with pytest.raises(RawDataError, match=said):
        reader.read(path, 1, where="a", hint=HINT)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("killed", "was killed, perhaps for want of memory; free memory, and run the same command again"),
        ("locked", r"a: cannot be read .Permission denied.; change its permissions"),
    ],
)
def test_what_the_machine_does_is_no_fault_of_the_file(
    reader: BoundedReader, tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(RawDataError, match=said):
        reader.read(write(tmp_path / "a", text), 1, where="a", hint=HINT)


def test_ctrl_c_reaches_the_parent_only(reader: BoundedReader, tmp_path: Path) -> None:
    path = write(tmp_path / "a", "1")
    child = int(reader.read(path, 1, where="a", hint=HINT)["child"])
    os.kill(child, signal.SIGINT)
    assert reader.read(path, 1, where="a", hint=HINT)["child"] == child


def test_threads_take_turns(reader: BoundedReader, tmp_path: Path) -> None:
    paths = [write(tmp_path / str(number), str(number)) for number in range(40)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda path: reader.read(path, 1, where=path, hint=HINT), paths))
    assert [one["numbers"].tolist() for one in found] == [[number] for number in range(40)]
    assert len({int(one["child"]) for one in found}) == 1


def test_the_child_ends_with_the_reader(reader: BoundedReader, tmp_path: Path) -> None:
    child = int(reader.read(write(tmp_path / "a", "1"), 1, where="a", hint=HINT)["child"])
    reader.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_whole_files_are_capped_and_json_is_checked(tmp_path: Path) -> None:
    path = write(tmp_path / "a", "[1]")
    assert read_bytes(path, 3, HINT) == b"[1]"
    assert read_json(path, 3, HINT) == [1]
    for read in (read_bytes, read_json):
        with pytest.raises(RawDataError, match=r"a: is larger than 0 MiB, .*; get it again"):
            read(path, 2, HINT)
        with pytest.raises(RawDataError, match="b: is missing; get it again"):
            read(tmp_path / "b", 9, HINT)
        with pytest.raises(RawDataError, match=r"cannot be read .Is a directory.; get it again"):
            read(tmp_path, 1 << 20, HINT)
    for text in ("[1", "", "[" * 100_000):
        with pytest.raises(RawDataError, match="a: is not JSON"):
            read_json(write(path, text), 1 << 20, HINT)


def test_jpegs_are_measured_before_they_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    grey = np.full((16, 24, 3), 90, np.uint8)
    path.write_bytes(simplejpeg.encode_jpeg(grey))
    assert np.abs(read_jpeg(path, HINT).astype(int) - grey).max() <= 1
    data = bytearray(path.read_bytes())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = b"\x90\x00\x90\x00"
    path.write_bytes(data)
    with pytest.raises(RawDataError, match="claims 36864 x 36864 pixels; get it again"):
        read_jpeg(path, HINT)
    path.write_bytes(b"\xff\xd8 nothing")
    with pytest.raises(RawDataError, match="cannot be decoded"):
        read_jpeg(path, HINT)
    monkeypatch.setattr(rawfiles, "_IMAGE_BYTES", 5)
    with pytest.raises(RawDataError, match="is larger than"):
        read_jpeg(path, HINT)


def test_a_dataset_must_lie_in_the_file_itself(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = np.arange(3)
    layout = h5py.VirtualLayout((3,), np.int64)
    layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "secret", (3,))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["own"] = np.arange(3)
        file["group/deep"] = np.arange(2)
        file["linked"] = h5py.ExternalLink("other.h5", "secret")
        file["through"] = h5py.ExternalLink("other.h5", "/")
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("stored", (3,), np.uint8, external=[(str(tmp_path / "other.h5"), 0, 3)])
        assert own_dataset(file, "own", "a", HINT)[:].tolist() == [0, 1, 2]
        assert own_dataset(file, "group/deep", "a", HINT)[:].tolist() == [0, 1]
        assert own_dataset(file, file["own"].ref, "a", HINT)[:].tolist() == [0, 1, 2]
        for name in ("linked", "through/secret", "virtual", "stored", "group", "absent"):
            with pytest.raises(RawDataError, match=rf"a: holds no dataset '{name}' of its own .found: group, linked"):
                own_dataset(file, name, "a", HINT)


def test_a_full_disk_is_no_fault_of_the_file() -> None:
    with pytest.raises(OSError, match="No space"), rawfiles.reading("a", HINT):
        raise OSError(errno.ENOSPC, "No space left")
    for error, said in (
        (EOFError("early"), r"a: is damaged or cut short .EOFError: early.; get it again"),
        (MemoryError(), "a: cannot be read: not enough memory; free memory"),
        (PermissionError(errno.EACCES, "Permission denied"), r"a: cannot be read .Permission denied.; change its perm"),
        (OSError(errno.EIO, "Input/output error"), r"a: cannot be read .Input/output error.; check the disk"),
    ):
        with pytest.raises(RawDataError, match=said), rawfiles.reading("a", HINT):
            raise error


def test_a_full_disk_of_temporary_files_is_named(tmp_path: Path) -> None:
    class Endless(io.RawIOBase):
        def read(self, _: int = -1) -> bytes:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left") as caught:
        rawfiles.copy_to_scratch(Endless(), tmp_path / "a")  # type: ignore[arg-type]
    assert caught.value.filename == tempfile.gettempdir()


def test_files_are_found_one_folder_down_and_listed_in_words(tmp_path: Path) -> None:
    for name in ("b.h5", "x/a.h5", "x/b.h5", "x/y/b.h5"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [str(path.relative_to(tmp_path)) for path in find(tmp_path, "b.h5", "a.h5")] == ["b.h5", "x/b.h5", "x/a.h5"]
    assert contents(tmp_path) == "b.h5, x"
    assert contents(tmp_path / "x" / "y") == "b.h5"
    assert listed([]) == "nothing"
    assert listed(["a", "b"]) == "a, b"
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
