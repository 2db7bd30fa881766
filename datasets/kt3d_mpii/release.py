"""The annotation file of a generated stand-in: the ``RELEASE`` struct with the irregularities of the real one.

Written from the format's description alone and sharing nothing with the reader, so that reading this file tests both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.standins import mat_cells, write_mat

_EMPTY = np.zeros((0, 0))
_DERIVED = (8, 9)  # Upper neck and head top: not whole numbers, and often without visibility


@dataclass(frozen=True)
class DrawnPerson:
    """The annotation of one person in a generated image."""

    points: tuple[tuple[int, float, float, int], ...]
    """id, x, y in px from 0, visible; without joints outside the image."""
    head_box: tuple[float, float, float, float]  # x1, y1, x2, y2, px from 0
    center: tuple[float, float]
    scale: float  # Height in px / 200


@dataclass(frozen=True)
class DrawnImage:
    """One generated image."""

    name: str
    train: bool
    video: int
    second: int
    category: str
    activity: str
    activity_id: int
    persons: tuple[DrawnPerson, ...]
    stream: tuple[int, ...]  # Seed of the irregularities of this image's annotation


def write_release(path: Path, images: Sequence[DrawnImage]) -> int:
    """Write the .mat file; return the number of persons in training images who have joints in it."""
    rows, annotated = [], 0
    for image in images:
        rectangles, count = _rectangles(image, np.random.default_rng(image.stream))
        annotated += count
        known = image.video > 0
        rows.append(
            {
                "image": _structs([{"name": image.name}]),
                "annorect": rectangles,
                "frame_sec": float(image.second) if known else _EMPTY,
                "vidx": float(image.video) if known else _EMPTY,
            }
        )
    videos = max((image.video for image in images), default=1)
    act = [_activity(image) for image in images]
    release = {
        "annolist": _structs(rows),
        "img_train": np.array([[float(image.train) for image in images]]),
        "version": "generated",
        "single_person": mat_cells([_EMPTY if len(image.persons) > 1 else 1.0 for image in images], column=True),
        "act": _structs(act).reshape(-1, 1),
        "video_list": mat_cells([f"generated{number:02d}" for number in range(1, max(videos, 1) + 1)]),
    }
    write_mat(path, {"RELEASE": release}, "MPII Human Pose")
    return annotated


def _activity(image: DrawnImage) -> dict[str, Any]:
    if not image.train:
        return {"act_name": _EMPTY, "cat_name": _EMPTY, "act_id": -1.0}
    return {"act_name": image.activity, "cat_name": image.category, "act_id": float(image.activity_id)}


def _rectangles(image: DrawnImage, rng: np.random.Generator) -> tuple[Any, int]:
    """Return ``annorect`` of one image, and how many of its persons have joints."""
    if not image.persons:
        return _EMPTY, 0
    if not image.train:
        return _structs([{"scale": person.scale, "objpos": _position(person)} for person in image.persons]), 0
    has_box, has_scale, has_flags = rng.random() > 0.05, rng.random() > 0.03, rng.random() > 0.05
    extra = len(image.persons) > 1 and rng.random() < 0.2
    rows = []
    for index, person in enumerate(image.persons):
        row: dict[str, Any] = {}
        if has_box:
            row |= {name: value + 1 for name, value in zip(("x1", "y1", "x2", "y2"), person.head_box, strict=True)}
        unannotated = extra and index == len(image.persons) - 1
        row["annopoints"] = _EMPTY if unannotated else _points(person, has_flags, rng)
        if has_scale:
            row |= {"scale": person.scale, "objpos": _position(person)}
        rows.append(row)
    return _structs(rows), len(rows) - int(extra)


def _position(person: DrawnPerson) -> Any:
    return _structs([{"x": float(round(person.center[0] + 1)), "y": float(round(person.center[1] + 1))}])


def _points(person: DrawnPerson, has_flags: bool, rng: np.random.Generator) -> Any:
    """Return joints in random order, 1-based, most in whole px, with visibility as number, character or nothing."""
    as_text = rng.random() < 0.3
    rows = []
    for index in rng.permutation(len(person.points)):
        joint, x, y, visible = person.points[index]
        exact = joint in _DERIVED
        row: dict[str, Any] = {
            "x": x + 1 if exact else float(round(x + 1)),
            "y": y + 1 if exact else float(round(y + 1)),
            "id": float(joint),
        }
        if has_flags:
            nothing = exact and rng.random() < 0.8
            row["is_visible"] = _EMPTY if nothing else str(visible) if as_text else float(visible)
        rows.append(row)
    return _structs([{"point": _structs(rows)}])


def _structs(rows: Sequence[dict[str, Any]]) -> npt.NDArray[Any]:
    """Return a (1, n) struct array; all rows have the same fields."""
    array = np.empty((1, len(rows)), [(name, object) for name in rows[0]])
    for column, row in enumerate(rows):
        for name, value in row.items():
            array[name][0, column] = value
    return array
