"""Damage on purpose: shards rewritten with other content but honest digests, or with other bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kt3d_bench.data.checks.findings import Finding
from kt3d_bench.data.index import Labels, ShardIndex, encode_index, index_path, read_index
from kt3d_bench.data.manifest import (
    Shard,
    counts,
    labels_digest,
    read_manifest,
    sample_list_digest,
    write_manifest,
)
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.data.validate import Validation
from kt3d_bench.data.writer import ShardWriter
from kt3d_bench.records import Sample

Change = Callable[[Sample], Sample]


def rewritten(folder: Path, split: str, change: Change, *, only: int | None = None, shards: int = 1) -> None:
    """Every sample of a split (or sample ``only``) changed, in so many shards, with indexes and a manifest that fit:
    what a converter at fault would have written."""
    opened = ShardSet.open(folder, split)
    samples = [change(sample) if only in (None, i) else sample for i, sample in enumerate(opened.samples())]
    manifest = read_manifest(folder)
    for shard in manifest.splits[split].shards:
        (folder / shard.name).unlink()
        index_path(folder / shard.name).unlink()
    entries: list[Shard] = []
    indexes: list[ShardIndex] = []
    for number in range(shards):
        name = f"{split}-{number:06d}.tar"
        with ShardWriter(folder / name) as writer:
            for sample in samples[number * len(samples) // shards : (number + 1) * len(samples) // shards]:
                writer.write(sample)
        index = writer.index
        assert index is not None
        indexes.append(index)
        entries.append(Shard(name=name, sha256=index.tar_sha256, size=index.tar_size, samples=len(index)))
    keys = np.concatenate([index.keys for index in indexes])
    labels = Labels.concatenate([index.labels for index in indexes])
    entry = manifest.splits[split].model_copy(
        update={
            "samples": len(keys),
            "shards": tuple(entries),
            "counts": counts(labels),
            "sample_list_digest": sample_list_digest(keys),
            "labels_digest": labels_digest(keys, labels),
        }
    )
    splits = {**manifest.splits, split: entry}
    write_manifest(folder, manifest.model_copy(update={"splits": splits}))
    qualities = [ShardSet.open(folder, one).labels.quality.min(axis=0) for one in splits]
    worst = tuple(int(code) for code in np.min(qualities, axis=0))
    write_manifest(folder, manifest.model_copy(update={"splits": splits, "quality": worst}))


def altered_index(tar: Path, **labels: Any) -> None:
    """The index of a tar with other labels, valid in itself."""
    index = read_index(index_path(tar))
    values = {name: getattr(index.labels, name) for name in vars(index.labels)}
    index_path(tar).write_bytes(encode_index(replace(index, labels=Labels(**{**values, **labels}))))


def edited_manifest(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """``manifest.json`` after ``edit`` of its content."""
    content = json.loads((folder / "manifest.json").read_text())
    edit(content)
    (folder / "manifest.json").write_text(json.dumps(content))


def flipped(path: Path, at: int) -> None:
    """One byte changed."""
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(bytes(data))


def moved(sample: Sample, joints_cam_mm: Any) -> Sample:
    """The sample with other 3D joints and their projections."""
    from kt3d_bench.geometry.cameras import project

    joints = np.asarray(joints_cam_mm, np.float64)
    return replace(sample, joints_cam_mm=joints, joints_px=project(sample.camera, joints))


def with_camera(sample: Sample, **changes: Any) -> Sample:
    """The sample with another camera, its labels as they were."""
    return replace(sample, camera=replace(sample.camera, **changes))


def found(validation: Validation, level: str = "error") -> dict[str, tuple[Finding, ...]]:
    """Check -> findings, of the checks that found something."""
    return {outcome.check.name: outcome.findings for outcome in validation.failed(level)}
