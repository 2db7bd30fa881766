"""Find people in whole images with BlazePose's detector, a single-shot network with 2,254 anchors on 224 x 224 px.

Each anchor gives a score, a box around the face and four points, of which two are used: the middle of the hips, and a
point on the circle around it that holds the whole body. Images are padded with black to a square.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from kt3d_blazepose.networks import FloatArray, Network

SIDE_PX = 224
LEAST_SCORE = 0.5
MOST_OVERLAP = 0.3
"""Intersection over union of two faces beyond which they are one person's."""
_GRIDS = ((28, 2), (14, 2), (7, 6))
"""Cells along a side, and anchors per cell."""


def anchors() -> FloatArray:
    """Return the (2254, 2) centres of the anchors, x and y in 0..1, row by row."""
    found = []
    for cells, each in _GRIDS:
        middle = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(middle, middle, indexing="ij")
        found.append(np.repeat(np.stack([x.ravel(), y.ravel()], -1), each, axis=0))
    return np.concatenate(found).astype(np.float32)


def decode(regressed: FloatArray, logits: FloatArray) -> FloatArray:
    """Return circles (N, 3) as x, y and radius around people, the surest first.

    ``regressed`` (2254, 12) and ``logits`` (2254, 1) are the network's outputs; results are in px of its input.
    """
    import cv2

    score = expit(logits[:, 0])
    centre = anchors() * SIDE_PX
    middle, half = regressed[:, :2] + centre, regressed[:, 2:4] / 2
    hips, rim = regressed[:, 4:6] + centre, regressed[:, 6:8] + centre
    boxes = np.concatenate([middle - half, 2 * half], -1)
    kept = np.array(cv2.dnn.NMSBoxes(boxes.tolist(), score.tolist(), LEAST_SCORE, MOST_OVERLAP), int).reshape(-1)
    circles: FloatArray = np.concatenate([hips, np.linalg.norm(rim - hips, axis=-1, keepdims=True)], -1)
    found: FloatArray = circles[kept]
    return found


def boxes_of(circles: FloatArray) -> FloatArray:
    """(N, 3) circles -> (N, 4) squares around them, x0, y0, x1, y1."""
    return np.concatenate([circles[:, :2] - circles[:, 2:], circles[:, :2] + circles[:, 2:]], -1)


class Detector:
    """Boxes around the people in an image. Raises what ``networks.Network`` raises."""

    def __init__(self) -> None:
        self._network = Network("pose_detection.tflite")

    def __call__(self, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """(H, W, 3) RGB -> (N, 4) boxes, x0, y0, x1, y1 in px, the surest first; they may reach out of the image."""
        import cv2

        height, width = rgb.shape[:2]
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        square = np.pad(rgb, ((top, side - height - top), (left, side - width - left), (0, 0)))
        enlarged = side < SIDE_PX
        image = cv2.resize(square, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_LINEAR if enlarged else cv2.INTER_AREA)
        circles = decode(*self._network(image.astype(np.float32) / 127.5 - 1))
        boxes = (boxes_of(circles) + 0.5) * (side / SIDE_PX) - 0.5
        return np.asarray(boxes - np.array([left, top, left, top]), np.float64)
