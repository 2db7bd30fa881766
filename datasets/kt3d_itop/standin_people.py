"""Who stands in front of the stand-in's sensors, doing what, and where the release's 15 joints lie on them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kt3d_bench.synth import Bodies, Figures, Motions, pose, sample_bodies, sample_clip

FloatArray = npt.NDArray[np.float64]

ACTIONS = ("stand", "reach", "greet", "point", "pose", "photo", "wait", "carry", "bend", "kick", "walk", "dance",
           "jump", "crouch", "sit")  # fmt: skip
"""What each person does in turn: mostly standing in place and moving the arms; walking is on the spot."""
RATE_HZ = 6.0
_HEIGHT_MM, _GIRTH = (1660.0, 2020.0), (0.8, 1.12)
"""The release's people measure a little more than people do: thigh 0.50 m, shank 0.48 m, head over feet 1.70 m."""
_PLACE_MM, _PLACE_SD_MM = (-190.0, 0.0), (85.0, 70.0)
_FACING_SD_RAD = 0.3
_LEAP_SHARE, _HIGHEST_LEAP = 0.3, 0.12
"""Below a sensor on the ceiling nobody jumps high; the latter in leg lengths."""
_TURNED_SHARE = 0.03
"""Share of clips in which the person may face anywhere."""

HEAD, NECK, SHOULDER_R, SHOULDER_L, ELBOW_R, ELBOW_L, HAND_R, HAND_L, TORSO, HIP_R, HIP_L, KNEE_R, KNEE_L, FOOT_R, \
    FOOT_L = range(15)  # fmt: skip
_HEAD_SHARE = 0.55
"""Of the way from the skull's base to the crown."""
_HIP_UP_MM, _HIP_OUT_MM = 30.0, 14.0
_LABEL_BIAS_MM, _LABEL_SD_MM = 7.0, 6.0
_GROSS_SHARE = 0.015
"""Share of approved frames in which one hand is far off, as in the release, whose forearms measure 0.07 to 0.65 m."""
_GROSS_MM = (70.0, 600.0)


@dataclass(frozen=True)
class Doing:
    """One clip: a person, an action, and where and how it is done."""

    seed: int
    person: int
    number: int
    """Of the clip among the person's."""
    action: str
    frames: int
    motions: Motions | None = None
    """Recordings in the action's place."""
    turn: int = 0
    """Of the clip among everybody's."""


def body_of(seed: int, person: int) -> Bodies:
    """A person's body: the same in every clip."""
    return sample_bodies(np.random.default_rng((seed, 1, person)), 1, height_mm=_HEIGHT_MM, girth=_GIRTH)


def figures_of(doing: Doing, rng: np.random.Generator) -> Figures:
    """One figure per frame, about 3 m from the side camera, mostly facing it."""
    if doing.motions is None:
        clip = sample_clip(rng, doing.action, doing.frames, RATE_HZ)
    else:
        clip = doing.motions.clip(doing.turn, doing.frames, RATE_HZ, seed=doing.seed)
    lift = np.minimum(_LEAP_SHARE * clip.lift, _HIGHEST_LEAP)
    still = replace(clip, travel=np.zeros_like(clip.travel), lift=lift)
    figures = pose(body_of(doing.seed, doing.person), still)
    hips = figures.landmark("hip_l") - figures.landmark("hip_r")
    across = hips[:, :2].sum(axis=0)
    facing = float(np.arctan2(-across[0], across[1])) if doing.motions is not None else 0.0
    turn = rng.uniform(-np.pi, np.pi) if rng.random() < _TURNED_SHARE else rng.normal(0.0, _FACING_SD_RAD)
    middle = np.append(figures.landmark("pelvis")[:, :2].mean(axis=0), 0.0)
    place = np.append(rng.normal(_PLACE_MM, _PLACE_SD_MM), 0.0)
    return figures.moved(0.0, -middle).moved(turn - facing, place)


def true_joints(figures: Figures) -> FloatArray:
    """(N, 15, 3) world mm, before anybody labelled them; neck and torso follow from the others."""
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
    """(N, 15, 3) true joints -> what the labels say: nearly true where ``valid`` (N,), else NaN (for zero) or wrong."""
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
