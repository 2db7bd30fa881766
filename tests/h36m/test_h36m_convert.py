from __future__ import annotations

import numpy as np
from kt3d_h36m.convert import convert, plan

from kt3d_bench.geometry.cameras import project
from kt3d_bench.records import Sample, Skipped

PART = {"partial": True}


def samples(raw, split="test", **options):
    found = [record for item in plan(raw, split, {**PART, **options}) for record in convert(item)]
    return [r for r in found if isinstance(r, Sample)], [r for r in found if isinstance(r, Skipped)]


def test_labels_of_every_camera(make_raw):
    made = make_raw({9: ["Directions 1"], 11: ["Directions"]}, frames=66)
    good, skipped = samples(made.root)
    assert len(good) == 2 * (4 + 3)
    assert [s.name for s in skipped] == ["s11_act02_sub2_54138969"]
    assert good[0].key == "s09_act02_sub1_54138969_000000"
    assert good[1].key == "s09_act02_sub1_54138969_000064"
    for sample in good:
        error = np.abs(project(sample.camera, sample.joints_cam_mm) - sample.joints_px)
        assert error.max() < 0.01
