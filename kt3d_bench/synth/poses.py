"""Clips of activities: key poses in named angles, natural variation around them, smooth motion.

An activity is a cycle of a few key poses plus a spread. A clip draws one person's style once (offsets that are
correlated between left and right) and adds slow, smooth sway. Shapes: F frames, R rig joints, D named angles.
"""

from __future__ import annotations

import numpy as np

from kt3d_bench.errors import UsageError, did_you_mean
from kt3d_bench.synth.activities import TABLE, Activity
from kt3d_bench.synth.clip import Clip
from kt3d_bench.synth.collisions import entangled_frames, forward_lean_rad
from kt3d_bench.synth.gait import gait_of
from kt3d_bench.synth.rig import ANGLE_INDEX, ANGLES, LIMITS_DEG, FloatArray, clamp_angles, rotations_from_angles

ACTIVITIES: tuple[str, ...] = (*TABLE, "random")
_ATTEMPTS = 12
_ENTANGLED_SHARE = 0.1
"""A clip is drawn again if limbs are inside the body in more of its frames."""
_RANDOM_KEY_S = 1.2
_GAIT_SAMPLES = 96


_MIRROR = np.array(
    [ANGLE_INDEX[name.replace("_l.", "_?.").replace("_r.", "_l.").replace("_?.", "_r.")] for name in ANGLES]
)
_ODD = np.array(
    [-1.0 if name in ("root.yaw", "root.roll", "spine.side", "spine.twist", "neck.tilt", "neck.turn") else 1.0
     for name in ANGLES]
)  # fmt: skip
_SD = np.array(
    [
        {
            "root.yaw": 0.0, "root.pitch": 2.0, "root.roll": 1.5, "spine.bend": 5.0, "spine.side": 3.0,
            "spine.twist": 5.0, "neck.nod": 7.0, "neck.tilt": 5.0, "neck.turn": 14.0,
        }.get(name, {
            "clavicle": 4.0, "shoulder": 9.0, "elbow": 10.0, "wrist": 9.0, "hip": 4.0, "knee": 4.0, "ankle": 3.0,
            "ball": 3.0,
        }.get(name.split(".")[0][:-2], 0.0))
        for name in ANGLES
    ]
)  # fmt: skip


def mirrored_angles(angles_deg: FloatArray) -> FloatArray:
    """Return the poses (..., D) with left and right exchanged."""
    swapped: FloatArray = angles_deg[..., _MIRROR] * _ODD
    return swapped


def _smooth(rng: np.random.Generator, times_s: FloatArray, sd: FloatArray) -> FloatArray:
    """Draw (F, D) smooth noise of standard deviation ``sd``: three slow sine waves per angle."""
    waves = 3
    hertz = rng.uniform(0.05, 0.45, (waves, len(sd)))
    phase = rng.uniform(0, 2 * np.pi, (waves, len(sd)))
    weight = rng.normal(0, 1, (waves, len(sd)))
    weight *= sd * np.sqrt(2 / waves) / np.maximum(np.sqrt((weight**2).mean(axis=0)), 0.3)
    waves_deg: FloatArray = np.einsum(
        "wd,wfd->fd", weight, np.sin(2 * np.pi * hertz[:, None] * times_s[None, :, None] + phase[:, None])
    )
    return waves_deg


def _keys(activity: Activity) -> FloatArray:
    keys = np.zeros((len(activity.keys), len(ANGLES)))
    for row, key in enumerate(activity.keys):
        for name, value in key.items():
            keys[row, ANGLE_INDEX[name]] = value
    return keys


def _cycle(keys: FloatArray, phase: FloatArray, dwell: float) -> FloatArray:
    """Interpolate the keys at ``phase`` (F,) in cycles by a periodic Catmull-Rom spline, or with a ``dwell`` (0..1, the
    share of time spent still at each key)."""
    count = len(keys)
    position = (phase % 1.0) * count
    first = np.floor(position).astype(int) % count
    s = position - np.floor(position)
    if dwell > 0:
        s = np.clip((s - dwell / 2) / (1 - dwell), 0, 1)
        s = s * s * s * (10 + s * (6 * s - 15))
        held: FloatArray = keys[first] + s[:, None] * (keys[(first + 1) % count] - keys[first])
        return held
    a, b, c, d = (keys[(first + shift) % count] for shift in (-1, 0, 1, 2))
    s = s[:, None]
    curve: FloatArray = b + 0.5 * s * (c - a + s * (2 * a - 5 * b + 4 * c - d + s * (3 * (b - c) + d - a)))
    return curve


def _offsets(rng: np.random.Generator, spread: float) -> FloatArray:
    """Draw (D,) one person's style, partly the same on both sides."""
    shared = rng.normal(0, 1, len(ANGLES))
    shared = (shared + shared[_MIRROR] * _ODD) / np.sqrt(2)
    own = rng.normal(0, 1, len(ANGLES))
    offsets: FloatArray = spread * _SD * (0.7 * shared + 0.7 * own)
    return offsets


