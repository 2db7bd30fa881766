"""The label-free depth of a person in a depth image: what turns hip-relative depth into camera millimetres."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_FEW_PIXELS = 1 << 17
"""An image of fewer pixels has few enough components to be counted in 16 bits."""


def surface_reference_mm(depth_mm: npt.NDArray[Any]) -> float:
    """Median depth of the largest connected foreground component of a (H, W) depth image, 0 = no reading.

    Reads nothing but the image. The background must have been removed (0) already; NaN for an empty image.
    """
    import cv2

    depth = np.asarray(depth_mm)
    foreground = depth > 0
    narrow = depth.size < _FEW_PIXELS
    count, labels = cv2.connectedComponents(
        foreground.view(np.uint8), connectivity=8, ltype=cv2.CV_16U if narrow else cv2.CV_32S
    )
    if count < 2:
        return float("nan")
    if count > 2:
        foreground = labels == 1 + int(np.bincount(labels.ravel(), minlength=count)[1:].argmax())
    values = depth[foreground]
    middle = (len(values) - 1) // 2, len(values) // 2
    low, high = np.partition(values, middle)[list(middle)].tolist()
    return float(low + high) / 2
