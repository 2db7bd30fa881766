"""Locks: one holder at a time, named to the others, and free again however the holder ended."""

from __future__ import annotations

import errno
import fcntl
import math
import multiprocessing
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kt3d_bench import locks
from kt3d_bench.locks import LockedError, held

_HOLD = """
import errno, fcntl, os, platform, socket, sys, time
from pathlib import Path
from kt3d_bench import locks

def missing(*_):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

locks.LEASE_S = 2.0
if "no-locks" in sys.argv:
    fcntl.flock = missing
if "elsewhere" in sys.argv:
    platform.node = socket.gethostname = lambda: "elsewhere"
with locks.held(Path(sys.argv[1]), "busy", "wait"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def another(path: Path, *how: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until it is killed or the block ends."""
    command = [sys.executable, "-c", _HOLD, str(path), *how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system such as some mounts of Lustre and NFS."""

    def missing(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", missing)
    monkeypatch.setattr(locks, "LEASE_S", 2.0)


def test_a_lock_names_its_holder_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run" / ".lock"
    with held(path, "busy", "wait"):
        found = locks.holder(path)
        assert found is not None
        assert (found.host, found.process) == (platform.node(), os.getpid())
        with (
            pytest.raises(LockedError, match=rf"busy \(process {os.getpid()} on {re.escape(platform.node())}, since "),
            held(path, "busy", "wait"),
        ):
            pass
    assert list(path.parent.iterdir()) == []


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with another(path) as process:
        with (
            pytest.raises(LockedError, match=rf"busy \(process {process.pid} on .*; wait"),
            held(path, "busy", "wait"),
        ):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert path.exists()
        with held(path, "busy", "wait"):
            pass
    assert not path.exists()


def test_whoever_waits_is_told_for_whom(tmp_path: Path) -> None:
    path, told = tmp_path / ".lock", list[str]()
    with another(path) as process:

        def end(sentence: str) -> None:
            told.append(sentence)
            process.kill()

        with held(path, "busy", "wait", wait_s=30, waiting=end):
            pass
    assert len(told) == 1
    assert told[0].startswith(f"busy (process {process.pid} on ")
    assert told[0].endswith("): waiting for it")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"host": "a\\u001b[2J", "process": 1, "since": ""}', "\xff"])
def test_a_strange_lock_file_names_nobody(tmp_path: Path, text: str) -> None:
    path = tmp_path / ".lock"
    path.write_text(text, encoding="latin-1")
    assert locks.holder(path) is None
    with held(path, "busy", "wait"):
        assert locks.holder(path) is not None


def _count(path: Path, rounds: int) -> None:
    for _ in range(rounds):
        with held(path / ".lock", "busy", "wait", wait_s=60):
            number = int((path / "count").read_text())
            time.sleep(0.001)
            (path / "count").write_text(str(number + 1))


def test_no_two_processes_hold_it(tmp_path: Path) -> None:
    """A lost update would show: each process reads a number, waits a moment and writes the next one."""
    (tmp_path / "count").write_text("0")
    starts = multiprocessing.get_context("fork")
    others = [starts.Process(target=_count, args=(tmp_path, 10)) for _ in range(4)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert (tmp_path / "count").read_text() == "40"


@pytest.mark.usefixtures("without_locks")
class TestWithoutLocks:
    def test_a_living_holder_is_respected(self, tmp_path: Path) -> None:
        path = tmp_path / ".lock"
        with (
            another(path, "no-locks") as process,
            pytest.raises(LockedError, match=rf"busy \(process {process.pid} on "),
            held(path, "busy", "wait"),
        ):
            pass

    def test_whoever_waits_for_ever_is_told_for_whom(self, tmp_path: Path) -> None:
        path, told = tmp_path / ".lock", list[str]()
        with another(path, "no-locks") as process:

            def end(sentence: str) -> None:
                told.append(sentence)
                process.kill()

            with held(path, "busy", "wait", wait_s=math.inf, waiting=end):
                pass
        assert [sentence.startswith(f"busy (process {process.pid} on ") for sentence in told] == [True]

    @pytest.mark.parametrize("where", ["here", "elsewhere"])
    def test_a_dead_holder_is_replaced(self, tmp_path: Path, where: str) -> None:
        path = tmp_path / ".lock"
        with another(path, "no-locks", where) as process:
            process.send_signal(signal.SIGKILL)
            process.wait()
            with held(path, "busy", "wait"):
                found = locks.holder(path)
                assert found is not None
                assert found.process == os.getpid()
        assert list(tmp_path.iterdir()) == []
