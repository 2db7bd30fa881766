"""The part-colour rules: tolerance, alpha, rows that repeat, colours nobody knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kt3d_ubc3v import regions
from kt3d_ubc3v.regions import NUM_PARTS, REGION_NAMES, SURVIVING_LABELS, TOOLKIT_COLOURS, read_regions

from kt3d_bench.plugins.cards import read_card


def image(*pixels: tuple[int, int, int, int]) -> np.ndarray:
    return np.array([pixels], np.uint8)


def test_there_are_43_regions_and_a_background() -> None:
    assert len(TOOLKIT_COLOURS) == 45
    assert len(set(TOOLKIT_COLOURS)) == 43
    assert NUM_PARTS == len(REGION_NAMES) == 44
    assert len(set(REGION_NAMES)) == 44
    assert REGION_NAMES[0] == "background"


def test_the_card_mirrors_left_and_right() -> None:
    mirror = read_card(Path(regions.__file__).parent).part_mirror
    assert mirror is not None
    swap = {"left": "right", "right": "left"}
    for number, name in enumerate(REGION_NAMES):
        place, _, side = name.rpartition(", ")
        expected = f"{place}, {swap[side]}" if side in swap else name
        assert REGION_NAMES[mirror[number]] == expected


def test_every_colour_of_the_table_gets_the_id_of_its_last_row() -> None:
    found = read_regions(image(*((*colour, 255) for colour in TOOLKIT_COLOURS)))
    assert found.unmatched == 0
    assert found.problem is None
    labels = [SURVIVING_LABELS[number - 1] for number in found.ids[0]]
    assert labels == [*range(1, 17), 45, 44, *range(19, 46)]


@pytest.mark.parametrize(("shift", "matched"), [(-3, False), (-2, True), (2, True), (3, False)])
def test_channels_may_differ_by_two(shift: int, matched: bool) -> None:
    found = read_regions(image((127, 201 + shift, 252, 255), (127, 201 + shift, 253, 255)))
    assert found.ids.tolist() == [[0, REGION_NAMES.index("thigh, right") if matched else 0]]
    assert found.unmatched == 2 - matched


def test_only_opaque_pixels_count_and_black_is_a_region_there() -> None:
    found = read_regions(image((255, 0, 0, 254), (0, 0, 0, 255), (0, 0, 0, 0)))
    assert found.ids.tolist() == [[0, REGION_NAMES.index("back and top of head, left"), 0]]
    assert found.foreground == 1


def test_blended_seams_stay_background_and_are_counted() -> None:
    rng = np.random.default_rng(0)
    pixels = np.full((40, 50, 4), 255, np.uint8)
    pixels[..., :3] = (127, 255, 255)
    pixels[:, 20, :3] = rng.integers(80, 120, (40, 3))
    found = read_regions(pixels)
    assert (found.foreground, found.unmatched, found.problem) == (2000, 40, None)
    assert (found.ids[:, 20] == 0).all()


def test_an_unknown_flat_colour_is_a_problem_in_words() -> None:
    pixels = np.full((40, 50, 4), 255, np.uint8)
    pixels[..., :3] = (127, 255, 255)
    pixels[:, :4, :3] = (200, 10, 200)
    assert read_regions(pixels).problem == "colour (200, 10, 200) fills 160 of 2000 person pixels and is no region's"


def test_too_much_unmatched_is_a_problem_in_words() -> None:
    pixels = np.full((40, 50, 4), 255, np.uint8)
    pixels[..., :3] = np.random.default_rng(0).integers(70, 125, (40, 50, 3))
    assert "person pixels have no region's colour" in str(read_regions(pixels).problem)


def test_an_empty_image_is_no_problem() -> None:
    found = read_regions(np.zeros((4, 4, 4), np.uint8))
    assert (found.foreground, found.problem) == (0, None)
