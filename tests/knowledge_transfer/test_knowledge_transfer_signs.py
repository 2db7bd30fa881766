"""Numbers that are only shown, by hand; a healthy student raises no warning, a collapsed one does."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from kt3d_knowledge_transfer.signs import apart, domain, foreground_right, spread_vox, time_to_show, warnings

from kt3d_bench.method import Progress


def test_numbers_are_shown_at_the_first_step_and_every_tenth() -> None:
    shown = [step for step in range(31) if time_to_show(Progress(step, 0.0))]
    assert shown == [0, 9, 19, 29]


def test_the_classifiers_accuracy_is_counted_by_domain() -> None:
    sure = torch.tensor([[9.0, -9.0]])
    assert domain(sure, -sure) == {"domain_accuracy": 1.0, "domain_over_chance": 0.5}
    assert domain(sure, sure)["domain_over_chance"] == 0.0


def test_foreground_right_counts_true_foreground_only() -> None:
    truth = torch.nn.functional.one_hot(torch.tensor([[[0, 0, 1, 2]]]), 3).movedim(-1, 1).float()
    drawn = torch.nn.functional.one_hot(torch.tensor([[[1, 0, 1, 1]]]), 3).movedim(-1, 1).float()
    assert foreground_right(drawn, truth) == 0.5


def test_spread_is_the_standard_deviation_of_hip_relative_poses() -> None:
    poses = np.random.default_rng(0).normal(size=(6, 17, 3))
    expected = (poses - poses[:, :1])[:, 1:].std(0).mean()
    moved = torch.from_numpy(poses) + torch.randn(6, 1, 3)
    assert spread_vox(moved) == pytest.approx(expected, rel=1e-5)
    assert spread_vox(moved[:1].expand(6, -1, -1)) == pytest.approx(0, abs=1e-6)


def test_a_student_that_cleans_its_start_up_is_not_warned_of() -> None:
    """The start is the truth with noise; a student without the noise varies less, but by far not half as much."""
    generator = torch.Generator().manual_seed(0)
    truth = 10 * torch.rand(32, 17, 2, generator=generator)
    noisy = truth + torch.randn(truth.shape, generator=generator)
    found = apart(truth, noisy, 64, 16)
    assert 0.75 < found["spread_share"] < 1
    assert found["drift_2d_px"] == pytest.approx(4 * math.sqrt(math.pi / 2), rel=0.05), "the mean of Rayleigh's law"
    assert warnings(found, 64) == {"warn_collapse": 0.0, "warn_drift": 0.0}


def test_a_collapsed_student_is_warned_of() -> None:
    began = 10 * torch.rand(32, 17, 2, generator=torch.Generator().manual_seed(0))
    same = began.mean(0, keepdim=True).expand(32, -1, -1)
    assert apart(same, began, 64, 16)["spread_share"] == pytest.approx(0, abs=1e-6)
    shrunk = 0.45 * (began - began[:, :1]) + began[:, :1]
    for pose in (same, shrunk):
        assert warnings(apart(pose, began, 64, 16), 64)["warn_collapse"] == 1.0


def test_a_student_that_walked_away_is_warned_of_though_its_poses_differ() -> None:
    began = 10 * torch.rand(4, 17, 2)
    found = apart(began + torch.tensor([3.0, 4.0]), began, 64, 16)
    assert found["drift_2d_px"] == pytest.approx(20, rel=1e-4), "px of the input: four of them are a voxel"
    assert found["spread_share"] == pytest.approx(1, rel=1e-4)
    assert warnings(found, 64) == {"warn_collapse": 0.0, "warn_drift": 1.0}
    assert warnings(found, 256)["warn_drift"] == 0.0, "a share of the input's side"
