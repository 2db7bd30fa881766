"""A small generated test set, prepared once, and predictions on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kt3d_bench.data.prepare import prepare
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.metrics.predictions import write_predictions
from kt3d_bench.plugins import registry

BENCHMARK = "h36m-s9s11-64"


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shards folder of a stand-in: 32 test samples of several clips seen by four cameras."""
    home = tmp_path_factory.mktemp("submitted")
    plugin = registry.dataset("h36m")
    registry.load_function(plugin.generate, "generate")(
        home / "raw", seed=1, motion=None, device="cpu", workers=1, progress=lambda done, total: None, people=3,
        frames=1, frame_px=96, actions=8, takes=1, long_clip=False,
    )  # fmt: skip
    prepare(plugin, raw=home / "raw", out=home / "shards", splits=["test"], workers=1)
    return home / "shards"


@pytest.fixture(scope="session")
def test_set(prepared: Path) -> ShardSet:
    return ShardSet.open(prepared, "test")


@pytest.fixture
def predicted(test_set: ShardSet, tmp_path: Path) -> Callable[..., Path]:
    """Writes a prediction file: the truth and noise, changed by ``spoil``."""

    def write(
        name: str = "p.npz",
        spoil: Callable[[np.ndarray], np.ndarray] = lambda joints: joints,
        *,
        noise_mm: float = 40.0,
        seed: int = 0,
    ) -> Path:
        true = test_set.labels.joints_cam_mm.astype(float)
        pred = spoil(true + np.random.default_rng(seed).normal(size=true.shape) * noise_mm)
        write_predictions(tmp_path / name, test_set.keys, pred.astype(np.float32), meta={"benchmark": BENCHMARK})
        return tmp_path / name

    return write
