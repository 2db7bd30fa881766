"""The person in a picture of a camera that stands still: what differs from the median of its pictures.

Reads nothing but pictures, so it may be given to methods that see no label. Shadows are told from people by their
colour: a shadow is a darker background of the same hue (Horprasert et al., A statistical approach for real-time robust
background subtraction and shadow detection, ICCV FRAME-RATE workshop, 1999). Limits: somebody who stays in one place
in more than half of the pictures becomes background, and moved furniture becomes foreground. Take pictures of several
recordings of the same camera where there are any. Shapes: H and W image rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]

PICTURES = 31
"""Pictures that a median is taken of; an odd number, so that the median is one of the values."""
_ROWS = 128
"""Image rows whose median is taken at once, which bounds the memory."""
_BLUR_PX = 0.6
"""Standard deviation of the Gaussian that removes noise and the ringing of compression."""
_COLOUR = 11.0
"""Least distance (grey levels) between a pixel's colour and the background's, at any brightness."""
_DARKER, _BRIGHTER = 0.5, 1.25
"""A pixel of the background's hue is a shadow or a reflection when its brightness is between these multiples."""
_GAP = 0.01
"""Gaps up to this share of the picture's side are closed."""
_LARGEST_HOLE = 0.004
"""Holes below this share of the picture's area are filled; larger ones are the view between limbs."""
_SECOND = 0.05
"""A piece is kept when it has at least this share of the largest piece's pixels."""


def median_picture(pictures: Sequence[Image]) -> Image:
    """Return the median (H, W, 3) of pictures of one size, per pixel and channel; of an even number the upper one.

    Raises ``ValueError`` for no picture and for pictures of different sizes.
    """
    if not pictures or any(picture.shape != pictures[0].shape for picture in pictures):
        raise ValueError(f"a median needs pictures of one size, found {sorted({one.shape for one in pictures})}")
    middle = len(pictures) // 2
    median = np.empty_like(pictures[0])
    for top in range(0, len(median), _ROWS):
        block = np.stack([picture[top : top + _ROWS] for picture in pictures])
        block.partition(middle, axis=0)
        median[top : top + _ROWS] = block[middle]
    return median


def motion_foreground(picture: Image, background: Image) -> Image:
    """Return (H, W) uint8, 255 where ``picture`` (H, W, 3) shows somebody before ``background`` (H, W, 3), else 0.

    All zero where nothing differs.
    """
    import cv2

    mask: npt.NDArray[Any] = _differing(picture, background)
    side = max(mask.shape)
    size = max(3, 2 * round(_GAP * side / 2) + 1)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel)
    return _without_holes(_largest_pieces(mask), _LARGEST_HOLE * mask.size)


def _differing(picture: Image, background: Image) -> Image:
    """Return 255 where the colour differs, or the brightness by more than a shadow's."""
    import cv2

    def smooth(image: Image) -> npt.NDArray[Any]:
        return cv2.GaussianBlur(image, (0, 0), _BLUR_PX).astype(np.float32)

    def dot(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return cv2.transform(cv2.multiply(one, other), np.ones((1, 3), np.float32))

    seen, empty = smooth(picture), smooth(background)
    along = dot(seen, empty)
    brightness = along / np.maximum(dot(empty, empty), 1.0)
    off = dot(seen, seen) - along * brightness
    difference = cv2.subtract(seen, empty)
    unlit = (brightness < _DARKER) | (brightness > _BRIGHTER)
    found = (off > _COLOUR**2) | (unlit & (dot(difference, difference) > _COLOUR**2))
    return _white(found)


def _white(mask: npt.NDArray[Any]) -> Image:
    return np.where(mask, np.uint8(255), np.uint8(0))


def _largest_pieces(mask: npt.NDArray[Any]) -> Image:
    import cv2

    count, pieces, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count < 2:
        return _white(mask)
    area: npt.NDArray[Any] = statistics[:, cv2.CC_STAT_AREA].copy()
    area[0] = 0
    kept = area >= max(_SECOND * area.max(), 1)
    return _white(kept[pieces])


def _without_holes(mask: npt.NDArray[Any], largest: float) -> Image:
    import cv2

    count, pieces, statistics, _ = cv2.connectedComponentsWithStats(255 - mask, connectivity=4)
    if count < 2:
        return _white(mask)
    filled = statistics[:, cv2.CC_STAT_AREA] < largest
    filled[0] = True
    return _white(filled[pieces])
