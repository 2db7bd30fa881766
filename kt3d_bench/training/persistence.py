"""Which warnings of a method count: those that stand for a while. Importing this imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

PERSISTS = 0.2
"""The share of a stage that a warning must stand without a break: networks pass through odd poses as they start."""


def stretches(steps: Sequence[int], raised: Sequence[bool], total_steps: float) -> list[tuple[int, int]]:
    """Return (first, last) logged step of each stretch in which a warning stood for ``PERSISTS`` of the stage.

    ``steps``: the logged ones, increasing from at least 1; a line speaks for the steps since the line before it.

    >>> stretches([2, 4, 6, 8, 10], [True, False, True, True, False], 10)
    [(2, 2), (6, 8)]
    >>> stretches([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [True] + [False] * 7 + [True] * 2, 10)
    [(9, 10)]
    """
    found: list[tuple[int, int]] = []
    before, first, since = 0, 0, 0
    for step, on in zip((*steps, 0), (*raised, False), strict=True):
        if on and not first:
            first, since = step, before
        if first and not on:
            found += [(first, before)] if before - since >= PERSISTS * total_steps else []
            first = 0
        before = step
    return found
