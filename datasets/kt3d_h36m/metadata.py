"""``metadata.xml`` of the official code release: cameras, image sizes and frame counts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from kt3d_bench.budgets import OverBudgetError
from kt3d_bench.errors import RawDataError
from kt3d_bench.rawfiles import read_bytes
from kt3d_bench.records import Camera
from kt3d_h36m.recordings import CAMERAS

_LARGEST_BYTES = 4 << 20
_MOST_ELEMENTS, _MOST_DEPTH = 100_000, 100
"""The official file has some 30 KB and 900 elements, four deep."""
_SUBJECTS = 11
_TALL_SUBJECTS = (4, 7, 10)
_HINT = "take metadata.xml from code-v1.2.zip (folder Release-v1.2) of the official site"


@dataclass(frozen=True)
class FrameCount:
    """What ``metadata.xml`` says about one recording."""

    videos: tuple[int, int, int, int]  # Video frames of cameras 1..4
    poses: int  # 50 Hz poses: mocap samples // 4


class _Bounded(ElementTree.TreeBuilder):
    """Builds a tree of few elements: four bytes of a file can ask for two hundred of memory. Raises
    ``OverBudgetError``."""

    def __init__(self) -> None:
        super().__init__()
        self._elements = self._depth = 0

    def start(self, tag: Any, attributes: Any, /) -> ElementTree.Element:
        self._elements, self._depth = self._elements + 1, self._depth + 1
        if self._elements > _MOST_ELEMENTS or self._depth > _MOST_DEPTH:
            raise OverBudgetError(f"more than {_MOST_ELEMENTS} elements, or {_MOST_DEPTH} in one another")
        return super().start(tag, attributes)

    def end(self, tag: Any, /) -> ElementTree.Element:
        self._depth -= 1
        return super().end(tag)

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        raise OverBudgetError("it declares a document type, which may define entities of any size")


def _root(path: Path) -> ElementTree.Element:
    content = read_bytes(path, _LARGEST_BYTES, _HINT)
    try:
        return ElementTree.fromstring(content, ElementTree.XMLParser(target=_Bounded()))
    except OverBudgetError as error:
        raise RawDataError(f"is not read: {error}", where=path, hint=_HINT) from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise RawDataError(f"is not well-formed XML ({error})", where=path, hint=_HINT) from error


def _numbers(text: str | None) -> list[float]:
    return [float(word) for word in (text or "").replace("[", " ").replace("]", " ").replace(";", " ").split()]


def rotation_world_to_cam(angles_rad: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return (3, 3) Rx(a) @ Ry(b) @ Rz(g) from (3,) Euler angles a, b, g."""
    (ca, cb, cg), (sa, sb, sg) = np.cos(angles_rad), np.sin(angles_rad)
    about_x = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    about_y = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    about_z = np.array([[cg, -sg, 0], [sg, cg, 0], [0, 0, 1]])
    rotation: npt.NDArray[np.float64] = about_x @ about_y @ about_z
    return rotation


