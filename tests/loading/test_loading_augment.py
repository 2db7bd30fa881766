"""Augmentation against the camera model, SciPy and hand-made cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from kt3d_bench.errors import UsageError
from kt3d_bench.geometry.cameras import project_arrays
from kt3d_bench.loading.augment import BOX_MARGIN, Augmentation, Draws, place, warp
from kt3d_bench.skeletons import H36M17

WILD = Augmentation(scale=0.5, rotation_rad=math.pi, shift=0.3, body_scale=0.3)


def _scene(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    intrinsics = np.array([[1100.0, 3.0, 150.0], [-2.0, 1050.0, 120.0]]) + rng.normal(size=(count, 2, 3)) * 5
    distortion = rng.normal(size=(count, 5)) * [0.2, 0.1, 0.01, 0.01, 0.05]
    cam = rng.uniform(-1, 1, (count, 17, 3)) * [400, 700, 300] + [50, 20, 4000]
    box = np.sort(rng.uniform(0, 300, (count, 2, 2)), axis=1).reshape(count, 4)
    return intrinsics, distortion, cam, box


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), factor=st.sampled_from([1.0, 2.0]), input_px=st.sampled_from([32, 64, 256]))
def test_projection_and_augmentation_commute_with_distortion(seed: int, factor: float, input_px: int) -> None:
    rng = np.random.default_rng(seed)
    intrinsics, distortion, cam, box = _scene(rng, 6)
    px = project_arrays(intrinsics, distortion, factor, cam)
    placement = place(WILD.draw(seed, np.zeros(6, int), np.arange(6)), box, input_px)
    new_intrinsics, new_distortion = placement.cameras(intrinsics, distortion)
    expected = placement.points_px(px)
    found = project_arrays(new_intrinsics, new_distortion, factor, placement.points_cam(cam))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8 * max(1.0, np.abs(expected).max()))


def test_the_world_turns_rigidly_and_left_becomes_right() -> None:
    rng = np.random.default_rng(1)
    _, _, cam, box = _scene(rng, 1)
    draws = Draws(
        np.array([1.2]), np.array([0.0]), np.array([True]), np.zeros((1, 2)), np.array([1.5]), np.ones((1, 3))
    )
    moved = place(draws, box, 64).points_cam(cam)
    left, right = H36M17.index("left_wrist"), H36M17.index("right_wrist")
    np.testing.assert_allclose(moved[0, left], 1.5 * cam[0, right] * [-1, 1, 1])
    np.testing.assert_allclose(moved[0, 0], 1.5 * cam[0, 0] * [-1, 1, 1])


def test_rotations_turn_with_the_world() -> None:
    """A world point through the moved rotation is the crop camera's point, moved; a mirror makes it improper."""
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(3)
    indices = np.arange(8)
    draws = Augmentation(body_scale=0.0).draw(0, np.zeros_like(indices), indices)
    placement = place(draws, np.tile([10.0, 20, 110, 180], (8, 1)), 64)
    rotation = Rotation.random(8, random_state=rng).as_matrix()
    world = rng.normal(size=(8, 17, 3))
    cam = np.einsum("nij,nkj->nki", rotation, world)
    moved = placement.rotations(rotation)
    ordered = np.where(placement.mirrored[:, None, None], world[:, H36M17.mirror], world)
    np.testing.assert_allclose(np.einsum("nij,nkj->nki", moved, ordered), placement.points_cam(cam), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(moved), np.where(placement.mirrored, -1, 1), atol=1e-9)
    assert placement.mirrored.any()
    assert not placement.mirrored.all()


def test_the_box_fills_the_input_without_aspect_distortion() -> None:
    box = np.array([[10.0, 20.0, 50.0, 180.0]])
    corners = np.array([[[10, 20], [50, 180], [30, 100]]], float)
    moved = place(Draws.none(1), box, 201).affine_px
    found = corners @ np.swapaxes(moved[..., :2], -1, -2) + moved[:, None, :, 2]
    np.testing.assert_allclose(found[0, 2], [100, 100])
    np.testing.assert_allclose(found[0, 1, 1] - found[0, 0, 1], 201 / BOX_MARGIN)
    np.testing.assert_allclose(found[0, 1, 0] - found[0, 0, 0], 201 / BOX_MARGIN / 4)


