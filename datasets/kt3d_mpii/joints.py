"""MPII's 16 joints and how they become the common 17: spine and nose have no counterpart."""

from __future__ import annotations

from kt3d_bench.skeletons import JointMapping

JOINTS: tuple[str, ...] = (
    "r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle", "pelvis", "thorax", "upper_neck", "head_top",
    "r_wrist", "r_elbow", "r_shoulder", "l_shoulder", "l_elbow", "l_wrist",
)  # fmt: skip
"""In the order of the annotation's ``id`` 0..15."""

MAPPING = JointMapping.of(
    JOINTS,
    exact={
        "hip": "pelvis", "right_hip": "r_hip", "right_knee": "r_knee", "right_ankle": "r_ankle",
        "left_hip": "l_hip", "left_knee": "l_knee", "left_ankle": "l_ankle",
        "left_shoulder": "l_shoulder", "left_elbow": "l_elbow", "left_wrist": "l_wrist",
        "right_shoulder": "r_shoulder", "right_elbow": "r_elbow", "right_wrist": "r_wrist",
    },
    approximate={"thorax": "upper_neck", "head": "head_top"},
)  # fmt: skip
"""MPII's own thorax (the shoulders' midpoint) is not used: the literature disagrees on what it corresponds to."""
