"""The two ways in which the methods here let the learning rate run, so that all of them are trained alike."""

from __future__ import annotations

from typing import Any

from kt3d_bench.method import Schedule

SCHEDULES = ("hold", "steps")
AVERAGE = 0.99
"""Decay of the averaged weights per step."""


def training(name: str) -> dict[str, Any]:
    """Return ``schedule`` and ``average`` of a ``Stage``. "steps": a tenth of the rate from 64 and from 86 % of the
    stage on (140 epochs, 90 and 120, as many papers have it). "hold": the full rate for three quarters of the stage,
    then an exponential decay to a hundredth, and the moving average of the weights."""
    if name == "steps":
        return {"schedule": Schedule(), "average": None}
    return {"schedule": Schedule("exponential", hold=0.75, end=0.01), "average": AVERAGE}
