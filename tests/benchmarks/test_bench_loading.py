"""What the loader adds to bare decoding, as ratios in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from pytest_benchmark.fixture import BenchmarkFixture

from kt3d_bench.loading.augment import Augmentation
from kt3d_bench.loading.images import ImageStore
from kt3d_bench.loading.loader import Loader
from kt3d_bench.records import Camera, Sample
from kt3d_bench.shards.manifest import (
    Counts,
    CropRule,
    Manifest,
    Shard,
    Split,
    labels_digest,
    sample_list_digest,
    write_manifest,
)
from kt3d_bench.shards.reader import ShardSet
from kt3d_bench.shards.writer import ShardWriter

COUNT = 192
WIDTH, HEIGHT = 220, 320


def _sample(index: int, rng: np.random.Generator) -> Sample:
    small = rng.integers(0, 256, (HEIGHT // 10, WIDTH // 10, 3), np.uint8)
    return Sample(
        key=f"s{index:03d}",
        camera=Camera.pinhole((1000, 1000), (WIDTH / 2, HEIGHT / 2), (WIDTH, HEIGHT)),
        joints_px=rng.uniform(60, 160, (17, 2)),
        joints_cam_mm=rng.uniform(-500, 500, (17, 3)) + np.array([0, 0, 4000]),
        visible=np.ones(17),
        quality=np.full(17, 3),
        box_px=[37, 53, 183, 266],
        subject="S1",
        action="",
        camera_id="",
        sequence="q",
        frame=index,
        rgb=small.repeat(10, 0).repeat(10, 1),
    )


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    folder: Path = tmp_path_factory.mktemp("shards")
    rng = np.random.default_rng(0)
    with ShardWriter(folder / "train-000000.tar") as writer:
        for index in range(COUNT):
            writer.write(_sample(index, rng))
    index = writer.index
    assert index is not None
    split = Split(
        samples=COUNT,
        shards=(Shard(name=writer.path.name, sha256=index.tar_sha256, size=index.tar_size, samples=COUNT),),
        counts=Counts(subject={}, action={}, camera={}),
        modalities=("rgb",),
        sample_list_digest=sample_list_digest(index.keys),
        labels_digest=labels_digest(index.keys, index.labels),
        skipped=(),
    )
    manifest = Manifest(
        format_version=1,
        dataset="noise",
        origin="generated",
        generator_version=1,
        splits={"train": split},
        num_parts=0,
        quality=(3,) * 17,
        box_rule="joints",
        crop=CropRule(margin=1.5, longest_px=HEIGHT),
        source_digests={},
        options={},
        licence="-",
        redistribution="-",
        citation="-",
        tool_version="0",
    )
    write_manifest(folder, manifest)
    return ShardSet.open(folder, "train")


def _best_s(action: Callable[[], object], rounds: int = 3) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def test_fetching_images_costs_little_more_than_decoding(shards: ShardSet, benchmark: BenchmarkFixture) -> None:
    """Two threads on both sides; nothing is kept in memory, nothing warped."""
    files = [shards.read(i, "rgb") for i in range(COUNT)]
    store = ImageStore(shards, ("rgb",), 256, cache_bytes=0, workers=2)

    def bare() -> None:
        with ThreadPoolExecutor(2) as pool:
            for image in pool.map(simplejpeg.decode_jpeg, files):
                assert image.shape == (HEIGHT, WIDTH, 3)

    def fetched() -> None:
        for start in range(0, COUNT, 32):
            for part in store.request(np.arange(start, start + 32), lambda row, decoded: None):
                part.result()

    ratio = _best_s(fetched) / _best_s(bare)
    benchmark.extra_info["time over bare decoding"] = ratio
    benchmark.pedantic(fetched, rounds=2)
    store.close()
    assert ratio < 2


@pytest.mark.parametrize("input_px", [64, 256])
def test_kept_images_make_later_epochs_cheap(shards: ShardSet, benchmark: BenchmarkFixture, input_px: int) -> None:
    """Labelled, augmented batches on the CPU, warp included: from memory against decoded again."""

    def epoch(loader: Loader) -> None:
        batches = iter(loader)
        for _ in range(COUNT // 32):
            next(batches)

    def loader(cache_bytes: int) -> Loader:
        return Loader(
            shards, ("rgb",), batch_size=32, input_px=input_px, augmentation=Augmentation(), shuffle=True,
            cache_bytes=cache_bytes, workers=2,
        )  # fmt: skip

    decoding, keeping = loader(0), loader(1 << 30)
    epoch(keeping)
    decoded = _best_s(lambda: epoch(decoding))
    kept = _best_s(lambda: epoch(keeping))
    benchmark.extra_info["time over decoding again"] = kept / decoded
    benchmark.extra_info["ms per batch of 32"] = kept / (COUNT / 32) * 1e3
    benchmark.pedantic(epoch, (keeping,), rounds=2)
    assert kept < decoded
