"""Stored crops: where pixels go, which camera they have, and what an image says about depth."""

from __future__ import annotations

import numpy as np
import pytest

from kt3d_bench.geometry.cameras import project
from kt3d_bench.geometry.crops import box_from_mask, box_from_points, crop_person, transform_points
from kt3d_bench.geometry.reference import surface_reference_mm
from kt3d_bench.records import Camera

CAMERA = Camera.pinhole(
    (1145.0, 1143.8), (512.5, 515.5), (1000, 1002), distortion=np.array([-0.207, 0.248, -0.0014, -0.001, -0.003])
)


def test_a_small_box_is_cut_without_resampling() -> None:
    image = np.arange(60 * 80, dtype=np.uint16).reshape(60, 80)
    crop = crop_person(Camera.pinhole((90, 90), (40, 30), (80, 60)), np.array([20, 10, 40, 30]), depth_mm=image)
    assert crop.depth_mm is not None
    np.testing.assert_allclose(crop.affine_px[:, :2], np.eye(2))
    left, top = -crop.affine_px[:, 2].astype(int)
    height, width = crop.depth_mm.shape
    np.testing.assert_array_equal(crop.depth_mm, image[top : top + height, left : left + width])
    assert (left, top, width, height) == (15, 5, 31, 31)
    assert crop.camera.size_px == (31, 31)


def test_the_margin_is_around_the_boxs_centre() -> None:
    crop = crop_person(CAMERA, np.array([400.0, 300.0, 500.0, 700.0]), depth_mm=np.zeros((1002, 1000), np.uint16))
    width, height = crop.camera.size_px
    assert max(width, height) == 320
    middle = crop.to_crop(np.array([450.0, 500.0]))
    np.testing.assert_allclose(middle, [(width - 1) / 2, (height - 1) / 2], atol=1.0)
    corners = crop.to_crop(np.array([[400.0, 300.0], [500.0, 700.0]]))
    assert (corners[1, 1] - corners[0, 1]) * 1.5 == pytest.approx(height, abs=2)


@pytest.mark.parametrize("longest_px", [320, 97])
def test_dots_land_where_the_affine_map_says(longest_px: int) -> None:
    """Area shrinking keeps a smooth dot's centre of mass: pixel centres are at integer coordinates on both sides."""
    rows, columns = np.mgrid[:1002, :1000]
    for cx, cy in ((312.0, 222.0), (451.3, 407.8), (530.0, 700.6)):
        dot = np.exp(-((columns - cx) ** 2 + (rows - cy) ** 2) / (2 * 12.0**2))
        image = np.repeat(np.rint(255 * dot).astype(np.uint8)[..., None], 3, axis=2)
        crop = crop_person(CAMERA, np.array([250, 150, 600, 800]), rgb=image, longest_px=longest_px)
        assert crop.rgb is not None
        weight = crop.rgb[..., 1].astype(float)
        y, x = np.mgrid[: weight.shape[0], : weight.shape[1]]
        center = np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()
        np.testing.assert_allclose(center, crop.to_crop(np.array([cx, cy])), atol=0.03)


