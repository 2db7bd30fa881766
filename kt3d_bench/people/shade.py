"""From a rendered person to a clothed RGB image: skin, hair, clothes, light, a little blur and sensor noise."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from statistics import NormalDist

import cv2
import numpy as np
import numpy.typing as npt

from kt3d_bench.people.body import PARTS
from kt3d_bench.people.render import RenderedFigure

Colour = tuple[float, float, float]
Image = npt.NDArray[np.uint8]
PATTERNS = ("plain", "hoops", "stripes", "checks", "plaid")


@dataclass(frozen=True)
class Garment:
    """A cloth: two colours (0..1 linear-ish RGB) and how they alternate along and around the part."""

    colour: Colour
    second: Colour
    pattern: str
    repeats_along: float
    repeats_around: float


@dataclass(frozen=True)
class Style:
    """How one person looks and is lit."""

    skin: Colour
    hair: Colour
    hair_length: float
    """0 bald, 1 down to the nape."""
    shirt: Garment
    trousers: Garment
    shoes: Colour
    sleeve: float
    """Share of the whole arm that is covered: 0 none, 0.5 to the elbow, 1 to the wrist."""
    trouser_leg: float
    """The same for the leg."""
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
    """One person's looks and light."""
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
    shirt = of("chest", "abdomen", "shoulder") | sleeve
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


_STEMS = np.array(["", *(name.removesuffix("_l").removesuffix("_r") for name in PARTS)])
_NOISE_LEVELS = 4096


@functools.cache
def _parts_named(names: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """Part id -> whether its name, without the side, is one of ``names``."""
    return np.isin(_STEMS, names)


@functools.cache
def _quantiles() -> npt.NDArray[np.float64]:
    normal = NormalDist()
    return np.array([normal.inv_cdf((level + 0.5) / _NOISE_LEVELS) for level in range(_NOISE_LEVELS)])


def _noise(rng: np.random.Generator, shape: tuple[int, ...], deviation: float) -> npt.NDArray[np.int16]:
    """Whole grey levels with a normal distribution, looked up by random bits: several times faster than drawing."""
    levels = np.rint(_quantiles() * deviation + rng.uniform(-0.5, 0.5, _NOISE_LEVELS)).astype(np.int16)
    bits = rng.integers(0, 1 << 16, int(np.prod(shape)), np.uint16)
    noise = cv2.LUT(bits, levels.repeat((1 << 16) // _NOISE_LEVELS))
    return np.asarray(noise, np.int16).reshape(shape)


def shade(render: RenderedFigure, rng_or_style: np.random.Generator | Style, background: Image,
          rng: np.random.Generator | None = None) -> Image:  # fmt: skip
    """A clothed, lit person over ``background`` (H, W, 3) uint8 -> (H, W, 3) uint8.

    A generator draws a fresh style (and the noise); with a ``Style`` the noise comes from ``rng`` or is left out. The
    render needs its normals.
    """
    if isinstance(rng_or_style, Style):
        style = rng_or_style
    else:
        rng, style = rng_or_style, sample_style(rng_or_style)
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
