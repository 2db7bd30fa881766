"""How long things take, by turns in one run, because other work may share the machine."""

from __future__ import annotations

import time
from collections.abc import Callable


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
