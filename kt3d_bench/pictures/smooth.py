"""The One-Euro filter (Casiez, Roussel and Vogel, CHI 2012): a low-pass filter that follows fast motion faster."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


class OneEuro:
    """Smooths an array of any shape over time; NaN stays NaN, and a value that comes back begins anew.

    The cutoff frequency is ``slowest_hz + per_speed * |speed|``, the speed in units per second, itself smoothed with a
    cutoff of ``speed_hz``. The defaults suit mm: someone who walks (1 m/s) is followed with 5 Hz.
    """

    def __init__(self, slowest_hz: float = 1.0, per_speed: float = 0.004, speed_hz: float = 1.0) -> None:
        self._slowest_hz, self._per_speed, self._speed_hz = slowest_hz, per_speed, speed_hz
        self._time_s = 0.0
        self._value: FloatArray | None = None
        self._speed: FloatArray | None = None

    def __call__(self, value: FloatArray, time_s: float) -> FloatArray:
        """Return the smoothed ``value`` of ``time_s``. A time that does not advance gives the last result."""
        if self._value is None or self._speed is None:
            self._value, self._speed, self._time_s = value.copy(), np.zeros_like(value), time_s
            return value
        step_s = time_s - self._time_s
        if step_s <= 0:
            return self._value.copy()
        speed = (value - self._value) / step_s
        fresh = np.isnan(speed)
        self._speed = np.where(fresh, 0.0, self._speed + _share(self._speed_hz, step_s) * (speed - self._speed))
        cutoff_hz = self._slowest_hz + self._per_speed * np.abs(self._speed)
        smoothed = self._value + _share(cutoff_hz, step_s) * (value - self._value)
        self._value = np.where(fresh, value, smoothed)
        self._time_s = time_s
        return self._value.copy()


def _share(cutoff_hz: npt.NDArray[np.float64] | float, step_s: float) -> npt.NDArray[np.float64] | float:
    """How much of the new value is taken: 1 / (1 + tau / step) with tau = 1 / (2 pi cutoff)."""
    return 1.0 / (1.0 + 1.0 / (2 * math.pi * np.maximum(cutoff_hz, 1e-9) * step_s))
