"""The median of pictures, and what differs from it: against NumPy, and shapes whose silhouette is known."""

from __future__ import annotations

import numpy as np
import pytest

from kt3d_bench.geometry.motion_foreground import median_picture, motion_foreground


def _scene(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    grey = np.full((240, 200, 3), (150, 120, 100), np.float64)
    grey[:, 100:] = (60, 70, 90)
    return np.clip(grey + rng.normal(0, 2, (240, 200, 1)), 0, 255).astype(np.uint8)


def _person(picture: np.ndarray, colour: tuple[int, int, int] = (60, 160, 70)) -> tuple[np.ndarray, np.ndarray]:
    """Draw a trunk and a thin arm; return the picture and the true silhouette."""
    mask = np.zeros(picture.shape[:2], bool)
    mask[60:180, 80:120] = True
    mask[70:78, 30:80] = True
    drawn = picture.copy()
    drawn[mask] = colour
    return drawn, mask


def _iou(found: np.ndarray, truth: np.ndarray) -> float:
    return float((found & truth).sum() / (found | truth).sum())


def test_the_median_is_that_of_numpy_and_leaves_the_pictures_as_they_are() -> None:
    pictures = list(np.random.default_rng(1).integers(0, 256, (7, 300, 20, 3), np.uint8))
    before = [picture.copy() for picture in pictures]
    np.testing.assert_array_equal(median_picture(pictures), np.median(pictures, axis=0).astype(np.uint8))
    np.testing.assert_array_equal(pictures, before)


def test_somebody_who_moves_on_is_not_in_the_median() -> None:
    empty = _scene()
    pictures = [np.roll(_person(empty)[0], 0, 0) if number < 3 else empty for number in range(7)]
    np.testing.assert_array_equal(median_picture(pictures), empty)


@pytest.mark.parametrize("shapes", [(), ((2, 2, 3), (2, 3, 3))])
def test_a_median_needs_pictures_of_one_size(shapes: tuple[tuple[int, int, int], ...]) -> None:
    with pytest.raises(ValueError, match="needs pictures of one size"):
        median_picture([np.zeros(shape, np.uint8) for shape in shapes])


def test_the_foreground_is_the_person_across_a_noisy_scene_of_two_colours() -> None:
    picture, truth = _person(_scene(1))
    found = motion_foreground(picture, _scene(2)) > 0
    assert found.dtype == bool
    assert _iou(found, truth) > 0.9
    assert found[74, 40], "the arm, eight pixels thin, is kept"


def test_an_empty_scene_has_no_foreground_and_values_are_0_and_255() -> None:
    assert not motion_foreground(_scene(1), _scene(2)).any()
    found = motion_foreground(_person(_scene(1))[0], _scene(2))
    assert found.dtype == np.uint8
    assert set(np.unique(found)) == {0, 255}


def test_a_shadow_is_not_the_person() -> None:
    shaded = _scene(1).astype(np.float64)
    shaded[180:220, 20:180] *= 0.65
    picture, truth = _person(shaded.astype(np.uint8))
    assert _iou(motion_foreground(picture, _scene(2)) > 0, truth) > 0.9


def test_black_clothes_are_no_shadow() -> None:
    picture, truth = _person(_scene(1), (12, 10, 8))
    assert _iou(motion_foreground(picture, _scene(2)) > 0, truth) > 0.9


def test_small_holes_are_filled_and_large_ones_and_specks_are_not() -> None:
    empty = _scene(2)
    picture, _ = _person(_scene(1))
    original = _scene(1)
    picture[100:106, 90:96] = original[100:106, 90:96]
    picture[130:170, 90:110] = original[130:170, 90:110]
    picture[10:13, 10:13] = (60, 160, 70)
    found = motion_foreground(picture, empty)
    assert found[103, 93] == 255
    assert found[150, 100] == 0
    assert found[11, 11] == 0
