"""Write what was predicted: ``predictions.npz``, ``predictions.json`` and BVH files. Shapes: 17 joints."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import UsageError
from kt3d_bench.files import utf8_text, write_whole
from kt3d_bench.metrics.predictions import write_predictions
from kt3d_bench.pictures.bvh import bvh_text, even_clip
from kt3d_bench.pictures.people import DEPTH_FROM, Pose
from kt3d_bench.skeletons import H36M17

FloatArray = npt.NDArray[np.float64]
FORMAT = "kt3d-pictures"


@dataclass
class InputRecord:
    """What is told of one input."""

    name: str
    kind: str
    """"image", "depth" or "video"."""
    size_px: tuple[int, int] = (0, 0)
    camera: str = ""
    focal_px: tuple[float, float] = (0.0, 0.0)
    center_px: tuple[float, float] = (0.0, 0.0)
    distortion: tuple[float, ...] = ()
    frames: int = 0
    people: int = 0
    """Poses, in a video of all frames together."""
    notes: list[str] = field(default_factory=list)
    error: str = ""
    """Why it was skipped, or not read to its end."""

    def note(self, text: str) -> None:
        if text not in self.notes and len(self.notes) < 20:
            self.notes.append(text)


@dataclass
class Record:
    """Everything that one call predicted: a few hundred bytes per pose, whatever the pictures' sizes."""

    about: Mapping[str, Any]
    inputs: list[InputRecord] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    joints_cam_mm: list[npt.NDArray[np.float32]] = field(default_factory=list)

    def add(self, pose: Pose) -> None:
        picture = pose.person.picture
        self.keys.append(utf8_text(pose.key))
        self.joints_cam_mm.append(pose.joints_cam_mm.astype(np.float32))
        row = {
            "input": len(self.inputs) - 1,
            "frame": picture.frame,
            "time_s": None if picture.time_s is None else round(picture.time_s, 6),
            "person": pose.person.number,
            "box_px": np.round(pose.person.box_px, 2).tolist(),
            "depth_from": pose.depth_from,
            "joints_px": pose.joints_px.astype(np.float32),
            "joints_root_mm": pose.joints_root_mm.astype(np.float32),
        }
        if pose.confidence is not None:
            row["confidence"] = [round(one, 3) if np.isfinite(one) else None for one in pose.confidence.tolist()]
        self.rows.append(row)

    def poses(self) -> FloatArray:
        """(N, 17, 3) mm in the cameras' frames, NaN = absent."""
        return np.array(self.joints_cam_mm, np.float64).reshape(-1, len(H36M17), 3)

    def document(self) -> Iterator[str]:
        """Yield the parts of ``predictions.json``: one line per input and pose."""
        used = {row["depth_from"] for row in self.rows}
        head = {
            "format": FORMAT,
            **self.about,
            "joint_names": H36M17.joints,
            "parents": H36M17.parents,
            "units": "joints_px and box_px: px of the upright picture, pixel centres at integers; joints_root_mm: mm "
            "relative to the hip, x right, y down, z away from the camera; joints_cam_mm: mm from the camera; null: "
            "absent (outside the picture, or not a joint of the method)",
            "depth_from": {name: text for name, text in DEPTH_FROM.items() if name in used},
        }
        yield "{\n" + "".join(f" {json.dumps(name)}: {json.dumps(value)},\n" for name, value in head.items())
        yield ' "inputs": [\n'
        yield ",\n".join("  " + json.dumps(_input(one)) for one in self.inputs)
        yield '\n ],\n "poses": [\n'
        for number, (row, cam) in enumerate(zip(self.rows, self.joints_cam_mm, strict=True)):
            joints = {name: _listed(row[name]) for name in ("joints_px", "joints_root_mm")}
            plain = {**row, **joints, "joints_cam_mm": _listed(cam)}
            yield ("  " if number == 0 else ",\n  ") + json.dumps(plain)
        yield "\n ]\n}\n"


def _input(record: InputRecord) -> dict[str, Any]:
    known = {name: value for name, value in vars(record).items() if value or name in ("frames", "people")}
    return {**known, "name": utf8_text(record.name)}


def _listed(joints: npt.NDArray[Any]) -> list[list[float] | None]:
    return [[round(float(value), 2) for value in row] if np.isfinite(row).all() else None for row in np.asarray(joints)]


def write_record(folder: Path, record: Record) -> list[Path]:
    """Write ``predictions.npz`` and ``predictions.json`` into a folder; return their paths."""
    poses = record.poses().astype(np.float32)
    meta = {**record.about, "depth_from": sorted({row["depth_from"] for row in record.rows})}
    valid = np.asarray(np.isfinite(poses).all(axis=-1))
    npz, document = folder / "predictions.npz", folder / "predictions.json"
    write_predictions(npz, record.keys, poses, valid=valid, meta=meta)
    write_whole(document, "".join(record.document()).encode())
    return [npz, document]


def file_stem(name: str) -> str:
    """Return a name for files made of an input's name: letters, digits, '.', '_' and '-' alone."""
    return re.sub(r"[^\w.\-]+", "_", name, flags=re.ASCII).strip(".") or "picture"


def tracks(record: Record) -> dict[tuple[int, int], list[int]]:
    """Return (input, person) -> places of that person's poses in the record, in time."""
    found: dict[tuple[int, int], list[int]] = {}
    for place, row in enumerate(record.rows):
        found.setdefault((row["input"], row["person"]), []).append(place)
    return found


def write_bvh(folder: Path, record: Record) -> list[Path]:
    """Write one BVH file per person and input into ``folder``; return their paths. Inputs whose hip is never seen get a
    note instead."""
    written: list[Path] = []
    poses = record.poses()
    for (number, person), places in tracks(record).items():
        times_s = np.array([record.rows[place]["time_s"] or 0.0 for place in places])
        path = folder / f"{number:03d}-{file_stem(record.inputs[number].name)}-person{person}.bvh"
        try:
            write_whole(path, bvh_text(*even_clip(poses[places], times_s)).encode())
        except UsageError as error:
            record.inputs[number].note(f"person {person}: {error.what}")
            continue
        written.append(path)
    return written


def evenly(count: int, most: int) -> Sequence[int]:
    """Return at most ``most`` of ``count`` places, evenly spread."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, most))}) if count else []
