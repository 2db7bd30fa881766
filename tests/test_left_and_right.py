"""Left joints lie to the left of the way the person faces, in every dataset with 3D joints.

The knees of people who walk, sit and stand bend forward: so the knees, the direction up and the right-hand rule alone
say where left is. No table of joints has a part in it but the common skeleton's names.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kt3d_bench.records import Sample
from kt3d_bench.skeletons import H36M17

SETS: Mapping[str, tuple[str, Mapping[str, Any], Mapping[str, Any]]] = {
    "h36m": ("train", {"people": 2, "frames": 2, "frame_px": 64, "takes": 1, "long_clip": False}, {"partial": True}),
    "itop": ("front-train", {"people": 4, "frames": 30}, {}),
    "ubc3v": ("train", {"people": 2, "frames": 10, "test_postures": 1}, {}),
}
"""Dataset -> split, sizes of the stand-in, options."""
PAIRS = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")


def at(joints_mm: np.ndarray, name: str) -> np.ndarray:
    return joints_mm[:, H36M17.index(name)]


def leftwards(joints_mm: np.ndarray) -> np.ndarray:
    """(N, 3) direction to the left of each of (N, 17, 3) people, in a right-handed frame."""
    bend = np.zeros((len(joints_mm), 3))
    for side in ("left", "right"):
        hip, knee, ankle = (at(joints_mm, f"{side}_{name}") for name in ("hip", "knee", "ankle"))
        leg = (ankle - hip) / np.linalg.norm(ankle - hip, axis=1, keepdims=True)
        bend += knee - hip - leg * np.sum((knee - hip) * leg, axis=1, keepdims=True)
    up = at(joints_mm, "thorax") - at(joints_mm, "hip")
    return np.cross(up / np.linalg.norm(up, axis=1, keepdims=True), bend)


@pytest.mark.parametrize("dataset", SETS)
def test_left_joints_lie_to_the_left(dataset: str, tmp_path: Path) -> None:
    split, sizes, options = SETS[dataset]
    import_module(f"kt3d_{dataset}.generate").generate(tmp_path / "raw", **sizes, seed=2, workers=1)
    convert = import_module(f"kt3d_{dataset}.convert")
    found = [one for item in convert.plan(tmp_path / "raw", split, options) for one in convert.convert(item)]
    joints_mm = np.array([one.joints_cam_mm for one in found if isinstance(one, Sample)], np.float64)
    assert len(joints_mm) >= 20
    left = leftwards(joints_mm)
    sure = np.linalg.norm(left, axis=1) > 40.0  # knees that are hardly bent show no direction
    assert sure.sum() >= 10
    for name in PAIRS:
        across = at(joints_mm, f"left_{name}") - at(joints_mm, f"right_{name}")
        share = np.mean(np.sum(across * left, axis=1)[sure] > 0)
        assert share > 0.85, f"{name}: only {share:.0%} of the left ones lie to the left"
