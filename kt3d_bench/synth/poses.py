"""Clips of activities: key poses in named angles, natural variation around them, smooth motion.

An activity is a cycle of a few key poses plus a spread. A clip draws one person's style once (offsets that are
correlated between left and right) and adds slow, smooth sway; poses with limbs inside the body are drawn again.
The foot on the ground does not slide, so the pelvis moves forward as that foot moves backward under it. The pelvis
follows a smooth curve, so fast gaits leave the ground. Shapes: F frames, R rig joints, D named angles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import UsageError, did_you_mean
from kt3d_bench.synth.activities import TABLE, Activity
from kt3d_bench.synth.body import mean_body
from kt3d_bench.synth.rig import (
    ANGLE_INDEX,
    ANGLES,
    LIMITS_DEG,
    RIG,
    RIG_INDEX,
    Clip,
    FloatArray,
    clamp_angles,
    rotations_from_angles,
    unit_vectors,
)

_ENTANGLED_POINTS = (*RIG, "crown", "hand_l", "hand_r", "forearm_l", "forearm_r")


def _entangled_tests() -> list[tuple[str, str, str, float]]:
    """Return (a, b, point, mm): a pose is entangled where the point is nearer to the segment from a to b."""
    tests = []
    for side in "lr":
        wrist, hand, middle, elbow = (f"{name}_{side}" for name in ("wrist", "hand", "forearm", "elbow"))
        for point, slack in ((wrist, 1.0), (hand, 0.9), (middle, 1.0), (elbow, 0.8)):
            tests += [("pelvis", "spine_high", point, 125 * slack), ("spine_high", "neck", point, 105 * slack),
                      ("head", "crown", point, 85 * slack)]  # fmt: skip
        for other in "lr":
            for point in (wrist, hand, middle):
                tests += [(f"hip_{other}", f"knee_{other}", point, 65.0),
                          (f"knee_{other}", f"ankle_{other}", point, 50.0)]  # fmt: skip
    tests += [("hand_l", "hand_l", "hand_r", 35.0), ("wrist_l", "wrist_l", "wrist_r", 50.0),
              ("knee_l", "knee_l", "knee_r", 80.0), ("knee_l", "ankle_l", "ankle_r", 75.0),
              ("knee_r", "ankle_r", "ankle_l", 75.0)]  # fmt: skip
    return tests


_TESTS = np.array([[_ENTANGLED_POINTS.index(name) for name in names] for *names, _ in _entangled_tests()])
_TEST_MM = np.array([limit_mm for *_, limit_mm in _entangled_tests()])
_CROWN_MM, _HAND_MM = 110.0, 95.0


def entangled_frames(rotations: FloatArray) -> npt.NDArray[np.bool_]:
    """Return (F,) whether a wrist, hand or elbow is inside the trunk, the head or a leg, or hands or knees are inside
    each other; ``rotations`` (F, R, 3, 3)."""
    from kt3d_bench.synth.pose_kernels import too_close

    joints, frames = mean_body().joints(rotations)
    points = np.empty((len(joints), len(_ENTANGLED_POINTS), 3))
    points[:, : len(RIG)] = joints
    head, wrists, elbows = RIG_INDEX["head"], _WRISTS, _ELBOWS
    points[:, len(RIG)] = joints[:, head] + _CROWN_MM * frames[:, head, :, 2]
    points[:, len(RIG) + 1 : len(RIG) + 3] = joints[:, wrists] - _HAND_MM * frames[..., 2][:, wrists]
    points[:, len(RIG) + 3 :] = (joints[:, wrists] + joints[:, elbows]) / 2
    return too_close(points, _TESTS, _TEST_MM)


_WRISTS, _ELBOWS = ([RIG_INDEX[f"{joint}_{side}"] for side in "lr"] for joint in ("wrist", "elbow"))
_WEIGHTS = {"spine_high": 0.30, "spine_low": 0.22, "head": 0.08, "knee_l": 0.13, "knee_r": 0.13, "elbow_l": 0.07,
            "elbow_r": 0.07}  # fmt: skip


def forward_lean_rad(rotations: FloatArray) -> FloatArray:
    """Return (F,) the angle about the ankles by which the centre of mass is ahead of the middle of the feet;
    ``rotations`` (F, R, 3, 3)."""
    points, frames = mean_body().joints(rotations)
    forward = unit_vectors(frames[:, 0, :, 0] * [1, 1, 0])
    mass = np.tensordot(list(_WEIGHTS.values()), points[:, [RIG_INDEX[name] for name in _WEIGHTS]], (0, 1))
    feet = points[:, [RIG_INDEX[f"{joint}_{side}"] for joint in ("ankle", "ball") for side in "lr"]].mean(axis=1)
    arm = mass - feet
    lean: FloatArray = np.arctan2((arm * forward).sum(-1), np.maximum(arm[:, 2], 200.0))
    return lean


_SOLES = (("ankle", (-44.0, 0.0, -72.0)), ("ball", (0.0, 0.0, -25.0)), ("ball", (60.0, 0.0, -20.0)))


@dataclass(frozen=True, eq=False)
class Gait:
    """One cycle, sampled at equal phases. Lengths in leg lengths."""

    advance: FloatArray  # (S + 1,) distance covered since the cycle's start
    lift: FloatArray  # (S + 1,) height of the lowest sole above the floor

    def travel(self, phase: FloatArray) -> FloatArray:
        """Return the distance since phase 0 at (F,) phases, counted in cycles."""
        cycles = np.floor(phase)
        within: FloatArray = np.interp(phase - cycles, np.linspace(0, 1, len(self.advance)), self.advance)
        total: FloatArray = cycles * self.advance[-1] + within
        return total

    def height(self, phase: FloatArray) -> FloatArray:
        """Return the lift at (F,) phases, counted in cycles."""
        lifted: FloatArray = np.interp(phase % 1.0, np.linspace(0, 1, len(self.lift)), self.lift)
        return lifted


def gait_of(rotations: FloatArray, *, period_s: float, speed: float | None = None) -> Gait:
    """Return the gait of one cycle, given as ``rotations`` (S, R, 3, 3) at equal phases.

    ``speed`` (leg lengths per second): a run, which moves forward evenly; ``None``: a walk, moved by the standing foot.
    """
    count = len(rotations)
    body = mean_body()
    points, frames = body.joints(rotations)
    leg = float(body.leg_mm[0])
    lowest, ahead = [], []
    for side in "lr":
        soles = np.stack(
            [
                points[:, RIG_INDEX[f"{joint}_{side}"]] + frames[:, RIG_INDEX[f"{joint}_{side}"]] @ np.array(point)
                for joint, point in _SOLES
            ],
            axis=1,
        )
        lowest.append(soles[..., 2].min(axis=1))
        ahead.append(points[:, RIG_INDEX[f"ankle_{side}"], 0] * 0.5 + points[:, RIG_INDEX[f"ball_{side}"], 0] * 0.5)
    heights, positions = np.array(lowest), np.array(ahead)
    pelvis = -heights.min(axis=0)
    waves = np.fft.rfft(pelvis)
    waves[3:] = 0
    smooth = np.fft.irfft(waves, count)
    if speed is not None:
        smooth += 0.5 * (pelvis - smooth).max()
    lift = np.maximum(0.0, smooth - pelvis) / leg
    if speed is None:
        stands = 1 / (1 + np.exp((heights[0] - heights[1]) / 6.0))
        backward = positions - np.roll(positions, -1, axis=1)
        steps = (stands * backward[0] + (1 - stands) * backward[1]) / leg
        steps = 0.8 * np.maximum(steps, 0) + 0.2 * max(float(steps.mean()), 0.0)
    else:
        steps = np.full(count, speed * period_s / count)
    return Gait(np.concatenate([[0.0], np.cumsum(steps)]), np.append(lift, lift[0]))


ACTIVITIES: tuple[str, ...] = (*TABLE, "random")
_ATTEMPTS = 12
_ENTANGLED_SHARE = 0.1  # A clip is drawn again if limbs are inside the body in more of its frames
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
    return Clip(rotations_from_angles(angles), travel, lift, rate_hz, angles_deg=angles, seated=activity.seated)


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
