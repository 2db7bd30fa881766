"""The compiled sampler of postures against the one before, joint by joint in NumPy: same poses and distributions."""

from __future__ import annotations

import numpy as np
import pose_reference as reference
import pytest
from scipy.stats import ks_2samp

from kt3d_bench.synth import ACTIVITIES, poses, sample_bodies, sample_clip
from kt3d_bench.synth.body import pose
from kt3d_bench.synth.rig import ANGLES, LIMITS_DEG, Clip, FloatArray, forward_kinematics, rotations_from_angles

COUNT = 10_000
LEVEL = 0.05
"""Probability that samplers with the same distributions fail the test of all angles together."""
SHIFT_DEG = 2.0


@pytest.fixture
def joint_by_joint(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Make ``sample_clip`` the sampler that it was; every random draw is the same."""
    monkeypatch.setattr("kt3d_bench.synth.body.forward_kinematics", reference.forward_kinematics)
    monkeypatch.setattr(poses, "rotations_from_angles", reference.rotations_from_angles)
    monkeypatch.setattr(poses, "entangled_frames", reference.entangled_frames)
    return monkeypatch


def clips(first: int, count: int, frames: int) -> list[Clip]:
    rngs = (np.random.default_rng((first, number)) for number in range(count))
    return [sample_clip(rng, str(rng.choice(ACTIVITIES)), frames, 25.0) for rng in rngs]


@pytest.mark.parametrize("frames", [1, 7])
def test_every_pose_is_that_of_the_sampler_before(frames: int, joint_by_joint: pytest.MonkeyPatch) -> None:
    before = clips(1, 60, frames)
    joint_by_joint.undo()
    for old, new in zip(before, clips(1, 60, frames), strict=True):
        np.testing.assert_allclose(new.rotations, old.rotations, atol=1e-9)
        np.testing.assert_allclose(new.travel, old.travel, atol=1e-9)
        np.testing.assert_allclose(new.lift, old.lift, atol=1e-9)


def test_rotations_and_joints_are_those_of_numpy() -> None:
    rng = np.random.default_rng(2)
    low, high = np.array([LIMITS_DEG[name] for name in ANGLES]).T
    angles = rng.uniform(low, high, (200, len(ANGLES)))
    angles[0] = 0.0
    rotations = rotations_from_angles(angles)
    np.testing.assert_allclose(rotations, reference.rotations_from_angles(angles), atol=1e-12)
    assert (poses.entangled_frames(rotations) == reference.entangled_frames(rotations)).all()
    assert 20 < poses.entangled_frames(rotations).sum() < 180
    bodies, root_mm = sample_bodies(rng, 200), rng.normal(0, 500, (200, 3))
    for offsets_mm in (bodies.offsets_mm, bodies.offsets_mm[:1]):
        found = forward_kinematics(offsets_mm, rotations, root_mm)
        for now, before in zip(found, reference.forward_kinematics(offsets_mm, rotations, root_mm), strict=True):
            np.testing.assert_allclose(now, before, atol=1e-9)


def test_one_body_for_all_frames_and_the_same_body_for_each_agree() -> None:
    clip = clips(3, 1, 4)[0]
    body = sample_bodies(np.random.default_rng(4), 1)
    one, each = pose(body, clip), pose(body.take(np.zeros(4, np.int64)), clip)
    for name, values in vars(one).items():
        np.testing.assert_array_equal(values, getattr(each, name), err_msg=name)


def drawn_angles(first: int) -> FloatArray:
    """Draw the named angles of ``COUNT`` postures, degrees."""
    drawn = [clip.angles_deg for clip in clips(first, COUNT, 1)]
    return np.concatenate([angles for angles in drawn if angles is not None])


def different(ours: FloatArray, theirs: FloatArray, varied: list[int]) -> list[str]:
    """Return the angles whose two samples differ, by Kolmogorov and Smirnov with Bonferroni's correction."""
    p_values = {ANGLES[index]: ks_2samp(ours[:, index], theirs[:, index]).pvalue for index in varied}
    return [name for name, p in p_values.items() if p < LEVEL / len(varied)]


@pytest.mark.slow
def test_every_angle_has_the_distribution_of_the_sampler_before(joint_by_joint: pytest.MonkeyPatch) -> None:
    before = drawn_angles(5)
    joint_by_joint.undo()
    now = drawn_angles(6)
    varied = np.flatnonzero(now.std(axis=0) > 0).tolist()
    assert len(varied) >= len(ANGLES) - 2
    assert different(now, before, varied) == []
    assert len(different(now + SHIFT_DEG, before, varied)) == len(varied)
