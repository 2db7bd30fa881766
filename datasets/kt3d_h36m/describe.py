"""What ``kt3d inspect`` says about a raw folder: what was found, which counts disagree, what is missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from kt3d_bench.standins import MARKER
from kt3d_h36m.completeness import missing_files
from kt3d_h36m.foreign import refusals
from kt3d_h36m.layout import CODE_MEND, SITE, RawFolder, local_file, scan
from kt3d_h36m.layouts import describe_derived, find_derived
from kt3d_h36m.metadata import read_cameras, read_frame_counts
from kt3d_h36m.selection import dropped
from kt3d_h36m.sequences import CAMERAS, SPLITS, SUBJECTS

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
    derived = find_derived(raw)
    lines = list(_official(scan(raw)) if derived is None else describe_derived(derived, raw))
    lines += [f"Not read: {error.message}" for error in refusals(raw)]
    return [_generated(raw / MARKER), *lines] if (raw / MARKER).is_file() else lines


def _official(found: RawFolder) -> Iterator[str]:
    if found.metadata is None and not any(found.files.values()):
        yield f"No Human3.6M was found here, in none of the layouts that are read; it comes from {SITE}."
        return
    packed = sum(source.member is not None for files in found.files.values() for source in files.values())
    whole = sum(len(files) for files in found.files.values())
    how = "archives, read in place" if packed == whole else "unpacked" if not packed else "archives and unpacked files"
    yield f"Layout: the official download, {how}." if whole else "Nothing of Human3.6M is here but metadata.xml."
    if found.archives:
        yield f"Archives, read in place: {', '.join(found.archives)}."
    if any(source.member is not None for source in found.files["Videos"].values()):
        yield "Each packed video costs reading its archive up to it: unpack the archives where time matters (tar -xzf)."
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
        yield f"metadata.xml is missing: {CODE_MEND}."
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
        if lacking:
            yield f"Split {split} lacks {', '.join(lacking)}: get them from {SITE}."
            continue
        yield f"Split {split} has all of its subjects."
        generated = (found.root / MARKER).is_file()
        absent = list(missing_files(found, poses, subjects, dropped("", ""), partial=generated, boxes=False))
        if absent:
            more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
            yield f"Of their files {len(absent)} are missing: {', '.join(absent[:3])}{more}; unpack the archives again."


def _generated(marker: Path) -> str:
    try:
        facts = json.loads(marker.read_text())
        return f"A generated stand-in, version {facts['version']}, seed {facts['seed']}."
    except (OSError, ValueError, KeyError, TypeError):
        return "A generated stand-in (its marker cannot be read)."
