"""The people in front of the stand-in's sensors, their 15 joints, and the official files' arrays made from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.synth import PARTS, Bodies, Figures, Motions, RenderedFigure, pose, render, sample_bodies, sample_clip
from kt3d_bench.synth.boxes import Box, chair, in_front
from kt3d_itop import standin_sensor as sensor
from kt3d_itop.standin_room import sample_room

FloatArray = npt.NDArray[np.float64]

ACTIONS = ("stand", "reach", "greet", "point", "pose", "photo", "wait", "carry", "bend", "kick", "walk", "dance",
           "jump", "crouch", "sit")  # fmt: skip
"""What each person does in turn: mostly standing and moving the arms; walking is on the spot."""
RATE_HZ = 6.0
_HEIGHT_MM, _GIRTH = (1660.0, 2020.0), (0.8, 1.12)
"""The release's people are a little taller than average: thigh 0.50 m, shank 0.48 m, head above feet 1.70 m."""
_PLACE_MM, _PLACE_SD_MM = (-190.0, 0.0), (85.0, 70.0)
_FACING_SD_RAD = 0.3
_LEAP_SHARE, _HIGHEST_LEAP = 0.3, 0.12
"""Nobody jumps high below a sensor on the ceiling; the second number is in leg lengths."""
_PAUSE_FRAMES = 50
"""Frames between clips that are not in the files: the next clip begins in another pose."""
_TURNED_SHARE = 0.03  # Share of clips in which the person faces any direction

HEAD, NECK, SHOULDER_R, SHOULDER_L, ELBOW_R, ELBOW_L, HAND_R, HAND_L, TORSO, HIP_R, HIP_L, KNEE_R, KNEE_L, FOOT_R, \
    FOOT_L = range(15)  # fmt: skip
_HEAD_SHARE = 0.55  # Position of the head joint between the base of the skull and the crown
_HIP_UP_MM, _HIP_OUT_MM = 30.0, 14.0
_LABEL_BIAS_MM, _LABEL_SD_MM = 7.0, 6.0
_GROSS_SHARE = 0.015
"""Share of approved frames in which one hand is far off, as in the release, whose forearms are 0.07 to 0.65 m long."""
_GROSS_MM = (70.0, 600.0)


@dataclass(frozen=True)
class Doing:
    """One clip: an action, and the numbers that its random streams depend on."""

    seed: int
    cast: int  # The person's random streams
    number: int  # Number of the clip among the person's
    action: str
    frames: int
    motions: Motions | None = None  # Recordings that replace the action
    turn: int = 0  # Number of the clip among everybody's


def body_of(seed: int, cast: int) -> Bodies:
    """Return a person's body, the same in every clip."""
    return sample_bodies(np.random.default_rng((seed, 1, cast)), 1, height_mm=_HEIGHT_MM, girth=_GIRTH)


