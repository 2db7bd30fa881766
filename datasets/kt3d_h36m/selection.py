"""Which recordings are left out: the known damaged data, and what the user names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from kt3d_bench.errors import UsageError, did_you_mean
from kt3d_h36m.sequences import CAMERAS, SPLITS, SUBJECTS, Recording, find_recording, recordings

CORRUPT = "S11 Directions 54138969"
"""The one video dropped by default: corrupt in the official release."""
SHIFTED = ("S9 Greeting", "S9 SittingDown 1", "S9 Waiting 1")
"""Skeletons shifted by about 200 mm against the images; most papers keep them. ``drop=shifted`` names all three."""


@dataclass(frozen=True)
class Selection:
    """(recording, camera identifier) pairs to leave out, with the reason."""

    left_out: dict[tuple[Recording, str], str]

    def reason(self, recording: Recording, camera_id: str) -> str | None:
        """Why this video is left out; ``None`` = it is used."""
        return self.left_out.get((recording, camera_id))


def dropped(drop: str, keep: str) -> Selection:
    """Read ``drop`` and ``keep``: comma-separated ``S9 Greeting`` (all cameras) or ``S11 Directions 54138969``.

    The corrupt video is dropped unless kept; ``keep`` wins over ``drop``. Raises ``UsageError`` for unknown names.
    """
    left_out = dict.fromkeys(_videos(CORRUPT, "drop"), "corrupt video in the official release (--keep uses it)")
    for name in _names(drop):
        for video in _videos(name, "drop"):
            left_out.setdefault(video, f"dropped by request: {name}")
    for name in _names(keep):
        for video in _videos(name, "keep"):
            left_out.pop(video, None)
    return Selection(left_out)


def _names(text: str) -> Iterator[str]:
    for name in filter(None, (part.strip() for part in text.split(","))):
        yield from SHIFTED if name == "shifted" else (name,)


def _videos(name: str, option: str) -> list[tuple[Recording, str]]:
    match = re.fullmatch(r"[sS](\d+)[ /_]+(.+?)(?:[ ./](\d{8}))?", name)
    recording = find_recording(int(match[1]), match[2]) if match and int(match[1]) in SUBJECTS else None
    if match is None or recording is None or match[3] not in (None, *CAMERAS):
        known = [recording.title for recording in recordings()]
        known += [f"{title} {camera_id}" for title in known for camera_id in CAMERAS] if match and match[3] else []
        raise UsageError(
            f"--{option} names '{name}', which is no recording",
            hint=f"{did_you_mean(name, known)} (form: S9 Greeting, or S11 Directions 54138969 for one camera)"
            if match
            else "write it like S9 Greeting, or S11 Directions 54138969 for one camera",
        )
    return [(recording, camera_id) for camera_id in ([match[3]] if match[3] else CAMERAS)]


def chosen_subjects(split: str, chosen: str) -> tuple[int, ...]:
    """The split's subjects, or those of them named like ``S9,S11``. Raises ``UsageError`` for others."""
    if not chosen.strip():
        return SPLITS[split]
    names = [name.strip().upper().removeprefix("S") for name in chosen.split(",") if name.strip()]
    known = {str(subject) for subjects in SPLITS.values() for subject in subjects}
    if unknown := [name for name in names if name not in known]:
        raise UsageError(
            f"--subjects names S{unknown[0]}, which has no labels", hint="labelled are S1,S5,S6,S7,S8,S9,S11"
        )
    subjects = tuple(subject for subject in SPLITS[split] if str(subject) in names)
    if not subjects:
        raise UsageError(
            f"--subjects is '{chosen}', and none of them is in the split '{split}'",
            hint=f"choose from S{', S'.join(map(str, SPLITS[split]))}",
        )
    return subjects
