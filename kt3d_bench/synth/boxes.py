"""Upright boxes beside generated people, such as seats: what a camera sees of them.

World: mm, z up, floor z = 0. Shapes: H and W image rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.geometry.cameras import project, world_to_cam
from kt3d_bench.records import Camera
from kt3d_bench.synth.view import Window, camera_rays

FloatArray = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
_NEAREST_MM = 50.0
_LENS_MARGIN = 0.05  # A lens bends a box's edges outwards by less than this part of its extent


@dataclass(frozen=True)
class Box:
    """An upright box, turned about the vertical."""

    middle_mm: tuple[float, float]  # x, y
    size_mm: tuple[float, float, float]  # Lengths along its own x and y axes, and its height
    bottom_mm: float = 0.0
    yaw_rad: float = 0.0

    @property
    def corners_mm(self) -> FloatArray:
        """(8, 3)."""
        cos, sin = np.cos(self.yaw_rad), np.sin(self.yaw_rad)
        (x, y), (length, width, height) = self.middle_mm, self.size_mm
        return np.array(
            [
                (x + cos * a - sin * b, y + sin * a + cos * b, self.bottom_mm + c)
                for a in (-length / 2, length / 2)
                for b in (-width / 2, width / 2)
                for c in (0.0, height)
            ]
        )


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


def window_of(camera: Camera, points_world_mm: npt.NDArray[Any], margin_px: float = 1.0) -> Window:
    """Return the window x0, y0, x1, y1 that the hull of (N, 3) points may cover: all of the image if part of it is
    beside or behind the camera."""
    width, height = camera.size_px
    points_cam = world_to_cam(camera, points_world_mm)
    if points_cam[:, 2].min() < _NEAREST_MM:
        return 0, 0, width, height
    places = project(camera, points_cam)
    if not np.isfinite(places).all():
        return 0, 0, width, height
    low, high = places.min(axis=0), places.max(axis=0)
    margin = margin_px + (_LENS_MARGIN * (high - low) if camera.distortion.any() else 0.0)
    x0, y0 = np.clip(np.floor(low - margin), 0, (width, height)).astype(int).tolist()
    x1, y1 = np.clip(np.ceil(high + margin) + 1, (x0, y0), (width, height)).astype(int).tolist()
    return x0, y0, x1, y1


def world_rays(camera: Camera, window: Window) -> FloatArray:
    """Return (3, H, W) rays through the window's pixels in the world, of length 1 along the optical axis; NaN where the
    lens has no inverse."""
    xy = camera_rays(camera, window).astype(np.float64)
    rays: FloatArray = np.einsum("hwi,ij->jhw", np.concatenate([xy, np.ones_like(xy[..., :1])], -1), camera.rotation)
    return rays


def hit(rays: FloatArray, position_mm: npt.NDArray[Any], box: Box) -> tuple[FloatArray, npt.NDArray[np.int8]]:
    """Return, per ray (3, H, W) from ``position_mm``, where it enters the box as a multiple of the ray (infinity = it
    does not), and which of the box's axes the face that it enters belongs to."""
    x, y, z = rays
    cos, sin = np.cos(box.yaw_rad), np.sin(box.yaw_rad)
    px, py = position_mm[0] - box.middle_mm[0], position_mm[1] - box.middle_mm[1]
    origin = (cos * px + sin * py, cos * py - sin * px, position_mm[2] - box.bottom_mm)
    half_x, half_y, height = box.size_mm[0] / 2, box.size_mm[1] / 2, box.size_mm[2]
    enter, leave = np.zeros(x.shape), np.full(x.shape, np.inf)
    axis = np.zeros(x.shape, np.int8)
    for number, (ray, start, low, high) in enumerate(
        zip((cos * x + sin * y, cos * y - sin * x, z), origin, (-half_x, -half_y, 0.0), (half_x, half_y, height),
            strict=True)
    ):  # fmt: skip
        inverse = 1.0 / np.where(ray == 0.0, 1e-12, ray)
        first, second = (low - start) * inverse, (high - start) * inverse
        nearer = np.minimum(first, second)
        axis[nearer > enter] = number
        np.maximum(enter, nearer, out=enter)
        np.minimum(leave, np.maximum(first, second), out=leave)
    return np.where((enter < leave) & (enter > 0), enter, np.inf), axis


def in_front(camera: Camera, depth_mm: Float32, boxes: Sequence[Box]) -> Float32:
    """Return ``depth_mm`` (H, W), distances along the optical axis or infinity, with ``boxes`` added to the scene."""
    nearest = depth_mm.copy()
    for box in boxes:
        x0, y0, x1, y1 = window_of(camera, box.corners_mm)
        seen = nearest[y0:y1, x0:x1]
        found, _ = hit(world_rays(camera, (x0, y0, x1, y1)), camera.position_world_mm, box)
        np.copyto(seen, found.astype(np.float32), where=found < seen)
    return nearest
