"""Painting against NumPy and OpenCV: regions part by part, soft edges by a box filter, dither and mixed borders."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from kt3d_ubc3v import painting
from kt3d_ubc3v.recording import SIZE_PX, sample_camera

from kt3d_bench.synth import PARTS, pose, render, sample_bodies, sample_clip

ORDER = [*((name, side) for name in painting._BOTH for side in "rl"), *((name, "") for name in painting._SINGLE)]
REGION = {key: number for number, key in enumerate(ORDER)}


def regions(
    part: npt.NDArray[Any], along: npt.NDArray[Any], front: npt.NDArray[Any], left: npt.NDArray[Any]
) -> npt.NDArray[np.int64]:
    """Return (K,) regions 0..42 of rendered parts (index + 1 into ``PARTS``) and their surface coordinates (K,)."""
    found = np.zeros(part.shape, np.int64)

    def put(name: str, where: npt.NDArray[np.bool_], side: str = "lr") -> None:
        if side in ("l", "r", ""):
            found[where] = REGION[name, side]
        else:
            found[where] = np.where(left[where] > 0, REGION[name, "l"], REGION[name, "r"])

    def of(name: str) -> npt.NDArray[np.bool_]:
        return np.asarray(part == PARTS.index(name) + 1)

    trunk, chest, neck, head = of("abdomen") | of("pelvis"), of("chest"), of("neck"), of("head")
    put("abdomen front", trunk & (front >= 0))
    put("lower back", trunk & (front < 0))
    put("chest front", chest & (front >= 0))
    put("upper back", chest & (front < 0))
    put("below nape", chest & (front < -0.75) & (along > 0.6), "")
    put("trapezius", neck)
    put("throat", neck & (front > 0.55), "")
    put("nape", neck & (front < -0.45))
    put("face", head)
    put("forehead", head & (front > 0.1) & (along > 0.58), "")
    put("crown", head & ((front < -0.15) | (along > 0.88)))
    for side in "lr":
        girdle, upper, lower = of(f"shoulder_{side}"), of(f"upper_arm_{side}"), of(f"forearm_{side}")
        put("trapezius", girdle & (along < 0.45), side)
        cap = (girdle & (along >= 0.45)) | (upper & (along < 0.22))
        put("shoulder front", cap & (front >= 0), side)
        put("shoulder back", cap & (front < 0), side)
        put("upper arm", upper & (along >= 0.22), side)
        put("upper forearm", lower, side)
        put("lower forearm", lower & (along > 0.55), side)
        put("elbow", (upper & (along > 0.82)) | (lower & (along < 0.14)), side)
        put("hand", of(f"hand_{side}"), side)
        thigh, shank, foot = of(f"thigh_{side}"), of(f"shank_{side}"), of(f"foot_{side}")
        put("thigh", thigh, side)
        put("shank", shank, side)
        put("knee", (thigh & (along > 0.84)) | (shank & (along < 0.16)), side)
        put("heel", foot | (shank & (along > 0.88)), side)
        put("forefoot", foot & (along > 0.5), side)
    return found


@pytest.fixture(scope="module")
def windows() -> list[tuple[dict[str, npt.NDArray[Any]], tuple[int, int, int, int]]]:
    rng = np.random.default_rng(0)
    found = []
    for activity in ("stand", "sit-floor", "dance", "random", "lie", "walk"):
        figure = pose(sample_bodies(rng, 1), sample_clip(rng, activity, 1, 25))
        figure = figure.moved(rng.uniform(-3, 3), -figure.landmark("pelvis")[0])
        image = render(figure, [sample_camera(rng).camera()], normals=False)[0]
        found.append((image.maps, image.window_px))
    return found


def test_regions_are_those_of_masks_part_by_part(windows: list[Any]) -> None:
    for maps, _ in windows:
        names = ("part", "along", "front", "left")
        ids = painting.regions(maps)
        body = maps["part"] > 0
        assert (ids[~body] == -1).all()
        np.testing.assert_array_equal(ids[body], regions(*(maps[name][body] for name in names)))


def test_edges_are_soft_and_exact_inside(windows: list[Any]) -> None:
    for maps, window in windows:
        x0, y0, x1, y1 = window
        depth, parts = painting.paint(maps, window, SIZE_PX, np.random.default_rng(1))
        outside = np.ones(depth.shape[:2], bool)
        outside[y0:y1, x0:x1] = False
        assert not depth[outside].any()
        assert not parts[outside].any()
        np.testing.assert_array_equal(depth[..., 3], parts[..., 3])
        body = maps["part"] > 0
        share = cv2.blur(body.astype(np.float32), (3, 3), borderType=cv2.BORDER_REPLICATE)
        levels = np.rint(np.clip((share - 0.15) / 0.7, 0, 1) * 32)
        levels[~body] = np.minimum(levels[~body], 31)
        alpha = depth[y0:y1, x0:x1, 3]
        np.testing.assert_array_equal(alpha, np.floor(levels * 255 / 32))
        grey = np.rint((maps["depth_mm"] / 10 - 50) / 750 * 255)
        inside = alpha == 255
        np.testing.assert_array_equal(depth[y0:y1, x0:x1, 0][inside], grey[inside])
        soft = cv2.blur(np.where(body, grey, 0).astype(np.uint8), (3, 3), borderType=cv2.BORDER_REPLICATE)
        edge = (alpha > 0) & ~inside
        np.testing.assert_array_equal(depth[y0:y1, x0:x1, 0][edge], soft[edge])


def test_dither_is_of_one_and_a_share_of_the_borders_mixes(windows: list[Any]) -> None:
    shifts, mixed, borders = [], 0, 0
    for maps, window in windows:
        x0, y0, x1, y1 = window
        _, parts = painting.paint(maps, window, SIZE_PX, np.random.default_rng(2))
        image = parts[y0:y1, x0:x1].astype(int)
        ids = painting.regions(maps)
        true = painting._COLOURS[ids].astype(int)
        border = np.zeros(ids.shape, bool)
        border[:, :-1] = (ids[:, :-1] >= 0) & (ids[:, 1:] >= 0) & (ids[:, :-1] != ids[:, 1:])
        inside = image[..., 3] == 255
        shifts.append((image[..., :3] - true)[inside & ~border])
        mixed += int((np.abs(image[..., :3] - true).max(axis=-1) > 1)[inside & border].sum())
        borders += int((inside & border).sum())
    shift, count = np.concatenate(shifts), len(np.concatenate(shifts))
    assert set(np.unique(shift)) == {-1, 0, 1}
    assert abs(mixed / borders - 0.3) < 4 * np.sqrt(0.3 * 0.7 / borders)
    assert count > 10_000
