"""Cameras that were planted are found again from the poses that they saw."""

from __future__ import annotations

import pytest
import torch

from kt3d_bench.errors import UsageError
from kt3d_bench.nn.camera_fit import BATCH, STEPS, FittedCameras, cameras_stage, fitted
from kt3d_bench.nn.virtual_cameras import VirtualCameras

STANDING_MM = torch.tensor([
    (0, 0, 0), (-120, 10, 0), (-130, 440, 10), (-130, 860, 30), (120, 10, 0), (130, 440, -10), (130, 860, 20),
    (0, -230, 0), (0, -470, 10), (0, -560, -60), (0, -680, 0),
    (170, -440, 0), (240, -180, 30), (260, 60, -20), (-170, -440, 0), (-240, -180, 30), (-260, 60, -20),
], dtype=torch.float32)  # fmt: skip


def people(count: int, seed: int) -> torch.Tensor:
    """(N, 17, 3) mm, y down, relative to the hip: every joint within about 60 mm of its place."""
    generator = torch.Generator().manual_seed(seed)
    poses = STANDING_MM + 60 * torch.randn(count, 17, 3, generator=generator)
    return poses - poses[:, :1]


@pytest.mark.parametrize("elevation_deg", [(28.0, 32.0), (2.0, 4.0)])
def test_planted_cameras_are_found(elevation_deg: tuple[float, float]) -> None:
    torch.manual_seed(3)
    planted = VirtualCameras(elevation_deg, 1.0)
    seen = 7.0 * planted.see(people(400, 1))[0] + 20.0
    found = fitted(people(400, 2), seen)
    assert sum(found.elevation_deg) / 2 == pytest.approx(sum(elevation_deg) / 2, abs=3), "other people, same cameras"
    assert found.elevation_deg[1] - found.elevation_deg[0] < 20 < 25, "the usual range is 25 degrees wide"
    assert found.roll_deg < 4.5 < 9
    state = torch.get_rng_state()
    assert fitted(people(400, 2), seen) == found
    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_kept_is_what_was_given_and_unknown_poses_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kt3d_bench.nn.camera_fit.TRIALS", 12)
    cameras, turn = FittedCameras(), torch.eye(3)
    poses = people(40, 1)
    unknown = poses.clone()
    unknown[5, 3] = float("nan")
    for rows in (slice(0, 25), slice(25, 40)):
        cameras.add(unknown[rows], turn.expand(len(poses[rows]), 3, 3), poses[rows, :, :2])
    assert int(cameras.count) == 40
    assert torch.equal(cameras.seen[:40], poses[..., :2])
    known = torch.arange(40) != 5
    stood = torch.stack([poses[..., 2], poses[..., 1], -poses[..., 0]], -1)
    assert cameras.fit() == fitted(stood[known], poses[..., :2])
    assert cameras.fit() != VirtualCameras()
    many = people(STEPS * BATCH - 10, 2)
    cameras.add(many, turn.expand(len(many), 3, 3), many[..., :2])
    assert int(cameras.count) == STEPS * BATCH == len(cameras.seen), "a run with more steps fills it sooner"
    again = FittedCameras()
    again.load_state_dict(cameras.state_dict())
    assert again.fit() == cameras.fit()


def test_a_source_without_a_whole_pose_is_told() -> None:
    cameras, poses = FittedCameras(), people(3, 1)
    poses[:, 7] = float("nan")
    cameras.add(poses, torch.eye(3).expand(3, 3, 3), poses[..., :2])
    with pytest.raises(UsageError, match="no pose of the source has all joints; set prior_cameras=virtual"):
        cameras.fit()


def test_the_stage_reads_images_of_the_target_and_no_label_of_it() -> None:
    stage = cameras_stage("rgb_net", {"side": 16}, ("pretrain-2d",))
    assert stage.roles == {"source": (), "target": ("rgb",)}
    assert (stage.steps, stage.batch_size, stage.augment) == (STEPS, BATCH, False)
