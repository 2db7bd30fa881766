"""The recorded sequences: file names per subject, action and subaction numbers, and the number of 50 Hz poses.

The table restates ``mapping`` and ``frames`` of the official ``metadata.xml`` (poses = mocap samples // 4). Two quirks
live here and nowhere else: only S1's files say ``TakingPhoto`` and ``WalkingDog``, and the number in a file name is
not the subaction (S9's ``SittingDown 1`` is subaction 2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

SUBJECTS: tuple[int, ...] = (1, 5, 6, 7, 8, 9, 11)
SPLITS: dict[str, tuple[int, ...]] = {"train": (1, 5, 6, 7, 8), "test": (9, 11)}
CAMERAS: tuple[str, ...] = ("54138969", "55011271", "58860488", "60457274")
"""Camera identifiers in the order 1..4 of ``metadata.xml``."""

ACTIONS: tuple[str, ...] = (
    "Directions", "Discussion", "Eating", "Greeting", "Phoning", "Posing", "Purchases", "Sitting",
    "SittingDown", "Smoking", "Photo", "Waiting", "Walking", "WalkDog", "WalkTogether",
)  # fmt: skip
"""Canonical names of actions 2..16."""

_S1_NAMES = {"Photo": "TakingPhoto", "WalkDog": "WalkingDog"}
_ALIASES = {"TakingPhoto": "Photo", "WalkingDog": "WalkDog", "WalkingTogether": "WalkTogether"}

_TABLE = """
#     S1      S5      S6      S7      S8      S9      S11
 2 1  1 1383  1 4973  1 2843  1 2549  1 2011  1 2356  1 1552
 2 2  - 1612  2 2067  - 2819  - 2949  - 2028  - 2699  - 1825
 3 1  1 3805  2 6090  1 2720  1 5415  1 1931  1 5873  1 2684
 3 2  - 3852  3 5935  - 2415  - 5470  - 2064  2 5306  2 2198
 4 1  2 2357  1 3276  1 2010  1 3763  1 2807  1 2663  1 2275
 4 2  - 2721  - 2331  2 2226  - 3171  - 2694  - 2686  - 2203
 5 1  1 1265  1 1474  1 1980  1 2215  1 1598  1 2711  2 1695
 5 2  - 1149  2 3199  - 1621  - 2161  - 1447  - 1447  - 1808
 6 1  1 2636  1 3277  1 2379  2 4354  1 2970  1 3821  3 3390
 6 2  - 2266  - 2085  - 2086  - 3586  - 3319  - 3319  2 3492
 7 1  1 1167  1 2245  2 1159  1 2341  1 1812  1 1968  1 1481
 7 2  -  992  - 1885  - 1161  - 2920  - 1685  - 1964  - 1407
 8 1  1 1064  1 2479  1 1332  1 1237  1 1274  1 1226  1 1026
 8 2  - 1158  - 3124  - 1382  - 1527  - 1193  - 1529  - 1040
 9 1  1 3304  1 3937  1 1817  1 4533  1 2073  1 3071  1 1857
 9 2  2 2612  - 3878  2 1998  - 2826  - 2140  - 2962  - 2179
10 1  2 3023  - 5203  1 1873  - 4549  - 1501  - 2932  - 1841
10 2  - 2742  1 3926  - 1594  1 6343  1 1554  1 1554  1 2004
11 1  1 2611  1 3201  1 2899  1 4395  1 2932  1 4377  2 2767
11 2  - 2478  - 3421  - 3173  - 4870  - 3333  - 4334  - 2410
12 1  1 1074  - 3325  - 1672  - 2155  1 1616  1 1449  1 1545
12 2  - 1036  2 2782  1 1775  1 1877  - 1700  - 2346  - 1990
13 1  1 1440  1 4517  3 2305  1 4201  1 1612  1 1612  1 2280
13 2  - 1792  2 4856  - 2054  2 4332  - 1715  - 3312  - 2262
14 1  1 3476  1 3000  1 2750  1 3636  1 3737  1 2446  1 1637
14 2  - 3134  - 2521  - 3614  2 3623  - 3695  - 1612  - 1621
15 1  1 1662  1 1937  1 1996  1 2641  1 1735  1 2217  1 1187
15 2  - 1777  - 2135  - 1594  - 2732  - 1644  - 2237  - 1435
16 1  1 1275  1 3016  1 1629  1 2379  1 2359  1 1685  1 1793
16 2  - 1231  - 2984  - 1590  - 2871  2 2499  - 1703  - 1360
"""


@dataclass(frozen=True, order=True)
class Recording:
    """One recording of one subject, seen by four cameras."""

    subject: int
    action: int
    """2..16"""
    subaction: int
    """1 or 2"""
    file_name: str
    """The official base name, such as ``Directions 1``."""
    poses: int
    """Number of 50 Hz poses of the official release."""

    @property
    def action_name(self) -> str:
        """Canonical, the same for all subjects: ``Photo``, ``WalkDog``, ``WalkTogether``."""
        return ACTIONS[self.action - 2]

    @property
    def title(self) -> str:
        """How messages, ``drop`` and ``keep`` name it: ``S9 Greeting``."""
        return f"S{self.subject} {self.file_name}"

    @property
    def clip(self) -> str:
        """The name that the four cameras share: ``s09_greeting_2``."""
        return f"s{self.subject:02d}_{self.action_name.lower()}_{self.subaction}"


@cache
def recordings() -> tuple[Recording, ...]:
    """All 210 recordings of the labelled subjects, by subject, action and subaction."""
    found = []
    for line in _TABLE.strip().splitlines()[1:]:
        action, subaction, *cells = line.split()
        name = ACTIONS[int(action) - 2]
        for subject, number, poses in zip(SUBJECTS, cells[::2], cells[1::2], strict=True):
            base = _S1_NAMES.get(name, name) if subject == 1 else name
            file_name = base if number == "-" else f"{base} {number}"
            found.append(Recording(subject, int(action), int(subaction), file_name, int(poses)))
    return tuple(sorted(found))


def canonical(name: str) -> str:
    """A file's base name in the spelling all subjects share: ``TakingPhoto_1`` -> ``Photo 1``."""
    match = re.fullmatch(r"([A-Za-z]+)(?:[ _](\d+))?", name)
    if match is None:
        return name
    base = _ALIASES.get(match[1], match[1])
    return f"{base} {match[2]}" if match[2] else base


@cache
def _by_name() -> dict[tuple[int, str], Recording]:
    return {(recording.subject, canonical(recording.file_name)): recording for recording in recordings()}


def find_recording(subject: int, name: str) -> Recording | None:
    """The recording a file name means, official or re-spelled (``Directions_1``); ``None`` = unknown."""
    return _by_name().get((subject, canonical(name)))
