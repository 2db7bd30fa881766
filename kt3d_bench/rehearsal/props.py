"""The data that a method rehearses on: a few generated people, in the modalities of the datasets it asks for.

It is a dataset like any other, prepared by the ordinary ``prepare``. ``raw/people.json`` holds all there is:
{"train": n, "test": m, "seed": s, "corrupt": bool, "modalities": [...], "labels": "3d"}. A corrupt one has the same
images and crop cameras, and nonsense for everything that is a label.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from kt3d_bench.errors import MissingDataError
from kt3d_bench.plugins.hookspecs import DatasetPlugin
from kt3d_bench.records import Camera, Sample, Skipped, WorkItem
from kt3d_bench.skeletons import H36M17, NUM_JOINTS, Quality

VERSION = 1
TRAIN, TEST = 12, 5
_FILE = "people.json"
_SIDE_PX = 112
_SITES = ("pelvis", "hip_r", "knee_r", "ankle_r", "hip_l", "knee_l", "ankle_l", "spine_mid", "thorax", "nose",
          "head_top", "shoulder_l", "elbow_l", "wrist_l", "shoulder_r", "elbow_r", "wrist_r")  # fmt: skip


@dataclass(frozen=True)
class Prop:
    """What one role's data is like."""

    role: str
    modalities: tuple[str, ...]
    labels: str
    modality: str
    """What a benchmark on it gives to a method."""
    reference: str

    @property
    def name(self) -> str:
        return f"rehearsal-{self.role}"


def plugin(prop: Prop, folder: Path) -> DatasetPlugin:
    """The dataset of a role; its card and its benchmark are written into ``folder``."""
    from kt3d_bench.synth import PARTS

    folder.mkdir(parents=True)
    mirrored = [name[:-1] + {"l": "r", "r": "l"}[name[-1]] if name[-2:] in ("_l", "_r") else name for name in PARTS]
    parts = "parts" in prop.modalities
    card = {
        "name": prop.name,
        "title": f"Rehearsal data for the {prop.role}",
        "what": "Generated people.",
        "modalities": list(prop.modalities),
        "homepage": "https://example.org",
        "how_to_obtain": ["It is generated."],
        "download_size": "none",
        "licence": "free",
        "redistribution": "allowed",
        "citation": "none",
        "joints": [{"joint": joint, "quality": "exact"} for joint in H36M17.joints],
        "num_parts": len(PARTS) + 1 if parts else 0,
        "part_mirror": [0, *(PARTS.index(name) + 1 for name in mirrored)] if parts else None,
        "box_rule": "joints",
        "protocol": "train on train, test on test",
    }
    (folder / "card.yaml").write_text(yaml.safe_dump(card))
    if prop.labels == "3d":
        benchmark = {
            "id": prop.name,
            "version": 1,
            "title": card["title"],
            "dataset": prop.name,
            "split": "test",
            "modality": prop.modality,
            "root": 0,
            "headline": ["mpjpe_mm"],
            "reference": prop.reference,
            "box_rule": "joints",
            "sees": "crops",
        }
        (folder / "benchmarks.yaml").write_text(yaml.safe_dump({"benchmarks": [benchmark]}))
    return DatasetPlugin(
        name=prop.name,
        title=str(card["title"]),
        modalities=prop.modalities,
        splits=("train", "test"),
        folder=folder,
        convert=__name__,
        generate=__name__,
        labels=prop.labels,
    )


def write_raw(raw: Path, prop: Prop, *, corrupt: bool = False) -> Path:
    """The raw folder of a role's data."""
    raw.mkdir(parents=True)
    facts = {"train": TRAIN, "test": TEST if prop.labels == "3d" else 1, "seed": len(prop.role), "corrupt": corrupt,
             "modalities": list(prop.modalities), "labels": prop.labels}  # fmt: skip
    (raw / _FILE).write_text(json.dumps(facts))
    marker = {"dataset": prop.name, "version": VERSION, "seed": facts["seed"], "people": TRAIN, "frames": 1}
    (raw / "kt3d-generated.json").write_text(json.dumps(marker))
    return raw


