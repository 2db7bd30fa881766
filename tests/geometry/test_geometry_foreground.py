"""Finding a person in scenes of simple geometry: spheres for the body, planes for the room, boxes for furniture."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from kt3d_bench.errors import ArtefactError
from kt3d_bench.geometry.foreground import RULES, person_depth
from kt3d_bench.geometry.reference import surface_reference_mm

Array = npt.NDArray[np.float64]
RULE = "central-body"
SIZE, FOCAL = 240, 285.7
STANDING = {
    "head": [(0, 1620), (0, 1620)], "neck": [(0, 1350), (0, 1500)], "body": [(0, 950), (0, 1330)],
    "shoulders": [(-170, 1380), (170, 1380)], "arm_r": [(-190, 1360), (-330, 1100), (-400, 850)],
    "arm_l": [(190, 1360), (330, 1100), (400, 850)], "leg_r": [(-90, 900), (-110, 480), (-120, 60)],
    "leg_l": [(90, 900), (110, 480), (120, 60)],
}  # fmt: skip
"""(x, height) of the ends of chains of spheres, mm."""
RADIUS = {"head": 105, "neck": 60, "body": 150, "shoulders": 80, "arm_r": 45, "arm_l": 45, "leg_r": 70, "leg_l": 70}


@dataclass(frozen=True)
class Scene:
    depth_mm: npt.NDArray[np.uint16]
    person: npt.NDArray[np.bool_]


def spheres(*, from_above: bool) -> tuple[Array, Array]:
    """(N, 3) centres in the camera frame and (N,) radii of somebody who stands 2.9 m before, or under, the camera."""
    centres, radii = [], []
    for name, ends in STANDING.items():
        for one, other in pairwise(ends):
            for share in np.linspace(0, 1, 12):
                x, height = (np.array(one) * (1 - share) + np.array(other) * share).tolist()
                forward = 60.0 if name.startswith("arm") else 0.0
                centres.append([x, 300 - forward, 2800 - height] if from_above else [x, 900 - height, 2900 - forward])
                radii.append(RADIUS[name])
    return np.array(centres), np.array(radii, float)


def rays() -> tuple[Array, Array]:
    x, y = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    return (x - (SIZE - 1) / 2) / FOCAL, (y - (SIZE - 1) / 2) / FOCAL


def plane(normal: tuple[float, float, float], distance: float) -> Array:
    x, y = rays()
    with np.errstate(divide="ignore"):
        z = distance / (normal[0] * x + normal[1] * y + normal[2])
    return np.where(z > 0, z, np.inf)


def box(low: tuple[float, float, float], high: tuple[float, float, float]) -> Array:
    ray = np.stack([*rays(), np.ones((SIZE, SIZE))], axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = np.array(low) / ray, np.array(high) / ray
    enter, leave = np.minimum(one, other).max(axis=-1), np.maximum(one, other).min(axis=-1)
    return np.where((enter < leave) & (enter > 0), enter, np.inf)


def body(*, from_above: bool) -> Array:
    ray = np.stack([*rays(), np.ones((SIZE, SIZE))], axis=-1)
    square = (ray**2).sum(axis=-1)
    nearest = np.full((SIZE, SIZE), np.inf)
    for centre, radius in zip(*spheres(from_above=from_above), strict=True):
        along = ray @ centre
        root = along**2 - square * (centre @ centre - radius**2)
        hit = root > 0
        nearest[hit] = np.minimum(nearest[hit], (along[hit] - np.sqrt(root[hit])) / square[hit])
    return nearest


def measured(person: Array, *room: Array, frame: slice = slice(None), seed: int = 0) -> Scene:
    """The scene through a sensor with noise, quantised inverse depth, holes and lost silhouettes."""
    rng = np.random.default_rng(seed)
    around = np.minimum.reduce([np.full((SIZE, SIZE), np.inf), *room])
    mask = person < around
    depth = np.minimum(person, around)
    step = 2.8e-6
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(np.isfinite(depth), 1 / depth, 0) + rng.normal(0, 0.4 * step, depth.shape)
        inverse = np.rint(inverse / step) * step
        depth = np.where((inverse > 1e-4) & np.isfinite(depth), 1 / inverse, 0)
    edge = np.zeros_like(mask)
    edge[:, 1:] = mask[:, 1:] != mask[:, :-1]
    depth[(edge & (rng.random(depth.shape) < 0.3)) | (rng.random(depth.shape) < 0.01)] = 0
    shown = np.zeros_like(mask)
    shown[frame] = True
    depth[~shown] = 0
    return Scene(np.rint(depth).astype(np.uint16), mask & (depth > 0))


def overlap(scene: Scene) -> float:
    found = person_depth(scene.depth_mm, RULE) > 0
    return float((found & scene.person).sum() / (found | scene.person).sum())


FLOOR = plane((0, 1, 0), 900)
FRONT_ROOMS = {
    "floor and a wall 0.3 m behind": (FLOOR, plane((0, 0, 1), 3350)),
    "an oblique wall and a side wall": (FLOOR, plane((0.2, 0, 1), 4200), plane((-1, 0, 0), 1100)),
    "a cupboard beside and a box on the other side": (
        FLOOR, plane((0, 0, 1), 4000), box((700, -900, 2700), (1500, 900, 3300)),
        box((-1100, 400, 2600), (-650, 900, 3000)),
    ),
    "a panel on the wall": (FLOOR, plane((0, 0, 1), 3900), box((-250, -900, 3800), (600, 200, 3900))),
    "nothing behind": (),
}  # fmt: skip
TOP_ROOMS = {
    "floor": (plane((0, 0, 1), 2800),),
    "a tilted sensor": (plane((0.03, -0.04, 1), 2800),),
    "a table at the edge": (plane((0, 0, 1), 2800), box((700, -1200, 2050), (1500, 200, 2100))),
    "nothing below": (),
}


@pytest.mark.parametrize("room", FRONT_ROOMS)
def test_somebody_seen_from_the_front(room: str) -> None:
    scene = measured(body(from_above=False), *FRONT_ROOMS[room])
    assert overlap(scene) > 0.9
    reference = surface_reference_mm(person_depth(scene.depth_mm, RULE))
    assert reference == pytest.approx(np.median(scene.depth_mm[scene.person]), abs=15)


@pytest.mark.parametrize("room", TOP_ROOMS)
def test_somebody_seen_from_above(room: str) -> None:
    scene = measured(body(from_above=True), *TOP_ROOMS[room])
    assert overlap(scene) > 0.9
    reference = surface_reference_mm(person_depth(scene.depth_mm, RULE))
    assert reference == pytest.approx(np.median(scene.depth_mm[scene.person]), abs=15)


def test_the_frame_may_end_at_the_feet() -> None:
    scene = measured(body(from_above=False), *FRONT_ROOMS["floor and a wall 0.3 m behind"], frame=slice(0, 195))
    assert scene.person[194].any()
    assert overlap(scene) > 0.9


def test_a_partition_in_front_of_which_nobody_stands_is_no_wall() -> None:
    """Its plane passes through the person's place: what lies behind that plane must stay."""
    scene = measured(
        body(from_above=False), FLOOR, plane((0, 0, 1), 4200), box((-1500, -1200, 2700), (-620, 900, 2750))
    )
    assert overlap(scene) > 0.9


