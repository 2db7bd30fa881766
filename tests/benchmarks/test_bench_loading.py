"""What the loader adds to bare decoding, and what others pay for files of whole frames: ratios in the same run."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from clock import best_s
from conftest import FiveRuns
from loading_props import INPUT_PX, PerFile, bare_decode, hold, make_frames, make_shards

from kt3d_bench.data.format import FIELD_OF_MODALITY
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.loading.assembly import WarpedThere
from kt3d_bench.loading.augment import Augmentation
from kt3d_bench.loading.images import ImageStore
from kt3d_bench.loading.loader import Loader

COUNT = 384
BATCH = 32


@pytest.fixture(scope="module", params=["rgb", "depth"])
def shards(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    return make_shards(tmp_path_factory.mktemp("loading") / "shards", COUNT, (request.param,))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    return make_shards(tmp_path_factory.mktemp("loading") / "shards", COUNT)


def test_fetching_crops_reaches_the_bare_decoding_of_two_processes(shards: ShardSet, figures: FiveRuns) -> None:
    """Two threads, whole batches of stored pixels, against two processes that decode and throw away.

    Batches lie in memory that is used again, as torch does with the page-locked memory of batches for a GPU.
    """
    (modality,) = shards.modalities
    store = ImageStore(shards, (modality,), INPUT_PX, cache_bytes=0, workers=2)
    affine, colour, sizes = np.zeros((BATCH, 2, 3)), np.ones((BATCH, 3)), store.sizes_px[:BATCH]
    batches = [WarpedThere((modality,), affine, colour, INPUT_PX, sizes, torch.device("cpu")) for _ in range(4)]

    def fetched() -> None:
        waiting: deque[list[Future[None]]] = deque()
        for start in range(0, COUNT, BATCH):
            batch = batches[start // BATCH % len(batches)]
            waiting.append(list(store.request(np.arange(start, start + BATCH), batch)))
            if len(waiting) > 2:
                for part in waiting.popleft():
                    part.result()
        for request in waiting:
            for part in request:
                part.result()

    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context, initializer=hold, initargs=(shards,)) as pool:

        def bare() -> None:
            halves = [(FIELD_OF_MODALITY[modality], start, start + COUNT // 2) for start in (0, COUNT // 2)]
            assert sum(pool.map(bare_decode, halves)) == COUNT

        def share() -> dict[str, float]:
            found = best_s(5, time.perf_counter, bare=bare, fetched=fetched)
            return {name: found["bare"] / found["fetched"]}

        name = "load-jpeg" if modality == "rgb" else "load-depth"
        shares = figures(share)[name]
    store.close()
    assert statistics.median(shares) > 0.6


def test_files_of_whole_frames_are_several_times_slower(pictures: ShardSet, tmp_path: Path, figures: FiveRuns) -> None:
    """Labelled, augmented batches at 256 px, two workers and a CPU warp on both sides, nothing kept in memory."""
    loader = Loader(
        pictures, ("rgb",), batch_size=BATCH, input_px=INPUT_PX, augmentation=Augmentation(), shuffle=True,
        cache_bytes=0, workers=2,
    )  # fmt: skip
    batches = iter(loader)

    def rate() -> float:
        """As ``PerFile.rate``: what was ready before does not count."""
        for _ in range(8):
            next(batches)
        start = time.perf_counter()
        for _ in range(24):
            next(batches)
        return 24 * BATCH / (time.perf_counter() - start)

    files = PerFile(make_frames(tmp_path / "frames", 64), workers=2)
    files.rate(32)
    rate()
    ratios = figures(lambda: {"load-files": rate() / files.rate(96)})["load-files"]
    loader.close()
    assert statistics.median(ratios) > 2


@pytest.mark.parametrize("input_px", [64, 256])
def test_kept_images_make_later_epochs_cheap(pictures: ShardSet, figures: FiveRuns, input_px: int) -> None:
    """Labelled, augmented batches on the CPU, warp included: from memory against decoded again."""

    def epoch(loader: Loader) -> None:
        batches = iter(loader)
        for _ in range(COUNT // BATCH):
            next(batches)

    def loader(cache_bytes: int) -> Loader:
        return Loader(
            pictures, ("rgb",), batch_size=BATCH, input_px=input_px, augmentation=Augmentation(), shuffle=True,
            cache_bytes=cache_bytes, workers=2,
        )  # fmt: skip

    decoding, keeping = loader(0), loader(1 << 30)
    epoch(keeping)

    def ratio() -> dict[str, float]:
        found = best_s(3, time.perf_counter, decoding=lambda: epoch(decoding), keeping=lambda: epoch(keeping))
        return {f"load-memory-{input_px}": found["keeping"] / found["decoding"]}

    ratios = figures(ratio)[f"load-memory-{input_px}"]
    for used in (decoding, keeping):
        used.close()
    assert statistics.median(ratios) < 1


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_memory_stays_flat(pictures: ShardSet, figures: FiveRuns) -> None:
    """Slope of the resident memory over 8,000 samples; a million may cost 100 MB. The images kept have a budget."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("resident memory is read from /proc, which is not here")
    loader = Loader(
        pictures, ("rgb",), batch_size=BATCH, input_px=32, augmentation=Augmentation(), shuffle=True,
        cache_bytes=1 << 21, workers=2,
    )  # fmt: skip
    batches = iter(loader)

    def slope() -> dict[str, float]:
        seen = []
        for number in range(8_000 // BATCH):
            next(batches)
            if number % 10 == 9:
                seen.append((number * BATCH, _resident_bytes()))
        samples, resident = np.array(seen).T
        return {"load-growth": round(float(np.polyfit(samples, resident, 1)[0]), 1)}

    slope()
    slopes = figures(slope)["load-growth"]
    loader.close()
    assert statistics.median(slopes) < 100
