"""Finding the person in a depth image without labels: named rules, each a part of the benchmarks that use it.

A rule never changes its meaning; another meaning gets another name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import ArtefactError, did_you_mean
from kt3d_bench.geometry.central_body import central_body

DepthImage = npt.NDArray[np.uint16]


def _given(depth_mm: DepthImage) -> DepthImage:
    """The image holds the person alone: whatever is measured is the person."""
    return depth_mm


RULES: Mapping[str, Callable[[DepthImage], DepthImage]] = {"given": _given, "central-body": central_body}
"""Name -> function from a (H, W) depth crop to the same with 0 wherever the person is not."""


def silhouette(image: npt.NDArray[Any], rule: str) -> npt.NDArray[np.uint8]:
    """(H, W) uint8 part ids or uint16 depth in mm of a person's crop -> uint8, 255 on the person, else 0."""
    shown = person_depth(image, rule) if image.dtype == np.uint16 else image
    return (shown > 0).astype(np.uint8) * np.uint8(255)


def person_depth(depth_mm: DepthImage, rule: str) -> DepthImage:
    """(H, W) uint16 z-depth in mm (0 = no reading) of a person's crop -> the same, 0 off the person.

    Reads nothing but the image. Raises ``ArtefactError`` for an unknown ``rule``: manifests name it.
    """
    if rule not in RULES:
        hint = f"prepare the shards again; {did_you_mean(rule, RULES)}"
        raise ArtefactError(f"there is no rule '{rule}' that finds people in depth images", where="manifest", hint=hint)
    return RULES[rule](depth_mm)
