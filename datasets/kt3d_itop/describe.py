"""What ``kt3d inspect`` says about a raw folder: which files are there, how many frames are usable, what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from kt3d_bench.errors import RawDataError
from kt3d_itop.hdf5 import HEIGHT_PX, WIDTH_PX, opened, read_ids, split_id
from kt3d_itop.layout import OFFICIAL_VIEW, SPLITS, find, require
from kt3d_itop.unpack import declared_bytes, unpacked_copy

_FRAME_BYTES = HEIGHT_PX * WIDTH_PX * 2
_QUICK_BYTES = 256 << 20
"""Unpacked in about a second."""


def describe(raw: Path) -> Sequence[str]:
    """Sentences for ``kt3d inspect``. Raises ``RawDataError`` when ``raw`` is no folder. Nothing is unpacked."""
    if not raw.is_dir():
        require(raw, next(iter(SPLITS)))
    lines: list[str] = []
    people: dict[str, set[str]] = {}
    for split in SPLITS:
        try:
            lines += _split(raw, split, people)
        except RawDataError as error:
            lines.append(f"view {SPLITS[split][0]}, split '{split}' cannot be prepared: {error.message}")
    return lines + list(_shared(people))


def _split(raw: Path, split: str, people: dict[str, set[str]]) -> Iterator[str]:
    require(raw, split)
    found = find(raw, split)
    assert found.depth_map is not None
    assert found.labels is not None
    names = ", ".join(path.name for path in (found.depth_map, found.labels))
    if found.labels.suffix == ".gz" and unpacked_copy(found.labels) is None:
        yield f"{split}: {names}, packed"
        return
    with opened(found.labels, "labels") as labels:
        ids = read_ids(labels)
        valid = int(np.count_nonzero(labels.read("is_valid", 0, labels.frames) == 1))
    people[split] = {split_id(text)[0] for text in ids}
    yield f"{split}: {len(ids)} frames of {len(people[split])} people, {valid} of them valid ({names})"


def _shared(people: dict[str, set[str]]) -> Iterator[str]:
    for view in OFFICIAL_VIEW:
        both = people.get(f"{view}-train", set()) & people.get(f"{view}-test", set())
        if both:
            yield f"{view}: train and test both use the person numbers {', '.join(sorted(both))}"


def deferred(raw: Path, split: str) -> str | None:
    """What must be unpacked before the valid frames can be counted; ``None`` where that is little or done.

    Raises ``MissingDataError`` and ``RawDataError`` as ``layout.require``, and ``RawDataError`` for a packed file that
    holds no HDF5 file or is larger than any official one. Only the first bytes of packed files are read.
    """
    depth_path, labels_path = require(raw, split)
    packed = [path for path in (depth_path, labels_path) if path.suffix == ".gz" and unpacked_copy(path) is None]
    need = {path: declared_bytes(path) for path in packed}
    if sum(need.values()) <= _QUICK_BYTES:
        return None
    frames = f"about {need[depth_path] // _FRAME_BYTES} frames; " if depth_path in need else ""
    names = " and ".join(path.name for path in packed)
    return (
        f"{frames}how many of them are valid is known once prepare has unpacked {names}, "
        f"which takes {sum(need.values()) / 1e9:.1f} GB"
    )
