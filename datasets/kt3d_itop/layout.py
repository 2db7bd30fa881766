"""The official files: ``ITOP_{side,top}_{train,test}_{depth_map,labels}.h5``, or ``.h5.gz`` as they are downloaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from kt3d_bench.errors import MissingDataError, RawDataError
from kt3d_bench.rawfiles import contents, find, near
from kt3d_itop.hdf5 import HEIGHT_PX, WIDTH_PX, opened, read_ids, split_id
from kt3d_itop.unpack import declared_bytes, packed, unpacked_copy

OFFICIAL_VIEW = {"front": "side", "top": "top"}
"""Our view -> the files' word for it; papers and figures say "front view"."""
SPLITS: dict[str, tuple[str, str]] = {
    f"{view}-{part}": (view, part) for view in OFFICIAL_VIEW for part in ("train", "test")
}
"""Split -> (view, part)."""
_KINDS = ("depth_map", "labels")
_SITE = "https://zenodo.org/records/3932973"
_FRAME_BYTES = HEIGHT_PX * WIDTH_PX * 2
_QUICK_BYTES = 256 << 20  # Files of this size unpack in about a second


def find_files(raw: Path, split: str) -> tuple[Path, Path]:
    """Return the depth maps and the labels of a split, in ``raw`` or one folder further down.

    Unpacked files win over packed ones. Raises ``MissingDataError`` when neither is there, ``RawDataError`` when one is
    missing or ``raw`` is no folder.
    """
    if not raw.is_dir():
        raise RawDataError(
            "is not a folder, expected one with the ITOP_*.h5 or ITOP_*.h5.gz files",
            where=raw,
            hint="point --raw at the downloaded files, or make a stand-in with `kt3d generate itop`",
        )
    view, part = SPLITS[split]
    stems = [f"ITOP_{OFFICIAL_VIEW[view]}_{part}_{kind}" for kind in _KINDS]
    found = [
        next((path for path in find(raw, f"{stem}.h5", f"{stem}.h5.gz") if path.is_file()), None) for stem in stems
    ]
    if found[0] is not None and found[1] is not None:
        return found[0], found[1]
    missing = [f"{stem}.h5" for stem, path in zip(stems, found, strict=True) if path is None]
    if len(missing) == 1:
        what = f"{missing[0]} (or .h5.gz) is missing, its partner is there{near(raw, *missing)}"
        raise RawDataError(what, where=raw, hint=f"download it from {_SITE}")
    present = ", ".join(sorted(path.name for path in find(raw, "ITOP_*"))) or contents(raw)
    raise MissingDataError(
        f"{' and '.join(missing)} (or .h5.gz) are missing, found {present}",
        where=raw,
        hint=f"download them from {_SITE}, or make a stand-in with `kt3d generate itop`",
    )


def describe(raw: Path) -> Sequence[str]:
    """Return sentences for ``kt3d inspect``: which files are there, how many frames are usable, what is missing.

    Nothing is unpacked. Raises ``RawDataError`` when ``raw`` is no folder.
    """
    if not raw.is_dir():
        find_files(raw, next(iter(SPLITS)))
    lines: list[str] = []
    people: dict[str, set[str]] = {}
    for split in SPLITS:
        try:
            lines += _describe_split(raw, split, people)
        except RawDataError as error:
            lines.append(f"view {SPLITS[split][0]}, split '{split}' cannot be prepared: {error.message}")
    for view in OFFICIAL_VIEW:
        if both := people.get(f"{view}-train", set()) & people.get(f"{view}-test", set()):
            lines.append(f"{view}: train and test both use the person numbers {', '.join(sorted(both))}")
    return lines


def _describe_split(raw: Path, split: str, people: dict[str, set[str]]) -> Iterator[str]:
    depth_path, labels_path = find_files(raw, split)
    names = f"{depth_path.name}, {labels_path.name}"
    if packed(labels_path) and unpacked_copy(labels_path) is None:
        yield f"{split}: {names}, packed"
        return
    with opened(labels_path, "labels") as labels:
        ids = read_ids(labels)
        valid = int(np.count_nonzero(labels.read("is_valid", 0, labels.frames) == 1))
    people[split] = {split_id(text)[0] for text in ids}
    yield f"{split}: {len(ids)} frames of {len(people[split])} people, {valid} of them valid ({names})"


def deferred(raw: Path, split: str) -> str | None:
    """Return what must be unpacked before the valid frames can be counted; ``None`` where that is little or done.

    Raises ``RawDataError`` as ``find_files``, and for a packed file that holds no HDF5 file or is larger than any
    official one. Only the first bytes of packed files are read.
    """
    depth_path, labels_path = find_files(raw, split)
    waiting = [path for path in (depth_path, labels_path) if packed(path) and unpacked_copy(path) is None]
    need = {path: declared_bytes(path) for path in waiting}
    if sum(need.values()) <= _QUICK_BYTES:
        return None
    frames = f"about {need[depth_path] // _FRAME_BYTES} frames; " if depth_path in need else ""
    names = " and ".join(path.name for path in waiting)
    return (
        f"{frames}how many of them are valid is known once prepare has unpacked {names}, "
        f"which takes {sum(need.values()) / 1e9:.1f} GB"
    )
