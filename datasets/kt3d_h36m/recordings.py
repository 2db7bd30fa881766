"""The recordings: file names, numbers of action and subaction, 50 Hz poses; which of them are used; names of images.

The table restates ``mapping`` and ``frames`` of the official ``metadata.xml`` (poses = mocap samples // 4). Two quirks
live here and nowhere else: only S1's files say ``TakingPhoto`` and ``WalkingDog``, and the number in a file name is
not the subaction (S9's ``SittingDown 1`` is subaction 2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from kt3d_bench.errors import UsageError, did_you_mean

SUBJECTS: tuple[int, ...] = (1, 5, 6, 7, 8, 9, 11)
SPLITS: dict[str, tuple[int, ...]] = {"train": (1, 5, 6, 7, 8), "test": (9, 11)}
CAMERAS: tuple[str, ...] = ("54138969", "55011271", "58860488", "60457274")
"""Camera identifiers in the order 1..4 of ``metadata.xml``."""

ACTIONS: tuple[str, ...] = (
    "Directions", "Discussion", "Eating", "Greeting", "Phoning", "Posing", "Purchases", "Sitting",
    "SittingDown", "Smoking", "Photo", "Waiting", "Walking", "WalkDog", "WalkTogether",
)  # fmt: skip
"""Canonical names of actions 2..16."""

CORRUPT = "S11 Directions 54138969"
"""The one video that is dropped by default: it is corrupt in the official release."""
SHIFTED = ("S9 Greeting", "S9 SittingDown 1", "S9 Waiting 1")
"""Skeletons shifted by about 200 mm against the images; most papers keep them. ``drop=shifted`` names all three."""

_S1_NAMES = {"Photo": "TakingPhoto", "WalkDog": "WalkingDog"}
_ALIASES = {"takingphoto": "Photo", "walkingdog": "WalkDog", "walkingtogether": "WalkTogether"}

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
    action: int  # 2..16
    subaction: int  # 1 or 2
    file_name: str  # The official base name, such as ``Directions 1``
    poses: int  # Number of 50 Hz poses of the official release

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
    """Return all 210 recordings of the labelled subjects, by subject, action and subaction."""
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
    """Return a file's base name in the spelling that all subjects share: ``TakingPhoto_1`` -> ``Photo 1``."""
    match = re.fullmatch(r"([A-Za-z]+)(?:[ _](\d{1,2}))?", name)
    if match is None:
        return name
    base = _ALIASES.get(match[1].lower(), match[1])
    return f"{base} {match[2]}" if match[2] else base


@cache
def _by_name() -> dict[tuple[int, str], Recording]:
    return {(recording.subject, canonical(recording.file_name).lower()): recording for recording in recordings()}


def find_recording(subject: int, name: str) -> Recording | None:
    """Return the recording that a file name means, official or re-spelled (``Directions_1``); ``None`` = unknown."""
    return _by_name().get((subject, canonical(name).lower()))


def video_name(recording: Recording, camera_id: str) -> str:
    """Return what keys of one recording seen by one camera begin with: ``s09_act02_sub1_54138969``."""
    return f"s{recording.subject:02d}_act{recording.action:02d}_sub{recording.subaction}_{camera_id}"


@dataclass(frozen=True)
class Selection:
    """Which recordings of a split are used."""

    subjects: tuple[int, ...]
    left_out: Mapping[tuple[Recording, str], str]  # (recording, camera identifier) -> the reason

    def recordings(self) -> list[Recording]:
        """Return all recordings of the subjects, left out or not."""
        return [recording for recording in recordings() if recording.subject in self.subjects]

    def reason(self, recording: Recording, camera_id: str) -> str | None:
        """Return why this video is left out; ``None`` = it is used."""
        return self.left_out.get((recording, camera_id))


def select(split: str, *, subjects: str = "", drop: str = "", keep: str = "") -> Selection:
    """Choose the recordings of a split. All three are comma-separated: ``S9,S11`` (empty = all of the split), and
    ``S9 Greeting`` (all cameras) or ``S11 Directions 54138969``.

    The corrupt video is dropped unless kept; ``keep`` wins over ``drop``. Raises ``UsageError`` for unknown names.
    """
    left_out = dict.fromkeys(_videos(CORRUPT, "drop"), "corrupt video in the official release (--keep uses it)")
    for name in _names(drop):
        for video in _videos(name, "drop"):
            left_out.setdefault(video, f"dropped by request: {name}")
    for name in _names(keep):
        for video in _videos(name, "keep"):
            left_out.pop(video, None)
    return Selection(_subjects(split, subjects), left_out)


def _names(text: str) -> Iterator[str]:
    for name in filter(None, (part.strip() for part in text.split(","))):
        yield from SHIFTED if name == "shifted" else (name,)


