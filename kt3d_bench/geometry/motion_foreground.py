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
_ROWS = 32
"""Image rows whose median is taken at once, which bounds the memory."""
_BLUR_PX = 0.6
"""Standard deviation of the Gaussian that removes noise and the ringing of compression."""
_COLOUR = 11.0
"""Least distance (grey levels) between a pixel's colour and the background's, at any brightness."""
_DARKER, _BRIGHTER = 0.5, 1.1
"""A pixel of the background's hue is a shadow or a reflection when its brightness is between these multiples."""
_GAP = 0.01
"""Gaps up to this share of the picture's side are closed."""
_LARGEST_HOLE = 0.004
"""Holes below this share of the picture's area are filled; larger ones are the view between limbs."""
_SECOND = 0.02
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
        for step in range(len(block)):
            # Odd-even transposition sort: minima and maxima of whole pictures take a sixth of np.partition's time.
            lower, upper = block[step % 2 : -1 : 2], block[step % 2 + 1 :: 2]
            least = np.minimum(lower, upper)
            np.maximum(lower, upper, out=upper)
            lower[:] = least
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
    return _whole(mask)


def _differing(picture: Image, background: Image) -> Image:
    """Return 255 where the colour differs, or the brightness by more than a shadow's."""
    import cv2

    seen, empty = (cv2.GaussianBlur(image, (0, 0), _BLUR_PX) for image in (picture, background))
    red, green, blue = cv2.split(cv2.absdiff(seen, empty))
    differing = cv2.max(cv2.max(red, green), blue) > _COLOUR / np.sqrt(3)
    # The colour's distance is never larger than the difference, so that only these pixels can be far off.
    found = np.zeros(differing.shape, np.uint8)
    found[differing] = _unlike(seen[differing].astype(np.float32), empty[differing].astype(np.float32))
    return found


def _unlike(seen: npt.NDArray[np.float32], empty: npt.NDArray[np.float32]) -> Image:
    """Return (n,) 255 where colours (n, 3) are no shadow or reflection on the background's colours (n, 3), else 0."""

    def dot(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.asarray(one[:, 0] * other[:, 0] + one[:, 1] * other[:, 1] + one[:, 2] * other[:, 2])

    along = dot(seen, empty)
    brightness = along / np.maximum(dot(empty, empty), 1.0)
    off = dot(seen, seen) - along * brightness
    unlit = (brightness < _DARKER) | (brightness > _BRIGHTER)
    far = dot(seen - empty, seen - empty) > _COLOUR**2
    return _white((off > _COLOUR**2) | (unlit & far))


def _white(mask: npt.NDArray[Any]) -> Image:
    white: Image = np.where(mask, np.uint8(255), np.uint8(0))
    return white


def _whole(mask: npt.NDArray[Any]) -> Image:
    """Return the mask without its small pieces and small holes."""
    import cv2

    found: Any = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    outlines, nested = found
    if not outlines:
        return np.zeros(mask.shape, np.uint8)
    areas = np.array([max(cv2.contourArea(outline), 1.0) for outline in outlines])
    parents = nested[0, :, 3]
    least = _SECOND * areas[parents < 0].max()
    pieces = [outlines[i] for i in np.flatnonzero((parents < 0) & (areas >= least))]
    holes = [outlines[i] for i in np.flatnonzero((parents >= 0) & (areas < _LARGEST_HOLE * mask.size))]
    kept = cv2.drawContours(np.zeros(mask.shape, np.uint8), pieces, -1, 255, cv2.FILLED)
    filled = cv2.drawContours(mask.copy(), holes, -1, 255, cv2.FILLED)
    return _white((kept > 0) & (filled > 0))
