"""Backgrounds for generated people: a plain laboratory room, or random clutter."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import UsageError, did_you_mean

Image = npt.NDArray[np.uint8]
KINDS = ("room", "wild")


def sample_background(rng: np.random.Generator, size_px: tuple[int, int], kind: str = "wild") -> Image:
    """Draw an (H, W, 3) uint8 RGB image. ``room``: floor, walls, some furniture, muted colours; ``wild``: gradients,
    noise of several scales and random shapes, from nearly grey to garish. Raises ``UsageError`` for another kind."""
    if kind not in KINDS:
        raise UsageError(f"no background kind '{kind}'", hint=did_you_mean(kind, KINDS))
    width, height = size_px
    image = _room(rng, width, height) if kind == "room" else _wild(rng, width, height)
    return np.clip(image, 0, 255).astype(np.uint8)


def _noise(rng: np.random.Generator, width: int, height: int, cells: int, channels: int = 3) -> npt.NDArray[np.float32]:
    """Draw smooth noise in -1..1 with about ``cells`` blobs across the image."""
    rows = max(2, round(cells * height / max(width, height)))
    columns = max(2, round(cells * width / max(width, height)))
    coarse = rng.uniform(-1, 1, (rows, columns, channels)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32).reshape(
        height, width, channels
    )


def _room(rng: np.random.Generator, width: int, height: int) -> npt.NDArray[np.float32]:
    image = np.empty((height, width, 3), np.float32)
    wall = rng.uniform(110, 205) + rng.uniform(-14, 14, 3)
    floor = rng.uniform(60, 150) + rng.uniform(-18, 18, 3)
    horizon = int(height * rng.uniform(0.42, 0.6))
    image[:horizon] = wall
    image[horizon:] = floor
    corner = int(width * rng.uniform(-0.3, 1.3))
    slope = rng.uniform(-0.12, 0.12)
    side = np.array([[corner, 0], [corner, horizon], [width if corner < width / 2 else 0,
                     horizon + slope * width], [width if corner < width / 2 else 0, 0]], np.int32)  # fmt: skip
    cv2.fillPoly(image, [side], tuple((wall * rng.uniform(0.8, 0.95)).tolist()))
    for _ in range(int(rng.integers(2, 7))):
        w, h = width * rng.uniform(0.05, 0.22), height * rng.uniform(0.06, 0.34)
        x, base = rng.uniform(-0.1, 1) * width, horizon + height * rng.uniform(-0.02, 0.14)
        colour = rng.uniform(30, 190) + rng.uniform(-25, 25, 3)
        cv2.rectangle(image, (int(x), int(base - h)), (int(x + w), int(base)), tuple(colour.tolist()), -1)
        lid = np.array([[x, base - h], [x + w, base - h], [x + 0.8 * w, base - h - 0.12 * w],
                        [x + 0.2 * w, base - h - 0.12 * w]], np.int32)  # fmt: skip
        cv2.fillPoly(image, [lid], tuple(np.minimum(colour * 1.25, 255).tolist()))
    light = 1 + 0.08 * _noise(rng, width, height, 3, 1)
    fade = np.linspace(1.06, 0.9, height, dtype=np.float32)[:, None, None]
    return np.asarray(image * light * fade + 3 * _noise(rng, width, height, 60), np.float32)


def _wild(rng: np.random.Generator, width: int, height: int) -> npt.NDArray[np.float32]:
    corners = rng.uniform(0, 255, (2, 2, 3)).astype(np.float32)
    image = np.asarray(cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    for cells in (3, 8, 24, 70):
        image += rng.uniform(0, 34) * _noise(rng, width, height, cells, 3 if rng.uniform() < 0.5 else 1)
    for _ in range(int(rng.integers(3, 26))):
        colour = tuple(rng.uniform(0, 255, 3).tolist())
        centre = rng.uniform(-0.1, 1.1, 2) * (width, height)
        size = np.exp(rng.uniform(np.log(0.02), np.log(0.3))) * max(width, height)
        shape = rng.integers(4)
        if shape == 0:
            axes = (max(1, int(size)), max(1, int(size * rng.uniform(0.3, 1))))
            cv2.ellipse(image, (int(centre[0]), int(centre[1])), axes, rng.uniform(0, 180), 0, 360, colour, -1)
        elif shape == 1:
            angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 7))))
            points = centre + size * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
            cv2.fillPoly(image, [points.astype(np.int32)], colour)
        elif shape == 2:
            end = centre + rng.normal(0, 3 * size, 2)
            thick = max(1, int(size * rng.uniform(0.02, 0.3)))
            cv2.line(image, tuple(centre.astype(int).tolist()), tuple(end.astype(int).tolist()), colour, thick)
        else:
            far = centre + size * rng.uniform(0.3, 2, 2)
            cv2.rectangle(image, tuple(centre.astype(int).tolist()), tuple(far.astype(int).tolist()), colour, -1)
    image += rng.uniform(0, 12) * _noise(rng, width, height, 160)
    grey, middle = image.mean(axis=2, keepdims=True), image.mean()
    saturation, contrast = rng.uniform(0.1, 1.0), rng.uniform(0.4, 1.0)
    image = middle + contrast * (grey + saturation * (image - grey) - middle)
    sigma = rng.uniform(0, 1.6)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32) if sigma > 0.3 else image
