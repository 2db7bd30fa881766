"""The stand-in's two depth sensors: where they are, what they map, and the errors they make.

Positions and projection follow the format's description alone. World of generated people: mm, z up, floor z = 0. The
side camera looks along -x, horizontally; the top camera hangs above the world's origin, 1.5 m above and 2.85 m in front
of the side camera, and looks straight down.

Errors are those of structured light: whole disparities, mottled noise, ragged edges and holes. Step and noise were
measured in a frame of the release: the inverses of neighbouring depths differ by 0.0029 per metre (26 mm at 3 m), and
smooth surfaces vary by 0.4 steps, in blots a few pixels wide.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from kt3d_bench.records import Camera

Float32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

WIDTH_PX, HEIGHT_PX = 320, 240
METRES_PER_PX = 0.0035  # Width of a pixel at a distance of one metre
MIDDLE_PX = (160.0, 120.0)
_SIDE_HEIGHT_MM = 1230.0
"""Above the floor, so that feet are outside the image about as often as in the release."""
_APART_MM, _ABOVE_MM = 2850.0, 1500.0


@dataclass(frozen=True, eq=False)
class View:
    """One sensor. Labels: metres, x to the image's right, y up, z away from the sensor."""

    name: str
    rotation: FloatArray  # (3, 3) world -> x right, y down, z away
    position_mm: FloatArray  # (3,)

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
    "side", np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]]), np.array([_APART_MM, 0.0, _SIDE_HEIGHT_MM])
)
TOP = View(
    "top",
    np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]]),
    np.array([0.0, 0.0, _SIDE_HEIGHT_MM + _ABOVE_MM]),
)
VIEWS = (SIDE, TOP)

_STEP_PER_M = 0.0029
_NOISE_STEPS = 0.4
_RANGE_M = (0.45, 8.0)
_PROJECTOR_PX_M = 21.5
"""Shift of the projected pattern, px, for a surface one metre away; the projector is 75 mm from the camera."""
_BLIND_COLUMNS = 2
_SPECKS = 25
_metres = np.concatenate([[np.inf], 1 / (_STEP_PER_M * np.arange(1, int(1 / (_STEP_PER_M * _RANGE_M[0])) + 3))])
_HALF_METRES = np.where((_metres >= _RANGE_M[0]) & (_metres <= _RANGE_M[1]), _metres, 0.0).astype(np.float16)
"""Reported depth for every disparity in steps, 0 = out of range."""


def blots(rng: np.random.Generator, count: int) -> Float32:
    """Draw (count, H, W) smooth noise of mean 0 and variance about 1, with blots about four pixels wide."""
    coarse = rng.standard_normal((count, HEIGHT_PX // 2 + 2, WIDTH_PX // 2 + 2), np.float32)
    fields = np.empty((count, HEIGHT_PX, WIDTH_PX), np.float32)
    for index in range(count):
        soft = cv2.blur(coarse[index], (2, 2))
        fields[index] = cv2.resize(soft, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)[2:-2, 2:-2]
    fields *= 2.6
    return fields


def sample_blemishes(rng: np.random.Generator, depth_mm: Float32) -> tuple[Float32, Float32]:
    """Draw what one sensor cannot see well in a room: (H, W) slowly varying error in steps, and (H, W) 0..1 how likely
    dark or shiny surfaces absorb the pattern."""
    corners = rng.normal(0, 0.7, (3, 4)).astype(np.float32)
    bias: Float32 = np.asarray(cv2.resize(corners, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_CUBIC), np.float32)
    glare = np.zeros((HEIGHT_PX, WIDTH_PX), np.float32)
    for _ in range(int(rng.integers(2, 6))):
        middle = (int(rng.integers(WIDTH_PX)), int(rng.integers(HEIGHT_PX)))
        axes = (int(rng.integers(4, 26)), int(rng.integers(3, 18)))
        cv2.ellipse(glare, middle, axes, float(rng.uniform(0, 180)), 0, 360, float(rng.uniform(0.5, 1.0)), -1)
    soft = np.asarray(cv2.GaussianBlur(glare, (0, 0), 2.5), np.float32)
    grazing = cv2.morphologyEx(depth_mm, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0.12 * depth_mm
    return bias, np.maximum(soft, 0.35 * grazing.astype(np.float32))


def ragged(image: npt.NDArray[Any], wobble: Float32, corner_px: tuple[int, int]) -> npt.NDArray[Any]:
    """Return a window (h, w) at (row, column) ``corner_px``, each pixel taken from up to two pixels away, by blots."""
    rows, columns = np.indices(image.shape)
    part = wobble[:, corner_px[0] : corner_px[0] + image.shape[0], corner_px[1] : corner_px[1] + image.shape[1]]
    shifts = np.clip(np.rint(0.6 * part), -2, 2).astype(np.int64)
    rows = np.clip(rows + shifts[0], 0, image.shape[0] - 1)
    columns = np.clip(columns + shifts[1], 0, image.shape[1] - 1)
    return np.asarray(image[rows, columns])


def shadow(depth_m: Float32) -> Mask:
    """Return (H, W) where the projector beside the camera gives no light: just left of nearer surfaces."""
    pattern = np.arange(WIDTH_PX, dtype=np.float32) - np.float32(_PROJECTOR_PX_M) / depth_m
    nearest_right = np.minimum.accumulate(pattern[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(pattern > nearest_right + 0.5)


def measure(depth_mm: Float32, weak: Float32, bias_steps: Float32, noise: Float32,
            rng: np.random.Generator) -> npt.NDArray[np.float16]:  # fmt: skip
    """Return (H, W) float16 metres measured of true depth (H, W) mm, 0 = no reading.

    ``weak`` (H, W) 0..1: how badly the surface reflects; ``bias_steps`` (H, W): the sensor's systematic error;
    ``noise`` (2, H, W): ``blots``.
    """
    depth_m = depth_mm * np.float32(0.001)
    steps = 1 / (np.float32(_STEP_PER_M) * depth_m) + np.float32(_NOISE_STEPS) * noise[0] + bias_steps
    readings: npt.NDArray[np.float16] = _HALF_METRES[np.clip(np.rint(steps), 0, len(_HALF_METRES) - 1).astype(np.int32)]
    lost = shadow(depth_m) & (noise[1] > 0.2)
    lost |= (weak > 0.05) & (weak + np.float32(0.45) * noise[1] > 0.8)
    lost[:, :_BLIND_COLUMNS] = True
    lost[rng.integers(0, HEIGHT_PX, _SPECKS), rng.integers(0, WIDTH_PX, _SPECKS)] = True
    readings[lost] = 0
    return readings
