"""Ctrl-C and SIGTERM: the first one asks the training loop to stop between two steps, the second one cuts it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from kt3d_bench.errors import Kt3dError


class InterruptedRunError(Kt3dError):
    """The user or the scheduler stopped the run; a checkpoint was written."""


@dataclass
class StopRequest:
    """Whether someone asked to stop."""

    requested: bool = False


@contextmanager
def graceful_stop() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a request. Outside the main thread, where Python allows no handlers, do nothing."""
    request = StopRequest()

    def ask(signum: int, frame: FrameType | None) -> None:
        if request.requested:
            raise KeyboardInterrupt
        request.requested = True

    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
