"""Real images: nine views of three postures, where they are at hand (``../shared/samples`` from the project's root)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kt3d_ubc3v import convert

from kt3d_bench.records import Sample

RAW = Path(__file__).parents[3] / "shared" / "samples" / "raw" / "ubc3v"

pytestmark = pytest.mark.skipif(not RAW.is_dir(), reason=f"no real UBC3V samples in {RAW}")


def test_every_joint_of_the_real_samples_lies_on_the_person_and_behind_its_surface() -> None:
    samples = [result for item in convert.plan(RAW, "test", {}) for result in convert.convert(item)]
    assert len(samples) == 9
    behind_mm = []
    for sample in samples:
        assert isinstance(sample, Sample)
        assert sample.parts is None
        assert sample.depth_mm is not None
        assert sample.joints_cam_mm is not None
        for (u, v), z in zip(sample.joints_px, sample.joints_cam_mm[:, 2], strict=True):
            surface = int(sample.depth_mm[round(float(v)), round(float(u))])
            assert surface > 0
            behind_mm.append(float(z) - surface)
    assert min(behind_mm) > 0
    assert 90 < np.median(behind_mm) < 140
