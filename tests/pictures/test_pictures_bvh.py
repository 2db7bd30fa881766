"""BVH files, read back by the reader of recorded motion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kt3d_bench.errors import UsageError
from kt3d_bench.pictures.bvh import bvh_text, even_clip
from kt3d_bench.pictures.scale import usual_lengths_mm
from kt3d_bench.skeletons import H36M17
from kt3d_bench.synth.motion.bvh import read_bvh

RIGID = {1: (-1, 0.1, 0), 4: (1, 0.1, 0), 7: (0, -1, 0.1), 9: (0, -1, -0.2), 11: (1, 0.2, 0), 14: (-1, 0.2, 0)}
"""Bones of hip and thorax: they turn together."""


def dancer(frames: int, spread_rad: float) -> np.ndarray:
    """(F, 17, 3) mm, camera frame: every joint turns smoothly about axes of its own, bones keep their lengths."""
    rng = np.random.default_rng(1)
    joints = np.zeros((frames, 17, 3))
    joints[:, 0] = np.linspace([-500, 100, 3000], [500, 0, 3500], frames)
    turns = [Rotation.from_rotvec(np.linspace(*rng.normal(0, spread_rad, (2, 3)), frames)) for _ in range(17)]
    for (child, parent), length in zip(H36M17.bones, usual_lengths_mm(), strict=True):
        given = np.array(RIGID.get(child, (0, 1, 0)), float)
        joints[:, child] = joints[:, parent] + length * turns[parent].apply(given / np.linalg.norm(given))
    return joints


def read_back(path: Path, joints: np.ndarray, rate_hz: float = 25.0) -> np.ndarray:
    path.write_text(bvh_text(joints, rate_hz))
    motion = read_bvh(path, mm_per_unit=1.0, drop_rest_frame=False)
    assert motion.rate_hz == rate_hz
    order = [motion.names.index(name) for name in H36M17.joints]
    assert [motion.names[motion.parents[joint]] if motion.parents[joint] >= 0 else "" for joint in order] == [
        H36M17.joints[parent] if parent >= 0 else "" for parent in H36M17.parents
    ]
    return np.asarray(motion.positions_mm[:, order][..., [1, 2, 0]])  # the reader turns y up into z up


def test_bones_of_constant_length_come_back(tmp_path: Path) -> None:
    joints = dancer(40, 1.5)
    back = read_back(tmp_path / "a.bvh", joints)
    np.testing.assert_allclose(back, joints * [1, -1, -1], atol=0.05)


def test_one_frame_and_bones_that_point_backwards(tmp_path: Path) -> None:
    joints = dancer(1, 0.0)
    for elbow, wrist, away in ((12, 13, -1), (15, 16, 1)):
        joints[:, elbow] = joints[:, elbow - 1] + [away * 300, 0, 0]
        joints[:, wrist] = joints[:, elbow] - [away * 250, 0, 0]
    np.testing.assert_allclose(read_back(tmp_path / "a.bvh", joints), joints * [1, -1, -1], atol=0.05)


def test_uneven_times_and_gaps_become_even() -> None:
    joints = np.zeros((4, 17, 3))
    times = np.array([0.0, 0.1, 0.4, 0.9])
    joints[:] = times[:, None, None] * 100
    joints[1, 3] = joints[:, 5] = np.nan
    even, rate_hz = even_clip(joints, times)
    assert rate_hz == pytest.approx(3 / 0.9)
    np.testing.assert_allclose(even[:, 3, 0], [0, 30, 60, 90])
    shank = usual_lengths_mm()[4]
    np.testing.assert_allclose(even[:, 5], even[:, 4] + [0, shank, 0], err_msg="hangs below its parent")
    assert even_clip(joints[:1], times[:1])[1] == 30


def test_without_a_hip_there_is_no_motion() -> None:
    joints = np.zeros((2, 17, 3))
    joints[:, 0] = np.nan
    with pytest.raises(UsageError, match="the hip is never in the picture"):
        even_clip(joints, np.array([0.0, 1.0]))
