"""What ``kt3d inspect`` says about a raw folder: what was found, which counts disagree, what is missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from kt3d_h36m import moon
from kt3d_h36m.layout import SITE, RawFolder, local_file, scan
from kt3d_h36m.metadata import read_cameras, read_frame_counts
from kt3d_h36m.sequences import CAMERAS, SPLITS, SUBJECTS

MARKER = "kt3d-generated.json"
"""Left by the generator in the raw root: such a folder may hold a part of the recordings."""

_TITLES = {
    "Videos": "videos",
    "D3_Positions": "poses in the world (D3_Positions)",
    "D3_Positions_mono": "poses in the camera (D3_Positions_mono)",
    "D2_Positions": "image positions (D2_Positions)",
    "ground_truth_bb": "official person boxes (ground_truth_bb)",
    "D3_Positions_mono_universal": "universal-skeleton poses (not used)",
}
_FULL = {"D3_Positions": 30}


def describe(raw: Path) -> list[str]:
    """Sentences for ``kt3d inspect``. Raises ``RawDataError`` when ``raw`` is no folder or a file is damaged."""
    repacked = moon.find(raw) if raw.is_dir() else None
    return [moon.describe(repacked)] if repacked is not None else list(_sentences(scan(raw)))


def _sentences(found: RawFolder) -> Iterator[str]:
    if (found.root / MARKER).is_file():
        yield _generated(found.root / MARKER)
    if found.archives:
        yield f"Archives, read in place: {', '.join(found.archives)}."
    for feature, title in _TITLES.items():
        files = found.files[feature]
        if not files:
            continue
        full = _FULL.get(feature, 30 * len(CAMERAS))
        per_subject = (
            f"S{subject} {sum(recording.subject == subject for recording, _ in files)}/{full}"
            for subject in found.subjects(feature)
        )
        yield f"{len(files)} {title}: {', '.join(per_subject)}."
    if found.unknown:
        yield f"{len(found.unknown)} files whose names mean no recording, such as {found.unknown[0]}."
    if found.metadata is None:
        yield f"metadata.xml is missing: put code-v1.2.zip there, from {SITE}."
    else:
        with local_file(found.metadata) as path:
            cameras = read_cameras(path)
            counts = read_frame_counts(path)
        yield f"{len(cameras)} calibrated cameras in {found.metadata}."
        if counts:
            known = sum(count.poses for (subject, action, _), count in counts.items()
                        if subject in SUBJECTS and action > 1)  # fmt: skip
            yield f"It announces {known} poses of labelled subjects."
    poses = max(("D3_Positions", "D3_Positions_mono"), key=lambda feature: len(found.subjects(feature)))
    for split, subjects in SPLITS.items():
        lacking = [f"Videos_S{s}.tgz" for s in subjects if s not in found.subjects("Videos")]
        lacking += [f"Poses_{poses}_S{s}.tgz" for s in subjects if s not in found.subjects(poses)]
        yield f"Split {split} lacks {', '.join(lacking)}." if lacking else f"Split {split} has all of its subjects."


def _generated(marker: Path) -> str:
    try:
        facts = json.loads(marker.read_text())
        return f"A generated stand-in, version {facts['version']}, seed {facts['seed']}."
    except (OSError, ValueError, KeyError, TypeError):
        return "A generated stand-in (its marker cannot be read)."
