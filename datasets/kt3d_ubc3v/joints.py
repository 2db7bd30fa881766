"""The 18 joints of UBC3V's toolkit, where they lie in the file, and how they become the common 17."""

from __future__ import annotations

from kt3d_bench.skeletons import JointMapping

FIELDS: tuple[tuple[str, str], ...] = (
    ("Head", "HeadPGX"), ("Neck", "Neck1PGX"),
    ("Spine2", "RightShoulderPGX"), ("Spine1", "Spine1PGX"), ("Spine", "SpinePGX"), ("Hip", "RightUpLegPGX"),
    ("RHip", "RightLegPGX"), ("RKnee", "RightFootPGX"), ("RFoot", "RightToeBasePGX"),
    ("LHip", "LeftLegPGX"), ("LKnee", "LeftFootPGX"), ("LFoot", "LeftToeBasePGX"),
    ("RShoulder", "RightForeArmPGX"), ("RElbow", "RightHandPGX"), ("RHand", "RightFingerBasePGX"),
    ("LShoulder", "LeftForeArmPGX"), ("LElbow", "LeftHandPGX"), ("LHand", "LeftFingerBasePGX"),
)  # fmt: skip
"""(joint, matrix field): the toolkit's ``get_pose.m``. The field is one bone further out than the joint, because each
``<Bone>PGX`` matrix sits at the position of that bone's parent joint."""

JOINTS: tuple[str, ...] = tuple(name for name, _ in FIELDS)

MAPPING = JointMapping.of(
    JOINTS,
    exact={
        "right_hip": "RHip", "right_knee": "RKnee", "right_ankle": "RFoot",
        "left_hip": "LHip", "left_knee": "LKnee", "left_ankle": "LFoot",
        "left_shoulder": "LShoulder", "left_elbow": "LElbow", "left_wrist": "LHand",
        "right_shoulder": "RShoulder", "right_elbow": "RElbow", "right_wrist": "RHand",
    },
    derived={"hip": ("RHip", "LHip")},
    approximate={"spine": "Spine2", "thorax": "Neck", "nose": ("Neck", "Head"), "head": "Head"},
)  # fmt: skip
"""Rig joints stand where Human3.6M has marker-based ones, so even "exact" joints differ by the definition of a rig."""
