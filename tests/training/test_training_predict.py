"""From estimates to camera millimetres, against projections made with the true pose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from kt3d_bench.errors import PluginError
from kt3d_bench.geometry.cameras import project_arrays
from kt3d_bench.loading.batches import CameraBatch, UnlabelledBatch
from kt3d_bench.method import Estimate
from kt3d_bench.training.predict import camera_positions

RNG = np.random.default_rng(5)
COUNT, INPUT_PX = 3, 64
INTRINSICS = np.array([[80.0, 4.0, 30.0], [-4.0, 82.0, 33.0]])[None].repeat(COUNT, 0)
DISTORTION = np.array([-0.2, 0.1, 0.001, -0.002, 0.0])[None].repeat(COUNT, 0)
FACTOR = 1.0
JOINTS = np.array([50.0, -80.0, 4000.0]) + RNG.uniform(-700, 700, (COUNT, 17, 3))
PIXELS = project_arrays(INTRINSICS, DISTORTION, FACTOR, JOINTS)
ROOT_Z = JOINTS[:, 0, 2]


def batch() -> UnlabelledBatch:
    cameras = CameraBatch(torch.tensor(INTRINSICS), torch.tensor(DISTORTION), FACTOR)
    return UnlabelledBatch({}, cameras, torch.full((COUNT,), 3900.0))


def tensor(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_truth_as_an_estimate_gives_the_true_pose() -> None:
    estimate = Estimate(joints_px=tensor(PIXELS), z_root_mm=tensor(JOINTS[..., 2] - ROOT_Z[:, None]))
    np.testing.assert_allclose(camera_positions(estimate, batch(), INPUT_PX, ROOT_Z), JOINTS, atol=1e-5)


def test_from_depth_uses_the_estimate_and_no_label() -> None:
    estimate = Estimate(
        joints_px=tensor(PIXELS), z_root_mm=tensor(JOINTS[..., 2] - ROOT_Z[:, None]), root_z_mm=tensor(2 * ROOT_Z)
    )
    found = camera_positions(estimate, batch(), INPUT_PX, None)
    np.testing.assert_allclose(found[:, 0], 2 * JOINTS[:, 0], atol=1e-5)
    given = camera_positions(estimate, batch(), INPUT_PX, ROOT_Z)
    np.testing.assert_allclose(given, JOINTS, atol=1e-5)


def test_a_relative_pose_hangs_at_its_hip_or_at_the_centre() -> None:
    relative = JOINTS - JOINTS[:, :1]
    with_hip = Estimate(joints_px=tensor(PIXELS), joints_root_mm=tensor(relative))
    np.testing.assert_allclose(camera_positions(with_hip, batch(), INPUT_PX, ROOT_Z), JOINTS, atol=1e-5)
    alone = camera_positions(Estimate(joints_root_mm=tensor(relative)), batch(), INPUT_PX, ROOT_Z)
    np.testing.assert_allclose(alone - alone[:, :1], relative, atol=1e-9)
    np.testing.assert_allclose(alone[:, 0, 2], ROOT_Z)
    center = project_arrays(INTRINSICS, DISTORTION, FACTOR, alone[:, :1])
    np.testing.assert_allclose(center, np.full((COUNT, 1, 2), 31.5), atol=1e-6)


def test_what_an_estimate_must_hold() -> None:
    with pytest.raises(PluginError, match="estimates no depth of the hip"):
        camera_positions(Estimate(joints_px=tensor(PIXELS)), batch(), INPUT_PX, None)
    with pytest.raises(PluginError, match="neither joints_px with z_root_mm nor joints_root_mm"):
        camera_positions(Estimate(joints_px=tensor(PIXELS)), batch(), INPUT_PX, ROOT_Z)
