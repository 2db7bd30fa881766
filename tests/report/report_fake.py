"""A small run on a made-up benchmark: shards with three kinds of images, predictions, scores and a log."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

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
from kt3d_bench.geometry.cameras import project
from kt3d_bench.metrics.benchmarks import Benchmark
from kt3d_bench.metrics.evaluate import measure, write_scores
from kt3d_bench.metrics.predictions import read_predictions, write_predictions
from kt3d_bench.metrics.truth import truth_from_shards
from kt3d_bench.records import Camera, Sample

BENCHMARK = Benchmark(
    id="yard-test", version=1, title="Yard: test people", dataset="yard", split="test", modality="depth",
    headline=("mpjpe_mm", "pck_100"), beside=("pa_mpjpe_mm",), root=None, reference="from-depth", box_rule="joints",
    foreground="central-body", sees="the person's crop",
)  # fmt: skip
CHECKPOINT = "c" * 64
SAMPLES = 24
WIDTH, HEIGHT = 90, 120
STANDING_MM = np.array(
    [
        (0, 0, 0), (-120, 10, 0), (-130, 440, 10), (-130, 860, 30), (120, 10, 0), (130, 440, -10), (130, 860, 20),
        (0, -230, 0), (0, -470, 10), (0, -560, -60), (0, -680, 0),
        (170, -440, 0), (240, -180, 30), (260, 60, -20), (-170, -440, 0), (-240, -180, 30), (-260, 60, -20),
    ],
    np.float64,
)  # fmt: skip
"""A person 2.6 m away who faces the camera, relative to the hip."""


def true_pose(number: int) -> np.ndarray[Any, Any]:
    """(17, 3) mm of sample ``number``: the standing person, turned and somewhere in the yard."""
    angle = 0.25 * number
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return np.asarray(STANDING_MM @ turn.T + [10.0 * number, -20.0, 2600.0 + 5 * number])


def predicted_pose(number: int) -> np.ndarray[Any, Any]:
    """Every joint is ``10 * number`` mm too far to the right, so that a sample's MPJPE is known."""
    return np.asarray(true_pose(number) + np.array([10.0 * number, 0, 0]))


