"""The people in front of the stand-in's sensors, what they do, and where the release's 15 joints are on them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kt3d_bench.synth import Bodies, Figures, Motions, pose, sample_bodies, sample_clip

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
_TURNED_SHARE = 0.03
"""Share of clips in which the person faces any direction."""

HEAD, NECK, SHOULDER_R, SHOULDER_L, ELBOW_R, ELBOW_L, HAND_R, HAND_L, TORSO, HIP_R, HIP_L, KNEE_R, KNEE_L, FOOT_R, \
    FOOT_L = range(15)  # fmt: skip
_HEAD_SHARE = 0.55
"""Position of the head joint between the base of the skull and the crown."""
_HIP_UP_MM, _HIP_OUT_MM = 30.0, 14.0
_LABEL_BIAS_MM, _LABEL_SD_MM = 7.0, 6.0
_GROSS_SHARE = 0.015
"""Share of approved frames in which one hand is far off, as in the release, whose forearms are 0.07 to 0.65 m long."""
_GROSS_MM = (70.0, 600.0)


@dataclass(frozen=True)
class Doing:
    """One clip: a person, an action, and the numbers that its random streams depend on."""

    seed: int
    person: int
    number: int
    """Number of the clip among the person's."""
    action: str
    frames: int
    motions: Motions | None = None
    """Recordings that replace the action."""
    turn: int = 0
    """Number of the clip among everybody's."""


def body_of(seed: int, person: int) -> Bodies:
    """Return a person's body, the same in every clip."""
    return sample_bodies(np.random.default_rng((seed, 1, person)), 1, height_mm=_HEIGHT_MM, girth=_GIRTH)


def figures_of(doing: Doing, rng: np.random.Generator) -> Figures:
    """Return one figure per frame, about 3 m from the side camera, mostly facing it."""
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
