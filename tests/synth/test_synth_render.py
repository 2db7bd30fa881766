"""The renderer against geometry that does not know it: distance fields, projection, mirrors, float64."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from kt3d_bench.geometry.cameras import project, unproject, world_to_cam
from kt3d_bench.records import Camera
from kt3d_bench.synth import LANDMARKS, PARTS, Figures, pose, render, sample_bodies, sample_clip
from kt3d_bench.synth.body import CONE_PART
from kt3d_bench.synth.render_torch import MISSED_MM, intersect
from kt3d_bench.synth.view import camera_rays, people_in_cameras

Array = npt.NDArray[np.float64]
LENS = (-0.2, 0.24, -0.002, -0.001, -0.002)


def camera_at(eye: tuple[float, float, float], target: Array, focal: float, size: tuple[int, int], lens=None) -> Camera:
    z = np.asarray(target, float) - eye
    z /= np.linalg.norm(z)
    x = np.cross(z, [0, 0, 1.0])
    x /= np.linalg.norm(x)
    more = {} if lens is None else {"distortion": np.array(lens)}
    rotation = np.stack([x, np.cross(z, x), z])
    centre = ((size[0] - 1) / 2, (size[1] - 1) / 2)
    return Camera.pinhole((focal, focal), centre, size, rotation=rotation, position_world_mm=np.array(eye), **more)


def someone(seed: int, activity: str = "random", yaw: float | None = None) -> Figures:
    rng = np.random.default_rng(seed)
    figures = pose(sample_bodies(rng, 1), sample_clip(rng, activity, 1, 25))
    return figures.moved(rng.uniform(-3, 3) if yaw is None else yaw)


def seen(figures: Figures, focal: float = 700, size: tuple[int, int] = (360, 420), lens=None) -> Camera:
    return camera_at((3900, 600, 1700), figures.landmarks_world_mm[0].mean(0), focal, size, lens)


def round_cone_distance(points: Array, ends: Array, radii: Array) -> Array:
    """Signed distance to the hull of two spheres: the least over the chain of spheres, found by golden section."""
    low, high = np.zeros(len(points)), np.ones(len(points))

    def at(share: Array) -> Array:
        centre = ends[0] + share[:, None] * (ends[1] - ends[0])
        return np.linalg.norm(points - centre, axis=-1) - (radii[0] + share * (radii[1] - radii[0]))

    ratio = (np.sqrt(5) - 1) / 2
    for _ in range(60):
        one, two = high - ratio * (high - low), low + ratio * (high - low)
        lower = at(one) < at(two)
        high, low = np.where(lower, two, high), np.where(lower, low, one)
    return at((low + high) / 2)


@pytest.mark.parametrize("lens", [None, LENS])
def test_depth_lies_on_a_cone_of_its_part_and_nothing_is_in_front(lens) -> None:
    figures = someone(1)
    camera = seen(figures, lens=lens)
    image = render(figures, [camera])[0]
    v, u = (index[::7] for index in np.nonzero(image.depth_mm))
    points = unproject(camera, np.stack([u, v], axis=-1), image.depth_mm[v, u])
    cones = world_to_cam(camera, figures.cones_world_mm[0])
    distance = np.array([round_cone_distance(points, cones[c], figures.radii_mm[0, c]) for c in range(len(cones))])
    assert np.abs(distance.min(axis=0)).max() < 0.01
    own = np.where(CONE_PART[:, None] == image.part[v, u] - 1, np.abs(distance), np.inf).min(axis=0)
    assert own.max() < 0.01
    halfway = np.array(
        [round_cone_distance(points * 0.97, cones[c], figures.radii_mm[0, c]) for c in range(len(cones))]
    )
    assert (halfway.min(axis=0) > distance.min(axis=0) - 0.01).mean() > 0.9


def test_normals_are_unit_face_the_camera_and_point_up_the_distance_field() -> None:
    figures = someone(2)
    camera = seen(figures)
    image = render(figures, [camera])[0]
    v, u = (index[::11] for index in np.nonzero(image.depth_mm))
    points = unproject(camera, np.stack([u, v], axis=-1), image.depth_mm[v, u])
    normal = image.full("normal_cam")[v, u].astype(float)
    assert np.allclose(np.linalg.norm(normal, axis=-1), 1, atol=1e-5)
    assert ((normal * points).sum(-1) < 1e-3).all()
    cones = world_to_cam(camera, figures.cones_world_mm[0])
    step = np.array(
        [round_cone_distance(points + normal, c, r) for c, r in zip(cones, figures.radii_mm[0], strict=True)]
    )
    here = np.array([round_cone_distance(points, c, r) for c, r in zip(cones, figures.radii_mm[0], strict=True)])
    own = np.abs(here).argmin(axis=0)
    assert np.allclose(step[own, np.arange(len(own))], 1.0, atol=0.02)


def every_pixel_and_cone(figure: Figures, camera: Camera) -> tuple[Array, Array]:
    """(H, W) depth in mm and part + 1 of one figure, 0 = nothing there: every pixel is tried against every cone."""
    person = people_in_cameras(figure, [camera])[0]
    x, y = torch.from_numpy(camera_rays(camera).copy()).unbind(-1)
    nearest, part = torch.full(x.shape, MISSED_MM), torch.zeros(x.shape, dtype=torch.uint8)
    for cone, ends in enumerate(np.concatenate([person.cones.reshape(-1, 6), person.radii], axis=1)):
        ax, ay, az, bx, by, bz, radius_a, radius_b = torch.from_numpy(ends).float()
        depth, _ = intersect(x, y, (ax, ay, az), (bx, by, bz), radius_a, radius_b)
        part[depth < nearest] = int(CONE_PART[cone]) + 1
        nearest = torch.minimum(nearest, depth)
    return torch.where(part > 0, nearest, 0.0).numpy(), part.numpy()


@pytest.mark.parametrize("lens", [None, LENS])
def test_no_pixel_is_left_out(lens) -> None:
    figures = Figures.concatenate([someone(3), someone(4, "sit"), someone(5, "walk")])
    cameras = [seen(figures[i], 260, (128, 144), lens) for i in range(3)]
    for index, image in enumerate(render(figures, cameras)):
        depth, part = every_pixel_and_cone(figures[index], cameras[index])
        assert np.array_equal(image.depth_mm, depth)
        assert np.array_equal(image.part, part)


def test_close_cameras_clip_nothing_at_the_image_border() -> None:
    figures = someone(6, "stand")
    camera = camera_at((700, 0, 1500), np.array([0, 0, 1300.0]), 300, (160, 160))
    image = render(figures, [camera])[0]
    assert np.array_equal(image.depth_mm, every_pixel_and_cone(figures, camera)[0])
    assert (image.part > 0).mean() > 0.3


def test_float32_equals_float64_to_a_hundredth_of_a_millimetre() -> None:
    figures = someone(7)
    camera = seen(figures, lens=LENS)
    single, double = render(figures, [camera])[0], render(figures, [camera], dtype=torch.float64)[0]
    both = (single.part > 0) & (double.part > 0)
    assert ((single.part > 0) != (double.part > 0)).sum() <= 2
    assert np.percentile(np.abs(single.depth_mm - double.depth_mm)[both], 99.9) < 0.01


def test_visible_joints_lie_inside_the_silhouette() -> None:
    inside = total = 0
    for seed in range(6):
        figures = someone(20 + seed)
        camera = seen(figures)
        image = render(figures, [camera])[0]
        names = [
            name for name in LANDMARKS if not name.startswith(("nose", "toe", "heel", "thumb", "head_top", "hand"))
        ]
        points = np.array([figures.landmark(name)[0] for name in names])
        pixels = np.rint(project(camera, world_to_cam(camera, points))).astype(int)
        depth = image.depth_mm[pixels[:, 1], pixels[:, 0]]
        total += len(names)
        inside += int((depth > 0).sum())
        behind = world_to_cam(camera, points)[:, 2] - depth
        assert (behind[depth > 0] > -2.0).all(), "a joint never lies before the surface"
    assert inside == total


@pytest.mark.parametrize("lens", [None, LENS])
def test_a_sphere_s_image_is_centred_where_project_says(lens) -> None:
    """A small sphere: the centre of its pixels is its projected centre to a fraction of a pixel, lens and all."""
    figures = someone(8)
    spheres = figures.cones_world_mm.copy()
    spheres[:] = [0.0, -900.0, 1900.0]
    ball = Figures(figures.landmarks_world_mm, spheres, np.full_like(figures.radii_mm, 25.0), figures.axes_world_mm,
                   figures.front_world, figures.left_world)  # fmt: skip
    camera = camera_at((3500, 0, 1500), np.array([0, 0, 1200.0]), 900, (900, 900), lens)
    image = render(ball, [camera])[0]
    v, u = np.nonzero(image.depth_mm)
    expected = project(camera, world_to_cam(camera, np.array([0.0, -900.0, 1900.0])))
    assert len(u) > 100
    assert np.hypot(u.mean() - expected[0], v.mean() - expected[1]) < 0.15
    distance = np.linalg.norm(world_to_cam(camera, spheres[0, 0, 0]))
    assert image.depth_mm[image.depth_mm > 0].min() == pytest.approx(
        world_to_cam(camera, spheres[0, 0, 0])[2] * (1 - 25 / distance), rel=2e-3
    )


def test_the_mirrored_figure_renders_the_mirrored_image_with_sides_exchanged() -> None:
    figures = someone(9)
    mirror = np.array([1.0, -1.0, 1.0])
    swapped = [PARTS.index(p[:-1] + {"l": "r", "r": "l"}[p[-1]]) if p[-2:] in ("_l", "_r") else i
               for i, p in enumerate(PARTS)]  # fmt: skip
    cone_order = np.empty(len(CONE_PART), int)
    remaining = {part: list(np.flatnonzero(part == CONE_PART)) for part in range(len(PARTS))}
    for cone, part in enumerate(CONE_PART):
        cone_order[cone] = remaining[swapped[part]].pop(0)
    reflected = Figures(
        figures.landmarks_world_mm * mirror,
        figures.cones_world_mm[:, cone_order] * mirror,
        figures.radii_mm[:, cone_order],
        figures.axes_world_mm[:, swapped] * mirror,
        figures.front_world[:, swapped] * mirror,
        -figures.left_world[:, swapped] * mirror,
    )
    camera = camera_at((3600, 0, 1500), np.array([0, 0, 900.0]), 500, (321, 401))
    one, two = render(figures, [camera])[0], render(reflected, [camera])[0]
    assert np.abs(one.depth_mm[:, ::-1] - two.depth_mm).max() < 0.05
    ids = np.array([0, *(index + 1 for index in swapped)])
    assert (ids[one.part[:, ::-1]] != two.part).sum() <= 3
    assert np.allclose(one.full("left")[:, ::-1], -two.full("left"), atol=2e-2)
    assert np.allclose(one.full("front")[:, ::-1], two.full("front"), atol=2e-2)
    assert np.allclose(one.full("along")[:, ::-1], two.full("along"), atol=1e-2)


def test_front_and_left_are_the_persons_own() -> None:
    """Seen from the front the chest shows its front, and its left half lies at the image's right."""
    figures = someone(10, "stand", yaw=0.0)
    camera = camera_at((4000, 0, 1200), np.array([0, 0, 1000.0]), 700, (300, 500))
    image = render(figures, [camera])[0]
    chest = image.part == PARTS.index("chest") + 1
    assert image.full("front")[chest].mean() > 0.5
    columns = np.nonzero(chest)[1]
    assert np.corrcoef(columns, image.full("left")[chest])[0, 1] > 0.8
    arm = np.nonzero(image.part == PARTS.index("upper_arm_l") + 1)[1]
    assert arm.mean() > columns.mean()
    shank = image.part == PARTS.index("shank_l") + 1
    assert np.corrcoef(np.nonzero(shank)[0], image.full("along")[shank])[0, 1] > 0.9
    back = render(figures.moved(np.pi), [camera])[0]
    assert back.full("front")[back.part == PARTS.index("chest") + 1].mean() < -0.5


