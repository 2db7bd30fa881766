"""The loops of ``shade``, compiled.

Shapes: H and W rows and columns of the window that holds the person, M pixels that show the person (row by row).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.synth.compiled import compiled

Float32 = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
SKIN, SHIRT, TROUSERS, SHOES, EYE, MOUTH, HAIR = 0, 1, 4, 7, 8, 9, 10
"""Rows of a palette; a garment has three: its first colour, half of each, its second."""
ALWAYS_SHIRT, ALWAYS_TROUSERS, UPPER_ARM, FOREARM, THIGH, SHANK, FOOT, HEAD, NECK = range(1, 10)
"""Kinds of parts; 0 = skin."""
_COLLAR = np.float32(0.2)
"""Share of the neck that the collar covers."""


@compiled
def _face(along: Any, front: Any, left: Any, recedes: Any) -> int:
    """Return hair, eye, mouth or skin of a pixel of the head; all arguments float32. ``recedes``: how far down the hair
    reaches at the back, below 0 = bald."""
    hairline = np.float32(0.84) - recedes * min(max(np.float32(0.55) - front, np.float32(0)), np.float32(1))
    if recedes >= 0 and along > hairline:
        return HAIR
    if abs(along - np.float32(0.16)) < np.float32(0.03) and front > np.float32(0.85) and abs(left) < np.float32(0.32):
        return MOUTH
    if (
        abs(along - np.float32(0.50)) < np.float32(0.035)
        and front > np.float32(0.7)
        and abs(abs(left) - np.float32(0.42)) < np.float32(0.13)
    ):
        return EYE
    return SKIN


@compiled
def dress(
    part: Bytes, along: Float32, front: Float32, left: Float32, normal: Float32, kinds: Bytes, sleeve: float,
    leg: float, recedes: Any,
) -> tuple[npt.NDArray[np.int64], Bytes, Float32, Float32]:  # fmt: skip
    """Return (M,) pixels' index in the window, (M,) rows of the palette, (3, M) along, front and left, and (M, 3)
    normals, from maps (H, W) and normals (H, W, 3). ``kinds``: part id -> its kind; ``sleeve`` and ``leg``: covered
    share of the limb."""
    height, width = part.shape
    count = (part > 0).sum()
    pixels, rows = np.empty(count, np.int64), np.empty(count, np.uint8)
    places, normals = np.empty((3, count), np.float32), np.empty((count, 3), np.float32)
    place = 0
    for row in range(height):
        for column in range(width):
            if part[row, column] > 0:
                kind = kinds[part[row, column]]
                where = along[row, column]
                pixels[place] = row * width + column
                places[0, place], places[1, place], places[2, place] = where, front[row, column], left[row, column]
                normals[place, 0], normals[place, 1], normals[place, 2] = (
                    normal[row, column, 0], normal[row, column, 1], normal[row, column, 2]
                )  # fmt: skip
                limb = 0.5 * where
                colour = SKIN
                if (
                    kind == ALWAYS_SHIRT
                    or (kind == NECK and where < _COLLAR)
                    or (kind == UPPER_ARM and limb <= sleeve)
                    or (kind == FOREARM and limb + 0.5 < sleeve)
                ):
                    colour = SHIRT
                elif kind == ALWAYS_TROUSERS or (kind == THIGH and limb <= leg) or (kind == SHANK and limb + 0.5 < leg):
                    colour = TROUSERS
                elif kind == FOOT:
                    colour = SHOES
                elif kind == HEAD:
                    colour = _face(where, front[row, column], left[row, column], recedes)
                rows[place] = colour
                place += 1
    return pixels, rows, places, normals


@compiled
def illuminate(
    window: Float32, pixels: npt.NDArray[np.int64], rows: Bytes, palette: Float32, normals: Float32,
    towards_light: Float32, light: Array, ambient: Array,
) -> None:  # fmt: skip
    """Write colours 0..255 into ``window`` (H W, 3); ``towards_light`` (M,) cosines, not yet clipped."""
    zero, one, half, quarters = np.float32(0), np.float32(1), np.float32(0.5), np.float32(0.75)
    count = len(pixels)
    lambert, sky, values = np.empty(count, np.float32), np.empty(count, np.float32), np.empty(count, np.float32)
    for i in range(count):
        lambert[i] = min(max(towards_light[i], zero), one)
        sky[i] = (half - half * normals[i, 1]) * half + quarters
    for channel in range(3):
        direct, diffuse = light[channel], ambient[channel]
        for i in range(count):
            values[i] = palette[rows[i], channel]
        for i in range(count):
            radiance = values[i] * (lambert[i] * direct + sky[i] * diffuse)
            values[i] = 255 * min(max(radiance, 0.0), 1.0)
        for i in range(count):
            window[pixels[i], channel] = values[i]


@compiled
def put(image: Bytes, x0: int, y0: int, window: Float32, near: Bytes) -> None:
    """Write ``window`` (H, W, 3), truncated to whole grey levels, into ``image`` at (x0, y0), where ``near`` (H, W) is
    not 0."""
    height, width = near.shape
    for row in range(height):
        for column in range(width):
            if near[row, column] > 0:
                for channel in range(3):
                    level = min(max(window[row, column, channel], np.float32(0)), np.float32(255))
                    image[y0 + row, x0 + column, channel] = np.uint8(level)


@compiled
def add_noise(
    image: Bytes, words: npt.NDArray[np.uint64], bits: npt.NDArray[np.uint16], quantiles: Array, deviation: float,
    dither: Array,
) -> None:  # fmt: skip
    """Add to each of ``image``'s values (flat) the whole grey level that its 16 random bits select among 4096: four
    values per word, lowest bits first, then one for each of ``bits``.

    ``quantiles`` (4096,) of the normal distribution; ``dither`` (4096,) 0..1 decides how each is rounded.
    """
    levels = np.empty(len(quantiles), np.int16)
    for place in range(len(levels)):
        levels[place] = np.int16(np.rint(quantiles[place] * deviation + (dither[place] - 0.5)))
    for block in range(len(words)):
        for place in range(4):
            index = (words[block] >> np.uint64(16 * place + 4)) & np.uint64(4095)
            image[4 * block + place] = min(max(image[4 * block + place] + levels[index], 0), 255)
    for place in range(len(bits)):
        index = 4 * len(words) + place
        image[index] = min(max(image[index] + levels[bits[place] >> 4], 0), 255)
