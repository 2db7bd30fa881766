"""The 18 joints of UBC3V's toolkit, where they lie in the file, and how they become the common 17."""

from __future__ import annotations

from kt3d_bench.skeletons import JointMapping, JointSource, Quality

FIELDS: tuple[tuple[str, str], ...] = (
    ("Head", "HeadPGX"),
    ("Neck", "Neck1PGX"),
    ("Spine2", "RightShoulderPGX"),
    ("Spine1", "Spine1PGX"),
    ("Spine", "SpinePGX"),
    ("Hip", "RightUpLegPGX"),
    ("RHip", "RightLegPGX"),
    ("RKnee", "RightFootPGX"),
    ("RFoot", "RightToeBasePGX"),
    ("LHip", "LeftLegPGX"),
    ("LKnee", "LeftFootPGX"),
    ("LFoot", "LeftToeBasePGX"),
    ("RShoulder", "RightForeArmPGX"),
    ("RElbow", "RightHandPGX"),
    ("RHand", "RightFingerBasePGX"),
    ("LShoulder", "LeftForeArmPGX"),
    ("LElbow", "LeftHandPGX"),
    ("LHand", "LeftFingerBasePGX"),
)
"""(joint, matrix field): the toolkit's ``get_pose.m``. The field is one bone further out than the joint, because each
``<Bone>PGX`` matrix sits at the position of that bone's parent joint."""

JOINTS: tuple[str, ...] = tuple(name for name, _ in FIELDS)


def _exact(name: str, note: str = "") -> JointSource:
    return JointSource(Quality.EXACT, (name,), note)


def _approximate(note: str, *names: str) -> JointSource:
    return JointSource(Quality.APPROXIMATE, names, note)


MAPPING = JointMapping(
    JOINTS,
    (
        JointSource(Quality.DERIVED, ("RHip", "LHip"), "mean of the two hips, as Human3.6M's own root behaves"),
        _exact("RHip"),
        _exact("RKnee"),
        _exact("RFoot", "the ankle"),
        _exact("LHip"),
        _exact("LKnee"),
        _exact("LFoot", "the ankle"),
        _approximate("Spine2, at about 54 % of the way from hip to neck; Human3.6M's lies at about 48 %", "Spine2"),
        _approximate("base of the neck, at shoulder height", "Neck"),
        _approximate("mean of Neck and Head", "Neck", "Head"),
        _approximate("at the jaw, about 20 cm below the crown: the rig has no head-top joint", "Head"),
        _exact("LShoulder"),
        _exact("LElbow"),
        _exact("LHand", "the wrist"),
        _exact("RShoulder"),
        _exact("RElbow"),
        _exact("RHand", "the wrist"),
    ),
)
"""UBC3V's 18 -> the common 17. Rig joints stand where Human3.6M has marker-based ones, so even "exact" joints differ
by the definition of a rig."""
