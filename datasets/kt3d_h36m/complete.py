"""Which recordings and poses a folder must hold, in every layout: the table of recordings, and ``metadata.xml``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from kt3d_bench.errors import RawDataError
from kt3d_bench.rawfiles import listed
from kt3d_h36m.archives import Source, local_file
from kt3d_h36m.metadata import read_frame_counts
from kt3d_h36m.recordings import CAMERAS, Recording, Selection


def missing_recordings(selection: Selection, lacks: Callable[[Recording], str | None]) -> list[str]:
    """Return what the chosen recordings lack; ``lacks`` names it for one recording, ``None`` = nothing. Recordings that
    are left out under every camera are not asked for."""
    wanted = [
        one for one in selection.recordings() if any(selection.reason(one, camera_id) is None for camera_id in CAMERAS)
    ]
    return [name for name in map(lacks, wanted) if name is not None]


def announced_poses(metadata: Source | None) -> dict[tuple[int, int, int], int]:
    """Return (subject, action, subaction) -> poses that ``metadata.xml`` announces; empty where it is not there or
    counts nothing. Raises ``RawDataError`` when it is damaged."""
    if metadata is None:
        return {}
    with local_file(metadata) as path:
        return {take: one.poses for take, one in read_frame_counts(path).items()}


def check_counts(
    poses: Mapping[Recording, tuple[str, int]], metadata: Source | None, selection: Selection, where: Path
) -> None:
    """Compare the numbers of poses with those that ``metadata.xml`` announces, which differ between nearly all
    recordings, so that poses of another recording or subject are found.

    ``poses``: recording -> the file or array that holds them, and how many there are. Raises ``RawDataError`` naming
    the first files, with both numbers.
    """
    announced = announced_poses(metadata)
    wrong, compared = [], 0
    for one in selection.recordings():
        used = any(selection.reason(one, camera_id) is None for camera_id in CAMERAS)
        expected = announced.get((one.subject, one.action, one.subaction))
        if used and one in poses and expected is not None:
            compared += 1
            name, found = poses[one]
            if found != expected:
                wrong.append(f"{name} holds {found}, expected {expected}")
    if wrong:
        raise RawDataError(
            f"{len(wrong)} of {compared} pose files do not hold the number of poses that {metadata} announces: "
            f"{listed(wrong)}",
            where=where,
            hint="the poses are those of other recordings or subjects: unpack their archives again, each into the "
            "folder of its subject, or leave recordings out with --drop",
        )
