"""Layouts that are recognised but not read, and packed parts of those that are: what to say of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kt3d_bench.errors import RawDataError
from kt3d_h36m import moon, videopose

_INSTEAD = "use the official download, or images and JSON of Moon et al., beside metadata.xml"
_PICKLED = "holds pickled Python objects, which can run any code when they are read, so it is not opened"


def refusals(root: Path) -> Iterator[RawDataError]:
    """One error for each thing under ``root`` that somebody may take for a layout that is read."""
    for path in videopose.candidates(root):
        if videopose.is_pickled(path):
            yield videopose.refuse_pickled(path)
    for path in _first(root, "data_2d_h36m_*.npz"):
        yield RawDataError(
            "holds image points of VideoPose3D, which follow from poses and cameras and are not read",
            where=path,
            hint="use its data_3d_h36m.npz",
        )
    for path in _first(root, "human36m-multiview-labels*.npy"):
        yield RawDataError(
            _PICKLED, where=path, hint="use the annot.h5 files that h36m-fetch writes beside the same images"
        )
    for path in _first(root, "cameras.pkl"):
        yield RawDataError(_PICKLED, where=path, hint=_INSTEAD)
    for path in _first(root, "h36m_t*.npz", "fps*/h36m_t*.npz", "*/fps*/h36m_t*.npz"):
        yield RawDataError("holds annotations of MMPose's layout, which is not read", where=path, hint=_INSTEAD)
    for path in _first(root, "annot/s_*/matlab_meta.txt", "*/annot/s_*/matlab_meta.txt"):
        yield RawDataError(
            "belongs to the annotations of Integral Human Pose, which are not read", where=path, hint=_INSTEAD
        )
    for path in _first(root, "images.tar.gza?"):
        yield RawDataError("is one of several parts of packed images", where=path, hint=moon.UNPACK_IMAGES)


def _first(root: Path, *patterns: str) -> list[Path]:
    """The first match of any pattern at ``root`` or one folder deeper."""
    matches = (sorted(root.glob(deeper)) for pattern in patterns for deeper in (pattern, f"*/{pattern}"))
    return next((found[:1] for found in matches if found), [])