def read_cameras(path: Path) -> dict[tuple[int, str], Camera]:
    """Read (subject number, camera identifier) -> calibrated camera, for all 11 subjects and 4 cameras.

    ``w0`` holds 4 x 11 x 6 extrinsic and 4 x 9 intrinsic numbers. The projection is OpenCV's with the tangential term
    not doubled, hence ``tangential_factor`` 1. The size is that of ``mapping``'s last row where it can be read, else
    the documented one (width 1000; height 1002 for cameras 1 and 4 and for S4, S7, S10, else 1000).
    Raises ``RawDataError`` when the file is missing or not XML, or ``w0`` is absent or not 300 finite numbers.
    """
    root = _root(path)
    try:
        w0 = np.array(_numbers(root.findtext(".//w0")), np.float64)
    except ValueError as error:
        raise RawDataError(f"w0 holds something that is not a number ({error})", where=path, hint=_HINT) from error
    extrinsic, intrinsic = 4 * _SUBJECTS * 6, 4 * 9
    if w0.size != extrinsic + intrinsic:
        found = "is missing" if not w0.size else f"holds {w0.size} numbers"
        raise RawDataError(f"w0 {found}, expected the cameras' {extrinsic + intrinsic}", where=path, hint=_HINT)
    poses = w0[:extrinsic].reshape(4, _SUBJECTS, 6)
    lenses = w0[extrinsic:].reshape(4, 9)
    sizes = _image_sizes(root)
    cameras = {}
    for index, camera_id in enumerate(CAMERAS):
        unknown = np.flatnonzero(~np.isfinite(poses[index]).all(axis=1) | ~poses[index].any(axis=1))
        if len(unknown) or not np.isfinite(lenses[index]).all():
            whose = f" of S{unknown[0] + 1}" if len(unknown) else ""
            raise RawDataError(f"w0 holds no parameters for camera {camera_id}{whose}", where=path, hint=_HINT)
        fx, fy, cx, cy, k1, k2, k3, p1, p2 = lenses[index]
        if fx <= 0 or fy <= 0:
            raise RawDataError(f"the focal length of camera {camera_id} is not positive", where=path, hint=_HINT)
        for subject in range(1, _SUBJECTS + 1):
            pose = poses[index, subject - 1]
            cameras[subject, camera_id] = Camera.pinhole(
                (fx, fy),
                (cx, cy),
                sizes[subject, index],
                distortion=np.array([k1, k2, p1, p2, k3]),
                tangential_factor=1.0,
                rotation=rotation_world_to_cam(pose[:3]),
                position_world_mm=pose[3:],
            )
    return cameras


def _image_sizes(root: ElementTree.Element) -> dict[tuple[int, int], tuple[int, int]]:
    sizes = {
        (subject, index): (1000, 1002 if index in (0, 3) or subject in _TALL_SUBJECTS else 1000)
        for subject in range(1, _SUBJECTS + 1)
        for index in range(4)
    }
    rows = root.findall(".//mapping/*")
    if not rows:
        return sizes
    cells = [[int(number) for number in re.findall(r"\d{1,9}", cell.text or "", re.ASCII)] for cell in rows[-1]]
    cells = [cell for cell in cells if len(cell) in (2, 8)]
    if len(cells) == _SUBJECTS:
        for subject, cell in enumerate(cells, start=1):
            for index, (height, width) in enumerate(zip((cell * 4)[:8:2], (cell * 4)[1:8:2], strict=True)):
                if height > 0 and width > 0:
                    sizes[subject, index] = (width, height)
    return sizes


def read_frame_counts(path: Path) -> dict[tuple[int, int, int], FrameCount]:
    """Read (subject, action, subaction) -> counts from the element ``frames``; empty cells are left out.

    Rows are S1..S11; cells follow the order of ``mapping``: actions 1..16, subactions 1 and 2.
    Raises ``RawDataError`` when the file is missing or not XML, or a cell is not five numbers; an absent element gives
    ``{}``.
    """
    element = _root(path).find(".//frames")
    counts: dict[tuple[int, int, int], FrameCount] = {}
    for subject, row in enumerate([] if element is None else element, start=1):
        for column, cell in enumerate(list(row)[1:]):
            try:
                numbers = [int(number) for number in _numbers(cell.text)]
            except (ValueError, OverflowError) as error:
                raise RawDataError(f"frames of S{subject} are not numbers ({error})", where=path, hint=_HINT) from error
            if not numbers:
                continue
            if len(numbers) != 5:
                raise RawDataError(
                    f"frames of S{subject} hold a cell of {len(numbers)} numbers, expected 5", where=path, hint=_HINT
                )
            *videos, mocap = numbers
            action, subaction = divmod(column, 2)
            counts[subject, action + 1, subaction + 1] = FrameCount(
                (videos[0], videos[1], videos[2], videos[3]), mocap // 4
            )
    return counts
