"""How long something takes, for the ratios of the benchmarks."""

from __future__ import annotations

import time
from collections.abc import Callable


def best_s(action: Callable[[], object], rounds: int = 5) -> float:
    """Return the least processor time of some rounds, after one that does not count. One thread must do the work."""
    action()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return min(times)