def _random_keys(rng: np.random.Generator, count: int) -> FloatArray:
    """Draw (K, D) independent poses, broad within the limits (0.8 of each range, densest in the middle)."""
    low = np.array([LIMITS_DEG[name][0] for name in ANGLES], np.float64)
    high = np.array([LIMITS_DEG[name][1] for name in ANGLES], np.float64)
    keys = low + (high - low) * (0.1 + 0.8 * rng.beta(1.6, 1.6, (count, len(ANGLES))))
    keys[:, ANGLE_INDEX["root.yaw"]] = 0.0
    keys[:, ANGLE_INDEX["root.pitch"]] = rng.normal(0, 12, count)
    keys[:, ANGLE_INDEX["root.roll"]] = rng.normal(0, 8, count)
    keys[:, ANGLE_INDEX["spine.bend"]] = rng.normal(15, 18, count)
    return keys


def _level_feet(angles: FloatArray, share: float) -> None:
    """Turn the ankles, in place, so that the soles are level by ``share`` (0..1)."""
    for side in "lr":
        hip, knee, ankle = (ANGLE_INDEX[f"{joint}_{side}.flex"] for joint in ("hip", "knee", "ankle"))
        level = angles[:, ANGLE_INDEX["root.pitch"]] - angles[:, hip] + angles[:, knee]
        angles[:, ankle] += share * (level - angles[:, ankle])


def _balanced(angles: FloatArray) -> FloatArray:
    """Tilt standing people about their ankles until their centre of mass is over the feet."""
    angles = angles.copy()
    for _ in range(2):
        lean_rad = forward_lean_rad(rotations_from_angles(angles))
        angles[:, ANGLE_INDEX["root.pitch"]] -= np.degrees(lean_rad)
        _level_feet(angles, 1.0)
        angles = clamp_angles(angles)
    return angles


def _random_angles(rng: np.random.Generator, times_s: FloatArray) -> FloatArray:
    keys = _random_keys(rng, int(np.ceil(float(times_s[-1]) / _RANDOM_KEY_S)) + 4)
    phase = (1.0 + rng.uniform(0, 1) + times_s / _RANDOM_KEY_S) / len(keys)
    return clamp_angles(_cycle(keys, phase, 0.0) + _smooth(rng, times_s, 0.15 * _SD))


def _recipe_clip(rng: np.random.Generator, activity: Activity, times_s: FloatArray, rate_hz: float) -> Clip:
    keys = _keys(activity)
    if activity.mirror and rng.uniform() < 0.5:
        keys = mirrored_angles(keys)
    keys = keys + _offsets(rng, activity.spread)
    period = activity.cycle_s * np.exp(rng.normal(0, 0.06 if activity.gait else 0.2))
    phase = rng.uniform(0, 1) + times_s / period

    def at(phases: FloatArray) -> FloatArray:
        return clamp_angles(_cycle(keys, phases, activity.dwell))

    angles = clamp_angles(at(phase) + _smooth(rng, times_s, 0.25 * activity.spread * _SD))
    if activity.level:
        _level_feet(angles, activity.level)
        angles = _balanced(angles) if activity.level == 1.0 else clamp_angles(angles)
    travel, lift = np.zeros((len(times_s), 2)), np.zeros(len(times_s))
    if activity.gait:
        gait = gait_of(
            rotations_from_angles(at(np.arange(_GAIT_SAMPLES) / _GAIT_SAMPLES)),
            period_s=float(period),
            speed=activity.speed if activity.gait == "run" else None,
        )
        travel[:, 0] = gait.travel(phase) - gait.travel(phase[:1])
        lift = gait.height(phase)
    if activity.leap:
        begin, end = activity.leap_phases
        share = np.clip((phase % 1.0 - begin) / (end - begin), 0, 1)
        lift = activity.leap * 4 * share * (1 - share)
    return Clip(rotations_from_angles(angles), travel, lift, rate_hz, angles_deg=angles)


def sample_clip(rng: np.random.Generator, activity: str, frames: int, rate_hz: float) -> Clip:
    """Draw ``frames`` frames of ``activity`` at ``rate_hz``: varied, within the joint limits, smooth in time.

    World z up, floor z = 0; the person starts near the origin, facing +x. Raises ``UsageError`` for an unknown
    activity, ``ValueError`` for less than one frame or a rate that is not positive.
    """
    if activity not in ACTIVITIES:
        raise UsageError(f"no activity named '{activity}'", hint=did_you_mean(activity, ACTIVITIES))
    if frames < 1 or not rate_hz > 0:
        raise ValueError(f"a clip needs at least one frame and a positive rate, not {frames} at {rate_hz} Hz")
    recipes = TABLE.get(activity, ())
    recipe = recipes[int(rng.integers(len(recipes)))] if recipes else None
    times = np.arange(frames) / rate_hz
    for _ in range(_ATTEMPTS):
        if recipe is None:
            angles = _random_angles(rng, times)
            clip = Clip(rotations_from_angles(angles), np.zeros((frames, 2)), np.zeros(frames), rate_hz,
                        angles_deg=angles)  # fmt: skip
        else:
            clip = _recipe_clip(rng, recipe, times, rate_hz)
        if entangled_frames(clip.rotations).mean() <= _ENTANGLED_SHARE:
            break
    return clip
