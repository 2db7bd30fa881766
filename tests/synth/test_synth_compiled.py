"""The compiled loops against the same in torch and NumPy, to the last bit: the bytes of stand-ins are frozen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import synth_reference as reference
import torch

from kt3d_bench.records import Camera
from kt3d_bench.synth import (
    ACTIVITIES,
    Figures,
    RenderedFigure,
    pose,
    render,
    sample_background,
    sample_bodies,
    sample_clip,
    sample_style,
    shade,
)
from kt3d_bench.synth.compiled import compiled
from kt3d_bench.synth.shade import PATTERNS, Style
from kt3d_bench.synth.view import people_in_cameras, spans_px

LENSES = (np.zeros(5), np.array([-0.2, 0.24, -0.002, -0.001, -0.002]), np.array([0.1, -0.05, 0.003, 0.002, 0.01]))


def someone(rng: np.random.Generator, activity: str) -> Figures:
    bodies = sample_bodies(rng, 1, height_mm=(1100, 2100), girth=(0.7, 1.5))
    return pose(bodies, sample_clip(rng, activity, 1, 25)).moved(rng.uniform(-3, 3), rng.normal(0, 200, 3))


def somewhere(rng: np.random.Generator, longest_px: int = 400) -> Camera:
    """Near or far, anywhere around, some of the person or all of it in the image, with a lens or without."""
    width, height = (int(side) for side in np.exp(rng.uniform(np.log(40), np.log(longest_px), 2)))
    away_mm, angle = rng.choice([400.0, 1000.0, 2500.0, 4500.0]), rng.uniform(-np.pi, np.pi)
    eye = np.array([away_mm * np.cos(angle), away_mm * np.sin(angle), rng.uniform(100, 2500)])
    z = np.array([rng.normal(0, 150), rng.normal(0, 150), rng.uniform(600, 1300)]) - eye
    z /= np.linalg.norm(z)
    x = np.cross(z, [0.0, 0.0, 1.0])
    x /= np.linalg.norm(x)
    focal_px = rng.uniform(0.3, 1.1) * max(width, height) * max(away_mm, 800) / 2000
    middle = (width - 1) / 2 + rng.normal(0, width / 10), (height - 1) / 2
    matrix = np.array([[focal_px, 0, middle[0]], [0, 1.01 * focal_px, middle[1]]])
    lens = LENSES[rng.integers(len(LENSES))] * rng.uniform(0.2, 1.2)
    return Camera(matrix, (width, height), lens, float(rng.integers(1, 3)), np.stack([x, np.cross(z, x), z]), eye)


def same(one: RenderedFigure, other: RenderedFigure) -> bool:
    return one.window_px == other.window_px and all(
        one.maps[name].dtype == values.dtype and one.maps[name].tobytes() == values.tobytes()
        for name, values in other.maps.items()
    )


@pytest.mark.parametrize("activity", sorted(ACTIVITIES))
def test_images_are_those_of_torch(activity: str) -> None:
    rng = np.random.default_rng(sorted(ACTIVITIES).index(activity))
    shown = 0
    for normals, precise in ((True, False), (False, False), (True, True)):
        figures, cameras = someone(rng, activity), [somewhere(rng)]
        how: dict[str, Any] = {"normals": normals, "dtype": torch.float64 if precise else torch.float32}
        image = render(figures, cameras, **how)[0]
        assert same(image, reference.render(figures, cameras, **how)[0])
        shown += int((image.maps["part"] > 0).sum())
    assert shown > 100


def test_spans_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    empty = 0
    for number in range(60):
        figures, camera = someone(rng, "random"), somewhere(rng, 1000)
        if number % 10 == 0:
            figures = figures.moved(0.0, camera.position_world_mm * 2)
        person = people_in_cameras(figures, [camera])[0]
        window, *bounds = spans_px(person.cones, person.radii, camera)
        expected, *own = reference.spans_px(person.cones, person.radii, camera)
        assert window == expected
        assert all(np.array_equal(one, other) for one, other in zip(bounds, own, strict=True))
        empty += window == (0, 0, 0, 0)
    assert 0 < empty < 20


@pytest.mark.parametrize("blur_px", [0.1, 0.7])
@pytest.mark.parametrize("pattern", range(len(PATTERNS)))
def test_colours_are_those_of_numpy(pattern: int, blur_px: float) -> None:
    rng = np.random.default_rng(pattern)
    shown = 0
    for turn, hair_length in enumerate((0.0, 0.45, 1.0)):
        style = sample_style(rng)
        style = replace(
            style,
            shirt=replace(style.shirt, pattern=PATTERNS[pattern]),
            trousers=replace(style.trousers, pattern=PATTERNS[(pattern + turn) % len(PATTERNS)]),
            blur_px=blur_px,
            hair_length=hair_length,
        )
        image = render(someone(rng, "random"), [somewhere(rng)])[0]
        background = sample_background(rng, image.size_px, "room")
        background.setflags(write=False)
        expected = reference.shade(image, style, background, np.random.default_rng(3))
        assert np.array_equal(shade(image, style, background, np.random.default_rng(3)), expected)
        assert np.array_equal(shade(image, style, background), reference.shade(image, style, background))
        shown += int((image.maps["part"] > 0).sum())
    assert shown > 1000


def _fresh(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _with_half_a_word_left(seed: int) -> np.random.Generator:
    rng = np.random.default_rng(seed)
    rng.integers(0, 9, dtype=np.uint32)
    return rng


def _mersenne(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.MT19937(seed))


@pytest.mark.parametrize("generator", [_fresh, _with_half_a_word_left, _mersenne])
@pytest.mark.parametrize("size_px", [(64, 48), (63, 47), (65, 33), (61, 50)])
def test_noise_takes_the_same_bits(generator: Callable[[int], np.random.Generator], size_px: tuple[int, int]) -> None:
    style: Style = replace(sample_style(np.random.default_rng(5)), noise=90.0)
    nobody = RenderedFigure(size_px, (0, 0, 0, 0), {})
    grey = np.full((size_px[1], size_px[0], 3), 128, np.uint8)
    one, other = generator(7), generator(7)
    noisy = shade(nobody, style, grey, one)
    assert np.array_equal(noisy, reference.shade(nobody, style, grey, other))
    assert noisy.min() == 0
    assert noisy.max() == 255
    for dtype in (np.uint32, np.uint32, np.uint64):
        assert one.integers(0, 1 << 31, dtype=dtype) == other.integers(0, 1 << 31, dtype=dtype)


def test_a_function_that_cannot_be_cached_is_compiled_all_the_same() -> None:
    """No file is known for code that comes from a string, so there is no folder to keep it in."""
    scope: dict[str, Any] = {}
    exec("def quotient(one, other): return one / other", scope)
    quotient = compiled(scope["quotient"])
    assert quotient(3.0, 2.0) == 1.5
    assert quotient(1.0, 0.0) == np.inf


def test_a_window_that_nobody_is_seen_in_is_empty_both_ways() -> None:
    """Just beside the image: the window is a little wider than the person."""
    figures = someone(np.random.default_rng(0), "stand")
    rotation = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]])
    camera = Camera.pinhole((90, 90), (29.5, 39.5), (60, 80), rotation=rotation, position_world_mm=(3000, 0, 900))
    beside = 0
    for aside_mm in np.arange(800.0, 2000.0, 10.0):
        moved = figures.moved(0.0, (0.0, aside_mm, 0.0))
        image = render(moved, [camera])[0]
        if image.maps["part"].size and not image.maps["part"].any():
            beside += 1
            assert same(image, reference.render(moved, [camera])[0])
    assert beside > 0
