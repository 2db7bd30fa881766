"""The room around the people: planes and boxes, with their exact depth in both sensors.

World: mm, z up, floor z = 0; +x is towards the side camera, +y to the right of its image. People stand near the
origin, a little further from the side camera than the top camera is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kt3d_bench.synth.boxes import Box, chair, in_front
from kt3d_itop.standin_sensor import View

Depth = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Room:
    """Walls (planes x = back, y = left, y = right), ceiling and furniture."""

    back_mm: float
    left_mm: float
    right_mm: float
    ceiling_mm: float
    boxes: tuple[Box, ...]

    def depth_mm(self, view: View) -> Depth:
        """Return (H, W) distance along the optical axis of what ``view`` sees."""
        x, y, z = view.rays
        ox, oy, oz = view.position_mm
        nearest = np.full(x.shape, np.inf)
        with np.errstate(divide="ignore", invalid="ignore"):
            for along, origin, place in (
                (x, ox, self.back_mm), (y, oy, self.left_mm), (y, oy, self.right_mm), (z, oz, 0.0),
                (z, oz, self.ceiling_mm),
            ):  # fmt: skip
                distance = (place - origin) / along
                np.minimum(nearest, np.where(distance > 0, distance, np.inf), out=nearest)
        return in_front(view.camera(), nearest.astype(np.float32), self.boxes)


def sample_room(rng: np.random.Generator) -> Room:
    """Draw a room about 5 m wide with furniture around its middle, some of it within an arm's length of the person."""
    boxes: list[Box] = []
    for side in (-1.0, 1.0):
        if rng.random() < 0.55:
            boxes += _cabinet(rng, side)
        if rng.random() < 0.45:
            boxes += _table(rng, side)
        if rng.random() < 0.5:
            boxes.append(_near_the_camera(rng, side))
    if rng.random() < 0.7:
        boxes += _chair(rng)
    boxes += [_carton(rng) for _ in range(int(rng.integers(1, 5)))]
    back = -rng.uniform(950, 1900)
    if rng.random() < 0.5:
        boxes.append(Box((back, rng.uniform(-1200, 1200)), (rng.uniform(120, 500), rng.uniform(500, 1300),
                                                            rng.uniform(700, 2200))))  # fmt: skip
    return Room(
        back_mm=back,
        left_mm=-rng.uniform(1500, 2700),
        right_mm=rng.uniform(1500, 2700),
        ceiling_mm=rng.uniform(2900, 3300),
        boxes=tuple(boxes),
    )


def _cabinet(rng: np.random.Generator, side: float) -> list[Box]:
    width, depth = rng.uniform(400, 1000), rng.uniform(300, 600)
    y = side * (rng.uniform(1000, 1300) + width / 2)
    return [Box((rng.uniform(-900, 500), y), (depth, width, rng.uniform(900, 2300)), yaw_rad=rng.normal(0, 0.05))]


def _table(rng: np.random.Generator, side: float) -> list[Box]:
    width, depth, height = rng.uniform(700, 1200), rng.uniform(500, 800), rng.uniform(680, 800)
    x, y, yaw = rng.uniform(-700, 600), side * (rng.uniform(480, 900) + width / 2), rng.normal(0, 0.06)
    cos, sin = np.cos(yaw), np.sin(yaw)
    legs = []
    for a in (-0.46, 0.46):
        for b in (-0.46, 0.46):
            place = (x + cos * a * depth - sin * b * width, y + sin * a * depth + cos * b * width)
            legs.append(Box(place, (45.0, 45.0, height), yaw_rad=yaw))
    return [Box((x, y), (depth, width, 35.0), bottom_mm=height, yaw_rad=yaw), *legs]


def _near_the_camera(rng: np.random.Generator, side: float) -> Box:
    """Draw a box between the person and the side camera, off the middle: it may hide a leg."""
    width = rng.uniform(250, 600)
    return Box(
        (rng.uniform(700, 1400), side * (rng.uniform(90, 650) + width / 2)),
        (rng.uniform(200, 500), width, rng.uniform(300, 900)),
        yaw_rad=rng.uniform(-0.6, 0.6),
    )


def _chair(rng: np.random.Generator) -> list[Box]:
    bearing, away = rng.uniform(0.4, 1.6) * np.pi, rng.uniform(750, 1250)
    middle = (float(away * np.cos(bearing) - 150), float(away * np.sin(bearing)))
    return chair(middle, rng.uniform(400, 480), rng.uniform(-np.pi, np.pi), back=True)


def _carton(rng: np.random.Generator) -> Box:
    """Draw a carton on the floor around the person, low if between the person and the side camera."""
    bearing, away = rng.uniform(-np.pi, np.pi), rng.uniform(480, 1400)
    x, y = float(away * np.cos(bearing) - 150), float(away * np.sin(bearing))
    in_the_way = x > 0 and abs(y) < 500
    size = (rng.uniform(150, 450), rng.uniform(150, 450), rng.uniform(100, 400 if in_the_way else 700))
    return Box((x, y), size, yaw_rad=rng.uniform(-np.pi, np.pi))
