"""A licence-free stand-in for MPII, annotated in 2D in the official layout.

Its images show one or two people, any background and any camera.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench import synth
from kt3d_bench.geometry.cameras import project, world_to_cam
from kt3d_bench.records import Camera
from kt3d_bench.standins import check_numbers, in_parallel, standin_folder
from kt3d_mpii.release import DrawnImage, DrawnPerson, write_release

VERSION = 2
DEMO: Mapping[str, Any] = {"people": 1200, "frames": 1}
"""A stand-in that a laptop makes and trains on in minutes."""
SIZES: Mapping[str, Mapping[str, Any]] = {"laptop": {"people": 10_000, "frames": 1}}
"""Preset -> arguments of a stand-in for training of that size."""
_IMAGES, _ANNOTATIONS = "images", "mpii_human_pose_v1_u12_2"
_BLOCK = 10
"""Images drawn from one random stream; fixed, so that results do not depend on the number of workers."""
_MOST_IMAGES = 250_000
"""Ten times the official set; the annotations of all images are kept in memory and written into one file."""


def generate(
    out: Path,
    *,
    people: int,
    frames: int,
    seed: int,
    motion: Path | None = None,
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
    workers: int | None = None,
) -> Mapping[str, int]:
    """Write ``people`` x ``frames`` images of one or two persons each; about one in sixteen is a test image.

    ``motion`` (a .bvh or .amc file, or a folder of them) replaces the drawn postures; its files are used evenly.
    Returns the annotated persons per split. Raises ``UsageError`` for impossible numbers and when ``out`` holds data
    that was not generated, ``RawDataError`` when no motion can be used.
    """
    total = people * frames
    most = _MOST_IMAGES
    check_numbers(seed, workers, people=(people, 1, most), frames=(frames, 1, most), people_x_frames=(total, 1, most))
    marker = {"dataset": "mpii", "version": VERSION, "seed": seed, "people": people, "frames": frames}
    motions = synth.read_motions(motion) if motion else None
    with standin_folder(out, (_IMAGES, _ANNOTATIONS), marker | (motions.marker if motions else {})) as folder:
        (folder / _IMAGES).mkdir()
        blocks = (
            Block(str(folder / _IMAGES), first, min(_BLOCK, total - first), seed, motions, device)
            for first in range(0, total, _BLOCK)
        )
        progress(0, total)
        images = []
        for drawn in in_parallel(draw_block, blocks, workers=workers, device=device):
            images += drawn
            progress(len(images), total)
        return {"train": write_release(folder / _ANNOTATIONS / "mpii_human_pose_v1_u12_1.mat", images)}


FloatArray = npt.NDArray[np.float64]

_RATE_HZ = 25.0
_TEST_SHARE = 1 / 16
_PAIR_SHARE = 0.2
_INDOOR_SHARE = 0.4
_RARE = ("lie", "random", "sit-floor", "crouch", "bend", "jump", "kick")
_RARE_WEIGHT = 0.4  # In photographs, most people stand, walk or sit
_CLOSE_SHARE = 0.15
_EMPTY_SHARE = 0.02
_VIDEOS = 40
_LEAST_JOINTS = 8
_ANNOTATOR_SD_PX = 0.7
_BEHIND_MM = 130.0
"""A joint this far behind the nearest surface still counts as visible, since it is inside its own limb."""
_JPEG_QUALITY = 88
_SITES = ("ankle_r", "knee_r", "hip_r", "hip_l", "knee_l", "ankle_l", "", "", "neck_mid", "head_top", "wrist_r",
          "elbow_r", "shoulder_r", "shoulder_l", "elbow_l", "wrist_l")  # fmt: skip
_HIPS_INWARD = 0.2
"""Annotators place the hips too close together, by this share of their distance from the middle."""
_CATEGORIES = {
    "walk": "walking", "run": "running", "dance": "dancing", "kick": "sports", "jump": "sports", "sit": "inactivity",
    "sit-floor": "inactivity", "lie": "inactivity", "stand": "inactivity", "wait": "inactivity",
}  # fmt: skip


@dataclass(frozen=True)
class Block:
    """A few consecutive images."""

    folder: str
    first: int
    count: int
    seed: int
    motions: synth.Motions | None
    device: str


def draw_block(block: Block) -> list[DrawnImage]:
    """Write the images of one block; return their annotations."""
    import simplejpeg

    rng = np.random.default_rng((block.seed, block.first))
    drawn = []
    for number in range(block.first + 1, block.first + block.count + 1):
        image, persons, activity = _scene(rng, block, number)
        name = f"{number:09d}.jpg"
        data = simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=_JPEG_QUALITY, colorsubsampling="420")
        (Path(block.folder) / name).write_bytes(data)
        drawn.append(
            DrawnImage(
                name=name,
                train=bool(rng.random() > _TEST_SHARE),
                video=int(rng.integers(_VIDEOS + 1)),
                second=int(rng.integers(1, 300)),
                category=_CATEGORIES.get(activity, "miscellaneous"),
                activity=activity,
                activity_id=sorted(synth.ACTIVITIES).index(activity) + 1 if activity in synth.ACTIVITIES else 0,
                persons=tuple(persons),
                stream=(block.seed, number, 1),
            )
        )
    return drawn


def _scene(rng: np.random.Generator, block: Block, number: int) -> tuple[npt.NDArray[np.uint8], list[DrawnPerson], str]:
    size_px = (int(rng.integers(320, 481)), int(rng.integers(260, 401)))
    image = synth.sample_background(rng, size_px, "room" if rng.random() < _INDOOR_SHARE else "wild")
    if rng.random() < _EMPTY_SHARE:
        return image, [], "none"
    count = 2 if rng.random() < _PAIR_SHARE else 1
    figures, seats, activity = _figures(rng, count, block, number)
    camera = _camera(rng, size_px, figures)
    order = np.argsort(-world_to_cam(camera, figures.landmark("pelvis"))[:, 2])
    nearest = np.full((size_px[1], size_px[0]), np.inf, np.float32)
    for place, index in enumerate(order):
        image, nearest = synth.draw_person(
            image, figures[int(index)], camera, synth.sample_style(rng), seat=seats[int(index)], depth_mm=nearest,
            rng=rng if place == count - 1 else None, device=block.device,
        )  # fmt: skip
    return image, [_person(rng, camera, figures[index], nearest) for index in range(count)], activity


def _figures(
    rng: np.random.Generator, count: int, block: Block, number: int
) -> tuple[synth.Figures, list[synth.Seat | None], str]:
    """Draw ``count`` people side by side, each turned at random; return them, their seats and the first one's
    activity."""
    figures, seats, activities = [], [], []
    for index in range(count):
        if block.motions is not None:
            activity = "recorded"
            clip = block.motions.clip(number, 1, _RATE_HZ, seed=(block.seed, 2, index))
        else:
            activity = str(rng.choice(synth.ACTIVITIES, p=_activity_shares()))
            clip = synth.sample_clip(rng, activity, 1, _RATE_HZ)
        figure = synth.pose(synth.sample_bodies(rng, 1, height_mm=(1350, 2000), girth=(0.8, 1.4)), clip)
        start = figure.landmark("pelvis")[0] * [1.0, 1.0, 0.0]
        aside = index * np.array([rng.uniform(-700, 700), rng.choice([-1, 1]) * rng.uniform(500, 1100), 0.0])
        figures.append(figure.moved(0.0, -start).moved(rng.uniform(-np.pi, np.pi), aside))
        seats.append(synth.seat_under(figures[-1], rng) if clip.seated else None)
        activities.append(activity)
    return synth.Figures.concatenate(figures), seats, activities[0]


def _activity_shares() -> FloatArray:
    weights = np.array([_RARE_WEIGHT if activity in _RARE else 1.0 for activity in synth.ACTIVITIES])
    return np.asarray(weights / weights.sum(), np.float64)


def _camera(rng: np.random.Generator, size_px: tuple[int, int], figures: synth.Figures) -> Camera:
    """Draw a camera anywhere around, near or far, slightly tilted, with at least eight joints per person in view."""
    points = figures.landmarks_world_mm.reshape(-1, 3)
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    extent_mm = float(np.linalg.norm(points - middle, axis=1).max()) * 2
    focal_px = max(size_px) * rng.uniform(0.9, 2.0)
    distance_mm = focal_px * extent_mm / (min(size_px) * rng.uniform(0.55, 0.95))
    azimuth, elevation, roll = rng.uniform(-np.pi, np.pi), np.deg2rad(rng.uniform(-8, 35)), np.deg2rad(rng.normal(0, 4))
    ahead = -np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    down = np.cross(ahead, right)
    turned = np.stack([np.cos(roll) * right + np.sin(roll) * down, np.cos(roll) * down - np.sin(roll) * right, ahead])
    aim = middle + rng.normal(0, 0.05 * extent_mm, 3)
    for nearness in (0.5 if rng.random() < _CLOSE_SHARE else 1.0, 1.0, 1.5, 3.0):
        target = aim + np.array([0.0, 0.0, 0.15 * extent_mm if nearness < 1 else 0.0])
        center = ((size_px[0] - 1) / 2, (size_px[1] - 1) / 2)
        camera = Camera.pinhole((focal_px, focal_px), center, size_px, rotation=turned,
                                position_world_mm=target - ahead * distance_mm * nearness)  # fmt: skip
        seen = [_inside(project(camera, world_to_cam(camera, _joints(one))), size_px).sum() for one in figures]
        if min(seen) >= _LEAST_JOINTS:
            break
    return camera


def _inside(points_px: FloatArray, size_px: tuple[int, int]) -> npt.NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        inside = ((points_px >= 1) & (points_px <= np.array(size_px) - 2)).all(axis=-1)
    return np.asarray(inside)


def _joints(figure: synth.Figures) -> FloatArray:
    """Return (16, 3) world mm of MPII's joints."""
    hips = (figure.landmark("hip_r")[0] + figure.landmark("hip_l")[0]) / 2
    shoulders = (figure.landmark("shoulder_r")[0] + figure.landmark("shoulder_l")[0]) / 2
    joints = np.stack([figure.landmark(site)[0] if site else hips for site in _SITES])
    joints[7] = shoulders
    joints[2:4] += _HIPS_INWARD * (hips - joints[2:4])
    return joints


