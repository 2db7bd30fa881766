"""Poses and bodies: hand-computed angles, anatomy, limits, constant bones, determinism."""

from __future__ import annotations

import numpy as np
import pytest

from kt3d_bench.errors import UsageError
from kt3d_bench.synth import ACTIVITIES, LANDMARKS, Clip, pose, sample_bodies, sample_clip
from kt3d_bench.synth.poses import mirrored_angles
from kt3d_bench.synth.rig import ANGLE_INDEX, ANGLES, LIMITS_DEG, RIG, rotations_from_angles

BONES = [("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"), ("wrist", "hand")]


def clip_of(**angles: float) -> Clip:
    values = np.zeros((1, len(ANGLES)))
    for name, value in angles.items():
        values[0, ANGLE_INDEX[name.replace("__", ".")]] = value
    return Clip(rotations_from_angles(values), np.zeros((1, 2)), np.zeros(1), 25.0, angles_deg=values)


def figure_of(**angles: float):
    return pose(sample_bodies(np.random.default_rng(3), 1), clip_of(**angles))


def test_a_standing_body_is_as_tall_as_its_height_and_touches_the_floor() -> None:
    bodies = sample_bodies(np.random.default_rng(0), 50, height_mm=(1500, 1950))
    clip = clip_of()
    for index in range(50):
        figure = pose(bodies[index], clip)
        assert figure.landmark("head_top")[0, 2] == pytest.approx(bodies.height_mm[index], rel=0.012)
        lowest = (figure.cones_world_mm[..., 2] - figure.radii_mm).min()
        assert lowest == pytest.approx(0.0, abs=1e-9)
    assert 1500 <= bodies.height_mm.min() < bodies.height_mm.max() <= 1950
    assert np.std(bodies.leg_mm / bodies.height_mm) > 0.003


def test_proportions_are_human() -> None:
    bodies = sample_bodies(np.random.default_rng(1), 200)
    length = {name: np.linalg.norm(bodies.offsets_mm[:, RIG.index(name)], axis=-1) for name in RIG}
    assert np.median(length["knee_l"] / bodies.height_mm) == pytest.approx(0.245, abs=0.006)
    assert np.median(length["elbow_l"] / bodies.height_mm) == pytest.approx(0.186, abs=0.008)
    for left in (name for name in RIG if name.endswith("_l")):
        assert np.allclose(length[left], length[left[:-2] + "_r"])


def test_left_is_left_facing_plus_x() -> None:
    figure = figure_of()
    for name in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist", "hand", "heel", "toe", "clavicle"):
        left, right = figure.landmark(f"{name}_l")[0], figure.landmark(f"{name}_r")[0]
        assert left[1] > 0 > right[1]
        up, forward = np.array([0, 0, 1.0]), figure.landmark("nose")[0] - figure.landmark("jaw")[0]
        assert np.dot(np.cross(up, forward), left - right) > 0
    assert figure.landmark("toe_l")[0, 0] > figure.landmark("heel_l")[0, 0]


def test_left_stays_left_when_the_person_turns() -> None:
    figure = figure_of().moved(2.1, (300, -200, 0))
    forward = figure.landmark("nose")[0] - figure.landmark("jaw")[0]
    across = figure.landmark("shoulder_l")[0] - figure.landmark("shoulder_r")[0]
    assert np.dot(np.cross([0, 0, 1.0], forward), across) > 0
    assert np.degrees(np.arctan2(forward[1], forward[0])) == pytest.approx(np.degrees(2.1), abs=0.1)


def test_named_angles_bend_the_way_they_say() -> None:
    still = figure_of()
    elbow = figure_of(elbow_l__flex=90)
    forearm = elbow.landmark("wrist_l") - elbow.landmark("elbow_l")
    assert forearm[0] / np.linalg.norm(forearm) == pytest.approx([1, 0, 0], abs=1e-9)
    knee = figure_of(knee_r__flex=90)
    shank = knee.landmark("ankle_r") - knee.landmark("knee_r")
    assert shank[0] / np.linalg.norm(shank) == pytest.approx([-1, 0, 0], abs=1e-9)
    hip = figure_of(hip_l__flex=90)
    thigh = hip.landmark("knee_l") - hip.landmark("hip_l")
    assert thigh[0] / np.linalg.norm(thigh) == pytest.approx([1, 0, 0], abs=1e-9)
    for side, sign in (("l", 1), ("r", -1)):
        arm = figure_of(**{f"shoulder_{side}__abduct": 90})
        upper = arm.landmark(f"elbow_{side}") - arm.landmark(f"shoulder_{side}")
        assert upper[0] / np.linalg.norm(upper) == pytest.approx([0, sign, 0], abs=1e-9)
        out = figure_of(**{f"hip_{side}__twist": 40})
        toe = out.landmark(f"toe_{side}") - out.landmark(f"heel_{side}")
        straight = still.landmark(f"toe_{side}") - still.landmark(f"heel_{side}")
        assert sign * (toe[0, 1] - straight[0, 1]) > 0
    assert figure_of(spine__bend=40).landmark("thorax")[0, 0] > still.landmark("thorax")[0, 0]
    assert figure_of(spine__side=30).landmark("thorax")[0, 1] > still.landmark("thorax")[0, 1]
    assert figure_of(neck__turn=60).landmark("nose")[0, 1] > 50
    assert figure_of(ankle_l__flex=25).landmark("toe_l")[0, 2] > still.landmark("toe_l")[0, 2]


