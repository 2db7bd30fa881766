"""Child processes that end with the process that started them, however it ends."""

from __future__ import annotations

import os
import signal
import threading
import time

_POLL_S = 0.25
_GRACE_S = 2.0
_tied = threading.Event()


def tie(parent: int) -> None:
    """End this process soon after ``parent``, the process that started it, has ended, even by SIGKILL.

    It is interrupted as by Ctrl-C, so that it removes what it has begun, and killed ``_GRACE_S`` seconds later.
    """
    if os.getppid() != parent:
        os._exit(1)
    if not _tied.is_set():
        _tied.set()
        threading.Thread(target=_watch, args=(parent,), name="lifeline", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    deadline = time.monotonic() + _GRACE_S
    while time.monotonic() < deadline:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(_POLL_S)
    os.kill(os.getpid(), signal.SIGKILL)
