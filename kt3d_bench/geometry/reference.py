"""The label-free depth of a person in a depth image: what turns hip-relative depth into camera millimetres."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def surface_reference_mm(depth_mm: npt.NDArray[Any]) -> float:
    """Median depth of the largest connected foreground component of a (H, W) depth image, 0 = no reading.

    Reads nothing but the image. The background must have been removed (0) already; NaN for an empty image.
    """
    import cv2

    depth = np.asarray(depth_mm)
    foreground = (depth > 0).astype(np.uint8)
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(foreground, connectivity=8)
    if count < 2:
        return float("nan")
    largest = 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))
    return float(np.median(depth[labels == largest]))
