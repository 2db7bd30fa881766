"""Writing MPII releases by hand with ``savemat``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import scipy.io

EMPTY = np.zeros((0, 0))


def structs(rows: list[dict[str, Any]]) -> np.ndarray:
    """A (1, n) struct array; all rows share their fields."""
    names = list(rows[0])
    array = np.empty((1, len(rows)), [(name, object) for name in names])
    for column, row in enumerate(rows):
        for name in names:
            array[name][0, column] = row[name]
    return array


def one(**fields: Any) -> np.ndarray:
    return structs([fields])


def points(joints: dict[int, tuple[float, float]], visible: dict[int, Any] | None = None) -> np.ndarray:
    """``annopoints`` with joints in descending order of id; ``visible`` None leaves the field out altogether."""
    rows = []
    for joint in sorted(joints, reverse=True):
        row: dict[str, Any] = {"x": joints[joint][0], "y": joints[joint][1], "id": float(joint)}
        if visible is not None:
            row["is_visible"] = visible.get(joint, EMPTY)
        rows.append(row)
    return one(point=structs(rows))


def standing(x: float, y: float) -> dict[int, tuple[float, float]]:
    """All 16 joints of a figure 150 px tall whose pelvis is at (x, y), 1-based px."""
    offsets = [(-12, 70), (-12, 35), (-10, 0), (10, 0), (12, 35), (12, 70), (0, 0), (0, -50), (0, -58),
               (0.7591, -80.25), (-30, 5), (-25, -22), (-18, -50), (18, -50), (25, -22), (30, 5)]  # fmt: skip
    return {joint: (x + dx, y + dy) for joint, (dx, dy) in enumerate(offsets)}


def write_release(path: Path, annolist: list[dict[str, Any]], img_train: list[int], **more: Any) -> None:
    act = structs([{"act_name": "x", "cat_name": "sports", "act_id": 3.0} for _ in annolist])
    release = {"annolist": structs(annolist), "img_train": np.array([img_train], float), "version": "12", "act": act}
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"RELEASE": release | more})


def image_entry(name: str, annorect: Any, vidx: Any = EMPTY) -> dict[str, Any]:
    return {"image": one(name=name), "annorect": annorect, "frame_sec": EMPTY, "vidx": vidx}


def write_jpg(folder: Path, name: str, size: tuple[int, int] = (320, 240)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(folder / name), np.full((size[1], size[0], 3), (200, 60, 20), np.uint8))
