"""A million samples through the loader, each once per epoch, in flat memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from loading_props import make_shards

from kt3d_bench.data.reader import ShardSet
from kt3d_bench.loading.loader import Loader

COUNT, EPOCHS, BATCH = 10_000, 100, 500
WARM = 10
"""Epochs after which memory is compared."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    return make_shards(tmp_path_factory.mktemp("million") / "shards", COUNT, crop_px=16)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_million_samples_come_once_per_epoch_in_flat_memory(tiny: ShardSet, workers: int) -> None:
    """A sample is known by its pose, and each epoch has every pose once."""
    poses = np.sort(tiny.labels.joints_cam_mm[:, 5, 0] - tiny.labels.joints_cam_mm[:, 0, 0])
    assert len(np.unique(poses)) == COUNT
    loader = Loader(tiny, ("rgb",), batch_size=BATCH, input_px=16, shuffle=True, labelled=True, workers=workers)
    batches, resident = iter(loader), []
    for _ in range(EPOCHS):
        seen = [next(batches).joints_root_mm[:, 5, 0].numpy().copy() for _ in range(COUNT // BATCH)]
        np.testing.assert_allclose(np.sort(np.concatenate(seen)), poses, atol=2e-3)
        resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4096)
    loader.close()
    print(f"{workers} workers: {COUNT * EPOCHS} samples, {resident[WARM] >> 20} MiB after {WARM} epochs, "
          f"at most {max(resident[WARM:]) >> 20} later")  # fmt: skip
    assert max(resident[WARM:]) <= 1.05 * resident[WARM]
