"""What the stand-in records, for the writer only: subjects, actions, irregular file names, and the 32 joints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kt3d_bench.synth import Figures
from kt3d_bench.synth.rig import unit_vectors

CAMERA_IDS = ("54138969", "55011271", "58860488", "60457274")
PEOPLE = (("S1", "train"), ("S9", "test"), ("S5", "train"), ("S11", "test"),
          ("S6", "train"), ("S7", "train"), ("S8", "train"))  # fmt: skip
"""Subjects in the order in which larger stand-ins add them, so that two people already fill both splits."""
HELD_OUT_CASTS = {"test": 100, "validation": 200}
"""Added to the number of a test subject; training subjects are their own numbers."""
LEFT_OUT = ("S11", "Directions", "54138969")
"""The video whose official counterpart is corrupt, so that converters skip it by default."""

ACTIVITIES: dict[str, tuple[str, ...]] = {
    "Directions": ("point", "point", "stand"),
    "Discussion": ("discuss", "discuss", "stand"),
    "Eating": ("eat", "eat", "sit"),
    "Greeting": ("greet", "greet", "stand"),
    "Phoning": ("phone", "phone", "walk"),
    "Posing": ("pose", "pose", "stand"),
    "Purchases": ("carry", "bend", "reach"),
    "Sitting": ("sit",),
    "SittingDown": ("sit-floor", "sit-floor", "crouch"),
    "Smoking": ("smoke", "smoke", "sit"),
    "TakingPhoto": ("photo", "photo", "crouch"),
    "Waiting": ("wait", "wait", "stand"),
    "Walking": ("walk",),
    "WalkingDog": ("walk", "carry", "bend"),
    "WalkingTogether": ("walk",),
}
"""Action, as ``metadata.xml`` names it, in the order of its number 2..16 -> what generated people do."""

_FILE_NAMES = {"TakingPhoto": "Photo", "WalkingDog": "WalkDog", "WalkingTogether": "WalkTogether"}
_TAKE_NUMBERS = """
    Directions S5 1 2 | Discussion S5 2 3 | Discussion S9 1 2 | Discussion S11 1 2 | Eating S1 2 0 | Eating S6 1 2
    Greeting S5 1 2 | Greeting S11 2 0 | Phoning S7 2 0 | Phoning S11 3 2 | Posing S6 2 0 | Sitting S1 1 2
    Sitting S6 1 2 | SittingDown S1 2 0 | SittingDown S5 0 1 | SittingDown S7 0 1 | SittingDown S8 0 1
    SittingDown S9 0 1 | SittingDown S11 0 1 | Smoking S11 2 0 | Photo S5 0 2 | Photo S6 0 1 | Photo S7 0 1
    Waiting S5 1 2 | Waiting S6 3 0 | Waiting S7 1 2 | Walking S7 1 2 | WalkTogether S8 1 2
"""
"""File, subject and the numbers of takes 1 and 2 (0 = none) that differ from 1 and none."""
_EXCEPTIONS: dict[tuple[str, str], tuple[int, int]] = {
    (words[0], words[1]): (int(words[2]), int(words[3]))
    for words in (entry.split() for line in _TAKE_NUMBERS.strip().splitlines() for entry in line.split("|"))
}


@dataclass(frozen=True)
class Take:
    """One recording to generate."""

    subject: str
    action: str  # A key of ``ACTIVITIES``
    number: int  # 1 or 2
    frames: int
    cast: int  # The subject's random streams; those of test subjects depend on whose people are held out

    @property
    def person(self) -> tuple[int, int]:
        """The random streams of the person who is recorded: one for each training subject, and for test subjects one
        for each action, so that the test split shows thirty people under the official two names."""
        return self.cast, self.action_number if self.cast >= min(HELD_OUT_CASTS.values()) else 0

    @property
    def action_number(self) -> int:
        return 2 + list(ACTIVITIES).index(self.action)

    @property
    def file_name(self) -> str:
        return file_name(self.subject, self.action, self.number)


def file_name(subject: str, action: str, take: int) -> str:
    """Return the base name of the official files, such as ``Directions 1``."""
    short = _FILE_NAMES.get(action, action)
    number = _EXCEPTIONS.get((short, subject), (1, 0))[take - 1]
    base = action if subject == "S1" and action in ("TakingPhoto", "WalkingDog") else short
    return f"{base} {number}" if number else base


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
