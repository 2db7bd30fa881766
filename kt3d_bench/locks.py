"""Locks: one process at a time writes a folder, and whoever comes second learns who does.

A lock is a file that exists while it is held and names its holder. It is locked with ``flock``, which the kernel
releases however the holder ends; NFS and Lustre do so between machines, unless they are mounted with ``nolock`` or
``localflock``, where machines are not protected from one another. On a file system without locks a
``filelock.SoftFileLease`` takes their place: its holder renews it, and another machine takes over one that it has seen
unchanged for ``LEASE_S`` seconds.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from kt3d_bench.errors import ArtefactError

LEASE_S = 30.0
_POLL_S = 0.1
_HELD = (errno.EAGAIN, errno.EACCES)
_Taken = TypeVar("_Taken")


class LockedError(ArtefactError):
    """Another process is writing there."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock."""

    host: str
    process: int
    since: str

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, since {self.since}"


class _NoLocksError(Exception):
    """The file system has no locks."""


@contextmanager
def held(
    path: Path, busy: str, hint: str, *, wait_s: float = 0.0, waiting: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold the lock file ``path``, which is removed at the end. Its folder is made.

    Where another process holds it for longer than ``wait_s``, raises ``LockedError`` that says ``busy``, names the
    process and gives ``hint``; without locks in the file system, ``LEASE_S`` seconds and a fifth later. ``waiting`` is
    told once whom it waits for. Raises ``OSError`` where the file cannot be written.
    """

    def tell() -> None:
        if wait_s and waiting is not None:
            waiting(f"{_busy(path, busy, hint).what}: waiting for it")

    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            try:
                descriptor = _patiently(partial(_locked, path), wait_s, tell)
                stack.callback(os.close, descriptor)
            except _NoLocksError:
                descriptor = stack.enter_context(_leased(path, wait_s, tell))
        except TimeoutError:
            raise _busy(path, busy, hint) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(_this_process())).encode(), 0)
        stack.callback(_unlink, path)
        yield


def _unlink(path: Path) -> None:
    """Delete a lock file; where that fails it stays, unlocked."""
    with suppress(OSError):
        path.unlink()


def holder(path: Path) -> Holder | None:
    """Return who holds a lock file, as it says; ``None`` where it does not."""
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        with path.open("rb") as file:
            found = json.loads(file.read(4096))
        host, since = (str(found[name]) for name in ("host", "since"))
        if host.isprintable() and since.isprintable():
            return Holder(host, int(found["process"]), since)
    return None


def _this_process() -> Holder:
    return Holder(platform.node(), os.getpid(), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))


def _busy(path: Path, busy: str, hint: str) -> LockedError:
    who = holder(path)
    return LockedError(busy if who is None else f"{busy} ({who})", where=path.parent, hint=hint)


def _patiently(take: Callable[[float], _Taken], wait_s: float, tell: Callable[[], None]) -> _Taken:
    """Return what ``take`` returns within ``wait_s`` seconds; where it fails at once, ``tell`` is called meanwhile."""
    try:
        return take(0.0)
    except TimeoutError:
        if not wait_s:
            raise
        tell()
        return take(wait_s)


def _locked(path: Path, wait_s: float) -> int:
    """Return the descriptor of the locked file. Raises ``TimeoutError`` and ``_NoLocksError``."""
    import fcntl

    deadline = time.monotonic() + wait_s
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno not in _HELD:
                raise _NoLocksError from error
            if time.monotonic() >= deadline:
                raise TimeoutError from error
            time.sleep(_POLL_S)
            continue
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False)):
                return descriptor
        os.close(descriptor)


@contextmanager
def _leased(path: Path, wait_s: float, tell: Callable[[], None]) -> Iterator[int]:
    """Hold a lease beside ``path``, and yield the descriptor of ``path``. Raises ``TimeoutError``."""
    from filelock import SoftFileLease

    lease = SoftFileLease(path.with_name(f"{path.name}.lease"), lease_duration=LEASE_S)
    _patiently(lambda seconds: lease.acquire(timeout=seconds), wait_s + 1.2 * LEASE_S, tell)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    finally:
        lease.release()
