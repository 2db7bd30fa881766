"""ITOP's 15 joints, and how they become the common 17."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.skeletons import JointMapping

JOINTS: tuple[str, ...] = (
    "Head", "Neck", "R Shoulder", "L Shoulder", "R Elbow", "L Elbow", "R Hand", "L Hand", "Torso", "R Hip", "L Hip",
    "R Knee", "L Knee", "R Foot", "L Foot",
)  # fmt: skip
"""In the order of ``real_world_coordinates``; the part ids of ``segmentation`` are the same numbers."""

MAPPING = JointMapping.of(
    JOINTS,
    exact={
        "right_hip": "R Hip", "right_knee": "R Knee", "left_hip": "L Hip", "left_knee": "L Knee",
        "left_shoulder": "L Shoulder", "left_elbow": "L Elbow",
        "right_shoulder": "R Shoulder", "right_elbow": "R Elbow",
    },
    derived={"hip": ("R Hip", "L Hip"), "spine": "Torso", "thorax": "Neck", "nose": ("Head", "Neck")},
    approximate={
        "right_ankle": "R Foot", "left_ankle": "L Foot", "head": "Head",
        "left_wrist": "L Hand", "right_wrist": "R Hand",
    },
)  # fmt: skip
"""In the data itself Neck is the middle of the shoulders, and Torso the middle between Neck and the hips."""

_SOURCES = tuple([JOINTS.index(name) for name in entry.sources] for entry in MAPPING.table)


def map_visible(flags: npt.NDArray[Any]) -> npt.NDArray[np.int8]:
    """Map (N, 15) ``visible_joints`` to (N, 17) 1, 0 or -1: a derived joint is visible where all of its sources are.

    Values other than 0 and 1 mean not known.
    """
    known = np.where((flags == 0) | (flags == 1), flags, -1).astype(np.int8)
    return np.stack([known[:, sources].min(axis=1) for sources in _SOURCES], axis=1)
