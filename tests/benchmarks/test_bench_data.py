"""Reading samples at random through the side index against walking the tar, both in one run."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from clock import best_s
from conftest import FiveRuns

from kt3d_bench.data.format import FIELDS, FORMAT_VERSION
from kt3d_bench.data.manifest import Counts, CropRule, Manifest, Shard, Split, sample_list_digest, write_manifest
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.data.writer import ShardWriter
from kt3d_bench.records import Camera, Sample

SAMPLES = 256


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    """One shard of noisy 160 x 120 crops with depth and parts."""
    folder = tmp_path_factory.mktemp("bench")
    rng = np.random.default_rng(0)
    with ShardWriter(folder / "train-000000.tar") as writer:
        for number in range(SAMPLES):
            writer.write(
                Sample(
                    key=f"s{number:04d}",
                    camera=Camera.pinhole((500, 500), (60, 80), (120, 160)),
                    joints_px=rng.uniform(0, 100, (17, 2)),
                    joints_cam_mm=rng.normal(0, 500, (17, 3)),
                    visible=np.ones(17),
                    quality=np.full(17, 3),
                    box_px=np.array([10, 10, 100, 150]),
                    subject="S1",
                    action="walk",
                    camera_id="c",
                    sequence="s",
                    frame=number,
                    depth_mm=rng.integers(2000, 2040, (160, 120)).astype(np.uint16),
                    parts=rng.integers(0, 3, (160, 120)).astype(np.uint8),
                )
            )
    index = writer.index
    assert index is not None
    none = "0" * 64
    split = Split(
        samples=SAMPLES,
        shards=(Shard(name="train-000000.tar", sha256=index.tar_sha256, size=index.tar_size, samples=SAMPLES),),
        counts=Counts(subject={}, action={}, camera={}),
        modalities=("depth", "parts"),
        sample_list_digest=sample_list_digest(index.keys),
        labels_digest=none,
        skipped=(),
    )
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        dataset="bench",
        origin="generated",
        generator_version=1,
        splits={"train": split},
        num_parts=3,
        quality=(3,) * 17,
        box_rule="joints",
        crop=CropRule(margin=1.5, longest_px=320),
        source_digests={},
        options={},
        licence="",
        redistribution="",
        citation="",
        tool_version="0",
    )
    write_manifest(folder, manifest)
    return ShardSet.open(folder, "train")


def by_index(shards: ShardSet) -> int:
    order = np.random.default_rng(1).permutation(len(shards))
    return sum(len(shards.read(int(i), "depth_mm")) + len(shards.read(int(i), "parts")) for i in order)


def by_webdataset(shards: ShardSet) -> int:
    """In file order: the iterator cannot do any other."""
    from webdataset.tariterators import group_by_keys, tar_file_expander

    depth, parts = FIELDS["depth_mm"].extension, FIELDS["parts"].extension
    path = shards.folder / "train-000000.tar"
    with path.open("rb") as stream:
        samples = group_by_keys(tar_file_expander([{"url": str(path), "stream": stream}]))
        return sum(len(one[depth]) + len(one[parts]) for one in samples)


def test_random_reads_beat_the_iterator(shards: ShardSet, figures: FiveRuns) -> None:
    assert by_index(shards) == by_webdataset(shards)

    def ratio() -> dict[str, float]:
        found = best_s(index=lambda: by_index(shards), iterator=lambda: by_webdataset(shards))
        return {"index-reads": found["iterator"] / found["index"]}

    assert statistics.median(figures(ratio)["index-reads"]) > 3
