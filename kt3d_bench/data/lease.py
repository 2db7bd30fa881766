"""Leases: workers publish shards only while the preparation that wants them is alive.

A lease is a file beside the shards. The preparation renews it, and removes it at its end; the next preparation of the
folder revokes those of its predecessors. A worker on the same machine looks whether the process is there; on another
machine it compares the lease's age with a file that it writes itself, so that their clocks need not agree.
"""

from __future__ import annotations

import json
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from kt3d_bench.budgets import json_value, read_whole

RENEWED_S = 5.0
EXPIRES_S = 30.0
_PREFIX = ".preparing-"


@contextmanager
def granted(folder: Path) -> Iterator[Path]:
    """Yield a new lease on ``folder``, which this process has locked; revoke all earlier ones."""
    for earlier in folder.glob(f"{_PREFIX}*"):
        earlier.unlink(missing_ok=True)
    lease = folder / f"{_PREFIX}{uuid4().hex}"
    lease.write_text(json.dumps({**_machine(), "process": os.getpid()}))
    ended = threading.Event()
    thread = threading.Thread(target=_renew, args=(lease, ended), name="lease", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        ended.set()
        thread.join()
        lease.unlink(missing_ok=True)


def valid(lease: Path) -> bool:
    """Return whether the preparation that granted the lease is still alive."""
    try:
        owner: dict[str, Any] = json_value(read_whole(lease))
        process = owner.pop("process")
        if owner == _machine():
            os.kill(process, 0)
            return True
        probe = lease.with_name(f"{_PREFIX}probe-{uuid4().hex}")
        probe.touch()
        try:
            return probe.stat().st_mtime - lease.stat().st_mtime < EXPIRES_S
        finally:
            probe.unlink(missing_ok=True)
    except PermissionError:
        return True
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _machine() -> dict[str, str]:
    """Return what names this machine and, where it has several, its list of processes."""
    space = ""
    with suppress(OSError):
        space = str(Path("/proc/self/ns/pid").readlink())
    return {"host": platform.node(), "processes": space}


def _renew(lease: Path, ended: threading.Event) -> None:
    with suppress(FileNotFoundError):
        while not ended.wait(RENEWED_S):
            os.utime(lease)
