"""Faults of the operating system, injected into this process: one of its changes below a folder fails.

What counts as a change: opening a file to write, each write(2) that Python makes, fsync, rename, unlink, mkdir,
truncate. Files that C libraries write by name are not seen; no command of the campaign makes any.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

GROWING = ("open", "write", "fsync", "mkdir")
"""Changes that need room on the disk."""


@dataclass(frozen=True)
class Fault:
    """What happens to the change number ``at``, counted from 0.

    ``kind``: "kill" before it; "half", a write is cut in its middle and the process killed (other changes: killed just
    after); "full", no change that needs room succeeds from it on; "once:NAME", it alone fails with that errno; "short",
    every write from it on writes half of what was asked for, as it may; "count", nothing.
    """

    kind: str
    at: int = 0


class Tap:
    """Counts changes below ``root`` and injects a fault."""

    def __init__(self, root: Path, fault: Fault) -> None:
        self.root, self.fault, self.changes = str(root), fault, list[str]()

    def touched(self, operation: str, place: Any, act: Callable[[], Any], data: Any = b"", half: Any = None) -> Any:
        """Do a change, unless it is the one that fails."""
        given = Path(f"/proc/self/fd/{place}").readlink() if isinstance(place, int) else Path(os.fsdecode(place))
        path = str(given.absolute())
        if not path.startswith(self.root):
            return act()
        number, fault = len(self.changes), self.fault
        self.changes.append(f"{operation} {os.path.relpath(path, self.root)}")
        hit = number == fault.at
        if hit and fault.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if hit and fault.kind == "half":
            half() if half is not None else act()
            os.kill(os.getpid(), signal.SIGKILL)
        if number >= fault.at and fault.kind == "full" and operation in GROWING:
            if half is not None and len(data) > 1 and hit:
                half()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        if hit and fault.kind.startswith("once:"):
            code = getattr(errno, fault.kind.partition(":")[2])
            raise OSError(code, os.strerror(code), path)
        if number >= fault.at and fault.kind == "short" and half is not None and len(data) > 1:
            return half()
        return act()


def install(root: Path, fault: Fault) -> Tap:
    """Count the changes of this process below ``root`` from now on, and let one fail."""
    tap = Tap(root, fault)
    real_open = io.open

    class Tapped(io.FileIO):
        def write(self, data: Any) -> int:
            content = memoryview(data).cast("B")
            whole, half = (lambda n=n: io.FileIO.write(self, content[:n]) for n in (len(content), len(content) // 2))
            return cast(int, tap.touched("write", self.fileno(), whole, content, half))

    def opened(file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, errors: Any = None,
               newline: Any = None, closefd: bool = True, opener: Any = None) -> Any:  # fmt: skip
        if not set("wax+") & set(mode) or isinstance(file, int) or opener is not None:
            return real_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        raw = tap.touched("open", file, lambda: Tapped(file, mode.replace("b", "").replace("t", "")))
        if buffering == 0:
            return raw
        binary = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return binary if "b" in mode else io.TextIOWrapper(binary, encoding, errors, newline)

    def of_path(name: str, operation: str, place: int = 0) -> None:
        real = getattr(os, name)

        def patched(*words: Any, **more: Any) -> Any:
            return tap.touched(operation, words[place], lambda: real(*words, **more))

        setattr(os, name, patched)

    def of_bytes(name: str) -> None:
        real = getattr(os, name)

        def patched(descriptor: int, data: Any, *more: Any) -> Any:
            whole, half = (lambda n=n: real(descriptor, data[:n], *more) for n in (len(data), len(data) // 2))
            return tap.touched("write", descriptor, whole, data, half)

        setattr(os, name, patched)

    for name, operation in (("fsync", "fsync"), ("ftruncate", "truncate"), ("mkdir", "mkdir"), ("unlink", "unlink"),
                            ("remove", "unlink"), ("rmdir", "unlink")):  # fmt: skip
        of_path(name, operation)
    for name in ("replace", "rename", "link"):
        of_path(name, "rename", 1)
    of_bytes("write")
    of_bytes("pwrite")
    open_descriptor = os.open

    def opened_descriptor(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return cast(int, tap.touched("open", path, lambda: open_descriptor(path, flags, *more, **named)))
        return open_descriptor(path, flags, *more, **named)

    os.open = opened_descriptor
    io.open = builtins.open = opened
    return tap


def jumping_clock() -> None:
    """Let the wall clock of this process jump a year back or forth with every reading."""
    real, readings = time.time, [0]

    def jumped() -> float:
        readings[0] += 1
        return real() + (-1) ** readings[0] * 31_536_000.0

    time.time = jumped
    time.time_ns = lambda: int(jumped() * 1e9)
    for name in ("gmtime", "localtime"):
        inner = getattr(time, name)
        setattr(time, name, lambda seconds=None, inner=inner: inner(jumped() if seconds is None else seconds))
