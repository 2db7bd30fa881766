"""MPII's 16 joints and how they become the common 17: spine and nose have no counterpart."""

from __future__ import annotations

from kt3d_bench.skeletons import JointMapping, JointSource, Quality

JOINTS: tuple[str, ...] = (
    "r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle", "pelvis", "thorax", "upper_neck", "head_top",
    "r_wrist", "r_elbow", "r_shoulder", "l_shoulder", "l_elbow", "l_wrist",
)  # fmt: skip
"""In the order of the annotation's ``id`` 0..15."""


def _exact(name: str, note: str = "") -> JointSource:
    return JointSource(Quality.EXACT, (name,), note)


MAPPING = JointMapping(
    JOINTS,
    (
        _exact("pelvis"),
        _exact("r_hip", "MPII's hips lie closer together"),
        _exact("r_knee"),
        _exact("r_ankle"),
        _exact("l_hip", "MPII's hips lie closer together"),
        _exact("l_knee"),
        _exact("l_ankle"),
        JointSource(Quality.ABSENT, note="MPII annotates no spine"),
        JointSource(Quality.APPROXIMATE, ("upper_neck",), "the upper neck, as in Sun et al. (ECCV 2018)"),
        JointSource(Quality.ABSENT, note="MPII annotates no nose"),
        JointSource(Quality.APPROXIMATE, ("head_top",), "the crown; Human3.6M's is the end of its head segment"),
        _exact("l_shoulder"),
        _exact("l_elbow"),
        _exact("l_wrist"),
        _exact("r_shoulder"),
        _exact("r_elbow"),
        _exact("r_wrist"),
    ),
)
"""MPII's own thorax (the shoulders' midpoint) is not used: the literature disagrees on what it corresponds to."""
