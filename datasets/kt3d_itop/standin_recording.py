"""The arrays of the official files, made from clips: both sensors' depth images, part ids and labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.synth import PARTS, Figures, RenderedFigure, render
from kt3d_itop import standin_people as people
from kt3d_itop.standin_people import Doing, figures_of, labelled, true_joints
from kt3d_itop.standin_room import Box, chair, in_front, sample_room
from kt3d_itop.standin_sensor import (
    HEIGHT_PX,
    VIEWS,
    WIDTH_PX,
    Blemishes,
    View,
    blots,
    measure,
    pixels,
    ragged,
    sample_blemishes,
)

Arrays = dict[str, npt.NDArray[Any]]
Float32 = npt.NDArray[np.float32]

_REACH_MM = 150.0
"""A joint up to this far behind the nearest surface counts as visible, since it is inside its own limb."""
_BACKGROUND = -1


@dataclass(frozen=True)
class Block:
    """Consecutive clips of one person, which a worker records at once."""

    seed: int
    person: int
    first_frame: int
    clips: tuple[Doing, ...]
    valid: tuple[bool, ...]
    """Per frame, whether its labels are approved."""
    device: str

    @property
    def frames(self) -> int:
        return len(self.valid)


def record(block: Block) -> Mapping[str, Arrays]:
    """Return view -> dataset of the official files -> the rows that this block adds to it."""
    room = sample_room(np.random.default_rng((block.seed, 2, block.person)))
    darkness = _darkness(np.random.default_rng((block.seed, 3, block.person)))
    empty = {view.name: room.depth_mm(view) for view in VIEWS}
    blemishes = {
        view.name: sample_blemishes(np.random.default_rng((block.seed, 5, block.person, number)), empty[view.name])
        for number, view in enumerate(VIEWS)
    }
    pieces: dict[str, list[Arrays]] = {view.name: [] for view in VIEWS}
    done = 0
    for doing in block.clips:
        rng = np.random.default_rng((block.seed, 4, block.person, doing.number))
        figures = figures_of(doing, rng)
        valid = np.array(block.valid[done : done + doing.frames])
        labels_mm = labelled(true_joints(figures), valid, rng)
        seat = _seat(figures) if doing.action == "sit" and doing.motions is None else []
        for view in VIEWS:
            depth_mm = in_front(view, empty[view.name], seat)
            rows = _film(view, figures, depth_mm, blemishes[view.name], darkness, labels_mm, valid, rng, block.device)
            first = block.first_frame + done
            ids = [f"{block.person:02d}_{frame:05d}".encode("ascii") for frame in range(first, first + doing.frames)]
            pieces[view.name].append({**rows, "id": np.array(ids, "S8"), "is_valid": valid.astype(np.uint8)})
        done += doing.frames
    return {
        name: {field: np.concatenate([piece[field] for piece in rows]) for field in rows[0]}
        for name, rows in pieces.items()
    }


def _seat(figures: Figures) -> list[Box]:
    """Return a chair under a sitting person."""
    pelvis = figures.landmark("pelvis").mean(axis=0)
    across = (figures.landmark("hip_l") - figures.landmark("hip_r")).mean(axis=0)
    facing = float(np.arctan2(-across[0], across[1]))
    seat_mm = float(pelvis[2]) - 125.0
    middle = (float(pelvis[0] + 40 * np.cos(facing)), float(pelvis[1] + 40 * np.sin(facing)))
    return chair(middle, max(seat_mm, 200.0), facing, back=False)


def _film(
    view: View,
    figures: Figures,
    room_mm: Float32,
    blemishes: Blemishes,
    darkness: Float32,
    labels_mm: npt.NDArray[np.float64],
    valid: npt.NDArray[np.bool_],
    rng: np.random.Generator,
    device: str,
) -> Arrays:
    count = len(figures)
    depth = np.empty((count, HEIGHT_PX, WIDTH_PX), np.float16)
    parts = np.full((count, HEIGHT_PX, WIDTH_PX), _BACKGROUND, np.int8)
    nearest = np.empty((count, 15))
    metres = view.metres(labels_mm)
    places = pixels(metres)
    for index, figure in enumerate(render(figures, [view.camera()] * count, device=device, normals=False)):
        noise = blots(rng, 2)
        scene_mm, weak = room_mm.copy(), blemishes.glare.copy()
        _put(figure, scene_mm, weak, parts[index], darkness, noise[:, ::-1])
        nearest[index] = _at(scene_mm, places[index])
        depth[index] = measure(scene_mm, weak, blemishes.bias_steps, noise, rng)
        parts[index][depth[index] == 0] = _BACKGROUND
        if not valid[index]:
            parts[index] = _mistaken(parts[index], metres[index], rng)
    missing = ~np.isfinite(places)
    with np.errstate(invalid="ignore"):
        visible = metres[..., 2] * 1000 <= nearest + _REACH_MM
    return {
        "data": depth,
        "segmentation": parts,
        "visible_joints": visible.astype(np.int16),
        "image_coordinates": np.where(missing, 0, np.rint(np.clip(places, -3e4, 3e4))).astype(np.int16),
        "real_world_coordinates": np.nan_to_num(metres, nan=0.0).astype(np.float16),
    }


def _darkness(rng: np.random.Generator) -> Float32:
    """Draw (16,) how badly each joint's region of one person, and last the hair, reflects: 0 well, 1 not at all."""
    darkness = np.zeros(16, np.float32)
    darkness[15] = rng.uniform(0.0, 0.6)
    shirt = [people.NECK, people.SHOULDER_R, people.SHOULDER_L, people.ELBOW_R, people.ELBOW_L, people.TORSO]
    trousers = [people.HIP_R, people.HIP_L, people.KNEE_R, people.KNEE_L]
    shoes = [people.FOOT_R, people.FOOT_L]
    darkness[[shirt, trousers, shoes][int(rng.integers(3))]] = rng.uniform(0.0, 0.4)
    return darkness