def test_a_draw_depends_on_seed_epoch_and_index_alone() -> None:
    augmentation = Augmentation()
    together = augmentation.draw(7, np.array([0, 0, 1]), np.array([4, 5, 4]))
    alone = augmentation.draw(7, np.array([0]), np.array([5]))
    for name in ("scale", "angle_rad", "mirrored", "shift", "body_scale", "colour"):
        np.testing.assert_array_equal(getattr(together, name)[1], getattr(alone, name)[0])
    assert len(set(together.scale)) == 3
    assert augmentation.draw(8, np.array([0]), np.array([5])).scale[0] != alone.scale[0]


def test_draws_fill_their_ranges_and_no_more() -> None:
    draws = Augmentation(scale=0.25, rotation_rad=0.5, shift=0.1, colour=0.2, body_scale=0.1).draw(
        0, np.zeros(3000, int), np.arange(3000)
    )
    for values, low, high in (
        (draws.scale, 0.75, 1.25),
        (draws.angle_rad, -0.5, 0.5),
        (draws.shift, -0.1, 0.1),
        (draws.colour, 0.8, 1.2),
        (draws.body_scale, 0.9, 1.1),
    ):
        span = high - low
        assert low <= values.min() < low + 0.02 * span
        assert high - 0.02 * span < values.max() <= high
        assert abs(values.mean() - (low + high) / 2) < 0.02 * span
    assert 0.45 < draws.mirrored.mean() < 0.55


@pytest.mark.parametrize("name", ["scale", "rotation_rad", "shift", "colour", "body_scale"])
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_impossible_ranges_are_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=name):
        Augmentation(**{name: value})


@pytest.mark.parametrize("nearest", [False, True])
def test_identity_shift_and_quarter_turn_are_exact(nearest: bool) -> None:
    image = torch.from_numpy(np.random.default_rng(0).uniform(0, 255, (1, 2, 40, 40)).astype(np.float32))
    identity = np.array([[[1.0, 0, 0], [0, 1, 0]]])
    shift = np.array([[[1.0, 0, 3], [0, 1, -2]]])
    turn = np.array([[[0.0, -1, 39], [1, 0, 0]]])
    tolerance = {"rtol": 0, "atol": 0 if nearest else 5e-3}
    torch.testing.assert_close(warp(image, identity, 40, nearest=nearest), image, **tolerance)
    shifted = warp(image, shift, 40, nearest=nearest)
    torch.testing.assert_close(shifted[..., :38, 3:], image[..., 2:, :37], **tolerance)
    assert shifted[..., 38:, :].abs().max() <= tolerance["atol"]
    assert shifted[..., :3].abs().max() <= tolerance["atol"]
    turned = warp(image, turn, 40, nearest=nearest)
    torch.testing.assert_close(turned, torch.rot90(image, -1, (2, 3)), **tolerance)


def test_warp_agrees_with_scipy() -> None:
    rng = np.random.default_rng(3)
    image = ndimage.gaussian_filter(rng.uniform(0, 255, (50, 70)), 2)
    affine = np.array([[0.8, -0.5, 14.2], [0.45, 0.9, -6.1]])
    inverse = np.linalg.inv(affine[:, :2])
    flip = np.array([[0, 1], [1, 0]])
    expected = ndimage.affine_transform(
        image, flip @ inverse @ flip, flip @ (-inverse @ affine[:, 2]), (48, 48), order=1, mode="grid-constant"
    )
    found = warp(torch.from_numpy(image.astype(np.float32))[None, None], affine[None], 48)[0, 0].numpy()
    np.testing.assert_allclose(found, expected, atol=0.02)
