"""Checks of bodies: human bone lengths, and left and right not exchanged.

Limits on bones come from body proportions: segment lengths as fractions of stature (Drillis and Contini, Body segment
parameters, 1966; reprinted in Winter, Biomechanics and Motor Control of Human Movement), for statures of 1450 to 2050
mm, widened by 35 % since every dataset defines joint centres differently. Values outside are notes, not errors: valid
frames of real recordings contain forearms of 70 to 650 mm. Shapes: N samples, J joints (17), K bones.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from kt3d_bench.data.checks.findings import Check, Measured, measured, ranged
from kt3d_bench.data.checks.labels import largest
from kt3d_bench.data.index import Labels
from kt3d_bench.skeletons import H36M17

FloatArray = npt.NDArray[np.float64]

STATURES_MM = (1450.0, 2050.0)
WIDENED = 1.35
_FRACTIONS: Mapping[str, float] = {
    "right_hip": 0.06, "left_hip": 0.06, "right_knee": 0.245, "left_knee": 0.245,
    "right_ankle": 0.246, "left_ankle": 0.246, "spine": 0.15, "thorax": 0.15, "left_shoulder": 0.1,
    "right_shoulder": 0.1, "left_elbow": 0.186, "right_elbow": 0.186, "left_wrist": 0.146, "right_wrist": 0.146,
}  # fmt: skip
"""Child joint of a bone -> its length over stature. Neck and head are left out: datasets put them anywhere between jaw
and crown."""
BONES = tuple((child, parent) for child, parent in H36M17.bones if H36M17.joints[child] in _FRACTIONS)
"""The K measured bones, (child, parent)."""
LIMITS_MM: FloatArray = np.array(
    [
        (STATURES_MM[0] * _FRACTIONS[H36M17.joints[child]] / WIDENED,
         STATURES_MM[1] * _FRACTIONS[H36M17.joints[child]] * WIDENED)
        for child, _ in BONES
    ]
)  # fmt: skip
"""(K, 2) shortest and longest plausible length."""
ABSURD_MM = 1000.0
"""No bone of any person is that long."""
_LIMB_ENDS = {f"{side}_{end}" for side in ("left", "right") for end in ("knee", "ankle", "elbow", "wrist")}
LIMBS = tuple(number for number, (child, _) in enumerate(BONES) if H36M17.joints[child] in _LIMB_ENDS)
"""Thighs, shanks, upper arms, forearms: rigid, whatever the posture."""
LEG_MM = (500.0, 1150.0)
"""Thigh and shank together: 0.49 of statures from child to giant; outside, a unit is wrong."""
BENT_MM = 60.0
"""A knee this far from the line between hip and ankle is clearly bent."""
FEWEST_KNEES = 20
MOST_BACKWARD = 60.0
"""Per cent. With exchanged sides nearly all knees bend backward; with straight legs and much noise, half do."""

ABSURD = Check("absurd bones", "no bone is longer than a metre", "1000 mm", "mm")
SIZE = Check("size", "the median leg (thigh and shank) of a split is a person's", "500 to 1150 mm", "mm")
KNEES = Check("left and right", "knees bend forward, where left and right define the front", "60 % of bent knees", "%")
BONE = Check("bones", "bone lengths are those of people", "1.35 x the proportions of 1450 to 2050 mm", "mm", "note")
STEADY = Check(
    "steady bones", "limbs keep their length within a subject's sequence", "25 % off its median", "%", "note"
)
SYMMETRY = Check("symmetry", "left and right limbs are equally long", "25 %", "%", "note")


def body_checks(labels: Labels) -> list[Measured]:
    """Run every per-sample check of this module."""
    lengths = bone_lengths_mm(labels)
    return [absurd(lengths), bones(lengths), steady(labels, lengths), symmetry(lengths)]


def bone_lengths_mm(labels: Labels) -> FloatArray:
    """Return the (N, K) lengths of ``BONES``; NaN where an end is missing."""
    joints = labels.joints_cam_mm.astype(np.float64)
    children, parents = (np.array(ends) for ends in zip(*BONES, strict=True))
    lengths: FloatArray = np.linalg.norm(joints[:, children] - joints[:, parents], axis=-1)
    return lengths


def bone_name(number: int) -> str:
    """Return the name of a bone by its place in ``BONES``: "left_hip to left_knee"."""
    child, parent = BONES[number]
    return f"{H36M17.joints[parent]} to {H36M17.joints[child]}"


def absurd(lengths_mm: FloatArray) -> Measured:
    """Measure the longest bone."""
    worst, bone = largest(lengths_mm)
    return measured(ABSURD, worst, ABSURD_MM, lambda i: f"{bone_name(bone[i])} measures {worst[i]:.0f} mm")


def bones(lengths_mm: FloatArray) -> Measured:
    """Measure the bone furthest outside ``LIMITS_MM``."""
    low, high = LIMITS_MM.T
    with np.errstate(divide="ignore"):
        excess, bone = largest(np.maximum(lengths_mm / high, low / lengths_mm))
    length = np.take_along_axis(lengths_mm, bone[:, None], axis=1)[:, 0]
    return ranged(
        BONE,
        length,
        excess,
        lambda i: (
            f"{bone_name(bone[i])} measures {length[i]:.0f} mm, in people {low[bone[i]]:.0f} to {high[bone[i]]:.0f} mm"
        ),
    )


def steady(labels: Labels, lengths_mm: FloatArray) -> Measured:
    """Measure the largest deviation (%) of a limb from its median in the same subject's sequence."""
    limbs = lengths_mm[:, LIMBS]
    names = np.char.add(np.char.add(labels.subject, "\n"), labels.sequence)
    _, group = np.unique(names, return_inverse=True)
    median = np.full_like(limbs, np.nan)
    order = np.argsort(group, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        if len(members) > 1:
            median[members] = _median(limbs[members])
    with np.errstate(divide="ignore", invalid="ignore"):
        off, limb = largest(100 * (np.maximum(limbs / median, median / limbs) - 1))
    return measured(
        STEADY,
        off,
        25.0,
        lambda i: (
            f"{bone_name(LIMBS[limb[i]])} measures {limbs[i, limb[i]]:.0f} mm, in the median of its sequence "
            f"{median[i, limb[i]]:.0f} mm"
        ),
    )


def _median(values: FloatArray) -> FloatArray:
    known = ~np.isnan(values).all(axis=0)
    found = np.full(values.shape[1], np.nan)
    found[known] = np.nanmedian(values[:, known], axis=0)
    return found


_CHILDREN = [child for child, _ in BONES]
_PAIRS = tuple(
    (_CHILDREN.index(right), _CHILDREN.index(left))
    for right, left in H36M17.mirror_pairs
    if right in _CHILDREN and _CHILDREN.index(right) in LIMBS
)


def symmetry(lengths_mm: FloatArray) -> Measured:
    """Measure the largest difference (%) between a left limb and the right one."""
    right, left = (np.array(side) for side in zip(*_PAIRS, strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = lengths_mm[:, left] / lengths_mm[:, right]
        off, pair = largest(100 * (np.maximum(ratio, 1 / ratio) - 1))
    return measured(
        SYMMETRY,
        off,
        25.0,
        lambda i: (
            f"{bone_name(left[pair[i]])} measures {lengths_mm[i, left[pair[i]]]:.0f} mm, on the right "
            f"{lengths_mm[i, right[pair[i]]]:.0f} mm"
        ),
    )


def median_leg_mm(labels: Labels) -> float:
    """Return the median over samples of thigh plus shank, both legs; NaN without 3D legs."""
    thighs, shanks = (
        [_CHILDREN.index(H36M17.index(f"{side}_{end}")) for side in ("left", "right")] for end in ("knee", "ankle")
    )
    lengths = bone_lengths_mm(labels)
    both = lengths[:, thighs] + lengths[:, shanks]
    return float(np.nanmedian(both)) if np.isfinite(both).any() else float("nan")


def backward_knees(labels: Labels) -> tuple[int, int]:
    """Return the number of clearly bent knees, and how many of them bend backward.

    With up = hip to thorax and left = right hip and shoulder to the left ones, the front is left x up; a bent knee lies
    in front of the line from hip to ankle. Exchanged sides, a mirrored image or a left-handed frame exchange front and
    back, whatever the cameras, so that most knees seem to bend backward.
    """
    joints = labels.joints_cam_mm.astype(np.float64)

    def at(name: str) -> FloatArray:
        found: FloatArray = joints[:, H36M17.index(name)]
        return found

    left = at("left_hip") - at("right_hip") + at("left_shoulder") - at("right_shoulder")
    front = np.cross(left, at("thorax") - at("hip"))
    bent = backward = 0
    with np.errstate(divide="ignore", invalid="ignore"):
        for side in ("left", "right"):
            hip, knee, ankle = (at(f"{side}_{name}") for name in ("hip", "knee", "ankle"))
            along = ankle - hip
            along = along / np.linalg.norm(along, axis=-1, keepdims=True)
            off = (knee - hip) - along * np.sum((knee - hip) * along, axis=-1, keepdims=True)
            clear = np.linalg.norm(off, axis=-1) > BENT_MM
            bent += int(clear.sum())
            backward += int((clear & (np.sum(off * front, axis=-1) < 0)).sum())
    return bent, backward


def split_facts(labels: Labels) -> list[tuple[Check, float, str]]:
    """Return (check, value, what is wrong or "") for what can only be measured on a whole split."""
    facts: list[tuple[Check, float, str]] = []
    leg = median_leg_mm(labels)
    if not np.isnan(leg):
        wrong = f"the median leg measures {leg:.0f} mm: a unit is wrong" if not LEG_MM[0] < leg < LEG_MM[1] else ""
        facts.append((SIZE, leg, wrong))
    bent, backward = backward_knees(labels)
    if bent >= FEWEST_KNEES:
        share = 100 * backward / bent
        wrong = f"{share:.0f} % of {bent} bent knees bend backward: left and right are exchanged, or an axis is flipped"
        facts.append((KNEES, share, wrong if share > MOST_BACKWARD else ""))
    return facts