def plan(raw: Path, split: str, options: Mapping[str, Any]) -> Sequence[WorkItem]:
    if not (raw / _FILE).is_file():
        raise MissingDataError("holds no rehearsal data", where=raw, hint="kt3d check writes it by itself")
    facts = json.loads((raw / _FILE).read_text())
    return [WorkItem(split, facts[split], {**facts, "split": split, "modalities": tuple(facts["modalities"])})]


def convert(item: WorkItem) -> Iterator[Sample | Skipped]:
    for number in range(item.payload[item.payload["split"]]):
        yield _sample(item.payload, number)


def describe(raw: Path) -> Sequence[str]:
    return ["data for kt3d check"]


def _sample(facts: Mapping[str, Any], number: int) -> Sample:
    from kt3d_bench.geometry.cameras import project, world_to_cam
    from kt3d_bench.geometry.crops import box_from_points, crop_person
    from kt3d_bench.synth import pose, render, sample_background, sample_bodies, sample_clip, shade

    test = facts["split"] == "test"
    rng = np.random.default_rng((facts["seed"], test, number))
    activity = ("stand", "walk", "sit", "reach")[number % 4]
    figure = pose(sample_bodies(rng, 1), sample_clip(rng, activity, 1, 25.0))
    hip = figure.landmark("pelvis")[0]
    figure = figure.moved(0.0, -hip).moved(rng.uniform(-np.pi, np.pi))
    look = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]])
    middle = (_SIDE_PX - 1) / 2
    camera = Camera.pinhole(
        (140.0, 141.0),
        (middle, middle),
        (_SIDE_PX, _SIDE_PX),
        rotation=look,
        position_world_mm=np.array([rng.uniform(3600, 4200), 0.0, rng.uniform(-100, 100)]),
    )
    image = render(figure, [camera])[0]
    world = np.stack([figure.landmark(site)[0] for site in _SITES])
    joints_mm = world_to_cam(camera, world)
    joints_px = project(camera, joints_mm)
    box_px = box_from_points(joints_px)
    given = set(facts["modalities"])
    background = sample_background(rng, (_SIDE_PX, _SIDE_PX), "room")
    crop = crop_person(
        camera,
        box_px,
        rgb=shade(image, rng, background) if "rgb" in given else None,
        depth_mm=image.depth_mm.round().astype(np.uint16) if "depth" in given else None,
        parts=image.part if "parts" in given else None,
    )
    labels: dict[str, Any] = {
        "joints_px": crop.to_crop(joints_px).astype(np.float32),
        "joints_cam_mm": joints_mm.astype(np.float32),
        "visible": np.ones(NUM_JOINTS, np.int8),
        "quality": np.full(NUM_JOINTS, Quality.EXACT, np.uint8),
        "box_px": crop.to_crop(box_px.reshape(2, 2)).reshape(4).astype(np.float32),
        "subject": f"S{number % 3}",
        "action": activity,
        "camera_id": "c0",
        "sequence": f"s{number}",
        "frame": 0,
    }
    if facts["corrupt"]:
        labels |= _nonsense(number)
    if facts["labels"] == "2d":
        labels["joints_cam_mm"] = None
    return Sample(
        key=f"{facts['split']}_{number:03d}",
        camera=crop.camera,
        rgb=crop.rgb,
        depth_mm=crop.depth_mm,
        parts=crop.parts,
        **labels,
    )


def _nonsense(number: int) -> dict[str, Any]:
    rng = np.random.default_rng((99, number))
    return {
        "joints_px": rng.uniform(0, 60, (NUM_JOINTS, 2)).astype(np.float32),
        "joints_cam_mm": rng.normal(0, 1e4, (NUM_JOINTS, 3)).astype(np.float32),
        "visible": np.zeros(NUM_JOINTS, np.int8),
        "quality": np.full(NUM_JOINTS, Quality.APPROXIMATE, np.uint8),
        "box_px": rng.uniform(0, 60, 4).astype(np.float32),
        "subject": "nobody",
        "action": "nothing",
        "camera_id": "x",
        "sequence": "x",
        "frame": 7,
    }
