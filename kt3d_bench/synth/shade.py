"""RGB images of rendered people: skin, hair, clothes, light, slight blur and sensor noise."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from kt3d_bench.synth.body import PARTS
from kt3d_bench.synth.render import RenderedFigure

Colour = tuple[float, float, float]
Image = npt.NDArray[np.uint8]
PATTERNS = ("plain", "hoops", "stripes", "checks", "plaid")


@dataclass(frozen=True)
class Garment:
    """A cloth: two colours (RGB 0..1) and how they alternate along and around the body part."""

    colour: Colour
    second: Colour
    pattern: str
    repeats_along: float
    repeats_around: float


@dataclass(frozen=True)
class Style:
    """How one person looks, and the light."""

    skin: Colour
    hair: Colour
    hair_length: float
    """0 bald, 1 down to the nape."""
    shirt: Garment
    trousers: Garment
    shoes: Colour
    sleeve: float
    """Covered share of the arm: 0 none, 0.5 to the elbow, 1 to the wrist."""
    trouser_leg: float
    """Covered share of the leg."""
    light_cam: Colour
    """Unit vector from the scene to the light, camera frame."""
    light: Colour
    ambient: Colour
    noise: float
    """Standard deviation of the sensor noise, grey levels."""
    blur_px: float


def _colour(rng: np.random.Generator) -> Colour:
    value = rng.uniform(0.06, 0.95)
    saturation = rng.beta(1.2, 1.8)
    hue = rng.uniform(0, 6)
    wheel = np.clip(np.abs((hue + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return _triple(value * (1 - saturation + saturation * wheel))


def _triple(values: npt.ArrayLike) -> Colour:
    r, g, b = np.asarray(values, np.float64).tolist()
    return (r, g, b)


def _garment(rng: np.random.Generator) -> Garment:
    pattern = PATTERNS[int(rng.choice(len(PATTERNS), p=[0.5, 0.14, 0.12, 0.12, 0.12]))]
    return Garment(_colour(rng), _colour(rng), pattern, float(rng.uniform(3, 11)), float(rng.integers(3, 9)))


def sample_style(rng: np.random.Generator) -> Style:
    """Draw one person's looks and the light."""
    tone = rng.uniform(0, 1)
    skin = (1 - tone) * np.array([0.94, 0.78, 0.68]) + tone * np.array([0.34, 0.21, 0.15]) + rng.normal(0, 0.015, 3)
    hairs = np.array([[0.06, 0.05, 0.05], [0.2, 0.12, 0.07], [0.42, 0.27, 0.14], [0.75, 0.6, 0.36], [0.6, 0.6, 0.6],
                      [0.5, 0.2, 0.1]])  # fmt: skip
    hair = hairs[int(rng.choice(len(hairs), p=[0.35, 0.27, 0.16, 0.1, 0.07, 0.05]))] * rng.uniform(0.8, 1.2)
    sideways, height, toward = rng.normal(0, 0.8), rng.uniform(0.1, 1.2), rng.uniform(0.2, 1.2)
    light = np.array([sideways, -height, -toward])
    warm = rng.normal(0, 0.06)
    ambient = rng.uniform(0.3, 0.6)
    shorts = rng.uniform() < 0.25
    return Style(
        skin=_triple(np.clip(skin, 0.05, 1)),
        hair=_triple(np.clip(hair, 0, 1)),
        hair_length=float(rng.choice([0.0, 0.45, 0.7, 1.0], p=[0.06, 0.44, 0.25, 0.25])),
        shirt=_garment(rng),
        trousers=_garment(rng) if rng.uniform() < 0.35 else Garment(_colour(rng), (0, 0, 0), "plain", 1, 1),
        shoes=_colour(rng),
        sleeve=float(rng.choice([0.12, 0.3, 0.42, 0.97], p=[0.1, 0.3, 0.15, 0.45])),
        trouser_leg=float(rng.uniform(0.3, 0.52) if shorts else 0.97),
        light_cam=_triple(light / np.linalg.norm(light)),
        light=_triple(rng.uniform(0.55, 0.95) * np.array([1 + warm, 1.0, 1 - warm])),
        ambient=_triple(ambient * np.array([1 - warm / 2, 1.0, 1 + warm / 2])),
        noise=float(rng.uniform(0.5, 4.0)),
        blur_px=float(rng.uniform(0.0, 0.8)),
    )