def test_mirrored_angles_mirror_the_figure() -> None:
    body = sample_bodies(np.random.default_rng(2), 1)
    clip = sample_clip(np.random.default_rng(5), "random", 4, 10)
    assert clip.angles_deg is not None
    other = Clip(rotations_from_angles(mirrored_angles(clip.angles_deg)), clip.travel, clip.lift, 10)
    one, two = pose(body, clip), pose(body, other)
    for name in LANDMARKS:
        partner = name[:-1] + {"l": "r", "r": "l"}[name[-1]] if name.endswith(("_l", "_r")) else name
        assert np.allclose(one.landmark(name) * [1, -1, 1], two.landmark(partner), atol=1e-6)


@pytest.mark.parametrize("activity", ACTIVITIES)
def test_every_activity_keeps_the_body_whole(activity: str) -> None:
    rng = np.random.default_rng(11)
    for _ in range(3):
        clip = sample_clip(rng, activity, 25, 25)
        figures = pose(sample_bodies(rng, 1), clip)
        assert clip.angles_deg is not None
        for index, name in enumerate(ANGLES):
            low, high = LIMITS_DEG[name]
            assert low - 1e-9 <= clip.angles_deg[:, index].min()
            assert clip.angles_deg[:, index].max() <= high + 1e-9
        for side in "lr":
            for near, far in BONES:
                bone = np.linalg.norm(figures.landmark(f"{near}_{side}") - figures.landmark(f"{far}_{side}"), axis=-1)
                assert np.ptp(bone) < 1e-6
        lowest = (figures.cones_world_mm[..., 2] - figures.radii_mm[..., :]).min(axis=(1, 2))
        assert (lowest > -1e-6).all()
        assert lowest.min() < 250
        steps = np.linalg.norm(np.diff(figures.landmarks_world_mm, axis=0), axis=-1)
        assert steps.max() < 450, "no landmark moves faster than 11 m/s"


@pytest.mark.parametrize("activity", ["walk", "crouch", "random", "kick"])
def test_hinges_bend_one_way_only(activity: str) -> None:
    """Seen from the person's left, the knee turns the shank back and the elbow the forearm forward: the sign of the
    triple product (upper x lower) . left of the upper bone is fixed."""
    rng = np.random.default_rng(4)
    clip = sample_clip(rng, activity, 40, 20)
    figures = pose(sample_bodies(rng, 1), clip)
    from kt3d_bench.synth.body import PARTS

    for side in "lr":
        for chain, part, sign in (
            (("hip", "knee", "ankle"), "thigh", 1),
            (("shoulder", "elbow", "wrist"), "upper_arm", -1),
        ):
            a, b, c = (figures.landmark(f"{name}_{side}") for name in chain)
            left = figures.left_world[:, PARTS.index(f"{part}_{side}")]
            assert (sign * (np.cross(b - a, c - b) * left).sum(-1) > -1e-6).all()


def test_walking_goes_forward_at_walking_pace_with_arms_against_legs() -> None:
    speeds, agreement = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        figures = pose(sample_bodies(rng, 1), sample_clip(rng, "walk", 75, 25))
        pelvis = figures.landmark("pelvis")
        speeds.append((pelvis[-1, 0] - pelvis[0, 0]) / 1000 / (74 / 25))
        foot = (figures.landmark("ankle_l") - pelvis)[:, 0]
        hand = (figures.landmark("wrist_l") - figures.landmark("shoulder_l"))[:, 0]
        agreement.append(np.corrcoef(foot, hand)[0, 1])
    assert 1.0 < np.mean(speeds) < 1.4
    assert np.max(agreement) < -0.5


def test_same_seed_same_people_and_motion() -> None:
    def draw(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return pose(sample_bodies(rng, 1), sample_clip(rng, "discuss", 5, 25)).landmarks_world_mm

    assert np.array_equal(draw(1), draw(1))
    assert not np.allclose(draw(1), draw(2), atol=1)


def test_unknown_activity_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UsageError, match="did you mean 'walk'"):
        sample_clip(np.random.default_rng(0), "wlak", 1, 25)


def test_bodies_and_figures_are_taken_by_index() -> None:
    rng = np.random.default_rng(0)
    bodies = sample_bodies(rng, 3)
    assert len(bodies[2]) == 1
    assert bodies[-1].height_mm[0] == bodies.height_mm[2]
    figures = pose(bodies, sample_clip(rng, "stand", 3, 25))
    assert np.array_equal(figures[1].landmarks_world_mm[0], figures.landmarks_world_mm[1])
    joined = type(figures).concatenate([figures[0], figures[2]])
    assert np.array_equal(joined.radii_mm, figures.take([0, 2]).radii_mm)
    with pytest.raises(ValueError, match="expected one or 4"):
        pose(bodies, sample_clip(rng, "stand", 4, 25))
