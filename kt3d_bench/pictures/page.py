"""Write ``index.html``: pictures with skeletons over them, and the poses to turn in 3D, in the report's viewer."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from kt3d_bench.files import write_whole
from kt3d_bench.pictures.output import Record, evenly
from kt3d_bench.pictures.overlay import shown
from kt3d_bench.pictures.people import DEPTH_FROM, Pose
from kt3d_bench.report.build import packed_plotly
from kt3d_bench.report.samples import drawing, jpeg, overlay
from kt3d_bench.skeletons import H36M17
from kt3d_bench.web.page import render, spoken

OF_ONE, OF_ALL = 12, 36
"""Poses on the page: of one input, and in all. Also the most inputs of which poses are kept."""


class Gallery:
    """Keeps few poses of few inputs, evenly spread, with small pictures; memory does not grow with what is offered.

    Inputs are offered one after another.
    """

    def __init__(self, active: bool) -> None:
        self._active = active
        self._kept: dict[int, list[SimpleNamespace]] = {}
        self._every: dict[int, int] = {}
        self._offered: dict[int, int] = {}
        self._every_input = 1

    def offer(self, pose: Pose, number: int, row: int) -> None:
        """Take in the pose of place ``row`` in the record, of input ``number``."""
        place = self._offered.get(number, 0)
        self._offered[number] = place + 1
        left_out = (len(self._offered) - 1) % self._every_input or place % self._every.setdefault(number, 1)
        if not self._active or left_out:
            return
        kept = self._kept.setdefault(number, [])
        kept.append(SimpleNamespace(row=row, source=jpeg(shown(pose.person.picture.image))))
        if len(kept) > OF_ONE:
            del kept[1::2]
            self._every[number] *= 2
        if len(self._kept) > OF_ALL:
            self._kept = {one: self._kept[one] for one in list(self._kept)[::2]}
            self._every_input *= 2

    def chosen(self) -> list[SimpleNamespace]:
        """Return (``row``, ``source``) of what is shown, in the order of the record."""
        kept = [one for number in sorted(self._kept) for one in self._kept[number]]
        return [kept[place] for place in evenly(len(kept), OF_ALL)]


def write_page(path: Path, record: Record, gallery: Gallery) -> Path:
    """Write the page of a record and return its path."""
    views = [_view(record, one) for one in gallery.chosen()]
    used = {row["depth_from"] for row in record.rows}
    page = SimpleNamespace(
        about=record.about,
        inputs=record.inputs,
        views=views,
        poses=len(record.rows),
        depth=[text for name, text in DEPTH_FROM.items() if name in used],
        assumed="scale is assumed" in " ".join(DEPTH_FROM[name] for name in used),
        data={
            "joints": [spoken(name) for name in H36M17.joints],
            "parents": H36M17.parents,
            "left": [left for _, left in H36M17.mirror_pairs],
            "samples": [{"true": None, "measured": view.pose, "errors": None} for view in views],
        },
    )
    packed, allowed = packed_plotly()
    text = render("kt3d_bench.report", "pictures.html", own="report", scripts=allowed, any_style=True, page=page,
                  packed=packed)  # fmt: skip
    write_whole(path, text.encode())
    return path


def _view(record: Record, kept: SimpleNamespace) -> SimpleNamespace:
    row: dict[str, Any] = record.rows[kept.row]
    told = record.inputs[row["input"]]
    joints_px = np.asarray(row["joints_px"], np.float64)
    cam = np.asarray(record.joints_cam_mm[kept.row], np.float64)
    root = np.asarray(row["joints_root_mm"], np.float64)
    known = np.asarray(np.isfinite(root).all(axis=1))
    centre = np.zeros(3) if known[H36M17.root] else np.nanmean(root[known], axis=0) if known.any() else np.zeros(3)
    pose = [
        [round(float(value)) for value in joint] if ok else None for joint, ok in zip(root - centre, known, strict=True)
    ]
    flat = {"true": [None] * len(H36M17), "measured": pose}
    rows = [
        SimpleNamespace(name=spoken(name), mm=[f"{value:.0f}" for value in joint] if np.isfinite(joint).all() else None)
        for name, joint in zip(H36M17.joints, cam, strict=True)
    ]
    when = "" if row["frame"] is None else f"frame {row['frame']}, {row['time_s']:.2f} s"
    return SimpleNamespace(
        title=told.name, when=when, person=row["person"] + 1, key=record.keys[kept.row], source=kept.source,
        width=told.size_px[0], height=told.size_px[1], prediction=overlay(joints_px, "predicted"), joints=rows,
        absent=int((~known).sum()), pose=pose, front=drawing(flat, (0, 1)), side=drawing(flat, (2, 1)),
    )  # fmt: skip
