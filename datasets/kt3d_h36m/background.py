"""The empty scene of one subject's camera, as the median of pictures from several of its recordings.

One recording would not do: who sits or stands still becomes part of its own median. The cameras stand still between
the recordings of a subject, and people stay in other places.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import RawDataError
from kt3d_bench.geometry.crops import crop_person
from kt3d_bench.geometry.motion_foreground import PICTURES, median_picture, motion_foreground
from kt3d_bench.rawfiles import read_jpeg
from kt3d_bench.records import Camera, WorkItem
from kt3d_h36m.archives import Source, local_files
from kt3d_h36m.video import spread_pictures

Image = npt.NDArray[np.uint8]
RECORDINGS = 15
"""Recordings per subject and camera that pictures are taken from, evenly among all."""
_KEPT = 4
"""Backgrounds that a process remembers: those of the four cameras."""


def with_background(items: Sequence[WorkItem]) -> list[WorkItem]:
    """Return the work items, each told which recordings of its subject and camera show the empty scene."""
    shown: dict[tuple[str, str], list[tuple[str, str | None]]] = {}
    for item in items:
        if (source := _pictured(item.payload)) is not None:
            shown.setdefault(_place(item.payload), []).append(source)
    chosen = {place: _spread(sources, RECORDINGS) for place, sources in shown.items()}
    return [
        item
        if _pictured(item.payload) is None
        else replace(item, payload={**item.payload, "background": chosen[_place(item.payload)]})
        for item in items
    ]


def _place(load: Mapping[str, Any]) -> tuple[str, str]:
    return load["subject"], load["camera_id"]


def _pictured(load: Mapping[str, Any]) -> tuple[str, str | None] | None:
    """Return the video or the folder of images; ``None`` for an item that is skipped or has poses alone."""
    return load["video"] if "video" in load else (load["folder"], None) if "folder" in load else None


def _spread(entries: Sequence[Any], count: int) -> tuple[Any, ...]:
    at = np.linspace(0, len(entries) - 1, min(count, len(entries))).round().astype(int)
    return tuple(entries[i] for i in at)


def foreground(load: Mapping[str, Any], camera: Camera, box_px: npt.NDArray[Any], crop: Image) -> Image | None:
    """Return the foreground (H, W) of a stored ``crop`` (H, W, 3) that ``crop_person`` cut around ``box_px``.

    All zero where the empty scene is not known; ``None`` where the work item asks for none.
    """
    if "background" not in load:
        return None
    sources = load["background"]
    scene = _scene(sources, tuple(_changed_ns(path) for path, _ in sources))
    if scene is None or scene.shape[1::-1] != camera.size_px:
        return np.zeros(crop.shape[:2], np.uint8)
    empty = crop_person(camera, box_px, rgb=scene).rgb
    assert empty is not None
    return motion_foreground(crop, empty)


def _changed_ns(path: str) -> int:
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=_KEPT)
def _scene(sources: tuple[tuple[str, str | None], ...], changed_ns: tuple[int, ...]) -> Image | None:
    """Return the median of pictures of these recordings, as last changed then; ``None`` where none can be read."""
    each = -(-PICTURES // len(sources))
    pictures = list(_pictures(sources, each))
    if not pictures:
        return None
    shape = Counter(picture.shape for picture in pictures).most_common(1)[0][0]
    return median_picture([picture for picture in pictures if picture.shape == shape])


def _pictures(sources: Sequence[tuple[str, str | None]], each: int) -> Iterator[Image]:
    """Yield ``each`` pictures per recording. Damaged recordings are left out: their own work items report them."""
    folders = [Path(path) for path, member in sources if member is None and Path(path).is_dir()]
    for folder in folders:
        for path in _spread(sorted(folder.glob("*.[jJ][pP][gG]")), each):
            with suppress(RawDataError):
                yield read_jpeg(path, "")
    videos = [Source(path, member) for path, member in sources if member is not None or Path(path) not in folders]
    with suppress(RawDataError), closing(local_files(videos)) as found:
        for _, path in found:
            yield from spread_pictures(path, each)
