"""The two RGBA images of the official download, depth and part colours, drawn from a rendered person.

Written from the format's description alone and sharing nothing with the reader, so that reading these images tests
both.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from kt3d_bench.synth import PARTS

Image = npt.NDArray[np.uint8]

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
_ORDER: tuple[tuple[str, str], ...] = (
    *((name, side) for name in _BOTH for side in "rl"),
    *((name, "") for name in _SINGLE),
)
_REGION = {key: number for number, key in enumerate(_ORDER)}
_HEX = [_SINGLE[name] if not side else _BOTH[name]["rl".index(side)] for name, side in _ORDER]
_COLOURS = np.array([[int(text[at : at + 2], 16) for at in (1, 3, 5)] for text in _HEX], np.uint8)


def regions(
    part: npt.NDArray[Any], along: npt.NDArray[Any], front: npt.NDArray[Any], left: npt.NDArray[Any]
) -> npt.NDArray[np.int64]:
    """Return (K,) regions 0..42 of rendered parts (index + 1 into ``PARTS``) and their surface coordinates (K,)."""
    found = np.zeros(part.shape, np.int64)

    def put(name: str, where: npt.NDArray[np.bool_], side: str = "lr") -> None:
        if side in ("l", "r", ""):
            found[where] = _REGION[name, side]
        else:
            found[where] = np.where(left[where] > 0, _REGION[name, "l"], _REGION[name, "r"])

    def of(name: str) -> npt.NDArray[np.bool_]:
        return np.asarray(part == PARTS.index(name) + 1)

    trunk, chest, neck, head = of("abdomen") | of("pelvis"), of("chest"), of("neck"), of("head")
    put("abdomen front", trunk & (front >= 0))
    put("lower back", trunk & (front < 0))
    put("chest front", chest & (front >= 0))
    put("upper back", chest & (front < 0))
    put("below nape", chest & (front < -0.75) & (along > 0.6), "")
    put("trapezius", neck)
    put("throat", neck & (front > 0.55), "")
    put("nape", neck & (front < -0.45))
    put("face", head)
    put("forehead", head & (front > 0.1) & (along > 0.58), "")
    put("crown", head & ((front < -0.15) | (along > 0.88)))
    for side in "lr":
        girdle, upper, lower = of(f"shoulder_{side}"), of(f"upper_arm_{side}"), of(f"forearm_{side}")
        put("trapezius", girdle & (along < 0.45), side)
        cap = (girdle & (along >= 0.45)) | (upper & (along < 0.22))
        put("shoulder front", cap & (front >= 0), side)
        put("shoulder back", cap & (front < 0), side)
        put("upper arm", upper & (along >= 0.22), side)
        put("upper forearm", lower, side)
        put("lower forearm", lower & (along > 0.55), side)
        put("elbow", (upper & (along > 0.82)) | (lower & (along < 0.14)), side)
        put("hand", of(f"hand_{side}"), side)
        thigh, shank, foot = of(f"thigh_{side}"), of(f"shank_{side}"), of(f"foot_{side}")
        put("thigh", thigh, side)
        put("shank", shank, side)
        put("knee", (thigh & (along > 0.84)) | (shank & (along < 0.16)), side)
        put("heel", foot | (shank & (along > 0.88)), side)
        put("forefoot", foot & (along > 0.5), side)
    return found


def paint(maps: dict[str, npt.NDArray[Any]], window_px: tuple[int, int, int, int], size_px: tuple[int, int],
          rng: np.random.Generator) -> tuple[Image, Image]:  # fmt: skip
    """Return the (H, W, 4) depth and part images, RGBA, background all zero, of one rendered person's window maps."""
    width, height = size_px
    x0, y0, x1, y1 = window_px
    body = maps["part"] > 0
    grey = np.rint((maps["depth_mm"][body] / 10.0 - _NEAR_CM) / (_FAR_CM - _NEAR_CM) * 255.0)
    dither = rng.integers(-1, 2, (int(body.sum()), 5))
    depth = np.zeros((*body.shape, 3), np.int16)
    depth[body] = grey[:, None]
    depth[body, 1:] += dither[:, :2].astype(np.int16)
    ids = np.full(body.shape, -1)
    ids[body] = regions(maps["part"][body], *(maps[name][body] for name in ("along", "front", "left")))
    colour = np.zeros((*body.shape, 3), np.int16)
    colour[body] = _COLOURS[ids[body]] + dither[:, 2:]
    _blend_seams(colour, ids, rng)
    alpha, inside = _coverage(body)
    images = []
    for values in (depth, colour):
        rgba = np.zeros((height, width, 4), np.uint8)
        rgba[y0:y1, x0:x1, :3] = _soft_edge(np.clip(values, 0, 255).astype(np.uint8), inside, alpha)
        rgba[y0:y1, x0:x1, 3] = alpha
        images.append(rgba)
    return images[0], images[1]


def _blend_seams(colour: npt.NDArray[np.int16], ids: npt.NDArray[Any], rng: np.random.Generator) -> None:
    seam = np.zeros(ids.shape, bool)
    seam[:, :-1] = (ids[:, :-1] != ids[:, 1:]) & (ids[:, :-1] >= 0) & (ids[:, 1:] >= 0)
    rows, columns = np.nonzero(seam)
    chosen = rng.random(len(rows)) < _SEAM_SHARE
    rows, columns = rows[chosen], columns[chosen]
    colour[rows, columns] = (colour[rows, columns] + colour[rows, columns + 1]) // 2


def _coverage(body: npt.NDArray[np.bool_]) -> tuple[Image, npt.NDArray[np.bool_]]:
    """Return anti-aliased alpha in 33 levels (0, 7, 15, ..., 247, 255), and where it is full."""
    share = cv2.blur(body.astype(np.float32), (3, 3), borderType=cv2.BORDER_REPLICATE)
    levels = np.rint(np.clip((share - 0.15) / 0.7, 0, 1) * 32)
    return np.floor(levels * 255 / 32).astype(np.uint8), levels == 32


def _soft_edge(rgb: Image, inside: npt.NDArray[np.bool_], alpha: Image) -> Image:
    """Keep exact colours inside, and blur them towards black at the silhouette's edge."""
    soft = np.asarray(cv2.blur(rgb, (3, 3)), np.uint8)
    soft[inside] = rgb[inside]
    soft[alpha == 0] = 0
    return soft
