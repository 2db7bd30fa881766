"""Which of the layouts that people have lies in a raw folder; the official one wins where it has videos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from kt3d_bench.errors import RawDataError, UsageError
from kt3d_bench.rawfiles import find
from kt3d_bench.records import Sample, Skipped, WorkItem
from kt3d_h36m import fetch, moon, videopose
from kt3d_h36m.layout import METADATA_HINT, cameras_of, find_metadata, holds_videos
from kt3d_h36m.recordings import Selection

OtherLayout = moon.MoonFolder | fetch.FetchFolder | videopose.PlainPoses
_CONVERT = {moon.LAYOUT: moon.convert, fetch.LAYOUT: fetch.convert, videopose.LAYOUT: videopose.convert}
_INSTEAD = "use the official download, or images and JSON of Moon et al., beside metadata.xml"
_REFUSED = {
    "data_2d_h36m_*.npz": (
        "holds image points of VideoPose3D, which follow from poses and cameras and are not read",
        "use its data_3d_h36m.npz",
    ),
    "human36m-multiview-labels*.npy": (
        videopose.PICKLED, "use the annot.h5 files that h36m-fetch writes beside the same images"
    ),
    "cameras.pkl": (videopose.PICKLED, _INSTEAD),
    "h36m_t*.npz": ("holds annotations of MMPose's layout, which is not read", _INSTEAD),
    "fps*/h36m_t*.npz": ("holds annotations of MMPose's layout, which is not read", _INSTEAD),
    "annot/s_*/matlab_meta.txt": (
        "belongs to the annotations of Integral Human Pose, which are not read", _INSTEAD
    ),
    "images.tar.gza?": ("is one of several parts of packed images", moon.UNPACK_IMAGES),
}  # fmt: skip
"""Files of layouts that are not read, or packed parts of those that are -> what to say of each, and the hint."""


def find_other(raw: Path) -> OtherLayout | None:
    """Return the other layout to read ``raw`` as, images before poses alone; ``None`` = official, or nothing."""
    if not raw.is_dir() or holds_videos(raw):
        return None
    return fetch.find(raw) or moon.find(raw) or videopose.find(raw)


def plan_other(
    found: OtherLayout, raw: Path, selection: Selection, every: int, *, partial: bool, official_boxes: bool
) -> list[WorkItem]:
    """Return the work items of another layout. Raises ``RawDataError`` naming what is missing, ``UsageError`` for
    official boxes, which go with the official videos."""
    if official_boxes:
        raise UsageError("the official boxes go with the official videos", where=raw, hint="leave --boxes at joints")
    metadata = find_metadata(raw)
    if isinstance(found, moon.MoonFolder):
        return found.plan(selection, every, partial, None if metadata is None else cameras_of(metadata, raw))
    kept = " (h36m-fetch keeps it beside its folder processed: point --raw one folder up)"
    return found.plan(selection, every, partial, cameras_of(metadata, raw, kept))


def convert_other(load: Mapping[str, Any]) -> Iterator[Sample | Skipped]:
    """Return the samples of one of these items."""
    return _CONVERT[load["layout"]](load)


def describe_other(found: OtherLayout, raw: Path) -> Iterator[str]:
    """Yield sentences for ``kt3d inspect``: the layout, what of it is here, and what is missing."""
    calibrated = find_metadata(raw) is not None
    yield from found.describe(calibrated)
    if calibrated:
        yield "Cameras are those of the official metadata.xml, with lens distortion."
    elif not isinstance(found, moon.MoonFolder):
        yield f"metadata.xml is missing: {METADATA_HINT}."


def refusals(root: Path) -> Iterator[RawDataError]:
    """Yield one error for each thing under ``root`` that somebody may take for a layout that is read."""
    for path in videopose.candidates(root):
        if videopose.is_pickled(path):
            yield videopose.refuse_pickled(path)
    for pattern, (what, hint) in _REFUSED.items():
        yield from (RawDataError(what, where=path, hint=hint) for path in islice(find(root, pattern), 1))
