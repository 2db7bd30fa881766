"""Predictions that other authors released, scored by this project's metrics, must have the authors' own numbers.

A2J (Xiong et al., ICCV 2019; zhangboshen/A2J): the front view's 4,863 valid test frames of ITOP, as u, v in px of
320 x 240 and z in m, and the true joints in m. The files are not part of this project.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from kt3d_itop.convert import JOINTS, MAPPING
from scipy.io import loadmat

from kt3d_bench.metrics.benchmarks import read_published
from kt3d_bench.metrics.functional import METRICS, JointInput, mean_over_joints, mpjpe, pa_mpjpe, pck

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("KT3D_RELEASED", ""))
FILES = (FOLDER / "a2j_itop_front_test_uvd.mat", FOLDER / "itop_front_test_joints_world_m.mat")
pytestmark = pytest.mark.skipif(
    "KT3D_RELEASED" not in os.environ or not all(path.is_file() for path in FILES),
    reason="A2J's released predictions are not here: tests/external/README.md",
)
M_PER_PX = 0.0035
"""Metres to the side per pixel from the centre and metre of depth, as ITOP states it."""


@pytest.fixture(scope="module")
def poses() -> tuple[np.ndarray, np.ndarray]:
    """(4863, 15, 3) predicted and true joints in mm, y up."""
    uvz, true_m = (loadmat(path)[name] for path, name in zip(FILES, ("resultUVD", "keypoints3D"), strict=True))
    u, v, z = np.moveaxis(uvz, -1, 0)
    predicted_m = np.stack([(u - 160) * z * M_PER_PX, (120 - v) * z * M_PER_PX, z], axis=-1)
    return 1000 * predicted_m, 1000 * true_m.astype(np.float64)


def test_over_the_original_joints_a2j_has_the_authors_map(poses: tuple[np.ndarray, np.ndarray]) -> None:
    predicted, true = poses
    body = [pose - pose[:, [JOINTS.index("Neck"), JOINTS.index("Torso")]].mean(1, keepdims=True) for pose in poses]
    assert len(true) == 4863
    assert pck(predicted, true, root=None).mean() == pytest.approx(88.02, abs=0.005)
    assert mpjpe(predicted, true, root=None).mean() == pytest.approx(58.5, abs=0.05)
    assert mpjpe(*body, root=None).mean() == pytest.approx(54.6, abs=0.05)
    assert pa_mpjpe(predicted, true).mean() == pytest.approx(47.8, abs=0.05)


def test_the_boards_row_holds_what_is_measured_over_the_boards_joints(poses: tuple[np.ndarray, np.ndarray]) -> None:
    sources = [[JOINTS.index(name) for name in joint.sources] for joint in MAPPING.table]
    predicted, true = (np.stack([pose[:, names].mean(axis=1) for names in sources], axis=1) for pose in poses)
    everything = np.ones(true.shape[:2], bool)
    original = np.broadcast_to([len(names) == 1 for names in sources], everything.shape)
    given = JointInput(predicted, true, everything, None, original)
    [row] = [
        row for row in read_published(ROOT / "datasets/kt3d_itop")["itop-front"].rows if row.method == "A2J, measured"
    ]
    assert set(row.scores) >= {"mpjpe_mm", "pck_100", "mpjpe_body_mm", "map_100"}
    for name, printed in row.scores.items():
        found = mean_over_joints(METRICS[name].joint_values(given), METRICS[name].mask(given)).mean()
        assert found == pytest.approx(printed, abs=0.05), name