def _videos(name: str, option: str) -> list[tuple[Recording, str]]:
    match = re.fullmatch(r"[sS](\d{1,2})[ /_]+(.+?)(?:[ ./](\d{8}))?", name)
    recording = find_recording(int(match[1]), match[2]) if match else None
    if match is None or recording is None or match[3] not in (None, *CAMERAS):
        known = [recording.title for recording in recordings()]
        known += [f"{title} {camera_id}" for title in known for camera_id in CAMERAS] if match and match[3] else []
        near = f"{did_you_mean(name, known)} Write it" if match else "write it"
        raise UsageError(
            f"--{option} names '{name}', which is no recording",
            hint=f"{near} like S9 Greeting, or S11 Directions 54138969 for one camera",
        )
    return [(recording, camera_id) for camera_id in ([match[3]] if match[3] else CAMERAS)]


def _subjects(split: str, chosen: str) -> tuple[int, ...]:
    names = [name.strip().upper().removeprefix("S") for name in chosen.split(",") if name.strip()]
    if unknown := [name for name in names if name not in map(str, SUBJECTS)]:
        raise UsageError(
            f"--subjects names S{unknown[0]}, which has no labels", hint="labelled are S1,S5,S6,S7,S8,S9,S11"
        )
    subjects = tuple(subject for subject in SPLITS[split] if not names or str(subject) in names)
    if not subjects:
        raise UsageError(
            f"--subjects is '{chosen}', and none of them is in the split '{split}'",
            hint=f"choose from S{', S'.join(map(str, SPLITS[split]))}",
        )
    return subjects


_IMAGE_NAMES = (
    # PosePile: .../S9/Images/Directions 1.54138969/frame_000064.jpg
    (re.compile(r"S(\d{1,2})/(?:Images|Videos)/([A-Za-z]+(?:[ _]\d)?)\.(\d{8})/frame_(\d{6})\.\w+$", re.IGNORECASE), 0),
    # mmpose: .../S9_Directions_1.54138969_000065.jpg
    (re.compile(r"S(\d{1,2})_([A-Za-z]+(?:[ _]\d)?)\.(\d{8})_(\d{6})\.\w+$", re.IGNORECASE), 1),
    # VideoPose3D: S9/Directions 1/0/000064, where the camera is its place in CAMERAS or its identifier
    (re.compile(r"^S(\d{1,2})/([A-Za-z]+(?:[ _]\d)?)/(\d{8}|[0-3])/(\d{6})$", re.IGNORECASE), 0),
)
"""Pattern, and the number of the first image."""
_NUMBERED = re.compile(r"s_(\d\d)_act_(\d\d)_subact_(\d\d)_ca_(\d\d)_(\d{6})\.\w+$")
"""Integral Pose and its ports: .../s_09_act_02_subact_02_ca_01_000065.jpg, images from 1."""


def sample_key(name: str) -> str | None:
    """Return the sample key for another program's image name; ``None`` when it is of no known form or no recording."""
    for pattern, first in _IMAGE_NAMES:
        if found := pattern.search(name):
            subject, recording, camera, image = found.groups()
            return _key(find_recording(int(subject), recording), camera, int(image) - first)
    if found := _NUMBERED.search(name):
        subject, action, subaction, camera, image = found.groups()
        numbers = (int(subject), int(action), int(subaction))
        same = (one for one in recordings() if (one.subject, one.action, one.subaction) == numbers)
        return _key(next(same, None), str(int(camera) - 1), int(image) - 1)
    return None


def image_names(key: str) -> tuple[str, ...]:
    """Return the names that other programs give a sample; each means it to ``sample_key``."""
    subject, action, subaction, camera, frame = (int(part) for part in re.findall(r"\d+", key))
    [recording] = (
        one for one in recordings() if (one.subject, one.action, one.subaction) == (subject, action, subaction)
    )
    name, place = recording.file_name, CAMERAS.index(str(camera))
    return (
        f"S{subject}/Images/{name}.{camera}/frame_{frame:06d}.jpg",
        f"S{subject}_{name.replace(' ', '_')}.{camera}_{frame + 1:06d}.jpg",
        f"S{subject}/{name}/{place}/{frame:06d}",
        f"s_{subject:02d}_act_{action:02d}_subact_{subaction:02d}_ca_{place + 1:02d}_{frame + 1:06d}.jpg",
    )


def _key(recording: Recording | None, camera: str, frame: int) -> str | None:
    camera_id = CAMERAS[int(camera)] if camera in ("0", "1", "2", "3") else camera
    if recording is None or camera_id not in CAMERAS or frame < 0:
        return None
    return f"{video_name(recording, camera_id)}_{frame:06d}"