def test_nothing_but_the_image_decides_and_every_reading_stays() -> None:
    scene = measured(body(from_above=False), *FRONT_ROOMS["floor and a wall 0.3 m behind"])
    found = person_depth(scene.depth_mm, RULE)
    np.testing.assert_array_equal(found, person_depth(scene.depth_mm.copy(), RULE))
    np.testing.assert_array_equal(found[found > 0], scene.depth_mm[found > 0])
    assert (found.dtype, found.shape) == (np.uint16, scene.depth_mm.shape)


def test_a_person_against_a_cupboard_that_leaves_the_crop_is_cut_out_by_depth() -> None:
    """Body and cupboard are one piece; what is kept is near the middle, in depth too."""
    scene = measured(body(from_above=False), FLOOR, plane((0, 0, 1), 4200), box((-2000, -300, 2880), (2000, 880, 3100)))
    found = person_depth(scene.depth_mm, RULE) > 0
    assert found[scene.person].mean() > 0.8
    assert surface_reference_mm(person_depth(scene.depth_mm, RULE)) == pytest.approx(2850, abs=100)


def test_empty_and_strange_images() -> None:
    assert not person_depth(np.zeros((20, 30), np.uint16), RULE).any()
    assert not person_depth(np.full((240, 240), 3000, np.uint16), RULE).any()
    rng = np.random.default_rng(0)
    for _ in range(200):
        shape = tuple(rng.integers(1, 40, 2))
        image = np.where(rng.random(shape) < rng.random(), rng.integers(0, 65536, shape), 0).astype(np.uint16)
        found = person_depth(image, RULE)
        assert ((found == 0) | (found == image)).all()


def test_given_keeps_everything() -> None:
    image = np.arange(12, dtype=np.uint16).reshape(3, 4)
    np.testing.assert_array_equal(person_depth(image, "given"), image)
    assert set(RULES) == {"given", RULE}


def test_a_rule_that_does_not_exist_is_a_sentence() -> None:
    with pytest.raises(ArtefactError, match=r"no rule 'givem' that finds people.*prepare the shards again"):
        person_depth(np.zeros((2, 2), np.uint16), "givem")
