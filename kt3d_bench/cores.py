"""How many cores there are for this process."""

from __future__ import annotations

import os


def cores() -> int:
    """Return how many cores this process may use, which a scheduler may have limited; where no system says, how many
    the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def limited() -> bool:
    """Return whether this process may use only some of the machine's cores."""
    return cores() < (os.cpu_count() or 1)
