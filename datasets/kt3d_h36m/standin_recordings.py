"""What the stand-in records: subjects, actions and the files' irregular names, for the writer only."""

from __future__ import annotations

from dataclasses import dataclass

CAMERA_IDS = ("54138969", "55011271", "58860488", "60457274")
PEOPLE = (("S1", "train"), ("S9", "test"), ("S5", "train"), ("S11", "test"),
          ("S6", "train"), ("S7", "train"), ("S8", "train"))  # fmt: skip
"""Subjects in the order in which larger stand-ins add them, so that two people already fill both splits."""
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
    action: str
    """A key of ``ACTIVITIES``."""
    number: int
    """1 or 2"""
    frames: int

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