def test_depth_takes_the_nearest_reading_and_invents_none() -> None:
    columns = np.tile(np.arange(1, 1001, dtype=np.uint16), (1002, 1))
    crop = crop_person(CAMERA, np.array([250, 150, 600, 800]), depth_mm=columns, parts=(columns % 7).astype(np.uint8))
    assert crop.depth_mm is not None
    assert crop.parts is not None
    height, width = crop.depth_mm.shape
    x_full = (np.arange(width) - crop.affine_px[0, 2]) / crop.affine_px[0, 0]
    inside = (x_full > 0) & (x_full < 999)
    row = crop.depth_mm[height // 2, inside].astype(float) - 1
    assert np.abs(row - x_full[inside]).max() <= 0.5 + 1e-6
    np.testing.assert_array_equal(crop.parts[height // 2, inside], crop.depth_mm[height // 2, inside] % 7)


def test_a_shrunk_crop_holds_no_depth_or_part_that_was_not_there() -> None:
    """Stripes of three columns: person, nothing measured, background. Any averaging yields depths between them."""
    stripes = np.tile(np.repeat(np.array([2000, 0, 4000], np.uint16), 3), (1002, 111))
    parts = (stripes // 1000).astype(np.uint8)
    crop = crop_person(CAMERA, np.array([250, 150, 600, 800]), depth_mm=stripes, parts=parts)
    assert crop.depth_mm is not None
    assert crop.parts is not None
    assert max(crop.depth_mm.shape) < 500, "the crop was not shrunk"
    assert np.unique(crop.depth_mm).tolist() == [0, 2000, 4000]
    assert np.unique(crop.parts).tolist() == [0, 2, 4]


def test_outside_the_frame_is_nothing() -> None:
    white = np.full((1002, 1000, 3), 255, np.uint8)
    near = crop_person(CAMERA, np.array([-50, -50, 150, 150]), rgb=white)
    assert near.rgb is not None
    assert near.rgb[0, 0].tolist() == [0, 0, 0]
    assert near.rgb[-1, -1].tolist() == [255, 255, 255]
    away = crop_person(CAMERA, np.array([5000, 5000, 5100, 5100]), rgb=white)
    assert away.rgb is not None
    assert not away.rgb.any()


def test_the_crops_camera_reprojects() -> None:
    points = np.random.default_rng(0).uniform([-800, -900, 3000], [800, 900, 6000], (40, 3))
    full = project(CAMERA, points)
    crop = crop_person(CAMERA, box_from_points(full), rgb=np.zeros((1002, 1000, 3), np.uint8))
    np.testing.assert_allclose(project(crop.camera, points), crop.to_crop(full), rtol=0, atol=1e-9)
    assert crop.rgb is not None
    assert crop.rgb.shape == (crop.camera.size_px[1], crop.camera.size_px[0], 3)
    np.testing.assert_array_equal(transform_points(crop.affine_px, full), crop.to_crop(full))


def test_a_box_without_extent_still_gives_an_image() -> None:
    crop = crop_person(CAMERA, np.array([500.0, 500.0, 500.0, 500.0]), rgb=np.ones((1002, 1000, 3), np.uint8))
    assert crop.rgb is not None
    assert crop.rgb.all()


def test_box_from_points_skips_absent_ones() -> None:
    points = np.array([[5.0, 9.0], [np.nan, 1.0], [-2.0, 30.0], [3.0, 10.0]])
    np.testing.assert_array_equal(box_from_points(points), [-2.0, 9.0, 5.0, 30.0])


@pytest.mark.parametrize("points", [np.empty((0, 2)), np.array([[1.0, 2.0], [np.nan, np.nan]])])
def test_a_box_needs_two_points(points: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"a box needs two finite points, found [01]"):
        box_from_points(points)


def test_box_from_mask_and_the_empty_mask() -> None:
    mask = np.zeros((20, 30), bool)
    mask[4, 7] = mask[11, 21] = True
    np.testing.assert_array_equal(box_from_mask(mask), [7, 4, 21, 11])
    with pytest.raises(ValueError, match="the mask is empty"):
        box_from_mask(np.zeros((20, 30), bool))


def test_the_surface_reference_is_the_median_of_the_largest_component() -> None:
    depth = np.zeros((50, 60), np.uint16)
    depth[5:25, 5:15] = 3000
    depth[5:8, 5:15] = 2000
    depth[40:45, 40:45] = 900
    assert surface_reference_mm(depth) == 3000.0
    depth[15:25, 5:15] = 2500
    assert surface_reference_mm(depth) == 2500.0


def test_diagonal_pixels_are_connected() -> None:
    depth = np.diag(np.full(9, 1500)).astype(np.uint16)
    depth[0, 5:8] = 800
    assert surface_reference_mm(depth) == 1500.0


def test_an_empty_depth_image_has_no_reference() -> None:
    assert np.isnan(surface_reference_mm(np.zeros((8, 8), np.uint16)))
