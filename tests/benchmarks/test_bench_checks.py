"""What the checks that labels belong to their images add to ``prepare``, in processor time of one process."""

from __future__ import annotations

import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import cv2
import pytest
from conftest import FiveRuns

from kt3d_bench.data.prepare import prepare
from kt3d_bench.plugins import registry


@pytest.mark.parametrize("frames", [1, 60])
def test_the_checks_of_labels_cost_little_of_prepare(tmp_path: Path, figures: FiveRuns, frames: int) -> None:
    """The Human3.6M stand-in of the demo (clips of one frame) and one of clips; finished shards are only checked."""
    plugin = registry.dataset("h36m")
    assert plugin.generate is not None
    size = {"people": 2, "actions": 15, "takes": 2, "frame_px": 400, "long_clip": False, "frames": frames}
    registry.load_function(plugin.generate, "generate")(tmp_path / "raw", seed=0, workers=1, **size)
    given: dict[str, Any] = {"raw": tmp_path / "raw", "out": tmp_path / "out", "splits": ["train"], "workers": 1}
    cv2.setNumThreads(1)

    def seconds(*, check: bool) -> float:
        start = time.process_time()
        prepare("h36m", **given, options={"partial": True}, check=check)
        return time.process_time() - start

    def share() -> dict[str, float]:
        unchecked, checked = seconds(check=False), seconds(check=True)
        shutil.rmtree(tmp_path / "out")
        return {f"checks-{frames}": (checked - unchecked) / seconds(check=False)}

    seconds(check=True)
    assert statistics.median(figures(share)[f"checks-{frames}"]) < 0.05
