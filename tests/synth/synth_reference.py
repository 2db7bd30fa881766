"""What the compiled loops of ``kt3d_bench.synth`` are held to, and measured against: the same in torch and NumPy,
array by array, as stand-ins were first drawn. Their bytes are frozen, so agreement means the last bit."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from unittest import mock

import cv2
import numpy as np
import numpy.typing as npt
import torch

from kt3d_bench.geometry.cameras import distort
from kt3d_bench.records import Camera
from kt3d_bench.synth import Figures, RenderedFigure, Style, render_torch
from kt3d_bench.synth.shade import _NOISE_LEVELS, _STEMS, Garment, Image, _quantiles
from kt3d_bench.synth.view import Window, people_in_cameras

Array = npt.NDArray[np.float64]
_MARGIN_PX = 1.0
_PIECES = 6


def render(
    figures: Figures, cameras: Sequence[Camera], *, normals: bool = True, dtype: torch.dtype = torch.float32
) -> list[RenderedFigure]:
    """``kt3d_bench.synth.render``, pair by pair of a pixel and a cone in torch."""
    cpu = torch.device("cpu")
    with mock.patch.object(render_torch, "spans_px", spans_px):
        return [
            RenderedFigure(camera.size_px, *render_torch.draw(person, camera, cpu, normals=normals, dtype=dtype))
            for person, camera in zip(people_in_cameras(figures, cameras), cameras, strict=True)
        ]


def _tangents(
    across: npt.NDArray[np.float64], depth: npt.NDArray[np.float64], radius: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Bounds of spheres in one normalised coordinate; infinite when the camera's plane cuts the sphere."""
    ahead = depth > radius
    square = np.where(ahead, depth**2 - radius**2, 1.0)
    root = radius * np.sqrt(np.maximum(across**2 + depth**2 - radius**2, 0))
    low = (across * depth - root) / square
    high = (across * depth + root) / square
    return np.where(ahead, low, -np.inf), np.where(ahead, high, np.inf)


def _boxes_px(centres: Array, radii: Array, camera: Camera) -> npt.NDArray[np.int64]:
    """Spheres (..., 3), (...) -> (..., 4) half-open pixel rectangles that hold their images."""
    width, height = camera.size_px
    x_low, x_high = _tangents(centres[..., 0], centres[..., 2], radii)
    y_low, y_high = _tangents(centres[..., 1], centres[..., 2], radii)
    low, high = np.stack([x_low, y_low], axis=-1), np.stack([x_high, y_high], axis=-1)
    everywhere = ~np.isfinite(low).all(-1) | ~np.isfinite(high).all(-1)
    distorted = bool(camera.distortion.any())
    steps = np.linspace(0, 1, 5 if distorted else 2)
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    with np.errstate(invalid="ignore"):
        points = low[..., None, :] + grid * (high - low)[..., None, :]
        if distorted:
            points = distort(points, camera.distortion, camera.tangential_factor)
        pixels = points @ camera.intrinsics_px[:, :2].T + camera.intrinsics_px[:, 2]
        margin = _MARGIN_PX + (0.05 * np.ptp(pixels, axis=-2) if distorted else 0.0)
        boxes = np.concatenate([pixels.min(-2) - margin, pixels.max(-2) + margin + 1], axis=-1)
    boxes[everywhere] = (0, 0, width, height)
    inside: npt.NDArray[np.int64] = np.clip(np.ceil(np.nan_to_num(boxes)), 0, [width, height, width, height]).astype(
        np.int64
    )
    return inside


