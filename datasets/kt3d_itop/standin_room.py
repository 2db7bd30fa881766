"""The room around the people: planes and boxes, with their exact depth in both sensors.

World: mm, z up, floor z = 0; +x is towards the side camera, +y to the right of its image. People stand near the
origin, a little further from the side camera than the top camera is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kt3d_itop.standin_sensor import View, pixels

Depth = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Box:
    """An upright box, turned about the vertical."""

    middle_mm: tuple[float, float]  # x, y
    size_mm: tuple[float, float, float]  # Lengths along its own x and y axes, and its height
    bottom_mm: float = 0.0
    yaw_rad: float = 0.0


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
        return in_front(view, nearest.astype(np.float32), self.boxes)


def in_front(view: View, depth_mm: Depth, boxes: Sequence[Box]) -> Depth:
    """Return ``depth_mm`` (H, W) with ``boxes`` added to the scene."""
    nearest = depth_mm.copy()
    for box in boxes:
        rows, columns = _window(view, box)
        seen = nearest[rows, columns]
        x, y, z = view.rays[:, rows, columns]
        cos, sin = np.cos(box.yaw_rad), np.sin(box.yaw_rad)
        px, py = view.position_mm[0] - box.middle_mm[0], view.position_mm[1] - box.middle_mm[1]
        origin = (cos * px + sin * py, cos * py - sin * px, view.position_mm[2] - box.bottom_mm)
        half_x, half_y, height = box.size_mm[0] / 2, box.size_mm[1] / 2, box.size_mm[2]
        enter, leave = np.zeros(x.shape), np.full(x.shape, np.inf)
        for ray, start, low, high in zip(
            (cos * x + sin * y, cos * y - sin * x, z), origin, (-half_x, -half_y, 0.0), (half_x, half_y, height),
            strict=True,
        ):  # fmt: skip
            inverse = 1.0 / np.where(ray == 0.0, 1e-12, ray)
            first, second = (low - start) * inverse, (high - start) * inverse
            np.maximum(enter, np.minimum(first, second), out=enter)
            np.minimum(leave, np.maximum(first, second), out=leave)
        hit = (enter < leave) & (enter > 0) & (enter < seen)
        seen[hit] = enter[hit]
    return nearest


def _window(view: View, box: Box) -> tuple[slice, slice]:
    """Return rows and columns that ``box`` may cover: all if part of it is beside or behind the sensor."""
    cos, sin = np.cos(box.yaw_rad), np.sin(box.yaw_rad)
    corners = np.array(
        [
            (box.middle_mm[0] + cos * a - sin * b, box.middle_mm[1] + sin * a + cos * b, box.bottom_mm + c)
            for a in (-box.size_mm[0] / 2, box.size_mm[0] / 2)
            for b in (-box.size_mm[1] / 2, box.size_mm[1] / 2)
            for c in (0.0, box.size_mm[2])
        ]
    )
    metres = view.metres(corners)
    if metres[:, 2].min() < 0.05:
        return slice(None), slice(None)
    places = pixels(metres)
    low = np.maximum(np.floor(places.min(axis=0)), 0).astype(int)
    high = np.maximum(np.ceil(places.max(axis=0)) + 1, low).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])


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


def chair(middle_mm: tuple[float, float], seat_mm: float, yaw_rad: float, *, back: bool) -> list[Box]:
    """Return a chair whose sitter faces along ``yaw_rad``: seat, four legs and a back."""
    (x, y), cos, sin = middle_mm, np.cos(yaw_rad), np.sin(yaw_rad)
    boxes = [Box((x, y), (400.0, 420.0, 45.0), bottom_mm=seat_mm - 45, yaw_rad=yaw_rad)]
    for aside in (-185.0, 185.0):
        for ahead in (-175.0, 175.0):
            place = (x + cos * ahead - sin * aside, y + sin * ahead + cos * aside)
            boxes.append(Box(place, (40.0, 40.0, seat_mm - 45), yaw_rad=yaw_rad))
    if back:
        place = (x - cos * 230, y - sin * 230)
        boxes.append(Box(place, (35.0, 420.0, 430.0), bottom_mm=seat_mm + 60, yaw_rad=yaw_rad))
    return boxes


def _carton(rng: np.random.Generator) -> Box:
    """Draw a carton on the floor around the person, low if between the person and the side camera."""
    bearing, away = rng.uniform(-np.pi, np.pi), rng.uniform(480, 1400)
    x, y = float(away * np.cos(bearing) - 150), float(away * np.sin(bearing))
    in_the_way = x > 0 and abs(y) < 500
    size = (rng.uniform(150, 450), rng.uniform(150, 450), rng.uniform(100, 400 if in_the_way else 700))
    return Box((x, y), size, yaw_rad=rng.uniform(-np.pi, np.pi))
