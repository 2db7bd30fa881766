"""Depth and part images of generated sections, painted by one compiled loop.

Shares no constant and no helper with the reader, so that reading them tests both.
Shapes: H and W rows and columns of the window that holds the person.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.synth import PARTS
from kt3d_bench.synth.compiled import compiled

Image = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int16]
Words = npt.NDArray[np.uint64]

_NEAR_CM, _FAR_CM = 50.0, 800.0
_SEAM_SHARE = 0.3
"""Share of the pixels on the border of two regions that blend both colours."""

_BOTH = {
    "chest front": ("#ff6a00", "#ff0000"), "abdomen front": ("#ffb27f", "#ff7f7f"),
    "upper back": ("#b6ff00", "#ffd800"), "lower back": ("#daff7f", "#ffe97f"),
    "trapezius": ("#4800ff", "#0094ff"),
    "shoulder front": ("#00ff21", "#4cff00"),
    "shoulder back": ("#00ffff", "#00ff90"), "nape": ("#7f3f3f", "#7f743f"), "thigh": ("#7fc9ff", "#7fffff"),
    "knee": ("#a5ff7f", "#7fffc5"), "shank": ("#d67fff", "#a17fff"), "heel": ("#6b3f7f", "#3f497f"),
    "forefoot": ("#3f7f7f", "#6d7f3f"), "hand": ("#ff7fed", "#7f3f76"), "upper arm": ("#004a7f", "#21007f"),
    "elbow": ("#ff006e", "#7f0037"), "upper forearm": ("#007f46", "#267f00"), "lower forearm": ("#7f0000", "#7f3300"),
    "crown": ("#494949", "#000000"), "face": ("#bfa8f7", "#c0c0c0"),
}  # fmt: skip
"""Regions that come in pairs: colour on the person's right, colour on the left."""
_SINGLE = {"throat": "#303030", "below nape": "#b200ff", "forehead": "#404040"}
_HEX = [*(colour for pair in _BOTH.values() for colour in pair), *_SINGLE.values()]
_COLOURS = np.array([[int(text[at : at + 2], 16) for at in (1, 3, 5)] for text in _HEX], np.uint8)
(_CHEST_FRONT, _ABDOMEN_FRONT, _UPPER_BACK, _LOWER_BACK, _TRAPEZIUS, _SHOULDER_FRONT, _SHOULDER_BACK, _NAPE, _THIGH,
 _KNEE, _SHANK, _HEEL, _FOREFOOT, _HAND, _UPPER_ARM, _ELBOW, _UPPER_FOREARM, _LOWER_FOREARM, _CROWN,
 _FACE) = range(0, 2 * len(_BOTH), 2)  # fmt: skip
_THROAT, _BELOW_NAPE, _FOREHEAD = range(2 * len(_BOTH), len(_HEX))

_KINDS = ("trunk", "chest", "neck", "head", "shoulder", "upper_arm", "forearm", "hand", "thigh", "shank", "foot")
_IN_TRUNK, _IN_CHEST, _IN_NECK, _IN_HEAD, _IN_SHOULDER, _IN_UPPER_ARM, _IN_FOREARM, _IN_HAND, _IN_THIGH, _IN_SHANK, \
    _IN_FOOT = range(len(_KINDS))  # fmt: skip
_STEMS = [name.removesuffix("_l").removesuffix("_r") for name in PARTS]
_KIND_OF_PART = np.array([_KINDS.index({"abdomen": "trunk", "pelvis": "trunk"}.get(stem, stem)) for stem in _STEMS])
_SIDE_OF_PART = np.array([{"_r": 0, "_l": 1}.get(name[-2:], -1) for name in PARTS])
"""0 right, 1 left, -1 = by the place on its surface."""


@compiled
def _region(kind: int, along: Any, front: Any) -> int:
    """Return the region, of a pair the right one, at a place of a part: 0..1 along it, -1..1 towards its front."""
    if kind == _IN_TRUNK:
        return _ABDOMEN_FRONT if front >= 0 else _LOWER_BACK
    if kind == _IN_CHEST:
        if front < -0.75 and along > 0.6:
            return _BELOW_NAPE
        return _CHEST_FRONT if front >= 0 else _UPPER_BACK
    if kind == _IN_NECK:
        return _THROAT if front > 0.55 else (_NAPE if front < -0.45 else _TRAPEZIUS)
    if kind == _IN_HEAD:
        if front < -0.15 or along > 0.88:
            return _CROWN
        return _FOREHEAD if front > 0.1 and along > 0.58 else _FACE
    if kind == _IN_SHOULDER and along < 0.45:
        return _TRAPEZIUS
    if kind == _IN_SHOULDER or (kind == _IN_UPPER_ARM and along < 0.22):
        return _SHOULDER_FRONT if front >= 0 else _SHOULDER_BACK
    if kind == _IN_UPPER_ARM:
        return _ELBOW if along > 0.82 else _UPPER_ARM
    if kind == _IN_FOREARM:
        return _ELBOW if along < 0.14 else (_LOWER_FOREARM if along > 0.55 else _UPPER_FOREARM)
    if kind == _IN_HAND:
        return _HAND
    if kind == _IN_THIGH:
        return _KNEE if along > 0.84 else _THIGH
    if kind == _IN_SHANK:
        return _KNEE if along < 0.16 else (_HEEL if along > 0.88 else _SHANK)
    return _FOREFOOT if along > 0.5 else _HEEL


