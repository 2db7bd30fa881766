"""What ``kt3d inspect`` says about a raw folder: which layout, how much of it, what is missing and where to get it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kt3d_bench.errors import RawDataError
from kt3d_ubc3v.layout import PROTOCOL, SITE, SUBSETS, Section, find_sections, packed_subset, subset_folder


def describe(raw: Path) -> Sequence[str]:
    """What lies under ``raw``, subset by subset, and which archive the splits of the protocol lack."""
    lines: list[str] = []
    for subset in SUBSETS:
        folder = subset_folder(raw, subset)
        for split in ("train", "valid", "test"):
            if folder is None or not (folder / split).is_dir():
                continue
            try:
                sections = find_sections(raw, subset, split)
            except RawDataError as error:
                lines.append(f"{error.message}.")
                continue
            lines += _sections(subset, split, sections)
    if lines:
        lines.insert(0, f"Layout: the official download, unpacked in {raw}.")
    for subset in SUBSETS:
        packed = packed_subset(raw, subset)
        if packed is not None and subset_folder(raw, subset) is None:
            lines.append(f"Not read while it is packed: {packed}.")
    for split, (subset, part) in PROTOCOL.items():
        folder = subset_folder(raw, subset)
        if folder is None and packed_subset(raw, subset) is None:
            lines.append(f"Split {split} lacks {subset}.tar.gz, from {SITE}.")
        elif folder is not None and not (folder / part).is_dir():
            lines.append(f"Split {split} lacks {folder / part}; unpack {subset}.tar.gz again, from {SITE}.")
    return lines


def _sections(subset: str, split: str, sections: Sequence[Section]) -> Sequence[str]:
    frames = [section.frames("depthRender") for section in sections]
    without = sum(not section.frames("groundtruth") for section in sections)
    lines = [
        f"{subset}/{split}: {len(sections)} sections, {sum(map(len, frames))} frames"
        + (f", {without} sections without part colours" if without else "")
        + "."
    ]
    lacking = [f"{section.name}/groundtruth.mat" for section in sections if not section.ground_truth.is_file()]
    lacking += [
        f"{section.name}/images/depthRender" for section, found in zip(sections, frames, strict=True) if not found
    ]
    if lacking:
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        lines.append(f"Missing: {', '.join(lacking[:3])}{more}; unpack {subset}.tar.gz again, from {SITE}.")
    return lines
