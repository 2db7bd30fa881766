"""Child processes that end with the process that started them, however it ends."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from kt3d_bench.errors import ArtefactError

_POLL_S = 0.25
_PR_SET_PDEATHSIG = 1
_tied = threading.Event()


def tie(parent: int) -> None:
    """Kill this process as soon as ``parent``, the process that started it, has ended, even by SIGKILL.

    On Linux the kernel does so. Elsewhere a thread watches the parent, and also where another thread than the parent's
    main one started this process: the kernel would take the end of that thread for the parent's. To be called before
    anything heavy is imported, since a library that is being loaded keeps the thread from running.
    """
    if not _tied.is_set():
        _tied.set()
        if _started_by_main_thread(parent):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        threading.Thread(target=_watch, args=(parent,), name="lifeline", daemon=True).start()
    if os.getppid() != parent:
        _end()


def require_shared_memory() -> None:
    """Raise ``ArtefactError`` where worker processes cannot share locks, as in a container without ``/dev/shm``.

    To be called before joblib is imported: it would fall back to threads, or fail in the middle of other work.
    """
    try:
        multiprocessing.get_context("fork").Lock()
    except (ImportError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ArtefactError(
            f"shared memory, which worker processes need, cannot be used ({reason})",
            where="/dev/shm",
            hint="free it or mount it (docker run --shm-size=1g), or use --workers 1",
        ) from error


def _started_by_main_thread(parent: int) -> bool:
    with suppress(OSError):
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return sys.platform == "linux" and str(os.getpid()) in children
    return False


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    _end()


def _end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
