"""Colours: determinism, the background left alone, clothes where they belong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kt3d_bench.errors import UsageError
from kt3d_bench.records import Camera
from kt3d_bench.synth import PARTS, pose, render, sample_background, sample_bodies, sample_clip, sample_style, shade


@pytest.fixture(scope="module")
def image():
    rng = np.random.default_rng(0)
    figures = pose(sample_bodies(rng, 1), sample_clip(rng, "stand", 1, 25))
    camera = Camera.pinhole((400, 400), (99.5, 119.5), (200, 240), rotation=[[0, 1, 0], [0, 0, -1], [-1, 0, 0]],
                            position_world_mm=(3800, 0, 900))  # fmt: skip
    return render(figures, [camera])[0]


def test_same_seed_same_picture(image) -> None:
    def draw(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return shade(image, sample_style(rng), sample_background(rng, image.size_px, "wild"), rng)

    assert np.array_equal(draw(1), draw(1))
    assert np.abs(draw(1).astype(int) - draw(2)).mean() > 5


def test_without_noise_the_background_is_untouched(image) -> None:
    rng = np.random.default_rng(3)
    background = sample_background(rng, image.size_px, "room")
    style = replace(sample_style(rng), blur_px=0.0)
    picture = shade(image, style, background)
    outside = image.part == 0
    assert np.array_equal(picture[outside], background[outside])
    assert (picture[~outside] != background[~outside]).any(axis=-1).mean() > 0.9
    assert picture is not background


def test_sleeves_and_trousers_cover_what_they_should(image) -> None:
    style = replace(sample_style(np.random.default_rng(5)), skin=(1.0, 0.0, 0.0), noise=0.0, blur_px=0.0,
                    light=(0.0, 0.0, 0.0), ambient=(0.6, 0.6, 0.6), sleeve=0.5, trouser_leg=1.0)  # fmt: skip
    cloth = replace(style.shirt, colour=(0.0, 1.0, 0.0), pattern="plain")
    style = replace(style, shirt=cloth, trousers=replace(cloth, colour=(0.0, 0.0, 1.0)))
    picture = shade(image, style, np.zeros((240, 200, 3), np.uint8))

    def colour(*names: str) -> np.ndarray:
        return picture[np.isin(image.part, [PARTS.index(name) + 1 for name in names])].max(axis=0) > 0

    assert colour("upper_arm_l", "upper_arm_r", "chest", "abdomen").tolist() == [False, True, False]
    assert colour("forearm_l", "hand_r", "neck").tolist() == [True, False, False]
    assert colour("thigh_l", "shank_r").tolist() == [False, False, True]


def test_noise_has_the_asked_for_strength(image) -> None:
    style = replace(sample_style(np.random.default_rng(5)), noise=3.0, blur_px=0.0)
    grey = np.full((240, 200, 3), 128, np.uint8)
    picture = shade(image, style, grey, np.random.default_rng(0))
    outside = picture[image.part == 0].astype(float)
    assert outside.std() == pytest.approx(3.0, rel=0.05)
    assert outside.mean() == pytest.approx(128, abs=0.2)


@pytest.mark.parametrize("kind", ["room", "wild"])
def test_backgrounds_are_images_of_the_asked_size_and_vary(kind: str) -> None:
    one = sample_background(np.random.default_rng(0), (90, 60), kind)
    assert one.shape == (60, 90, 3)
    assert one.dtype == np.uint8
    assert np.array_equal(one, sample_background(np.random.default_rng(0), (90, 60), kind))
    assert np.abs(one.astype(int) - sample_background(np.random.default_rng(1), (90, 60), kind)).mean() > 5


def test_unknown_background_and_wrong_size_are_refused(image) -> None:
    with pytest.raises(UsageError, match="room"):
        sample_background(np.random.default_rng(0), (10, 10), "rom")
    with pytest.raises(ValueError, match="background"):
        shade(image, sample_style(np.random.default_rng(0)), np.zeros((10, 10, 3), np.uint8))
