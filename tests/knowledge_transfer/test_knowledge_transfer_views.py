"""Views move joints with the image; lessons move with both."""

from __future__ import annotations

import math

import pytest
import torch
from kt3d_knowledge_transfer.views import Lesson, View, cut_out, recoloured

SIDE, PX = 16, 64


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _view(angle: list[float], scale: list[float], shift: list[list[float]], flip: list[bool]) -> View:
    return View(torch.tensor(angle), torch.tensor(scale), torch.tensor(shift), torch.tensor(flip))


def test_a_quarter_turn_by_hand() -> None:
    """x goes to y: a point right of the centre lies below it afterwards, at twice the distance."""
    voxels = torch.full((1, 17, 3), 7.5)
    voxels[0, 0] = torch.tensor([9.5, 7.5, 3.0])
    moved = _view([math.pi / 2], [2.0], [[0.0, 0.0]], [False]).pose(voxels, SIDE)
    torch.testing.assert_close(moved[0, 0], torch.tensor([7.5, 11.5, 3.0]))


def test_a_view_moves_joints_with_the_image() -> None:
    shifts = [[0.1, -0.2], [-0.15, 0.05]]
    view = _view([0.4, -0.5], [1.2, 0.9], shifts, [False, True])
    voxels = torch.full((2, 17, 3), 8.0)
    voxels[:, 1] = torch.tensor([10.0, 6.0, 3.0])
    rows, columns = torch.meshgrid(torch.arange(PX), torch.arange(PX), indexing="ij")
    x, y = ((voxels[0, 1, :2] + 0.5) * 4 - 0.5).tolist()
    blob = (-((columns - x) ** 2 + (rows - y) ** 2) / 18.0).exp().expand(2, 1, PX, PX)
    seen = view.image(blob)
    moved = view.pose(voxels, SIDE)
    for sample, joint in ((0, 1), (1, 4)):
        mass = seen[sample, 0] / seen[sample, 0].sum()
        centre = torch.stack([(mass * columns).sum(), (mass * rows).sum()])
        assert torch.allclose(centre, (moved[sample, joint, :2] + 0.5) * 4 - 0.5, atol=0.3)
        assert float(moved[sample, joint, 2]) == 3.0


def test_views_can_be_undone_and_differ() -> None:
    poses = SIDE * torch.rand(64, 17, 3)
    view = View.random(64, torch.device("cpu"))
    assert 16 < int(view.flip.sum()) < 48
    assert torch.allclose(view.back(view.pose(poses, SIDE), SIDE), poses, atol=1e-4)
    assert 0.5 < float(view.angle_rad.abs().max()) <= 0.6
    assert 0.7 < float(view.scale.min()) < 0.85 < 1.15 < float(view.scale.max()) < 1.3
    some = view.of(slice(3, 7))
    assert torch.equal(some.pose(poses[3:7], SIDE), view.pose(poses, SIDE)[3:7])


def test_a_mirrored_view_moves_nothing_else() -> None:
    view, image = View.mirrored(64, torch.device("cpu")), torch.rand(64, 2, PX, PX)
    assert 10 < int(view.flip.sum()) < 54
    expected = torch.where(view.flip[:, None, None, None], image.flip(-1), image)
    torch.testing.assert_close(view.image(image), expected, atol=1e-5, rtol=0)


def test_mixed_precision_rounds_neither_places_nor_images() -> None:
    poses, image, view = SIDE * torch.rand(8, 17, 3), torch.rand(8, 3, PX, PX), View.random(8, torch.device("cpu"))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = view.pose(poses, SIDE), view.back(poses, SIDE), view.image(image)
    exact = view.pose(poses, SIDE), view.back(poses, SIDE), view.image(image)
    for found, expected in zip(rounded, exact, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_lessons_move_with_the_view_and_hide_what_is_mixed_with_the_unknown() -> None:
    voxels, weight = SIDE * torch.rand(2, 17, 3), torch.ones(2, 17, 3)
    voxels[:, 5, 0], weight[:, 5, 0] = math.nan, 0.0
    weight[:, 13, 2] = 0.25
    view = _view([0.3, 0.0], [1.0, 1.0], [[0.0, 0.0], [0.0, 0.0]], [False, True])
    moved = view.lesson(Lesson(voxels, weight), SIDE)
    assert moved.weight[0, 5].tolist() == [0.0, 0.0, 1.0]
    assert moved.weight[0, 13].tolist() == [1.0, 1.0, 0.25]
    assert moved.weight[1, 2].tolist() == [0.0, 0.0, 1.0]
    assert moved.weight[1, 16].tolist() == [1.0, 1.0, 0.25]
    assert bool(moved.voxels[moved.weight > 0].isfinite().all())


def test_labels_go_over_what_a_network_says() -> None:
    labels = Lesson(torch.tensor([[[1.0, 2.0, math.nan]]]), torch.tensor([[[1.0, 1.0, 0.0]]]))
    assert labels.over(torch.tensor([[[7.0, 8.0, 9.0]]])).tolist() == [[[1.0, 2.0, 9.0]]]


def test_cutting_out_removes_up_to_a_sixth_and_recolouring_a_gain_per_channel() -> None:
    image = torch.ones(200, 3, 32, 32)
    cut = cut_out(image)
    gone = (cut == 0).float().mean((2, 3))
    assert torch.equal(gone[:, 0], gone[:, 2])
    assert 0.1 < float(gone.max()) < 0.2
    assert float(gone.min()) < 0.01
    gain = recoloured(image)
    assert torch.equal(gain.amin((2, 3)), gain.amax((2, 3)))
    assert 0.7 <= float(gain.min()) < 0.75
    assert 1.25 < float(gain.max()) <= 1.3
