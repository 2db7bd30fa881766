"""A person in a scene: clothed and lit, with a shadow on the floor, and a seat underneath where the person sits.

World: mm, z up, floor z = 0. Shapes: H and W image rows and columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from kt3d_bench.records import Camera
from kt3d_bench.synth.body import CONE_PART, PARTS, Figures
from kt3d_bench.synth.boxes import Box, chair, hit, window_of, world_rays
from kt3d_bench.synth.render import RenderedFigure, render
from kt3d_bench.synth.shade import Colour, Image, Style, shade
from kt3d_bench.synth.view import camera_rays

Float32 = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
_PELVIS = np.flatnonzero(PARTS.index("pelvis") == CONE_PART)
_AHEAD_MM = 40.0
_LEAST_SEAT_MM = 150.0
_LAMP_MM = 20_000.0
_LEAST_SLOPE = 1.2
"""Lamps hang high: a shadow is at most the person's height over this long."""
_MAP_PX, _SOFT_PX = 112, 1.6
_FAINT = 0.002
_FILL = 0.8
"""Share of the lamp's light that the shadow really lacks; the rest comes from elsewhere."""


@dataclass(frozen=True)
class Seat:
    """What a person sits on."""

    boxes: tuple[Box, ...]
    colour: Colour


def seat_under(figures: Figures, rng: np.random.Generator) -> Seat:
    """Draw a seat for one person who sits through all frames, under the lowest position of the pelvis: a stool or a
    block."""
    pelvis = figures.landmark("pelvis").mean(axis=0)
    across = (figures.landmark("hip_l") - figures.landmark("hip_r")).mean(axis=0)
    facing = float(np.arctan2(-across[0], across[1]))
    top_mm = float((figures.cones_world_mm[..., 2] - figures.radii_mm)[:, _PELVIS].min())
    middle = (float(pelvis[0] + _AHEAD_MM * np.cos(facing)), float(pelvis[1] + _AHEAD_MM * np.sin(facing)))
    red, green, blue = np.clip(rng.uniform(0.1, 0.7) + rng.normal(0, 0.08, 3), 0.03, 0.95).tolist()
    if rng.random() < 0.5 and top_mm > _LEAST_SEAT_MM:
        boxes = chair(middle, top_mm, facing, back=False)
    else:
        size = (float(rng.uniform(340, 440)), float(rng.uniform(380, 520)), max(top_mm, 10.0))
        boxes = [Box(middle, size, yaw_rad=facing)]
    return Seat(tuple(boxes), (red, green, blue))


def draw_person(
    image: Image, figure: Figures, camera: Camera, style: Style, *, seat: Seat | None = None,
    depth_mm: Float32 | None = None, rng: np.random.Generator | None = None, device: str = "cpu",
) -> tuple[Image, Float32]:  # fmt: skip
    """Draw one person, shadow and seat over ``image`` (H, W, 3); return a new image and the scene's depth.

    ``depth_mm`` (H, W): what is in the image already, infinity = background, on which the shadow falls. The person and
    the seat hide it where they are nearer. ``rng`` draws the sensor noise; ``None`` = no noise.
    """
    width, height = camera.size_px
    depth = np.full((height, width), np.inf, np.float32) if depth_mm is None else depth_mm.copy()
    towards_lamp = _towards_lamp(style, camera)
    drawn = image.copy()
    _darken_floor(drawn, depth, figure, camera, towards_lamp, seat, style, device)
    if seat is not None:
        _draw_seat(drawn, depth, camera, seat, towards_lamp, style)
    visible = _visible(render(figure, [camera], device=device)[0], depth)
    x0, y0, x1, y1 = visible.window_px
    window, own = depth[y0:y1, x0:x1], visible.maps["depth_mm"]
    np.copyto(window, own, where=own > 0)
    return shade(visible, style, drawn, rng), depth


def _towards_lamp(style: Style, camera: Camera) -> FloatArray:
    """Return the unit vector (3,) from the scene to the lamp in the world, raised where it hangs too low."""
    way = np.array(style.light_cam) @ camera.rotation
    way[2] = max(float(way[2]), _LEAST_SLOPE * float(np.hypot(way[0], way[1])), 0.1)
    return np.asarray(way / np.linalg.norm(way), np.float64)


def _visible(person: RenderedFigure, depth_mm: Float32) -> RenderedFigure:
    """Return the person without what lies behind ``depth_mm`` (H, W)."""
    x0, y0, x1, y1 = person.window_px
    hidden = person.maps["depth_mm"] > depth_mm[y0:y1, x0:x1]
    if not hidden.any():
        return person
    maps = {name: values.copy() for name, values in person.maps.items()}
    for values in maps.values():
        values[hidden] = 0
    return replace(person, maps=maps)


