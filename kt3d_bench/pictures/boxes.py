"""Where the people are in a picture: boxes of a file or a detector, or the whole picture; and who is who in a video."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import RawDataError, UsageError
from kt3d_bench.pictures.inputs import Picture
from kt3d_bench.plugins import registry
from kt3d_bench.schema import read_yaml

if TYPE_CHECKING:
    from kt3d_bench.plugins.registry import Detector

FloatArray = npt.NDArray[np.float64]
BoxRule = Callable[[Picture], FloatArray]
"""A picture -> (N, 4) x0, y0, x1, y1 px of the people in it."""
MOST_PEOPLE = 100
LARGEST = 2.0
"""Longest side of a box over the longer side of the picture."""
SAME = 0.2
"""Overlap (intersection over union) from which a box of the next frame may be that of the same person."""
REMEMBERED = 30
"""Frames, about a second, for which somebody who is not seen keeps a number."""
_HINT = 'give {"photo.jpg": [[x0, y0, x1, y1], ...], "clip.mp4": {"0": [[...]], ...}} in px, or one list for all'


def box_rule(given: str | Path, method: str) -> tuple[BoxRule, str]:
    """Return what finds the people, and its name for the record.

    ``given``: "whole"; "detect" (with the detector of ``method``, else with any that is installed); "auto": detect
    where ``method`` has a detector, else whole; or a JSON or YAML file. Raises ``UsageError``.
    """
    own = registry.methods().get(method)
    if given == "auto":
        given = "detect" if own is not None and own.detector else "whole"
    if given == "whole":
        return whole, "whole picture"
    if given == "detect":
        name, detector = registry.person_detector(method)
        return lambda picture: detected(picture, detector), f"detected by {name}"
    return from_file(Path(given)), "given"


def whole(picture: Picture) -> FloatArray:
    """One person, who fills the picture."""
    width, height = picture.size_px
    return np.array([[0.0, 0.0, width - 1, height - 1]])


def detected(picture: Picture, detector: Detector) -> FloatArray:
    """The people that a detector finds. Raises ``RawDataError`` for a depth image."""
    if picture.image.ndim != 3:
        raise RawDataError("is a depth image, in which nobody can be detected", where=picture.name,
                           hint="use --boxes FILE or --boxes whole")  # fmt: skip
    return np.asarray(detector(picture.image), np.float64).reshape(-1, 4)[:MOST_PEOPLE]


def from_file(path: Path) -> BoxRule:
    """Read boxes: name of a picture -> list of boxes; name of a video -> frame -> list of boxes, which hold until the
    next frame that is named; or one list for every picture.

    Raises ``UsageError`` for a file of another content; the rule raises ``RawDataError`` for a picture that the file
    does not name and for a box that cannot be.
    """
    if not path.is_file():
        raise UsageError("there is no such file of boxes", where=path, hint=f"use whole, detect, or a file: {_HINT}")
    content = read_yaml(path, error=UsageError, hint=_HINT)
    named = content if isinstance(content, Mapping) else None
    parsed = {str(name): _parsed(value, path, str(name)) for name, value in (named or {"": content}).items()}

    def rule(picture: Picture) -> FloatArray:
        name = "" if named is None else picture.name
        if name not in parsed:
            short = name.rpartition("/")[2]
            if short not in parsed:
                raise RawDataError("the file of boxes does not name this picture", where=picture.name, hint=_HINT)
            name = short
        frames = parsed[name]
        at = max((one for one in frames if one <= (picture.frame or 0)), default=None)
        return checked_boxes(frames[at], picture) if at is not None else np.zeros((0, 4))

    return rule


def _parsed(value: Any, path: Path, name: str) -> dict[int, FloatArray]:
    """Return first frame -> (N, 4)."""
    try:
        if isinstance(value, Mapping):
            return {int(frame): np.array(boxes, np.float64).reshape(-1, 4) for frame, boxes in value.items()}
        if not isinstance(value, list):
            raise TypeError
        return {0: np.array(value, np.float64).reshape(-1, 4)}
    except (TypeError, ValueError, OverflowError):
        where = f" of '{name}'" if name else ""
        raise UsageError(f"the boxes{where} are no list of four numbers each", where=path, hint=_HINT) from None


def checked_boxes(boxes_px: FloatArray, picture: Picture) -> FloatArray:
    """Return boxes (N, 4) that can be. Raises ``RawDataError`` for one that is not finite, is empty, is far larger than
    the picture or lies outside of it, and for too many of them."""
    width, height = picture.size_px
    if len(boxes_px) > MOST_PEOPLE:
        raise RawDataError(f"{len(boxes_px)} boxes are given", where=picture.name, hint=f"give at most {MOST_PEOPLE}")
    for box in boxes_px:
        x0, y0, x1, y1 = box.tolist()
        size = max(x1 - x0, y1 - y0)
        inside = x1 >= 0 and y1 >= 0 and x0 <= width - 1 and y0 <= height - 1
        if not np.isfinite(box).all() or x1 <= x0 or y1 <= y0 or size > LARGEST * max(width, height) or not inside:
            shown = ", ".join(f"{value:g}" for value in box)
            what = f"the box ({shown}) cannot be one of a picture of {width} x {height} px"
            raise RawDataError(what, where=picture.name, hint="give x0, y0, x1, y1 in px of the upright picture")
    return boxes_px


class Tracks:
    """Numbers for the people of a video: a box gets the number of the box that it overlaps most, first of the last
    frame, then of the ``REMEMBERED`` frames before it, so that a frame without a detection makes nobody new."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[int, FloatArray]] = {}
        self._frame, self._next = 0, 0

    def numbers(self, boxes_px: FloatArray) -> list[int]:
        """(N, 4) boxes of the next frame -> N different numbers."""
        found: dict[int, int] = {}
        self._frame += 1
        self._last = {number: one for number, one in self._last.items() if self._frame - one[0] <= REMEMBERED}
        pairs = sorted(
            ((seen == self._frame - 1, overlap(box, last), place, number)
             for place, box in enumerate(boxes_px) for number, (seen, last) in self._last.items()),
            reverse=True,
        )  # fmt: skip
        for _, share, place, number in pairs:
            if share >= SAME and place not in found and number not in found.values():
                found[place] = number
        for place, box in enumerate(boxes_px):
            if place not in found:
                found[place], self._next = self._next, self._next + 1
            self._last[found[place]] = self._frame, box
        return [found[place] for place in range(len(boxes_px))]


def overlap(one: Sequence[float] | FloatArray, other: Sequence[float] | FloatArray) -> float:
    """Return the intersection over the union of two boxes."""
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    shared = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared
    return float(shared / union) if union > 0 else 0.0