def _put(figure: RenderedFigure, scene_mm: Float32, weak: Float32,
         parts: npt.NDArray[np.int8], darkness: Float32,
         wobble: Float32) -> None:  # fmt: skip
    """Draw a rendered person into the scene's depth, weakness and part ids, behind whatever is in front."""
    x0, y0, x1, y1 = figure.window_px
    window = (slice(y0, y1), slice(x0, x1))
    order = np.arange((y1 - y0) * (x1 - x0)).reshape(y1 - y0, x1 - x0)
    fetched = ragged(order, wobble, (y0, x0)).ravel()
    depth_mm = figure.maps["depth_mm"].ravel()[fetched].reshape(order.shape)
    seen = (depth_mm > 0) & (depth_mm < scene_mm[window])
    chosen = fetched[seen.ravel()]
    part, along, front, left = (figure.maps[name].ravel()[chosen] for name in ("part", "along", "front", "left"))
    regions = joint_regions(part, along, left)
    hair = (regions == people.HEAD) & (along > 0.55) & ((front < 0.35) | (along > 0.85))
    scene_mm[window][seen] = depth_mm[seen]
    parts[window][seen] = regions
    weak[window][seen] = darkness[np.where(hair, 15, regions)]


def joint_regions(part: npt.NDArray[Any], along: npt.NDArray[Any], left: npt.NDArray[Any]) -> npt.NDArray[np.int8]:
    """Return (K,) the joint whose region each of the rendered parts (K,), index + 1 into ``PARTS``, belongs to."""
    found = np.full(part.shape, people.TORSO, np.int8)

    def of(name: str) -> npt.NDArray[np.bool_]:
        return np.asarray(part == PARTS.index(name) + 1)

    found[of("head")] = people.HEAD
    found[of("neck") | (of("chest") & (along > 0.8))] = people.NECK
    found[of("pelvis") & (left > 0)] = people.HIP_L
    found[of("pelvis") & (left <= 0)] = people.HIP_R
    chain = (
        ("shoulder", people.SHOULDER_R, people.SHOULDER_R), ("upper_arm", people.SHOULDER_R, people.ELBOW_R),
        ("forearm", people.ELBOW_R, people.HAND_R), ("hand", people.HAND_R, people.HAND_R),
        ("thigh", people.HIP_R, people.KNEE_R), ("shank", people.KNEE_R, people.FOOT_R),
        ("foot", people.FOOT_R, people.FOOT_R),
    )  # fmt: skip
    for name, upper, lower in chain:
        for shift, side in enumerate("rl"):
            mine = of(f"{name}_{side}")
            found[mine] = np.where(along[mine] < 0.5, upper + shift, lower + shift)
    return found


def _at(image: Float32, places_px: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return (J,) the image's values at (J, 2) px; minus infinity outside."""
    columns, rows = np.rint(np.clip(np.nan_to_num(places_px, nan=-1.0), -1, 1e4)).astype(int).T
    known = (columns >= 0) & (columns < WIDTH_PX) & (rows >= 0) & (rows < HEIGHT_PX)
    values = np.full(len(places_px), -np.inf)
    values[known] = image[rows[known], columns[known]]
    return values


def _mistaken(
    parts: npt.NDArray[np.int8], metres: npt.NDArray[np.float64], rng: np.random.Generator
) -> npt.NDArray[np.int8]:
    """Return the part ids of a frame that is not approved: none if it has no joints, else shifted."""
    if np.isnan(metres).any():
        return np.full_like(parts, _BACKGROUND)
    return np.roll(parts, (int(rng.integers(-15, 16)), int(rng.integers(-40, 41))), axis=(0, 1))
