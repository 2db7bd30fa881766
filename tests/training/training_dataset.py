"""A dataset of a few dots: exact geometry, all three modalities, raw data that is one JSON file.

``raw/people.json``: {"train": n, "test": m, "seed": s, "corrupt": bool, "poses": bool}. A corrupt one has the same
images and crop cameras, and nonsense everywhere else; one of poses has no images.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from kt3d_bench import Camera, DatasetPlugin, MethodPlugin, Sample, Skipped, WorkItem, hookimpl
from kt3d_bench.geometry.cameras import project
from kt3d_bench.skeletons import H36M17

VERSION = 1
DEMO = {"people": 3, "frames": 2}
WIDTH, HEIGHT = 40, 48

CARD = """
name: {name}
title: Dots
what: Dots.
modalities: [rgb, depth, parts]
homepage: https://example.org
how_to_obtain: [Draw it.]
download_size: 1 kB
licence: Do as you like.
redistribution: Allowed.
citation: "@misc{{dots}}"
joints:
{joints}
num_parts: 3
part_mirror: [0, 2, 1]
box_rule: joints
protocol: All.
"""
BENCHMARKS = """
benchmarks:
  - {{id: {name}-{modality}, version: 1, title: Dots, dataset: {name}, split: test, modality: {modality},
      headline: [mpjpe_mm], root: 0, reference: {reference}, box_rule: joints, sees: crops}}
"""


def dataset(folder: Path, name: str, *, modality: str = "rgb", reference: str = "root-given") -> DatasetPlugin:
    """The plugin, its card and its benchmark written into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = "\n".join(f"  - {{joint: {joint}, quality: exact}}" for joint in H36M17.joints)
    (folder / "card.yaml").write_text(CARD.format(name=name, joints=rows))
    (folder / "benchmarks.yaml").write_text(BENCHMARKS.format(name=name, modality=modality, reference=reference))
    here = "training_dataset"
    return DatasetPlugin(name, "Dots", ("rgb", "depth", "parts"), ("train", "test"), folder, here, here)


def module(name: str, datasets: Sequence[DatasetPlugin], methods: Sequence[MethodPlugin]) -> ModuleType:
    """A plugin module that offers them."""
    made = ModuleType(name)
    made.kt3d_datasets = hookimpl(specname="kt3d_datasets")(lambda: datasets)  # type: ignore[attr-defined]
    made.kt3d_methods = hookimpl(specname="kt3d_methods")(lambda: methods)  # type: ignore[attr-defined]
    return made


def write_raw(raw: Path, *, train: int, test: int, seed: int = 0, corrupt: bool = False, poses: bool = False) -> None:
    raw.mkdir(parents=True, exist_ok=True)
    facts = {"train": train, "test": test, "seed": seed, "corrupt": corrupt, "poses": poses}
    (raw / "people.json").write_text(json.dumps(facts))


def plan(raw: Path, split: str, options: Mapping[str, Any]) -> Sequence[WorkItem]:
    facts = json.loads((raw / "people.json").read_text())
    payload = {"path": str(raw / "people.json"), "split": split, **facts}
    return [WorkItem(split, facts[split], payload, poses_only=facts["poses"])]


def convert(item: WorkItem) -> Iterator[Sample | Skipped]:
    split = item.payload["split"]
    for number in range(item.payload[split]):
        made = dot_sample(
            f"{split}_{number:03d}", (item.payload["seed"], split == "test", number), item.payload["corrupt"]
        )
        yield replace(made, rgb=None, depth_mm=None, parts=None) if item.payload["poses"] else made


def describe(raw: Path) -> Sequence[str]:
    return ["dots"]


def generate(
    out: Path,
    *,
    people: int,
    frames: int,
    seed: int,
    motion: Path | None,
    device: str,
    workers: int,
    progress: Callable[[int, int], None],
) -> Mapping[str, int]:
    write_raw(out, train=people * frames, test=2, seed=seed + 7)
    (out / "kt3d-generated.json").write_text(
        json.dumps({"dataset": "dots-source", "version": VERSION, "seed": seed, "people": people, "frames": frames})
    )
    progress(1, 1)
    return {"train": people * frames, "test": 2}


def dot_sample(key: str, seed: tuple[int, ...], corrupt: bool) -> Sample:
    """17 dots at random places around a hip some metres away; a joint's part is 1 or 2."""
    rng = np.random.default_rng([int(part) for part in seed])
    camera = Camera.pinhole((60.0, 61.0), (19.5, 23.5), (WIDTH, HEIGHT), distortion=np.array([0.05, 0, 0.001, 0, 0]))
    hip = np.array([*rng.uniform(-100, 100, 2), rng.uniform(3500, 4500)])
    joints_cam = hip + rng.uniform(-600, 600, (17, 3)) * np.array([1, 1, 0.5])
    joints_cam[0] = hip
    joints_px = project(camera, joints_cam)
    depth = np.zeros((HEIGHT, WIDTH), np.uint16)
    parts = np.zeros((HEIGHT, WIDTH), np.uint8)
    rgb = rng.integers(0, 60, (HEIGHT, WIDTH, 3), np.uint8)
    for joint, (x, y) in enumerate(np.rint(joints_px).astype(int)):
        rows, columns = slice(max(y - 4, 0), y + 5), slice(max(x - 4, 0), x + 5)
        depth[rows, columns] = int(joints_cam[joint, 2])
        parts[rows, columns] = 1 + joint % 2
        rgb[rows, columns] = (10 * joint + 60, 255 - 10 * joint, 120)
    box = np.concatenate([joints_px.min(0), joints_px.max(0)])
    labels = np.random.default_rng(99)
    if corrupt:
        box = labels.uniform(0, 40, 4)
        joints_px = labels.uniform(0, 40, (17, 2))
        joints_cam = labels.normal(0, 1e4, (17, 3))
    return Sample(
        key=key,
        camera=camera,
        joints_px=joints_px.astype(np.float32),
        joints_cam_mm=joints_cam.astype(np.float32),
        visible=np.full(17, 0 if corrupt else 1, np.int8),
        quality=np.full(17, 1 if corrupt else 3, np.uint8),
        box_px=box.astype(np.float32),
        subject="nobody" if corrupt else "S1",
        action="nothing" if corrupt else "dance",
        camera_id="x" if corrupt else "c",
        sequence="q" if corrupt else "s",
        frame=0 if corrupt else 1,
        rgb=rgb,
        depth_mm=depth,
        parts=parts,
    )
