"""The mask-conditioned network's input and the noise that it learns from."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from kt3d_knowledge_transfer import bridge, limbs

from kt3d_bench.nn.prior import pose_size
from kt3d_bench.skeletons import H36M17
from kt3d_bench.testing import tiny_batch


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


def _facing_the_camera() -> torch.Tensor:
    """(1, 17, 3) mm: a person 5 m away who stands, arms hanging, face towards the camera, whose right is at x < 0."""
    at = {
        "hip": (0, 0), "spine": (0, -250), "thorax": (0, -480), "nose": (0, -600), "head": (0, -720),
        "hip_": (-110, 0), "knee": (-110, 430), "ankle": (-110, 860),
        "shoulder": (-160, -470), "elbow": (-240, -200), "wrist": (-260, 50),
    }  # fmt: skip
    joints = torch.zeros(1, 17, 3)
    for index, name in enumerate(H36M17.joints):
        part = name.split("_")[-1]
        x, y = at["hip_" if name.endswith("_hip") else part]
        joints[0, index] = torch.tensor([x * (-1 if name.startswith("left") else 1), y, 5000.0])
    return joints


def test_hands_and_toes_follow_the_limbs() -> None:
    points = limbs.with_ends(_facing_the_camera())[0]
    hands, toes = points[17:19], points[19:]
    torch.testing.assert_close(hands[0], torch.tensor([-271.0, 187.5, 5000.0]))
    assert bool((toes[:, 2] < 4900).all())  # towards the camera
    assert bool((toes[:, 1] > 860).all())


def test_a_limb_is_drawn_as_a_capsule() -> None:
    """One limb of constant radius 5 px and 20 px long: area 2 r l + pi r^2; the others have an unknown end."""
    places = torch.full((1, 21, 2), math.nan)
    places[0, H36M17.index("right_elbow")] = torch.tensor([20.0, 30.0])
    places[0, H36M17.index("right_wrist")] = torch.tensor([40.0, 30.0])
    radii = torch.full((1, len(limbs.LIMBS_MM), 2), 50.0)
    drawn = limbs.drawn_silhouette(places, torch.full((1, 21), 0.1), radii, 64)
    assert float(drawn.sum()) == pytest.approx(2 * 5 * 20 + math.pi * 5**2, rel=0.01)
    assert drawn[0, 30, 14] < 1 <= drawn[0, 30, 16]


def test_every_second_silhouette_is_drawn_around_a_pose_before_a_virtual_camera() -> None:
    batch = replace(tiny_batch(8), joints_root_mm=_facing_the_camera().expand(8, -1, -1) - torch.tensor([0, 0, 5000.0]))
    truth, silhouette = torch.rand(8, 17, 3), torch.rand(8, 64, 64)
    voxels, drawn = bridge.half_virtual(batch, truth, silhouette)
    assert torch.equal(voxels[::2], truth[::2])
    assert torch.equal(drawn[::2], silhouette[::2])
    at = ((voxels[1::2, :, :2] + 0.5) * 4 - 0.5).round().long()
    for sample, places in zip(drawn[1::2], at, strict=True):
        assert bool((sample[places[:, 1], places[:, 0]] > 0.5).all())
        assert 0.05 < float(sample.mean()) < 0.4


def test_people_differ_in_their_radii() -> None:
    radii = limbs.varied_radii_mm(4000)
    share = radii[:, :, 0] / radii[:, :, 0].mean(0)
    assert float(share.mean(1).std()) == pytest.approx(limbs.PERSON, rel=0.1)
    assert float(radii.min()) > 0