def _cloth(garment: Garment, along: npt.NDArray[np.float32], around: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Return (K,) halves of the second colour, 0..2, at ``along`` 0..1 and ``around`` -pi..pi."""
    hoop = np.sin(2 * np.pi * garment.repeats_along * along) > 0 if garment.pattern != "stripes" else None
    stripe = np.sin(garment.repeats_around * around) > 0 if garment.pattern != "hoops" else None
    if hoop is None or stripe is None:
        halves = 2 * np.asarray(hoop if stripe is None else stripe, np.uint8)
    else:
        halves = 2 * (hoop ^ stripe).astype(np.uint8) if garment.pattern == "checks" else hoop.astype(np.uint8) + stripe
    return np.asarray(halves, np.uint8)


def _palette(style: Style) -> npt.NDArray[np.float32]:
    """Return (11, 3) colours 0..1 in the rows that ``shade_kernels`` names."""
    cloths = [
        [first + share * (second - first) for first, second in zip(worn.colour, worn.second, strict=True)]
        for worn in (style.shirt, style.trousers)
        for share in (0.0, 0.5, 1.0)
    ]
    red, green, blue = style.skin
    mouth = (0.75 * red, 0.45 * green, 0.45 * blue)
    return np.array([style.skin, *cloths, style.shoes, (0.12, 0.12, 0.12), mouth, style.hair], np.float32)


def _drawn(maps: dict[str, npt.NDArray[Any]], style: Style, window: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Draw the person over ``window`` (H, W, 3) 0..255. Sines, angles and dot products are NumPy's, whose last bits
    others do not reproduce."""
    import kt3d_bench.synth.shade_kernels as kernels

    pixels, rows, (along, front, left), normals = kernels.dress(
        maps["part"], maps["along"], maps["front"], maps["left"], maps["normal_cam"], _kinds(), style.sleeve,
        style.trouser_leg, np.float32(0.9 * style.hair_length if style.hair_length else -1),
    )  # fmt: skip
    for garment, row in ((style.shirt, kernels.SHIRT), (style.trousers, kernels.TROUSERS)):
        if garment.pattern != "plain":
            worn = np.flatnonzero(rows == row)
            rows[worn] += _cloth(garment, along[worn], np.arctan2(left[worn], front[worn]))
    drawn = window.astype(np.float32, "C")
    kernels.illuminate(
        drawn.reshape(-1, 3), pixels, rows, _palette(style), normals, normals @ np.array(style.light_cam, np.float32),
        np.array(style.light), np.array(style.ambient),
    )  # fmt: skip
    return drawn


_STEMS = np.array(["", *(name.removesuffix("_l").removesuffix("_r") for name in PARTS)])
_NOISE_LEVELS = 4096


@functools.cache
def _kinds() -> npt.NDArray[np.uint8]:
    """Return the kind of each part id, as ``shade_kernels`` names it."""
    import kt3d_bench.synth.shade_kernels as kernels

    of = {"chest": kernels.ALWAYS_SHIRT, "abdomen": kernels.ALWAYS_SHIRT, "shoulder": kernels.ALWAYS_SHIRT,
          "pelvis": kernels.ALWAYS_TROUSERS, "upper_arm": kernels.UPPER_ARM, "forearm": kernels.FOREARM,
          "thigh": kernels.THIGH, "shank": kernels.SHANK, "foot": kernels.FOOT, "head": kernels.HEAD,
          "neck": kernels.NECK}  # fmt: skip
    return np.array([of.get(stem, 0) for stem in _STEMS], np.uint8)


@functools.cache
def _quantiles() -> npt.NDArray[np.float64]:
    normal = NormalDist()
    return np.array([normal.inv_cdf((level + 0.5) / _NOISE_LEVELS) for level in range(_NOISE_LEVELS)])


def _add_noise(image: Image, rng: np.random.Generator, deviation: float) -> None:
    """Add normally distributed whole grey levels, looked up by random bits: many times faster than drawing them.

    The bits are those of ``rng.integers(0, 1 << 16, image.size, np.uint16)``. NumPy's default generator, unless it has
    half a word left, yields them as whole words, which is twice as fast.
    """
    from kt3d_bench.synth.shade_kernels import add_noise

    dither = rng.random(_NOISE_LEVELS)
    source = rng.bit_generator
    whole = isinstance(source, np.random.PCG64) and not source.state["has_uint32"]
    words = source.random_raw(image.size // 4) if whole else np.empty(0, np.uint64)
    rest = image.size - 4 * len(words)
    bits = rng.integers(0, 1 << 16, rest, np.uint16) if rest else np.empty(0, np.uint16)
    add_noise(image.reshape(-1), words, bits, _quantiles(), deviation, dither)


def shade(render: RenderedFigure, style: Style, background: Image, rng: np.random.Generator | None = None) -> Image:
    """Draw a clothed, lit person over ``background`` (H, W, 3) uint8; return a new (H, W, 3) uint8 image.

    ``rng`` draws the sensor noise; ``None`` = no noise. The render needs its normals. Raises ``ValueError`` for a
    background of another size.
    """
    width, height = render.size_px
    if background.shape != (height, width, 3):
        raise ValueError(f"the background is {background.shape}, the render {(height, width, 3)}")
    image = background.copy()
    x0, y0, x1, y1 = render.window_px
    if x1 > x0:
        from kt3d_bench.synth.shade_kernels import put

        near = np.ascontiguousarray(render.maps["part"])
        window = _drawn(render.maps, style, image[y0:y1, x0:x1])
        if style.blur_px > 0.25:
            window = np.asarray(cv2.GaussianBlur(window, (0, 0), style.blur_px), np.float32)
            near = np.asarray(cv2.dilate(near, np.ones((3, 3), np.uint8)), np.uint8)
        put(image, x0, y0, window, near)
    if rng is not None and style.noise > 0:
        _add_noise(image, rng, style.noise)
    return image
