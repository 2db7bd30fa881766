"""ITOP's 15 joints, and how they become the common 17."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.skeletons import JointMapping, JointSource, Quality

JOINTS: tuple[str, ...] = (
    "Head", "Neck", "R Shoulder", "L Shoulder", "R Elbow", "L Elbow", "R Hand", "L Hand", "Torso", "R Hip", "L Hip",
    "R Knee", "L Knee", "R Foot", "L Foot",
)  # fmt: skip
"""In the order of ``real_world_coordinates``; the part ids of ``segmentation`` are the same numbers."""


def _exact(name: str) -> JointSource:
    return JointSource(Quality.EXACT, (name,))


def _derived(note: str, *names: str) -> JointSource:
    return JointSource(Quality.DERIVED, names, note)


def _approximate(name: str, note: str) -> JointSource:
    return JointSource(Quality.APPROXIMATE, (name,), note)


MAPPING = JointMapping(
    JOINTS,
    (
        _derived("mean of the two hips, as Human3.6M's own root behaves", "R Hip", "L Hip"),
        _exact("R Hip"),
        _exact("R Knee"),
        _approximate("R Foot", "at ankle or foot level"),
        _exact("L Hip"),
        _exact("L Knee"),
        _approximate("L Foot", "at ankle or foot level"),
        _derived("in the data itself the middle between Neck and the hips", "Torso"),
        _derived("in the data itself the middle of the shoulders", "Neck"),
        _derived("mean of Head and Neck", "Head", "Neck"),
        _approximate("Head", "middle of the head; Human3.6M's is its top"),
        _exact("L Shoulder"),
        _exact("L Elbow"),
        _approximate("L Hand", "at wrist or hand level"),
        _exact("R Shoulder"),
        _exact("R Elbow"),
        _approximate("R Hand", "at wrist or hand level"),
    ),
)


_SOURCES = tuple([JOINTS.index(name) for name in entry.sources] for entry in MAPPING.table)


def map_visible(flags: npt.NDArray[Any]) -> npt.NDArray[np.int8]:
    """(N, 15) ``visible_joints`` -> (N, 17) 1, 0 or -1: a derived joint is visible where all of its sources are.

    Values other than 0 and 1 mean not known.
    """
    known = np.where((flags == 0) | (flags == 1), flags, -1).astype(np.int8)
    return np.stack([known[:, sources].min(axis=1) for sources in _SOURCES], axis=1)
