"""How long the methods here train a stage, and how its learning rate runs, so that all of them are trained alike."""

from __future__ import annotations

from typing import Any

from kt3d_bench.method import Schedule

SCHEDULES = ("hold", "steps")
AVERAGE = 0.99
"""Decay of the averaged weights per step."""


def length(steps: int, epochs: float) -> dict[str, Any]:
    """Return ``steps`` or ``epochs`` of a ``Stage``: the steps, unless they are 0."""
    return {"steps": steps} if steps else {"epochs": epochs}


def training(name: str) -> dict[str, Any]:
    """Return ``schedule`` and ``average`` of a ``Stage``. "steps": a tenth of the rate from 64 and from 86 % of the
    stage on (140 epochs, 90 and 120, as many papers have it). "hold": the full rate for three quarters of the stage,
    then an exponential decay to a hundredth, and the moving average of the weights."""
    if name == "steps":
        return {"schedule": Schedule(), "average": None}
    return {"schedule": Schedule("exponential", hold=0.75, end=0.01), "average": AVERAGE}
