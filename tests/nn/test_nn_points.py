"""Points of depth images and pixels of points against the project's cameras in double precision."""

from __future__ import annotations

import numpy as np
import torch

from kt3d_bench.geometry.cameras import project_arrays, unproject_arrays
from kt3d_bench.loading.batches import CameraBatch
from kt3d_bench.nn.points import points_mm, projected_px, whole_poses

INPUT_PX = 32
SKEWED = CameraBatch(torch.tensor([[[80.0, 4.0, 15.0], [-4.0, 82.0, 16.0]]]), torch.zeros(1, 5), 2.0)


def test_pixels_become_points_as_the_cameras_have_it() -> None:
    depth = torch.zeros(1, 1, INPUT_PX, INPUT_PX)
    depth[0, 0, 20, 7] = 3000.0
    found = points_mm(depth, SKEWED)[0, 20 * INPUT_PX + 7].double().numpy()
    camera = SKEWED.intrinsics_px.double().numpy(), SKEWED.distortion.numpy(), 2.0
    expected = unproject_arrays(*camera, np.array([[[7.0, 20.0]]]), np.array([[3000.0]]))
    np.testing.assert_allclose(found, expected[0, 0], atol=1e-2)
    joints = np.array([[[100.0, -250.0, 3100.0], [-40.0, 10.0, 2900.0]]])
    back = projected_px(torch.from_numpy(joints).float(), SKEWED)
    np.testing.assert_allclose(back, project_arrays(*camera, joints), atol=1e-3)


def test_whole_poses_lack_only_what_all_lack() -> None:
    joints = torch.zeros(3, 17, 3)
    joints[:, 9] = float("nan")
    joints[1, 4, 2] = float("nan")
    assert whole_poses(joints).tolist() == [True, False, True]
