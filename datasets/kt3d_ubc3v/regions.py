"""The part-colour table of UBC3V's toolkit and its rules: +-2 per channel, opaque pixels only, later rows win.

Two colours appear twice in the toolkit's 45 rows, so its labels 17 and 18 never survive and 43 regions are left.
Shards store compact ids: the surviving labels in ascending order, 1..43 (labels 1-16 -> 1-16, 19-43 -> 17-41,
44 -> 42, 45 -> 43); 0 is background or a pixel that matches no row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

TOOLKIT_COLOURS: tuple[tuple[int, int, int], ...] = (
    (255, 106, 0), (255, 0, 0), (255, 178, 127), (255, 127, 127), (182, 255, 0), (218, 255, 127), (255, 216, 0),
    (255, 233, 127), (0, 148, 255), (72, 0, 255), (48, 48, 48), (76, 255, 0), (0, 255, 33), (0, 255, 255),
    (0, 255, 144), (178, 0, 255), (127, 116, 63), (127, 63, 63), (127, 201, 255), (127, 255, 255), (165, 255, 127),
    (127, 255, 197), (214, 127, 255), (161, 127, 255), (107, 63, 127), (63, 73, 127), (63, 127, 127), (109, 127, 63),
    (255, 127, 237), (127, 63, 118), (0, 74, 127), (255, 0, 110), (0, 127, 70), (127, 0, 0), (33, 0, 127),
    (127, 0, 55), (38, 127, 0), (127, 51, 0), (64, 64, 64), (73, 73, 73), (0, 0, 0), (191, 168, 247),
    (192, 192, 192), (127, 63, 63), (127, 116, 63),
)  # fmt: skip
"""RGB of the toolkit's labels 1..45 (``get_classes_from_image.m``)."""

TOLERANCE = 2
SURVIVING_LABELS: tuple[int, ...] = tuple(label for label in range(1, 46) if label not in (17, 18))
NUM_PARTS = 1 + len(SURVIVING_LABELS)  # 44: background and 43 regions

_NAMES = {
    1: "chest front, right", 2: "chest front, left", 3: "abdomen and pelvis front, right",
    4: "abdomen and pelvis front, left", 5: "upper back, right", 6: "lower back and buttock, right",
    7: "upper back, left", 8: "lower back and buttock, left", 9: "neck side and trapezius, left",
    10: "neck side and trapezius, right", 11: "throat", 12: "shoulder front, left", 13: "shoulder front, right",
    14: "shoulder back, right", 15: "shoulder back, left", 16: "centre of upper back below the nape",
    19: "thigh, right", 20: "thigh, left", 21: "knee, right", 22: "knee, left", 23: "shin and calf, right",
    24: "shin and calf, left", 25: "heel and ankle, right", 26: "heel and ankle, left", 27: "forefoot, right",
    28: "forefoot, left", 29: "hand, right", 30: "hand, left", 31: "upper arm, right", 32: "elbow, right",
    33: "upper forearm, right", 34: "lower forearm and wrist, right", 35: "upper arm, left", 36: "elbow, left",
    37: "upper forearm, left", 38: "lower forearm and wrist, left", 39: "forehead and upper face",
    40: "back and top of head, right", 41: "back and top of head, left", 42: "face and ear, right",
    43: "face and ear, left", 44: "nape, right", 45: "nape, left",
}  # fmt: skip
REGION_NAMES: tuple[str, ...] = ("background", *(_NAMES[label] for label in SURVIVING_LABELS))
"""Name of each compact id; descriptive, left and right are the subject's."""

_UNKNOWN_COLOUR_SHARE = 0.05
_UNMATCHED_SHARE = 0.25


@dataclass(frozen=True, eq=False)
class Regions:
    """Part ids of one image, and what of its foreground matched no row of the table."""

    ids: npt.NDArray[np.uint8]  # (H, W) compact ids
    foreground: int
    unmatched: int
    problem: str | None
    """A sentence when the colours are not this table's: too much unmatched, or a flat area of an unknown colour."""


@cache
def _table() -> npt.NDArray[np.uint8]:
    """Return the id of every colour, red + 256 green + 65,536 blue."""
    table = np.zeros((256, 256, 256), np.uint8)
    for label, colour in enumerate(TOOLKIT_COLOURS, start=1):
        if label in SURVIVING_LABELS:
            near = tuple(slice(max(0, value - TOLERANCE), value + TOLERANCE + 1) for value in reversed(colour))
            table[near] = SURVIVING_LABELS.index(label) + 1
    return table.ravel()


def opaque_pixels(rgba: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
    """Return flat indices (K,) and colours (K,), red + 256 green + 65,536 blue, of the pixels whose alpha is 255."""
    words = np.ascontiguousarray(rgba).view("<u4").ravel()
    pixels = np.flatnonzero(words >= 0xFF000000)
    return pixels, words[pixels] & np.uint32(0xFFFFFF)


def read_regions(rgba: npt.NDArray[Any]) -> Regions:
    """(H, W, 4) uint8 class image -> compact ids. A pixel counts only where alpha is 255.

    Pixels where two regions blend match no row and stay 0, as in the toolkit; they are counted. The image is refused
    (``problem``) when more than a quarter of the person is unmatched or one unknown colour fills more than a
    twentieth of it.
    """
    pixels, colours = opaque_pixels(rgba)
    matched = _table()[colours]
    ids = np.zeros(rgba.shape[:2], np.uint8)
    ids.ravel()[pixels] = matched
    left = colours[matched == 0]
    return Regions(ids, len(colours), len(left), _problem(left, len(colours)))


def _channels(colours: npt.NDArray[np.uint32]) -> npt.NDArray[np.int16]:
    """Return (..., 3) red, green, blue."""
    return np.stack([colours & 255, colours >> 8 & 255, colours >> 16], axis=-1).astype(np.int16)


def _problem(colours: npt.NDArray[np.uint32], foreground: int) -> str | None:
    if not len(colours):
        return None
    values, counts = np.unique(colours, return_counts=True)
    unmatched, commonest = _channels(colours), _channels(values[counts.argmax()])
    flat = int((np.abs(unmatched - commonest) <= TOLERANCE).all(axis=-1).sum())
    red, green, blue = (int(value) for value in commonest)
    if flat > _UNKNOWN_COLOUR_SHARE * foreground:
        return f"colour ({red}, {green}, {blue}) fills {flat} of {foreground} person pixels and is no region's"
    if len(unmatched) > _UNMATCHED_SHARE * foreground:
        return f"{len(unmatched)} of {foreground} person pixels have no region's colour"
    return None
