"""Gaits: the standing foot stands, running leaves the ground, leaps rise and land."""

from __future__ import annotations

import numpy as np
import pytest

from kt3d_bench.synth import pose, sample_bodies, sample_clip
from kt3d_bench.synth.poses import Gait


def test_travel_adds_up_over_cycles() -> None:
    gait = Gait(np.array([0.0, 0.3, 0.4]), np.array([0.0, 0.1, 0.0]))
    assert gait.travel(np.array([0.0, 0.25, 0.5, 1.0, 2.75])) == pytest.approx([0, 0.15, 0.3, 0.4, 1.15])
    assert gait.height(np.array([0.25, 1.5])) == pytest.approx([0.05, 0.1])


def test_the_standing_foot_hardly_slides_in_walking() -> None:
    slides = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        figures = pose(sample_bodies(rng, 1), sample_clip(rng, "walk", 120, 50))
        low = {s: np.minimum(figures.landmark(f"heel_{s}")[:, 2], figures.landmark(f"toe_{s}")[:, 2]) for s in "lr"}
        for side, other in ("lr", "rl"):
            standing = low[side] < low[other] - 15
            both = standing[1:] & standing[:-1]
            slides.append(np.diff(figures.landmark(f"ball_{side}")[:, 0])[both].mean() * 50)
    assert np.abs(np.mean(slides)) < 150, "mm/s, an eighth of the walking speed"


def test_running_and_jumping_leave_the_ground_and_come_back() -> None:
    for activity, most in (("run", 150), ("jump", 400)):
        rng = np.random.default_rng(2)
        figures = pose(sample_bodies(rng, 1), sample_clip(rng, activity, 150, 50))
        clearance = (figures.cones_world_mm[..., 2] - figures.radii_mm).min(axis=(1, 2))
        assert clearance.min() < 5
        assert 15 < clearance.max() < most
        speed = np.abs(np.diff(figures.landmark("pelvis")[:, 2])) * 50
        assert speed.max() < 3500
