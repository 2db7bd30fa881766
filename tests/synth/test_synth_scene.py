"""Scenes: seats where people sit, shadows where the lamp puts them, and what is nearer hides what is behind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kt3d_bench.geometry.cameras import project, world_to_cam
from kt3d_bench.records import Camera
from kt3d_bench.synth import (
    ACTIVITIES,
    Figures,
    Seat,
    Style,
    draw_person,
    pose,
    render,
    sample_bodies,
    sample_clip,
    sample_style,
    seat_under,
)
from kt3d_bench.synth.body import CONE_PART, PARTS
from kt3d_bench.synth.boxes import Box, chair, hit, in_front, window_of, world_rays

LENS = np.array([-0.2, 0.24, -0.002, -0.001, -0.002])


def camera_at(azimuth_rad: float, height_mm: float = 1600.0, lens: np.ndarray | None = None) -> Camera:
    """4.5 m from the origin, looking at a point 800 mm above it."""
    eye = np.array([4500 * np.cos(azimuth_rad), 4500 * np.sin(azimuth_rad), height_mm])
    ahead = np.array([0.0, 0.0, 800.0]) - eye
    ahead /= np.linalg.norm(ahead)
    right = np.cross(ahead, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    return Camera.pinhole((420, 420), (159.5, 159.5), (320, 320), distortion=LENS if lens is None else lens,
                          tangential_factor=1.0, rotation=np.stack([right, np.cross(ahead, right), ahead]),
                          position_world_mm=eye)  # fmt: skip


def someone(activity: str, seed: int = 0) -> Figures:
    rng = np.random.default_rng(seed)
    figure = pose(sample_bodies(rng, 1), sample_clip(rng, activity, 1, 25))
    return figure.moved(0.0, -figure.landmark("pelvis")[0] * [1.0, 1.0, 0.0])


def looks(towards_lamp_world: np.ndarray, camera: Camera) -> Style:
    style = sample_style(np.random.default_rng(1))
    light = camera.rotation @ (towards_lamp_world / np.linalg.norm(towards_lamp_world))
    return replace(style, light_cam=tuple(light.tolist()), light=(0.9, 0.9, 0.9), ambient=(0.4, 0.4, 0.4), blur_px=0.0)


def colour_at(image: np.ndarray, camera: Camera, point_mm: np.ndarray) -> np.ndarray:
    column, row = np.rint(project(camera, world_to_cam(camera, point_mm[None]))[0]).astype(int)
    return image[row, column].astype(int)


@pytest.mark.parametrize("lens", [np.zeros(5), LENS], ids=["pinhole", "lens"])
@pytest.mark.parametrize("azimuth_rad", [0.3, 2.0, -2.2])
def test_the_shadow_lies_where_the_lamp_puts_it(azimuth_rad: float, lens: np.ndarray) -> None:
    figure, camera = someone("stand"), camera_at(azimuth_rad, 2200.0, lens)
    towards_lamp = np.array([np.cos(azimuth_rad + 1.6), np.sin(azimuth_rad + 1.6), 1.5])
    grey = np.full((320, 320, 3), 200, np.uint8)
    image, depth = draw_person(grey, figure, camera, looks(towards_lamp, camera))
    person = render(figure, [camera])[0].part > 0
    np.testing.assert_array_equal(np.isfinite(depth), person)
    lost = 0.8 * 0.9 * towards_lamp[2] / np.linalg.norm(towards_lamp)
    dark = 200 * (1 - lost / (lost / 0.8 + 0.4))
    for name in ("jaw", "neck_mid", "spine_low"):
        point = figure.landmark(name)[0]
        shadow = point - towards_lamp * point[2] / towards_lamp[2]
        assert abs(colour_at(image, camera, shadow) - dark).max() < 25, name
        assert (colour_at(image, camera, point + towards_lamp * [1, 1, 0] * 900 - [0, 0, point[2]]) == 200).all()
    darker = (image != 200).any(axis=-1) & ~person
    assert 0.002 < darker.mean() < 0.1


def test_low_lamps_are_raised_and_shadows_fall_on_nothing_but_the_floor() -> None:
    figure, camera = someone("stand"), camera_at(0.3, 2200.0)
    low, high = (looks(np.array([0.0, 1.0, slope]), camera) for slope in (0.05, 1.2))
    grey = np.full((320, 320, 3), 200, np.uint8)
    one, other = (draw_person(grey, figure, camera, replace(style, light=(0, 0, 0)))[0] for style in (low, high))
    np.testing.assert_array_equal(one, other)
    full = np.full((320, 320), 100.0, np.float32)
    image, depth = draw_person(grey, figure, camera, high, depth_mm=full)
    np.testing.assert_array_equal(image, grey)
    np.testing.assert_array_equal(depth, full)


def test_from_below_the_floor_no_shadow_is_seen() -> None:
    figure, camera = someone("stand"), camera_at(0.3, -150.0)
    grey = np.full((320, 320, 3), 200, np.uint8)
    image, depth = draw_person(grey, figure, camera, looks(np.array([0.0, 1.0, 1.5]), camera))
    assert (image[np.isinf(depth)] == 200).all()


def test_people_who_sit_need_a_seat_and_it_touches_them() -> None:
    seated = {name: [sample_clip(np.random.default_rng(seed), name, 1, 25).seated for seed in range(12)]
              for name in ACTIVITIES}  # fmt: skip
    assert all(seated["sit"])
    assert {name for name, found in seated.items() if any(found)} == {"sit", "phone", "eat", "smoke", "discuss"}
    for seed in range(6):
        figure = someone("sit", seed)
        seat = seat_under(figure, np.random.default_rng(seed))
        top = max(box.corners_mm[:, 2].max() for box in seat.boxes)
        pelvis = PARTS.index("pelvis") == CONE_PART
        lowest = (figure.cones_world_mm[0, pelvis][..., 2] - figure.radii_mm[0, pelvis]).min()
        assert top == pytest.approx(lowest)
        middle = np.mean([box.middle_mm for box in seat.boxes], axis=0)
        assert np.linalg.norm(middle - figure.landmark("pelvis")[0, :2]) < 41


def test_a_seat_hides_what_is_behind_it_and_the_person_hides_the_seat() -> None:
    figure, camera = someone("sit"), camera_at(0.4)
    wall = Seat((Box((700.0, 300.0), (20.0, 4000.0, 700.0), yaw_rad=0.4),), (0.9, 0.0, 0.0))
    plain = np.zeros((320, 320, 3), np.uint8)
    image, depth = draw_person(plain, figure, camera, looks(np.array([1.0, 0.0, 2.0]), camera), seat=wall)
    whole = render(figure, [camera])[0]
    seat_mm = in_front(camera, np.full((320, 320), np.inf, np.float32), wall.boxes)
    hidden = (whole.part > 0) & (seat_mm < whole.depth_mm)
    assert 500 < hidden.sum() < (whole.part > 0).sum()
    np.testing.assert_array_equal(depth[hidden], seat_mm[hidden])
    assert (image[hidden][:, 1:] == 0).all()
    assert (image[hidden][:, 0] > 50).all()
    seen = (whole.part > 0) & ~hidden
    np.testing.assert_array_equal(depth[seen], whole.depth_mm[seen])


def test_boxes_are_hit_at_hand_computed_places() -> None:
    position = np.array([3000.0, 0.0, 500.0])
    box = Box((0.0, 0.0), (1000.0, 2000.0, 800.0))
    rays = np.array([[-1.0, 0, 0], [1.0, 0, 0], [-1.0, 0, 0.2], [-1.0, 0, 0.13]]).T[:, None]
    found, axis = hit(rays, position, box)
    assert found[0].tolist() == [2500.0, np.inf, np.inf, np.inf]
    assert axis[0, 0] == 0
    above = np.array([[0.0, 0.0, -1.0]]).T[:, None]
    assert hit(above, np.array([0.0, 0.0, 2000.0]), box)[0][0, 0] == 1200
    assert hit(above, np.array([0.0, 0.0, 2000.0]), box)[1][0, 0] == 2
    assert len(chair((0, 0), 450.0, 0.0, back=True)) == 6


@pytest.mark.parametrize("lens", [np.zeros(5), LENS], ids=["pinhole", "lens"])
def test_a_box_is_seen_only_within_its_window(lens: np.ndarray) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        box = Box(
            tuple(rng.uniform(-1500, 1500, 2)), tuple(rng.uniform(50, 900, 3)), rng.uniform(0, 800), rng.uniform(-3, 3)
        )
        camera = camera_at(rng.uniform(-3, 3), rng.uniform(500, 2500), lens)
        x0, y0, x1, y1 = window_of(camera, box.corners_mm)
        everywhere, _ = hit(world_rays(camera, (0, 0, 320, 320)), camera.position_world_mm, box)
        rows, columns = np.nonzero(np.isfinite(everywhere))
        assert ((rows >= y0) & (rows < y1) & (columns >= x0) & (columns < x1)).all()


def test_a_box_around_the_camera_may_be_anywhere() -> None:
    camera = camera_at(0.0)
    assert window_of(camera, camera.position_world_mm + np.eye(3) * 100) == (0, 0, 320, 320)
