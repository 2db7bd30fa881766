"""Which of the layouts that people have lies in a raw folder; the official one wins where it has videos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kt3d_bench.errors import RawDataError, UsageError
from kt3d_bench.records import Camera, Sample, Skipped, WorkItem
from kt3d_h36m import fetch, moon, videopose
from kt3d_h36m.layout import CODE_MEND, find_metadata, holds_videos, local_file
from kt3d_h36m.metadata import read_cameras
from kt3d_h36m.selection import Selection

Derived = moon.MoonFolder | fetch.FetchTree | videopose.PlainPoses
_CONVERT = {moon.LAYOUT: moon.convert, fetch.LAYOUT: fetch.convert, videopose.LAYOUT: videopose.convert}


def find_derived(raw: Path) -> Derived | None:
    """The derived layout to read ``raw`` as: images before poses alone. ``None``: the official one, or nothing."""
    if not raw.is_dir() or holds_videos(raw):
        return None
    return fetch.find(raw) or moon.find(raw) or videopose.find(raw)


def plan_derived(
    found: Derived,
    raw: Path,
    subjects: Sequence[int],
    every: int,
    selection: Selection,
    *,
    partial: bool,
    official_boxes: bool,
) -> list[WorkItem]:
    """The work items of a derived layout. Raises ``RawDataError`` naming what is missing, ``UsageError`` for official
    boxes, which go with the official videos."""
    if official_boxes:
        raise UsageError("the official boxes go with the official videos", where=raw, hint="leave --boxes at joints")
    cameras = _calibrated(raw)
    if isinstance(found, moon.MoonFolder):
        return moon.plan(found, subjects, every, selection, partial=partial, calibrated=cameras)
    if cameras is None:
        raise RawDataError(
            "metadata.xml with the cameras is missing",
            where=raw,
            hint=f"{CODE_MEND} (h36m-fetch keeps it beside its folder processed: point --raw one folder up)",
        )
    if isinstance(found, fetch.FetchTree):
        return fetch.plan(found, subjects, every, selection, partial=partial, calibrated=cameras)
    return videopose.plan(found, subjects, every, selection, partial=partial, calibrated=cameras)


def convert_derived(load: Mapping[str, Any]) -> Iterator[Sample | Skipped]:
    """The samples of one of these items."""
    return _CONVERT[load["layout"]](load)


def describe_derived(found: Derived, raw: Path) -> Iterator[str]:
    """Sentences for ``kt3d inspect``: the layout, what of it is here, and what is missing."""
    calibrated = find_metadata(raw) is not None
    if isinstance(found, moon.MoonFolder):
        yield from moon.describe(found, calibrated=calibrated)
        return
    yield from fetch.describe(found) if isinstance(found, fetch.FetchTree) else videopose.describe(found)
    yield "Cameras are those of the official metadata.xml." if calibrated else f"metadata.xml is missing: {CODE_MEND}."


def _calibrated(raw: Path) -> Mapping[tuple[int, str], Camera] | None:
    metadata = find_metadata(raw)
    if metadata is None:
        return None
    with local_file(metadata) as path:
        return read_cameras(path)
