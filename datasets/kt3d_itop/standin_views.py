"""Position and projection of the stand-in's two sensors, written from the format's description alone.

World of generated people: mm, z up, floor z = 0. The side camera looks along -x, horizontally; the top camera hangs
above the world's origin, 1.5 m above and 2.85 m in front of the side camera, and looks straight down.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.records import Camera

FloatArray = npt.NDArray[np.float64]

WIDTH_PX, HEIGHT_PX = 320, 240
METRES_PER_PX = 0.0035
"""Width of a pixel at a distance of one metre."""
MIDDLE_PX = (160.0, 120.0)
_SIDE_HEIGHT_MM = 1230.0
"""Above the floor, so that feet are outside the image about as often as in the release."""
_APART_MM, _ABOVE_MM = 2850.0, 1500.0


@dataclass(frozen=True, eq=False)
class View:
    """One sensor. Labels: metres, x to the image's right, y up, z away from the sensor."""

    name: str
    rotation: FloatArray
    """(3, 3) world -> x right, y down, z away."""
    position_mm: FloatArray
    """(3,)."""

    def camera(self) -> Camera:
        """Return this sensor as a ``Camera`` for rendering."""
        focal_px = 1.0 / METRES_PER_PX
        return Camera.pinhole(
            (focal_px, focal_px),
            MIDDLE_PX,
            (WIDTH_PX, HEIGHT_PX),
            rotation=self.rotation,
            position_world_mm=self.position_mm,
        )

    def metres(self, points_world_mm: npt.NDArray[Any]) -> FloatArray:
        """Convert (..., 3) world mm to label metres."""
        x, y, z = np.moveaxis((points_world_mm - self.position_mm) @ self.rotation.T / 1000.0, -1, 0)
        return np.stack([x, -y, z], axis=-1)

    @functools.cached_property
    def rays(self) -> FloatArray:
        """(3, H, W) world direction through each pixel; a multiple t of it lies t away along the optical axis."""
        v, u = np.mgrid[:HEIGHT_PX, :WIDTH_PX].astype(np.float64)
        in_camera = np.stack([(u - MIDDLE_PX[0]) * METRES_PER_PX, (v - MIDDLE_PX[1]) * METRES_PER_PX, np.ones_like(u)])
        rays: FloatArray = np.tensordot(self.rotation.T, in_camera, 1)
        return rays


def pixels(metres: npt.NDArray[Any]) -> FloatArray:
    """Project (..., 3) label metres to (..., 2) px; NaN where not in front of the sensor."""
    x, y, z = np.moveaxis(np.asarray(metres, np.float64), -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(z > 0, METRES_PER_PX * z, np.nan)
        return np.stack([MIDDLE_PX[0] + x / scale, MIDDLE_PX[1] - y / scale], axis=-1)


SIDE = View(
    "side",
    np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]]),
    np.array([_APART_MM, 0.0, _SIDE_HEIGHT_MM]),
)
TOP = View(
    "top",
    np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]]),
    np.array([0.0, 0.0, _SIDE_HEIGHT_MM + _ABOVE_MM]),
)
VIEWS = (SIDE, TOP)
