"""The stand-in's room, as each of its cameras sees it when empty."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kt3d_bench.geometry.cameras import undistort
from kt3d_bench.records import Camera

FloatArray = npt.NDArray[np.float64]
_HALF_WIDTH_MM, _HALF_LENGTH_MM, _HEIGHT_MM = 3600.0, 6200.0, 3400.0


class Room:
    """Colours of floor, carpet, walls and curtains, drawn once per stand-in."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._floor = np.array([150.0, 122, 96]) * rng.uniform(0.85, 1.15, 3)
        self._carpet = np.array([128.0, 58, 52]) * rng.uniform(0.8, 1.2, 3)
        self._carpet_half_mm = rng.uniform([1700, 2300], [2300, 3000])
        self._walls = np.array([168.0, 172, 170]) * rng.uniform(0.85, 1.12, (4, 3))
        self._curtain = np.array([54.0, 62, 78]) * rng.uniform(0.7, 1.3, 3)
        self._fold_mm = rng.uniform(150, 260)
        self._posters = [(int(rng.integers(4)), rng.uniform(-2500, 2500), rng.uniform(900, 1700),
                          rng.uniform(300, 900), rng.uniform(300, 700), rng.uniform(40, 220, 3))
                         for _ in range(7)]  # fmt: skip

    def seen_by(self, camera: Camera, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        """Return (H, W, 3) the empty room, with this camera's exposure and grain."""
        width, height = camera.size_px
        grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2)
        normalised = (grid - np.array(camera.center_px)) / np.array(camera.focal_px)
        normalised = undistort(normalised, camera.distortion, camera.tangential_factor)
        rays = np.concatenate([np.nan_to_num(normalised), np.ones((len(grid), 1))], axis=-1) @ camera.rotation
        colour = self._colours(camera.position_world_mm, rays)
        colour *= rng.uniform(0.9, 1.1) * rng.uniform(0.96, 1.04, 3)
        colour += rng.normal(0, 2.0, (len(colour), 1))
        return np.clip(colour, 0, 255).astype(np.uint8).reshape(height, width, 3)

    def _colours(self, origin: FloatArray, rays: FloatArray) -> FloatArray:
        half = np.array([_HALF_WIDTH_MM, _HALF_LENGTH_MM, _HEIGHT_MM])
        with np.errstate(divide="ignore"):
            far = np.where(rays > 0, (half - origin) / rays, (np.array([-half[0], -half[1], 0.0]) - origin) / rays)
        axis = far.argmin(axis=-1)
        hit = origin + rays * far.min(axis=-1, keepdims=True)
        colour = np.tile(np.array([205.0, 205, 200]), (len(rays), 1))
        floor = (axis == 2) & (rays[:, 2] < 0)
        boards = 0.94 + 0.06 * np.sin(hit[:, :1] / 35.0) * np.sin(hit[:, 1:2] / 470.0)
        carpet = floor & (np.abs(hit[:, :2]) < self._carpet_half_mm).all(axis=-1)
        weave = 0.92 + 0.08 * np.sin(hit[:, :1] / 90.0) * np.sin(hit[:, 1:2] / 90.0)
        colour[floor] = (self._floor * boards)[floor]
        colour[carpet] = (self._carpet * weave)[carpet]
        for index, (wall_axis, sign) in enumerate(((0, 1), (0, -1), (1, 1), (1, -1))):
            on = (axis == wall_axis) & (np.sign(rays[:, wall_axis]) == sign)
            across = hit[:, 1 - wall_axis]
            colour[on] = self._walls[index]
            folds = 0.75 + 0.25 * np.sin(across / self._fold_mm * 2 * np.pi)
            curtain = on & (np.sin(across / 1900.0 + index) > 0.2) & (hit[:, 2] < 2700)
            colour[curtain] = (self._curtain * folds[:, None])[curtain]
            for wall, middle, up, wide, tall, paint in self._posters:
                if wall == index:
                    colour[on & (np.abs(across - middle) < wide / 2) & (np.abs(hit[:, 2] - up) < tall / 2)] = paint
        away = np.linalg.norm(hit - np.array([0.0, 0.0, 2500.0]), axis=-1)
        light: FloatArray = colour * np.clip(1.18 - away / 16000.0, 0.5, 1.2)[:, None]
        return light