@compiled
def _regions(
    part: Image, along: Float32, front: Float32, left: Float32, kind_of: npt.NDArray[np.int64],
    side_of: npt.NDArray[np.int64],
) -> Ids:  # fmt: skip
    height, width = part.shape
    ids = np.full((height, width), np.int16(-1))
    for row in range(height):
        for column in range(width):
            own = part[row, column] - 1
            if own >= 0:
                found = _region(kind_of[own], along[row, column], front[row, column])
                if found < _THROAT:
                    found += side_of[own] if side_of[own] >= 0 else int(left[row, column] > 0)
                ids[row, column] = found
    return ids


def regions(maps: Mapping[str, npt.NDArray[Any]]) -> Ids:
    """Return (H, W) regions 0..42, -1 = nobody, of the maps of ``synth.RenderedFigure``."""
    part, along, front, left = (np.ascontiguousarray(maps[name]) for name in ("part", "along", "front", "left"))
    return _regions(part, along, front, left, _KIND_OF_PART, _SIDE_OF_PART)


@compiled
def _paint(ids: Ids, depth_mm: Float32, words: Words, x0: int, y0: int, depth: Image, parts: Image) -> None:
    """Paint the window at (x0, y0) of the images ``depth`` and ``parts``, RGBA, all zero before.

    ``words``: 64 random bits for each pixel of the person, row by row.
    """
    height, width = ids.shape
    colours = np.zeros((height, width, 6), np.int16)
    place = 0
    for row in range(height):
        for column in range(width):
            own = ids[row, column]
            if own >= 0:
                word = words[place]
                place += 1
                grey = np.rint((depth_mm[row, column] / 10.0 - _NEAR_CM) / (_FAR_CM - _NEAR_CM) * 255.0)
                for channel in range(6):
                    value = grey if channel < 3 else float(_COLOURS[own, channel - 3])
                    if channel > 0:
                        dither = (word >> np.uint64(8 * channel)) & np.uint64(255)
                        value += float((dither * np.uint64(3)) >> np.uint64(8)) - 1.0
                    colours[row, column, channel] = np.int16(min(max(value, 0.0), 255.0))
                beside = ids[row, column - 1] if column > 0 else np.int16(-1)
                if beside >= 0 and beside != own and (word >> np.uint64(56)) < np.uint64(256 * _SEAM_SHARE):
                    for channel in range(3, 6):
                        both = colours[row, column - 1, channel] + colours[row, column, channel]
                        colours[row, column - 1, channel] = both // 2
    for row in range(height):
        for column in range(width):
            covered = 0
            for down in range(-1, 2):
                for right in range(-1, 2):
                    y, x = min(max(row + down, 0), height - 1), min(max(column + right, 0), width - 1)
                    covered += int(ids[y, x] >= 0)
            inside = ids[row, column] >= 0
            share = min(max((covered / 9.0 - 0.15) / 0.7, 0.0), 1.0)
            level = np.rint(share * 32.0)
            if not inside:
                level = min(level, 31.0)
            if level > 0:
                alpha = np.uint8(np.floor(level * 255.0 / 32.0))
                for channel in range(6):
                    image = depth if channel < 3 else parts
                    value = int(colours[row, column, channel])
                    if level < 32:
                        value = 0
                        for down in range(-1, 2):
                            for right in range(-1, 2):
                                y, x = min(max(row + down, 0), height - 1), min(max(column + right, 0), width - 1)
                                value += int(colours[y, x, channel])
                        value = (2 * value + 9) // 18
                    image[y0 + row, x0 + column, channel % 3] = value
                depth[y0 + row, x0 + column, 3] = parts[y0 + row, x0 + column, 3] = alpha


def paint(maps: Mapping[str, npt.NDArray[Any]], window_px: tuple[int, int, int, int], size_px: tuple[int, int],
          rng: np.random.Generator) -> tuple[Image, Image]:  # fmt: skip
    """Return the (H, W, 4) depth and part images, RGBA, background all zero, of one rendered person's window maps.

    As in the original: levels and colours differ by dither of one, colours mix on some borders of regions, and the
    silhouette's edge is soft: alpha in 33 steps, colours blurred towards black.
    """
    width, height = size_px
    depth, parts = np.zeros((height, width, 4), np.uint8), np.zeros((height, width, 4), np.uint8)
    ids = regions(maps)
    words = rng.integers(0, 1 << 64, int((ids >= 0).sum()), np.uint64)
    _paint(ids, np.ascontiguousarray(maps["depth_mm"]), words, window_px[0], window_px[1], depth, parts)
    return depth, parts
