"""Tiny samples, tiny shards and a whole tiny dataset, for tests: images that show a square dot where each joint lies.

The geometry is exact: projecting ``joints_cam_mm`` through the camera gives ``joints_px``, and the depth image holds
each joint's depth at its dot. The module is also the ``convert`` module of the datasets it makes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import yaml

from kt3d_bench.data.format import FIELD_OF_MODALITY
from kt3d_bench.data.index import Labels
from kt3d_bench.data.manifest import (
    CropRule,
    Manifest,
    Shard,
    Split,
    counts,
    labels_digest,
    sample_list_digest,
    write_manifest,
)
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.data.writer import ShardWriter
from kt3d_bench.errors import MissingDataError
from kt3d_bench.geometry.cameras import project
from kt3d_bench.plugins.hookspecs import DatasetPlugin, MethodPlugin, MetricPlugin, hookimpl
from kt3d_bench.records import Camera, Sample, Skipped, WorkItem
from kt3d_bench.skeletons import H36M17, NUM_JOINTS, Quality
from kt3d_bench.standins import MARKER

MODALITIES = ("rgb", "depth", "parts")
NUM_PARTS = 3
PART_MIRROR = (0, 2, 1)
SIZE_PX = (40, 48)
VERSION = 1
_FILE = "people.json"


def tiny_sample(
    key: str = "tiny_000",
    seed: int | Sequence[int] = 0,
    *,
    modalities: Sequence[str] = MODALITIES,
    labels: str = "3d",
    corrupt: bool = False,
    **changes: Any,
) -> Sample:
    """Return one sample whose every value follows from ``seed``: 17 joints around a hip about 4 m away.

    The images (48 x 40 px) are those of ``modalities``; none gives a sample of poses only. Part ids are 1 and 2, and
    ``PART_MIRROR`` exchanges them. ``labels="2d"`` leaves ``joints_cam_mm`` out. ``corrupt`` keeps the images and the
    camera and replaces everything that is a label by nonsense. ``changes`` replaces any other field of the ``Sample``.
    """
    rng = np.random.default_rng(seed)
    width, height = SIZE_PX
    camera = Camera.pinhole((60.0, 61.0), (19.5, 23.5), SIZE_PX, distortion=np.array([0.05, 0, 0.001, 0, 0]))
    hip = np.array([*rng.uniform(-100, 100, 2), rng.uniform(3500, 4500)])
    joints_cam_mm = hip + rng.uniform(-600, 600, (NUM_JOINTS, 3)) * np.array([1, 1, 0.5])
    joints_cam_mm[0] = hip
    joints_px = project(camera, joints_cam_mm)
    images: dict[str, Any] = {
        "depth": np.zeros((height, width), np.uint16),
        "parts": np.zeros((height, width), np.uint8),
        "rgb": rng.integers(0, 60, (height, width, 3), np.uint8),
    }
    for joint, (x, y) in enumerate(np.rint(joints_px).astype(int)):
        dot = slice(max(y - 4, 0), y + 5), slice(max(x - 4, 0), x + 5)
        images["depth"][dot] = int(joints_cam_mm[joint, 2])
        images["parts"][dot] = 1 + joint % 2
        images["rgb"][dot] = (10 * joint + 60, 255 - 10 * joint, 120)
    images["foreground"] = np.where(images["parts"] > 0, np.uint8(255), np.uint8(0))
    fields: dict[str, Any] = {
        "joints_px": joints_px,
        "joints_cam_mm": joints_cam_mm,
        "visible": np.ones(NUM_JOINTS),
        "quality": np.full(NUM_JOINTS, Quality.EXACT),
        "box_px": np.concatenate([joints_px.min(0), joints_px.max(0)]),
        "subject": "S1",
        "action": "dance",
        "camera_id": "c",
        "sequence": "s",
        "frame": 1,
    }
    if corrupt:
        fields |= _nonsense()
    if labels == "2d":
        fields["joints_cam_mm"] = None
    fields |= {FIELD_OF_MODALITY[name]: images[name] for name in modalities}
    return Sample(**{"key": key, "camera": camera, **fields, **changes})


def _nonsense() -> dict[str, Any]:
    rng = np.random.default_rng(99)
    return {
        "joints_px": rng.uniform(0, 40, (NUM_JOINTS, 2)),
        "joints_cam_mm": rng.normal(0, 1e4, (NUM_JOINTS, 3)),
        "visible": np.zeros(NUM_JOINTS),
        "quality": np.full(NUM_JOINTS, Quality.APPROXIMATE),
        "box_px": rng.uniform(0, 40, 4),
        "subject": "nobody",
        "action": "nothing",
        "camera_id": "x",
        "sequence": "q",
        "frame": 0,
    }


def tiny_shards(
    folder: Path,
    samples: Sequence[Sample] | int = 4,
    *,
    split: str = "train",
    dataset: str = "tiny",
    tars: int = 1,
    **changes: Any,
) -> ShardSet:
    """Write ``samples`` (or that many tiny ones) as ``tars`` shards with indexes and manifest, and open the split.

    ``changes`` replaces any field of the ``Manifest``, such as ``part_mirror`` or ``origin``. The folder may be new.
    """
    if isinstance(samples, int):
        samples = [tiny_sample(f"tiny_{number:03d}", number) for number in range(samples)]
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[Shard] = []
    for number in range(tars):
        with ShardWriter(folder / f"{split}-{number:06d}.tar") as writer:
            for sample in samples[number * len(samples) // tars : (number + 1) * len(samples) // tars]:
                writer.write(sample)
        index = writer.index
        assert index is not None
        shards.append(Shard(name=writer.path.name, sha256=index.tar_sha256, size=index.tar_size, samples=len(index)))
    keys, labels = np.array([sample.key for sample in samples]), Labels.of(samples)
    modalities = tuple(name for name, field in FIELD_OF_MODALITY.items() if getattr(samples[0], field) is not None)
    written = Split(
        samples=len(samples),
        shards=tuple(shards),
        counts=counts(labels),
        modalities=modalities,
        sample_list_digest=sample_list_digest(keys),
        labels_digest=labels_digest(keys, labels),
        skipped=(),
    )
    fields: dict[str, Any] = {
        "format_version": 1,
        "dataset": dataset,
        "origin": "generated",
        "generator_version": VERSION,
        "splits": {split: written},
        "num_parts": NUM_PARTS if "parts" in modalities else 0,
        "part_mirror": PART_MIRROR if "parts" in modalities else None,
        "quality": (int(Quality.EXACT),) * NUM_JOINTS,
        "box_rule": "joints",
        "crop": CropRule(margin=1.5, longest_px=max(samples[0].camera.size_px)),
        "source_digests": {},
        "options": {},
        "licence": "-",
        "redistribution": "-",
        "citation": "-",
        "tool_version": "0",
    }
    write_manifest(folder, Manifest(**fields | changes))
    return ShardSet.open(folder, split)


def tiny_card(name: str, modalities: Sequence[str] = MODALITIES, **changes: Any) -> str:
    """Return the text of a valid ``card.yaml``; ``changes`` replaces any of its fields."""
    parts = "parts" in modalities
    card = {
        "name": name,
        "title": f"Tiny data: {name}",
        "what": "Dots where the joints lie.",
        "modalities": list(modalities),
        "homepage": "https://example.org",
        "how_to_obtain": ["It is generated."],
        "download_size": "1 kB",
        "licence": "Do as you like.",
        "redistribution": "Allowed.",
        "citation": f"@misc{{{name}}}",
        "joints": [{"joint": joint, "quality": "exact"} for joint in H36M17.joints],
        "num_parts": NUM_PARTS if parts else 0,
        "part_mirror": list(PART_MIRROR) if parts else None,
        "box_rule": "joints",
        "protocol": "Train on train, test on test.",
    }
    return yaml.dump({**card, **changes}, Dumper=yaml.CSafeDumper)


def tiny_dataset(
    folder: Path,
    name: str = "tiny",
    *,
    modalities: tuple[str, ...] = MODALITIES,
    labels: str = "3d",
    modality: str = "rgb",
    reference: str = "root-given",
    benchmark: str | None = None,
    generate: str | None = None,
) -> DatasetPlugin:
    """Return a dataset plugin with the splits train and test; its card and benchmark are written into ``folder``.

    ``modality`` and ``reference`` are those of its benchmark, whose id is ``benchmark`` (default: the dataset's name);
    a dataset with 2D labels has none. ``write_tiny_raw`` writes its raw data. ``generate``: the module that generates
    stand-ins, if any.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "card.yaml").write_text(tiny_card(name, modalities))
    if labels == "3d":
        tested = {
            "id": benchmark or name,
            "version": 1,
            "title": f"Tiny data: {name}",
            "dataset": name,
            "split": "test",
            "modality": modality,
            "root": 0,
            "headline": ["mpjpe_mm"],
            "reference": reference,
            "box_rule": "joints",
            "sees": "crops",
        }
        (folder / "benchmarks.yaml").write_text(yaml.dump({"benchmarks": [tested]}, Dumper=yaml.CSafeDumper))
    title, splits = f"Tiny data: {name}", ("train", "test")
    return DatasetPlugin(name, title, modalities, splits, folder, __name__, generate, labels=labels)


