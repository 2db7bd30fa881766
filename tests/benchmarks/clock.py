"""How long things take, by turns in one run, because other work may share the machine."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass


def best_s(
    rounds: int = 3, clock: Callable[[], float] = time.process_time, warm: int = 1, **calls: Callable[[], object]
) -> dict[str, float]:
    """Return the least time of each call over some rounds by turns, after ``warm`` that do not count.

    The default clock counts processor time, of all threads; ``time.perf_counter`` where several work at once.
    """
    best = dict.fromkeys(calls, float("inf"))
    for turn in range(-warm, rounds):
        for name, call in calls.items():
            start = clock()
            call()
            if turn >= 0:
                best[name] = min(best[name], clock() - start)
    return best


@dataclass(frozen=True)
class Spent:
    """What a process took."""

    processor_s: float
    clock_s: float


def spent(*words: str) -> Spent:
    """Run Python with these arguments and return what that took; modules are compiled once, as where they are
    installed."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True, env=kept)
    clock_s, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Spent(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, clock_s)