def test_nobody_in_view_is_an_empty_image() -> None:
    figures = someone(11).moved(0, (9000, 0, 0))
    camera = camera_at((4000, 0, 1200), np.array([0, 0, 1000.0]), 300, (60, 80))
    image = render(figures, [camera])[0]
    assert image.depth_mm.shape == (80, 60)
    assert not image.part.any()
    assert not image.full("normal_cam").any()


def test_a_cone_with_one_sphere_inside_the_other_is_the_larger_sphere() -> None:
    figures = someone(8)
    ends = np.empty_like(figures.cones_world_mm)
    ends[:, :, 0], ends[:, :, 1] = [0.0, 0.0, 1000.0], [0.0, 30.0, 1000.0]
    radii = np.stack([np.full_like(figures.radii_mm[..., 0], 100.0), np.full_like(figures.radii_mm[..., 0], 20.0)], -1)
    ball = Figures(figures.landmarks_world_mm, ends, radii, figures.axes_world_mm, figures.front_world,
                   figures.left_world)  # fmt: skip
    camera = camera_at((3000, 0, 1000), np.array([0, 0, 1000.0]), 600, (101, 101))
    image = render(ball, [camera])[0]
    assert image.depth_mm[50, 50] == pytest.approx(2900.0, abs=0.01)
    expected_radius_px = 600 * 100 / np.sqrt(3000**2 - 100**2)
    assert np.count_nonzero(image.part[50]) == pytest.approx(2 * expected_radius_px, abs=1.5)


def test_one_camera_per_figure() -> None:
    figures = Figures.concatenate([someone(1), someone(2)])
    with pytest.raises(ValueError, match="2 figures and 1 cameras"):
        render(figures, [seen(figures)])
