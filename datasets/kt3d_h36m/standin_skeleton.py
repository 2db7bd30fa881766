"""The 32 recorded joints of generated people, placed and repeated as in the official skeleton."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kt3d_bench.synth import Figures
from kt3d_bench.synth.rig import unit_vectors

FloatArray = npt.NDArray[np.float64]

JOINT_NAMES = (
    "Hips", "RightUpLeg", "RightLeg", "RightFoot", "RightToeBase", "Site", "LeftUpLeg", "LeftLeg", "LeftFoot",
    "LeftToeBase", "Site", "Spine", "Spine1", "Neck", "Head", "Site", "LeftShoulder", "LeftArm", "LeftForeArm",
    "LeftHand", "LeftHandThumb", "Site", "L_Wrist_End", "Site", "RightShoulder", "RightArm", "RightForeArm",
    "RightHand", "RightHandThumb", "Site", "R_Wrist_End", "Site",
)  # fmt: skip
_DIRECT = {
    1: "hip_r", 2: "knee_r", 3: "ankle_r", 4: "ball_r", 5: "toe_r",
    6: "hip_l", 7: "knee_l", 8: "ankle_l", 9: "ball_l", 10: "toe_l",
    17: "shoulder_l", 18: "elbow_l", 19: "wrist_l", 21: "thumb_l", 22: "hand_l",
    25: "shoulder_r", 26: "elbow_r", 27: "wrist_r", 29: "thumb_r", 30: "hand_r",
}  # fmt: skip
_REPEATED = {11: 0, 16: 13, 20: 19, 23: 22, 24: 13, 28: 27, 31: 30}
_HEAD_LENGTH_MM = 115.0
_NECK_LENGTH_MM = (107.0, 121.0)


def joints_32(figures: Figures, height_mm: float) -> FloatArray:
    """Return (N, 32, 3) world mm for people of one ``height_mm``.

    Joint 0 is the mean of the hips. The neck is above the base of the neck, 40 to 80 mm from the middle of the
    shoulders; the head's joint 107 to 121 mm further, towards the middle of the face; the head's end 115.0 mm beyond,
    towards the crown. The spine's joint is behind the line from hip to neck, not at its middle.
    """
    of = figures.landmark
    count = len(of("pelvis"))
    joints = np.empty((count, 32, 3))
    for index, name in _DIRECT.items():
        joints[:, index] = of(name)
    joints[:, 0] = (joints[:, 1] + joints[:, 6]) / 2
    thorax, middle = of("thorax"), of("spine_mid")
    joints[:, 13] = thorax + 0.5 * (of("neck_mid") - thorax)
    forward = unit_vectors(np.cross(of("shoulder_l") - of("shoulder_r"), thorax - middle))
    joints[:, 12] = middle + 0.15 * (of("spine_high") - middle) - 20.0 * forward
    neck_mm = np.clip(0.067 * height_mm, *_NECK_LENGTH_MM)
    joints[:, 14] = joints[:, 13] + neck_mm * unit_vectors((of("jaw") + of("nose")) / 2 - joints[:, 13])
    joints[:, 15] = joints[:, 14] + _HEAD_LENGTH_MM * unit_vectors(of("head_top") - joints[:, 14])
    for copy, original in _REPEATED.items():
        joints[:, copy] = joints[:, original]
    return joints