def shards(folder: Path, *, origin: str = "generated", actions: tuple[str, ...] = ("stand", "turn")) -> Path:
    """Prepared shards of the split "test" below ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "test-000000.tar"
    with ShardWriter(path) as writer:
        for number in range(SAMPLES):
            writer.write(_sample(number, actions))
    assert writer.index is not None
    index = writer.index
    labels: Labels = index.labels
    split = Split(
        samples=SAMPLES,
        shards=(Shard(name=path.name, sha256=index.tar_sha256, size=path.stat().st_size, samples=SAMPLES),),
        counts=counts(labels),
        modalities=("rgb", "depth", "parts"),
        sample_list_digest=sample_list_digest(index.keys),
        labels_digest=labels_digest(index.keys, labels),
        skipped=(),
    )
    manifest = Manifest(
        format_version=1, dataset="yard", origin=origin, generator_version=1 if origin == "generated" else None,  # type: ignore[arg-type]
        splits={"test": split}, num_parts=4, quality=(3,) * 17, box_rule="joints", foreground="central-body",
        crop=CropRule(margin=1.5, longest_px=320), source_digests={"test": "0" * 64}, options={},
        licence="A licence.", redistribution="Not to be <passed> on.", citation="@misc{yard}", tool_version="0",
    )  # fmt: skip
    write_manifest(folder, manifest)
    return folder


def _sample(number: int, actions: tuple[str, ...]) -> Sample:
    camera = Camera.pinhole((130.0, 130.0), (44.5, 59.5), (WIDTH, HEIGHT))
    joints = true_pose(number)
    pixels = project(camera, joints)
    rng = np.random.default_rng(number)
    near = np.zeros((HEIGHT, WIDTH), bool)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    for x, y in pixels:
        near |= (rows - y) ** 2 + (columns - x) ** 2 < 36
    depth = np.where(near, joints[0, 2], 4000 + 3 * columns).astype(np.uint16)
    return Sample(
        key=f"yard_{number:03d}",
        camera=camera,
        joints_px=pixels.astype(np.float32),
        joints_cam_mm=joints.astype(np.float32),
        visible=np.ones(17, np.int8),
        quality=np.full(17, 3, np.uint8),
        box_px=np.array([0, 0, WIDTH - 1, HEIGHT - 1], np.float32),
        subject=f"S{number % 3}",
        action=actions[number % len(actions)],
        camera_id="front",
        sequence=f"clip{number // 2}",
        frame=number,
        rgb=rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8),
        depth_mm=depth,
        parts=np.where(near, 1 + rows * 3 // HEIGHT, 0).astype(np.uint8),
    )


def document(shards_folder: Path, **changes: Any) -> dict[str, Any]:
    """What ``run.yaml`` says of a finished run."""
    digest = dict.fromkeys(("manifest_digest", "split_digest", "labels_digest", "sample_list_digest"), "d" * 64)
    return {
        "state": "finished",
        "command": "kt3d train --method toy --supervision partial",
        "started": "2026-01-01T00:00:00Z",
        "finished": "2026-01-01T00:01:00Z",
        "config": {"method": "toy", "supervision": "partial", "joints": 6, "preset": "tiny", "seed": 3,
                   "settings": {"width": 8}, "data_root": "nowhere"},
        "method_config": {"width": 8, "depth": 2},
        "accelerator": "cpu",
        "precision": "32-true",
        "selection_rule": "last",
        "shards": {
            "target": {"name": "yard-test", "dataset": "yard", "folder": str(shards_folder), "split": "train",
                       "samples": 60, "origin": "generated", **digest},
            "source": {"name": "attic", "dataset": "attic", "folder": "attic", "split": "train", "samples": 90,
                       "origin": "official", **digest},
        },
        "versions": {"python": "3.12", "torch": "2.13"},
        "stages": [
            {"name": "learn", "roles": ["source"], "digest": "1" * 64, "steps": 40, "seconds": 30.0, "reused": False},
            {"name": "adapt", "roles": ["target"], "digest": "2" * 64, "steps": 20, "seconds": 90.0, "reused": False},
        ],
        "checkpoint_sha256": CHECKPOINT,
        **changes,
    }  # fmt: skip


def write_document(run: Path, content: dict[str, Any]) -> None:
    run.mkdir(parents=True, exist_ok=True)
    (run / "run.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def log_lines(stages: dict[str, int]) -> str:
    """A log whose curves are known: "pose" falls from 8 by a third over the stage, "domain" stays."""
    lines = []
    for stage, steps in stages.items():
        for step in range(1, steps + 1):
            losses = {"pose": 8.0 * (1 - step / steps / 3), "domain": 0.5}
            logs = {"pose_spread": step / steps, "warn_collapse": float(2 * step <= steps)}
            line = {"stage": stage, "step": step, "losses": losses, "logs": logs, "lr": 0.001, "rate": 12.0}
            lines.append(json.dumps({**line, "elapsed_s": 2.0 * step}))
    return "\n".join(lines) + "\n"


def predict(run: Path, opened: ShardSet, *, scores: bool = True) -> Path:
    path = run / "predictions" / f"{BENCHMARK.id}.npz"
    joints = np.stack([predicted_pose(number) for number in range(SAMPLES)]).astype(np.float32)
    meta = {"checkpoint_sha256": CHECKPOINT, "benchmark": BENCHMARK.id, "reads": ["depth"]}
    write_predictions(path, [str(key) for key in opened.keys], joints, meta=meta)
    if scores:
        measured = measure(read_predictions(path), truth_from_shards(opened), BENCHMARK)
        write_scores(run / "scores" / f"{BENCHMARK.id}.npz", measured)
    return path


def whole_run(root: Path, *, name: str = "toy-yard", origin: str = "generated", **changes: Any) -> Path:
    """A finished run below ``root``, with everything."""
    folder = shards(root / "shards" / "yard", origin=origin)
    run = root / "runs" / name
    write_document(run, document(folder, **changes))
    (run / "log.jsonl").write_text(log_lines({"learn": 40, "adapt": 20}))
    (run / "checkpoints").mkdir(exist_ok=True)
    (run / "checkpoints" / "final.pt").write_bytes(b"weights")
    predict(run, ShardSet.open(folder, "test"))
    return run


def benchmarks() -> dict[str, Benchmark]:
    return {BENCHMARK.id: BENCHMARK, "yard-root": replace(BENCHMARK, id="yard-root", root=0)}