def tiny_plugin(
    datasets: Sequence[DatasetPlugin] = (),
    methods: Sequence[MethodPlugin] = (),
    name: str = "kt3d_tiny",
    *,
    metrics: Sequence[MetricPlugin] = (),
) -> ModuleType:
    """Return a plugin module that offers these, for ``kt3d_bench.plugins.registry.lent``."""
    module = ModuleType(name)
    module.__dict__["kt3d_datasets"] = hookimpl(specname="kt3d_datasets")(lambda: datasets)
    module.__dict__["kt3d_methods"] = hookimpl(specname="kt3d_methods")(lambda: methods)
    module.__dict__["kt3d_metrics"] = hookimpl(specname="kt3d_metrics")(lambda: metrics)
    return module


def write_tiny_raw(
    raw: Path,
    plugin: DatasetPlugin,
    *,
    train: int = 12,
    test: int = 5,
    seed: int = 0,
    corrupt: bool = False,
    poses: bool = False,
    generated: bool = False,
) -> Path:
    """Write the raw data of a tiny dataset, one JSON file with the number of samples per split, and return ``raw``.

    ``corrupt``: the same images with nonsense for labels. ``poses``: labels without images. ``generated``: leave the
    marker of generated data, so that results go to the boards of generated data.
    """
    facts = {"train": train, "test": test, "seed": seed, "corrupt": corrupt, "labels": plugin.labels,
             "modalities": [] if poses else list(plugin.modalities)}  # fmt: skip
    raw.mkdir(parents=True, exist_ok=True)
    (raw / _FILE).write_text(json.dumps(facts))
    if generated:
        marker = {"dataset": plugin.name, "version": VERSION, "seed": seed, "people": train, "frames": 1}
        (raw / MARKER).write_text(json.dumps(marker))
    return raw


def plan(raw: Path, split: str, options: Mapping[str, Any]) -> Sequence[WorkItem]:
    """Return one work item per split. Raises ``MissingDataError`` without ``people.json``."""
    if not (raw / _FILE).is_file():
        raise MissingDataError(f"there is no {_FILE}", where=raw, hint="write it: kt3d_bench.testing.write_tiny_raw")
    facts = json.loads((raw / _FILE).read_text())
    payload = {**facts, "path": str(raw / _FILE), "split": split, "modalities": tuple(facts["modalities"])}
    return [WorkItem(split, facts[split], payload, poses_only=not facts["modalities"])]


def convert(item: WorkItem) -> Iterator[Sample | Skipped]:
    """Yield the samples of a split, which are the frames of one sequence."""
    facts, split = item.payload, item.payload["split"]
    for number in range(facts[split]):
        yield tiny_sample(
            f"{split}_{number:03d}",
            (facts["seed"], int(split == "test"), number),
            modalities=facts["modalities"],
            labels=facts["labels"],
            corrupt=facts["corrupt"],
            frame=number,
        )


def describe(raw: Path) -> Sequence[str]:
    """Return one sentence on the raw data."""
    return ["Tiny data for tests."]
