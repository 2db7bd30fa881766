"""A small MPII written by hand, every documented irregularity included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mpii_release import EMPTY, image_entry, one, points, standing, structs, write_jpg, write_release


@pytest.fixture
def mpii_raw(tmp_path: Path) -> Path:
    """Eight images: regular, bare joints, mixed visibility, empty, test, missing file, few joints, two persons."""
    raw = tmp_path / "raw"
    mixed: dict[int, Any] = dict.fromkeys(range(10), 1.0) | {10: 0.0, 11: "1", 12: "0", 13: EMPTY, 14: 1.0}
    full = {"x1": 90.0, "y1": 30.0, "x2": 110.0, "y2": 60.0, "scale": 0.75, "objpos": one(x=100.0, y=120.0)}
    seen = dict.fromkeys(range(16), 1.0)
    annolist = [
        image_entry("000000001.jpg", one(annopoints=points(standing(101, 121), seen), **full), 7.0),
        image_entry("000000002.jpg", one(annopoints=points(standing(101, 121)))),
        image_entry("000000003.jpg", one(annopoints=points(standing(101, 121), mixed), scale=0.7)),
        image_entry("000000004.jpg", EMPTY),
        image_entry("000000005.jpg", one(scale=0.7, objpos=one(x=1.0, y=2.0))),
        image_entry("000000006.jpg", one(annopoints=points(standing(101, 121), {}))),
        image_entry("000000007.jpg", one(annopoints=points({6: (50.0, 50.0), 7: (50.0, 40.0)}, {}))),
        image_entry(
            "000000008.jpg",
            structs([{"annopoints": EMPTY, "scale": 0.5}, {"annopoints": points(standing(201, 131), {}), "scale": 1}]),
        ),
    ]  # fmt: skip
    write_release(raw / "mpii_human_pose_v1_u12_2/mpii_human_pose_v1_u12_1.mat", annolist, [1, 1, 1, 1, 0, 1, 1, 1])
    for number in (1, 2, 3, 4, 5, 7, 8):
        write_jpg(raw / "images", f"{number:09d}.jpg")
    return raw