def figures_of(doing: Doing, rng: np.random.Generator) -> Figures:
    """Return one figure per frame, about 3 m from the side camera, mostly facing it."""
    if doing.motions is None:
        clip = sample_clip(rng, doing.action, doing.frames, RATE_HZ)
    else:
        clip = doing.motions.clip(doing.turn, doing.frames, RATE_HZ, seed=(doing.seed, doing.cast // 100))
    lift = np.minimum(_LEAP_SHARE * clip.lift, _HIGHEST_LEAP)
    still = replace(clip, travel=np.zeros_like(clip.travel), lift=lift)
    figures = pose(body_of(doing.seed, doing.cast), still)
    hips = figures.landmark("hip_l") - figures.landmark("hip_r")
    across = hips[:, :2].sum(axis=0)
    facing = float(np.arctan2(-across[0], across[1])) if doing.motions is not None else 0.0
    turn = rng.uniform(-np.pi, np.pi) if rng.random() < _TURNED_SHARE else rng.normal(0.0, _FACING_SD_RAD)
    middle = np.append(figures.landmark("pelvis")[:, :2].mean(axis=0), 0.0)
    place = np.append(rng.normal(_PLACE_MM, _PLACE_SD_MM), 0.0)
    return figures.moved(0.0, -middle).moved(turn - facing, place)


def true_joints(figures: Figures) -> FloatArray:
    """Return (N, 15, 3) world mm without labelling errors; neck and torso are derived from the others."""
    at = figures.landmark
    joints = np.empty((len(figures), 15, 3))
    joints[:, HEAD] = at("jaw") + _HEAD_SHARE * (at("head_top") - at("jaw"))
    up = at("spine_low") - at("pelvis")
    up /= np.linalg.norm(up, axis=-1, keepdims=True)
    for shift, side, other in ((0, "r", "l"), (1, "l", "r")):
        joints[:, SHOULDER_R + shift] = at(f"shoulder_{side}")
        joints[:, ELBOW_R + shift] = at(f"elbow_{side}")
        joints[:, HAND_R + shift] = at(f"wrist_{side}") + 0.3 * (at(f"hand_{side}") - at(f"wrist_{side}"))
        out = at(f"hip_{side}") - at(f"hip_{other}")
        out /= np.linalg.norm(out, axis=-1, keepdims=True)
        joints[:, HIP_R + shift] = at(f"hip_{side}") + _HIP_UP_MM * up + _HIP_OUT_MM * out
        joints[:, KNEE_R + shift] = at(f"knee_{side}")
        joints[:, FOOT_R + shift] = at(f"ankle_{side}")
    return _derived(joints)


def _derived(joints: FloatArray) -> FloatArray:
    joints[:, NECK] = (joints[:, SHOULDER_R] + joints[:, SHOULDER_L]) / 2
    joints[:, TORSO] = (joints[:, NECK] + (joints[:, HIP_R] + joints[:, HIP_L]) / 2) / 2
    return joints


def labelled(joints: FloatArray, valid: npt.NDArray[np.bool_], rng: np.random.Generator) -> FloatArray:
    """Return labels (N, 15, 3) of true joints: nearly right if ``valid`` (N,), else NaN (written as zero) or wrong."""
    count = len(joints)
    approved = joints + rng.normal(0, _LABEL_BIAS_MM, (1, 15, 3)) + rng.normal(0, _LABEL_SD_MM, joints.shape)
    for frame in np.flatnonzero(rng.random(count) < _GROSS_SHARE):
        side = int(rng.integers(2))
        away = rng.normal(size=3)
        away[2] = -abs(away[2])
        away *= rng.uniform(*_GROSS_MM) / np.linalg.norm(away)
        approved[frame, HAND_R + side] = approved[frame, ELBOW_R + side] + away
    wrong = joints + rng.normal(0, 250, (count, 1, 3)) + rng.normal(0, 140, joints.shape)
    wrong[rng.random(count) < 0.35] = np.nan
    return _derived(np.where(valid[:, None, None], approved, wrong))


Arrays = dict[str, npt.NDArray[Any]]
Float32 = npt.NDArray[np.float32]

_REACH_MM = 150.0
"""A joint up to this far behind the nearest surface counts as visible, since it is inside its own limb."""
_BACKGROUND = -1


@dataclass(frozen=True)
class Block:
    """Consecutive clips of one person, which a worker records at once."""

    seed: int
    person: int  # The number in the official ids
    cast: int  # The person's random streams
    first_frame: int
    clips: tuple[Doing, ...]
    valid: tuple[bool, ...]  # Per frame, whether its labels are approved
    device: str

    @property
    def frames(self) -> int:
        return len(self.valid)


def record(block: Block) -> Mapping[str, Arrays]:
    """Return view -> dataset of the official files -> the rows that this block adds to it."""
    room = sample_room(np.random.default_rng((block.seed, 2, block.cast)))
    darkness = _darkness(np.random.default_rng((block.seed, 3, block.cast)))
    empty = {view.name: room.depth_mm(view) for view in sensor.VIEWS}
    blemishes = {
        view.name: sensor.sample_blemishes(np.random.default_rng((block.seed, 5, block.cast, number)), empty[view.name])
        for number, view in enumerate(sensor.VIEWS)
    }
    pieces: dict[str, list[Arrays]] = {view.name: [] for view in sensor.VIEWS}
    done = 0
    for doing in block.clips:
        rng = np.random.default_rng((block.seed, 4, block.cast, doing.number))
        figures = figures_of(doing, rng)
        valid = np.array(block.valid[done : done + doing.frames])
        labels_mm = labelled(true_joints(figures), valid, rng)
        seat = _seat(figures) if doing.action == "sit" and doing.motions is None else []
        for view in sensor.VIEWS:
            depth_mm = in_front(view.camera(), empty[view.name], seat)
            rows = _film(view, figures, depth_mm, blemishes[view.name], darkness, labels_mm, valid, rng, block.device)
            first = block.first_frame + done + doing.number * _PAUSE_FRAMES
            ids = [f"{block.person:02d}_{frame:05d}".encode("ascii") for frame in range(first, first + doing.frames)]
            pieces[view.name].append({**rows, "id": np.array(ids, "S8"), "is_valid": valid.astype(np.uint8)})
        done += doing.frames
    return {
        name: {field: np.concatenate([piece[field] for piece in rows]) for field in rows[0]}
        for name, rows in pieces.items()
    }


def _seat(figures: Figures) -> list[Box]:
    pelvis = figures.landmark("pelvis").mean(axis=0)
    across = (figures.landmark("hip_l") - figures.landmark("hip_r")).mean(axis=0)
    facing = float(np.arctan2(-across[0], across[1]))
    seat_mm = float(pelvis[2]) - 125.0
    middle = (float(pelvis[0] + 40 * np.cos(facing)), float(pelvis[1] + 40 * np.sin(facing)))
    return chair(middle, max(seat_mm, 200.0), facing, back=False)


def _film(
    view: sensor.View,
    figures: Figures,
    room_mm: Float32,
    blemishes: tuple[Float32, Float32],
    darkness: Float32,
    labels_mm: npt.NDArray[np.float64],
    valid: npt.NDArray[np.bool_],
    rng: np.random.Generator,
    device: str,
) -> Arrays:
    bias_steps, glare = blemishes
    count = len(figures)
    depth = np.empty((count, sensor.HEIGHT_PX, sensor.WIDTH_PX), np.float16)
    parts = np.full((count, sensor.HEIGHT_PX, sensor.WIDTH_PX), _BACKGROUND, np.int8)
    nearest = np.empty((count, 15))
    metres = view.metres(labels_mm)
    places = sensor.pixels(metres)
    for index, figure in enumerate(render(figures, [view.camera()] * count, device=device, normals=False)):
        noise = sensor.blots(rng, 2)
        scene_mm, weak = room_mm.copy(), glare.copy()
        _put(figure, scene_mm, weak, parts[index], darkness, noise[:, ::-1])
        nearest[index] = _at(scene_mm, places[index])
        depth[index] = sensor.measure(scene_mm, weak, bias_steps, noise, rng)
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
    shirt = [NECK, SHOULDER_R, SHOULDER_L, ELBOW_R, ELBOW_L, TORSO]
    trousers = [HIP_R, HIP_L, KNEE_R, KNEE_L]
    shoes = [FOOT_R, FOOT_L]
    darkness[[shirt, trousers, shoes][int(rng.integers(3))]] = rng.uniform(0.0, 0.4)
    return darkness


def _put(figure: RenderedFigure, scene_mm: Float32, weak: Float32,
         parts: npt.NDArray[np.int8], darkness: Float32,
         wobble: Float32) -> None:  # fmt: skip
    """Draw a rendered person into the scene's depth, weakness and part ids, behind whatever is in front."""
    x0, y0, x1, y1 = figure.window_px
    window = (slice(y0, y1), slice(x0, x1))
    order = np.arange((y1 - y0) * (x1 - x0)).reshape(y1 - y0, x1 - x0)
    fetched = sensor.ragged(order, wobble, (y0, x0)).ravel()
    depth_mm = figure.maps["depth_mm"].ravel()[fetched].reshape(order.shape)
    seen = (depth_mm > 0) & (depth_mm < scene_mm[window])
    chosen = fetched[seen.ravel()]
    part, along, front, left = (figure.maps[name].ravel()[chosen] for name in ("part", "along", "front", "left"))
    regions = joint_regions(part, along, left)
    hair = (regions == HEAD) & (along > 0.55) & ((front < 0.35) | (along > 0.85))
    scene_mm[window][seen] = depth_mm[seen]
    parts[window][seen] = regions
    weak[window][seen] = darkness[np.where(hair, 15, regions)]


def joint_regions(part: npt.NDArray[Any], along: npt.NDArray[Any], left: npt.NDArray[Any]) -> npt.NDArray[np.int8]:
    """Return (K,) the joint whose region each of the rendered parts (K,), index + 1 into ``PARTS``, belongs to."""
    found = np.full(part.shape, TORSO, np.int8)

    def of(name: str) -> npt.NDArray[np.bool_]:
        return np.asarray(part == PARTS.index(name) + 1)

    found[of("head")] = HEAD
    found[of("neck") | (of("chest") & (along > 0.8))] = NECK
    found[of("pelvis") & (left > 0)] = HIP_L
    found[of("pelvis") & (left <= 0)] = HIP_R
    chain = (
        ("shoulder", SHOULDER_R, SHOULDER_R), ("upper_arm", SHOULDER_R, ELBOW_R),
        ("forearm", ELBOW_R, HAND_R), ("hand", HAND_R, HAND_R),
        ("thigh", HIP_R, KNEE_R), ("shank", KNEE_R, FOOT_R),
        ("foot", FOOT_R, FOOT_R),
    )  # fmt: skip
    for name, upper, lower in chain:
        for shift, side in enumerate("rl"):
            mine = of(f"{name}_{side}")
            found[mine] = np.where(along[mine] < 0.5, upper + shift, lower + shift)
    return found


def _at(image: Float32, places_px: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return (J,) the image's values at (J, 2) px; minus infinity outside."""
    columns, rows = np.rint(np.clip(np.nan_to_num(places_px, nan=-1.0), -1, 1e4)).astype(int).T
    known = (columns >= 0) & (columns < sensor.WIDTH_PX) & (rows >= 0) & (rows < sensor.HEIGHT_PX)
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
