"""Signals that ask a program to stop: all of them take the path of Ctrl-C.

SIGTERM and SIGUSR1 are what schedulers send before they end a job. A program that they stopped exits with ``REQUEUE``,
which asks to be started again; after Ctrl-C or a closed terminal (SIGHUP) the exit code is 1.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

from kt3d_bench.errors import Kt3dError

REQUEUE = 75
"""``EX_TEMPFAIL`` of sysexits.h: what was asked for is not finished, and the same command (with ``--resume``, for
``kt3d train``) goes on."""
_ASK = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
_MOMENT_S = 0.01
_BY_SCHEDULER = (signal.SIGTERM, signal.SIGUSR1)
_received: list[int] = []
_leaving: list[int] = []


class StoppedError(Kt3dError):
    """The user or the scheduler stopped the program; what was finished is kept."""


class InterruptedRunError(StoppedError):
    """The user or the scheduler stopped the run; a checkpoint was written."""


@dataclass
class StopRequest:
    """Whether someone asked to stop."""

    requested: bool = False


def exit_code() -> int:
    """Return the exit code of a program that was asked to stop, and make sure that it ends with it.

    Python itself ends by SIGINT, whatever the exit code, once ``KeyboardInterrupt`` has passed through ``exec``, as it
    does while some modules are imported.
    """
    code = REQUEUE if _received and _received[-1] in _BY_SCHEDULER else 1
    _leaving.append(code)
    return code


def _insist() -> None:
    if _leaving:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(_leaving[-1])


def interrupt_on_signals() -> None:
    """Let SIGTERM, SIGHUP and SIGUSR1 raise ``KeyboardInterrupt`` as SIGINT does, each once: a second one must not cut
    the tidying up. Signals that are ignored (``nohup``) stay so. To be called before anything else is imported, so
    that everything that is to be done at exit is done before the program ends with ``exit_code``."""
    atexit.register(_insist)
    sys.unraisablehook = _once_more
    for number in _ASK[1:]:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _once_more(dropped: sys.UnraisableHookArgs) -> None:
    """Interrupt again, a moment later, where Python dropped ``KeyboardInterrupt``: finalisers and callbacks of a fork
    cannot raise."""
    if not issubclass(dropped.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(dropped)
        return
    number = _received[-1] if _received else signal.SIGINT
    if number != signal.SIGINT:
        signal.signal(number, _interrupt)
    main = threading.main_thread().ident or 0
    again = threading.Timer(_MOMENT_S, signal.pthread_kill, (main, number))
    again.daemon = True
    again.start()


@contextmanager
def graceful_stop() -> Iterator[StopRequest]:
    """Turn the signals into a request; only a second Ctrl-C still raises ``KeyboardInterrupt``. Outside the main
    thread, where Python allows no handlers, do nothing."""
    request = StopRequest()

    def ask(number: int, frame: FrameType | None) -> None:
        if request.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        _received.append(number)
        request.requested = True

    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    ignored = [number for number in _ASK[1:] if signal.getsignal(number) is signal.SIG_IGN]
    before = {number: signal.signal(number, ask) for number in _ASK if number not in ignored}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