def _draw_seat(
    image: Image, depth_mm: Float32, camera: Camera, seat: Seat, towards_lamp: FloatArray, style: Style
) -> None:  # fmt: skip
    colour = np.array(seat.colour)
    for box in seat.boxes:
        x0, y0, x1, y1 = window_of(camera, box.corners_mm)
        rays = world_rays(camera, (x0, y0, x1, y1))
        found, axis = hit(rays, camera.position_world_mm, box)
        seen = depth_mm[y0:y1, x0:x1]
        nearer = found < seen
        cos, sin = np.cos(box.yaw_rad), np.sin(box.yaw_rad)
        normals = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])[axis[nearer]]
        normals *= -np.sign((normals * rays[:, nearer].T).sum(axis=-1, keepdims=True))
        lambert = np.clip(normals @ towards_lamp, 0, 1)[:, None]
        sky = 0.75 + 0.25 * normals[:, 2:]
        radiance = colour * (lambert * np.array(style.light) + sky * np.array(style.ambient))
        image[y0:y1, x0:x1][nearer] = (255 * np.clip(radiance, 0, 1)).astype(np.uint8)
        seen[nearer] = found[nearer]


def _darken_floor(
    image: Image, depth_mm: Float32, figure: Figures, camera: Camera, towards_lamp: FloatArray, seat: Seat | None,
    style: Style, device: str,
) -> None:  # fmt: skip
    """Darken the floor, where it is seen, by the shadow of person and seat: what a lamp far away sees of them."""
    corners = [box.corners_mm for box in seat.boxes] if seat is not None else []
    points = np.concatenate([figure.cones_world_mm[0].reshape(-1, 3), *corners])
    lamp = _lamp(points, towards_lamp)
    lit = (render(figure, [lamp], normals=False, device=device)[0].depth_mm > 0).astype(np.float32)
    for box in seat.boxes if seat is not None else ():
        x0, y0, x1, y1 = window_of(lamp, box.corners_mm)
        found, _ = hit(world_rays(lamp, (x0, y0, x1, y1)), lamp.position_world_mm, box)
        lit[y0:y1, x0:x1][np.isfinite(found)] = 1.0
    lit = np.asarray(cv2.GaussianBlur(lit, (0, 0), _SOFT_PX), np.float32)
    on_floor = points - towards_lamp * (points[:, 2:] / towards_lamp[2])
    x0, y0, x1, y1 = window_of(camera, on_floor, margin_px=0.06 * max(camera.size_px))
    if x1 == x0 or y1 == y0 or camera.position_world_mm[2] <= 0:
        return
    to_lamp, below_horizon = _floor_to_lamp(camera, lamp)
    xy = camera_rays(camera, (x0, y0, x1, y1))
    u, v, w = (xy[..., 0] * row[0] + xy[..., 1] * row[1] + row[2] for row in to_lamp.astype(np.float32))
    sees_floor = xy @ below_horizon[:2].astype(np.float32) < -below_horizon[2]
    with np.errstate(divide="ignore", invalid="ignore"):
        dark = np.asarray(cv2.remap(lit, u / w, v / w, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT), np.float32)
    chosen = (dark > _FAINT) & sees_floor & np.isinf(depth_mm[y0:y1, x0:x1])
    direct, ambient = towards_lamp[2] * np.array(style.light), np.array(style.ambient)
    lost = (_FILL * direct / (direct + ambient)).astype(np.float32)
    window = image[y0:y1, x0:x1]
    window[chosen] = (window[chosen] * (1 - dark[chosen][:, None] * lost)).astype(np.uint8)


def _floor_to_lamp(camera: Camera, lamp: Camera) -> tuple[FloatArray, FloatArray]:
    """Return (3, 3) the map from rays (x, y, 1) of ``camera`` that meet the floor to homogeneous px of the ``lamp``;
    and (3,), whose product with a ray is negative where it meets the floor.

    The ray d = R^T (x, y, 1) from the camera's place c meets the floor at c - (c_z / d_z) d. Its image at the lamp,
    times -d_z / c_z, is linear in d.
    """
    d_of_ray, place = camera.rotation.T, camera.position_world_mm
    to_px = np.vstack([lamp.intrinsics_px, [0.0, 0.0, 1.0]]) @ lamp.rotation
    offset = to_px @ (place - lamp.position_world_mm)
    return (to_px - np.outer(offset, [0.0, 0.0, 1.0 / place[2]])) @ d_of_ray, d_of_ray[2]


def _lamp(points_mm: FloatArray, towards_lamp: FloatArray) -> Camera:
    """Return a camera at a lamp far away, whose image just holds (N, 3) points."""
    middle = (points_mm.min(axis=0) + points_mm.max(axis=0)) / 2
    reach_mm = float(np.linalg.norm(points_mm - middle, axis=1).max()) + 250.0
    right = np.cross(-towards_lamp, [1.0, 0.0, 0.0] if abs(towards_lamp[0]) < 0.8 else [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    focal_px = _MAP_PX / 2 * _LAMP_MM / reach_mm
    return Camera.pinhole(
        (focal_px, focal_px),
        ((_MAP_PX - 1) / 2, (_MAP_PX - 1) / 2),
        (_MAP_PX, _MAP_PX),
        rotation=np.stack([right, np.cross(-towards_lamp, right), -towards_lamp]),
        position_world_mm=middle + _LAMP_MM * towards_lamp,
    )