def spans_px(cones: Array, radii: Array, camera: Camera) -> tuple[Window, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The window that holds all cones, and each cone's first and past-last column (C, rows of the window).

    A round cone is a chain of spheres: it is cut into pieces, and a piece lies in the hull of its two end spheres, so
    in the hull of their rectangles. An empty row has both bounds 0.
    """
    share = np.linspace(0, 1, _PIECES + 1)[:, None]
    centres = cones[:, None, 0] * (1 - share) + cones[:, None, 1] * share
    between = radii[:, :1] * (1 - share.T) + radii[:, 1:] * share.T
    boxes = _boxes_px(centres, between, camera)
    low = np.minimum(boxes[:, :-1, :2], boxes[:, 1:, :2])
    high = np.maximum(boxes[:, :-1, 2:], boxes[:, 1:, 2:])
    ahead = np.maximum(centres[:, :-1, 2], centres[:, 1:, 2]) + radii.max(axis=1)[:, None] > 0
    used = ahead & (high > low).all(-1)
    if not used.any():
        none = np.zeros((len(cones), 0), np.int64)
        return (0, 0, 0, 0), none, none
    x0, y0 = low[used].min(0)
    x1, y1 = high[used].max(0)
    small = np.int16 if max(camera.size_px) < np.iinfo(np.int16).max else np.int64
    rows = np.arange(y0, y1, dtype=small)
    left, top = np.moveaxis(low.astype(small)[..., None], 2, 0)
    right, bottom = np.moveaxis(high.astype(small)[..., None], 2, 0)
    bottom[~used] = y0
    start = np.full((len(cones), len(rows)), x1, small)
    stop = np.full((len(cones), len(rows)), x0, small)
    for piece in range(_PIECES):
        inside = (rows >= top[:, piece]) & (rows < bottom[:, piece])
        np.minimum(start, np.where(inside, left[:, piece], small(x1)), out=start)
        np.maximum(stop, np.where(inside, right[:, piece], small(x0)), out=stop)
    empty = stop <= start
    return (
        (int(x0), int(y0), int(x1), int(y1)),
        np.where(empty, 0, start - small(x0)).astype(np.int64),
        np.where(empty, 0, stop - small(x0)).astype(np.int64),
    )


def _cloth(
    garment: Garment, along: npt.NDArray[np.floating], around: npt.NDArray[np.floating]
) -> npt.NDArray[np.floating]:
    """(K, 3) colours at ``along`` 0..1 and ``around`` -pi..pi."""
    first, second = np.array(garment.colour), np.array(garment.second)
    if garment.pattern == "plain":
        return np.broadcast_to(first, (len(along), 3))
    hoop = np.sin(2 * np.pi * garment.repeats_along * along) > 0 if garment.pattern != "stripes" else None
    stripe = np.sin(garment.repeats_around * around) > 0 if garment.pattern != "hoops" else None
    share: npt.NDArray[np.floating]
    if hoop is None or stripe is None:
        share = np.asarray(hoop if stripe is None else stripe, np.float64)
    else:
        share = (hoop ^ stripe).astype(np.float64) if garment.pattern == "checks" else 0.5 * hoop + 0.5 * stripe
    colours: npt.NDArray[np.floating] = first + share[:, None] * (second - first)
    return colours


def _albedo(style: Style, part: npt.NDArray[np.uint8], along: npt.NDArray[np.floating],
            front: npt.NDArray[np.floating], left: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:  # fmt: skip
    """(K, 3) colours of the pixels of a person."""
    colours = np.broadcast_to(np.array(style.skin, np.float32), (len(part), 3)).copy()

    where = part.astype(np.intp)

    def of(*names: str) -> npt.NDArray[np.bool_]:
        return _parts_named(names)[where]

    limb = 0.5 * along + 0.5 * of("forearm", "shank")
    sleeve = (of("upper_arm") & (limb <= style.sleeve)) | (of("forearm") & (limb < style.sleeve))
    trouser = (of("thigh") & (limb <= style.trouser_leg)) | (of("shank") & (limb < style.trouser_leg))
    shirt = of("chest", "abdomen", "shoulder") | sleeve | (of("neck") & (along < np.float32(0.2)))
    trousers = of("pelvis") | trouser
    for garment, worn in ((style.shirt, np.flatnonzero(shirt)), (style.trousers, np.flatnonzero(trousers))):
        colours[worn] = _cloth(garment, along[worn], np.arctan2(left[worn], front[worn]))
    colours[of("foot")] = style.shoes
    head = np.flatnonzero(of("head"))
    colours[head] = _face(style, along[head], front[head], left[head])
    return colours


def _face(
    style: Style, along: npt.NDArray[np.floating], front: npt.NDArray[np.floating], left: npt.NDArray[np.floating]
) -> npt.NDArray[np.float32]:
    """(K, 3) hair, eyes, mouth and skin of the head's pixels."""
    colours = np.broadcast_to(np.array(style.skin, np.float32), (len(along), 3)).copy()
    colours[(np.abs(along - 0.50) < 0.035) & (front > 0.7) & (np.abs(np.abs(left) - 0.42) < 0.13)] = 0.12
    mouth = (np.abs(along - 0.16) < 0.03) & (front > 0.85) & (np.abs(left) < 0.32)
    colours[mouth] = np.array(style.skin) * np.array([0.75, 0.45, 0.45])
    if style.hair_length:
        hairline = 0.84 - 0.9 * style.hair_length * np.clip(0.55 - front, 0, 1)
        colours[along > hairline] = style.hair
    return colours


@functools.cache
def _parts_named(names: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """Part id -> whether its name, without the side, is one of ``names``."""
    return np.isin(_STEMS, names)


def _noise(rng: np.random.Generator, shape: tuple[int, ...], deviation: float) -> npt.NDArray[np.int16]:
    """Whole grey levels with a normal distribution, looked up by random bits: several times faster than drawing."""
    levels = np.rint(_quantiles() * deviation + rng.uniform(-0.5, 0.5, _NOISE_LEVELS)).astype(np.int16)
    bits = rng.integers(0, 1 << 16, int(np.prod(shape)), np.uint16)
    noise = cv2.LUT(bits, levels.repeat((1 << 16) // _NOISE_LEVELS))
    return np.asarray(noise, np.int16).reshape(shape)


def shade(render: RenderedFigure, style: Style, background: Image, rng: np.random.Generator | None = None) -> Image:
    """``kt3d_bench.synth.shade``, array by array in NumPy."""
    width, height = render.size_px
    if background.shape != (height, width, 3):
        raise ValueError(f"the background is {background.shape}, the render {(height, width, 3)}")
    image = background.copy()
    x0, y0, x1, y1 = render.window_px
    if x1 > x0:
        maps = render.maps
        hit = maps["part"] > 0
        albedo = _albedo(style, maps["part"][hit].astype(np.uint8), *(np.asarray(maps[name][hit], np.float32)
                         for name in ("along", "front", "left")))  # fmt: skip
        normal = np.asarray(maps["normal_cam"][hit], np.float32)
        lambert = np.clip(normal @ np.array(style.light_cam, np.float32), 0, 1)[:, None]
        sky = (0.5 - 0.5 * normal[:, 1:2]) * 0.5 + 0.75
        radiance = albedo * (lambert * np.array(style.light) + sky * np.array(style.ambient))
        window = image[y0:y1, x0:x1].astype(np.float32)
        window[hit] = 255 * np.clip(radiance, 0, 1)
        if style.blur_px > 0.25:
            soft = cv2.GaussianBlur(window, (0, 0), style.blur_px)
            near = cv2.dilate(hit.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
            window[near] = soft[near]
        image[y0:y1, x0:x1] = np.clip(window, 0, 255).astype(np.uint8)
    if rng is not None and style.noise > 0:
        noise = _noise(rng, image.shape, style.noise)
        image = np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U), np.uint8)
    return image