def _person(
    rng: np.random.Generator, camera: Camera, figure: synth.Figures, nearest_mm: npt.NDArray[Any]
) -> DrawnPerson:
    joints_cam = world_to_cam(camera, _joints(figure))
    joints_px = project(camera, joints_cam)
    inside = _inside(joints_px, camera.size_px)
    set_px = joints_px + rng.normal(0, _ANNOTATOR_SD_PX, joints_px.shape)
    points = []
    for joint in np.flatnonzero(inside):
        x, y = set_px[joint]
        surface = nearest_mm[round(float(joints_px[joint, 1])), round(float(joints_px[joint, 0]))]
        visible = int(joints_cam[joint, 2] <= surface + _BEHIND_MM)
        points.append((int(joint), round(float(x), 4), round(float(y), 4), visible))
    known = joints_px[np.isfinite(joints_px).all(axis=1)]
    low, high = known.min(axis=0), known.max(axis=0)
    head = project(camera, world_to_cam(camera, np.stack([figure.landmark(n)[0] for n in ("jaw", "head_top", "nose")])))
    radius = 0.6 * float(np.linalg.norm(head[1] - head[0]))
    (left, top), (right, bottom) = head.mean(axis=0) - radius, head.mean(axis=0) + radius
    return DrawnPerson(
        points=tuple(points),
        head_box=(round(float(left)), round(float(top)), round(float(right)), round(float(bottom))),
        center=(float(low[0] + high[0]) / 2, float(low[1] + high[1]) / 2),
        scale=round(float(np.linalg.norm(high - low)) * 1.1 / 200, 4),
    )
