"""The mask-conditioned network's input and the noise that it learns from."""

from __future__ import annotations

import pytest
import torch
from kt3d_knowledge_transfer import bridge

from kt3d_bench.nn.prior import pose_size
from kt3d_bench.skeletons import H36M17


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_the_input_is_a_silhouette_and_one_bump_per_joint() -> None:
    silhouette = (torch.rand(2, 64, 64) > 0.5).float()
    voxels = 2 + 12 * torch.rand(2, 17, 3)
    present = torch.ones(2, 17, dtype=torch.bool)
    present[1, 4] = False
    given = bridge.bridge_input(silhouette, voxels, present)
    assert given.shape == (2, bridge.CHANNELS, 64, 64)
    assert torch.equal(given[:, 0], silhouette)
    ticks = torch.arange(64.0)
    for sample, joint in ((0, 0), (1, 16)):
        bump = given[sample, 1 + joint]
        total = bump.sum()
        place = torch.stack([(bump.sum(0) * ticks).sum(), (bump.sum(1) * ticks).sum()]) / total
        torch.testing.assert_close(place, (voxels[sample, joint, :2] + 0.5) * 4 - 0.5, atol=0.2, rtol=0)
        assert float(total) == pytest.approx(2 * torch.pi * 2**2, rel=0.05)
    assert not given[1, 5].any()


def test_noise_moves_x_and_y_as_a_weak_2d_network_does() -> None:
    voxels = (4 + 8 * torch.rand(1, 17, 3)).expand(4000, -1, -1)
    noisy, present = bridge.corrupted(voxels)
    assert torch.equal(noisy[..., 2], voxels[..., 2])
    assert float(present.float().mean()) == pytest.approx(1 - bridge.DROPPED, abs=0.01)
    apart = (noisy - voxels)[..., :2].norm(dim=-1).median(1).values / pose_size(voxels)[:, 0, 0]
    assert float(apart.min()) < 0.05
    assert 0.3 < float(apart.max()) < 1.5
    size = pose_size(noisy)[:, 0, 0] / pose_size(voxels)[:, 0, 0]
    assert 0.65 < float(size.min()) < 0.9


def test_sides_are_exchanged_for_all_legs_or_arms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "JITTER", 0.0)
    monkeypatch.setattr(bridge, "SHRINK", 0.0)
    voxels = (4 + 8 * torch.rand(1, 17, 3)).expand(4000, -1, -1)
    noisy, _ = bridge.corrupted(voxels)
    swapped = (noisy - voxels)[..., :2].abs().sum(-1) > 1e-3
    knee, wrist, hip = (H36M17.index(name) for name in ("left_knee", "left_wrist", "hip"))
    assert not swapped[:, hip].any()
    both, legs, arms = swapped[:, knee] & swapped[:, wrist], swapped[:, knee], swapped[:, wrist]
    for found in (legs, arms):
        assert float(found.float().mean()) == pytest.approx(1 - (1 - bridge.SWAPPED) ** 2, abs=0.015)
    assert float(both.float().mean()) == pytest.approx(bridge.SWAPPED, abs=0.015)


def test_borders_fray_by_a_pixel() -> None:
    square = torch.zeros(3000, 12, 12)
    square[:, 4:8, 4:8] = 1
    areas = bridge.frayed(square).sum((1, 2))
    for area in (4, 16, 36):
        assert float((areas == area).float().mean()) == pytest.approx(1 / 3, abs=0.04)
