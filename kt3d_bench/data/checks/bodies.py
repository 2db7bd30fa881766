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
_HALF = "left and right are exchanged in the legs or in the arms alone"
_LIMB_ENDS = {f"{side}_{end}" for side in ("left", "right") for end in ("knee", "ankle", "elbow", "wrist")}
LIMBS = tuple(number for number, (child, _) in enumerate(BONES) if H36M17.joints[child] in _LIMB_ENDS)
"""Thighs, shanks, upper arms, forearms: rigid, whatever the posture."""
LEG_MM = (500.0, 1150.0)
"""Thigh and shank together: 0.49 of statures from child to giant; outside, a unit is wrong."""
BENT_MM = 60.0
"""A knee this far from the line between hip and ankle is clearly bent."""
FEWEST = 20
"""Bent knees or elbows, or people, below which a share says nothing."""
MOST_WRONG = 60.0
"""Per cent. With exchanged sides nearly all knees bend backward; with straight legs and much noise, half do. Of the
stand-ins' elbows 3 to 22 % point forward, since hands go overhead and behind."""
MOST_OPPOSED = 25.0
"""Per cent. The trunk turns by far less than 90 degrees (White and Panjabi, Clinical biomechanics of the spine, 1990):
hips and shoulders never face opposite ways in space; in 2 % of images, of people seen from the side, they seem to.
With sides exchanged in legs or arms alone, nearly all do."""

ABSURD = Check("absurd bones", "no bone is longer than a metre", "1000 mm", "mm")
SIZE = Check("size", "the median leg (thigh and shank) of a split is a person's", "500 to 1150 mm", "mm")
AXES = Check("hips and shoulders", "left hip and left shoulder are on the same side", "25 % of people", "%")
KNEES = Check("left and right", "knees bend forward, where the hips define the front", "60 % of bent knees", "%")
ELBOWS = Check("elbows", "elbows point backward, where the shoulders define the front", "60 % of bent elbows", "%")
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


def opposed_axes(labels: Labels) -> tuple[int, int]:
    """Return the number of people with both hips and both shoulders, and of how many the two axes point opposite ways:
    in space where 3D joints are there, else in the image."""
    spatial = np.isfinite(labels.joints_cam_mm[:, H36M17.index("left_hip")]).any()
    joints = (labels.joints_cam_mm if spatial else labels.joints_px).astype(np.float64)
    hips, shoulders = (_across(joints, name) for name in ("hip", "shoulder"))
    with np.errstate(invalid="ignore"):
        same = np.sum(hips * shoulders, axis=-1)
    return int(np.isfinite(same).sum()), int((same < 0).sum())


def bent_limbs(labels: Labels, joints: tuple[str, str, str]) -> tuple[int, int]:
    """Return the number of clearly bent limbs, and how many of them bend forward at the middle one of ``joints``:
    ("hip", "knee", "ankle") or ("shoulder", "elbow", "wrist").

    With up = hip to thorax and left = from the right one of the limbs' first joints to the left one, the front is
    left x up. Exchanged sides, a mirrored image or a left-handed frame exchange front and back, whatever the cameras.
    Of arms, only those that hang are judged: the elbow of a raised arm points anywhere. Each pair of limbs has its own
    left, so that exchanged legs are found where the arms are right.
    """
    points = labels.joints_cam_mm.astype(np.float64)

    def at(name: str) -> FloatArray:
        found: FloatArray = points[:, H36M17.index(name)]
        return found

    trunk = at("thorax") - at("hip")
    front = np.cross(_across(points, joints[0]), trunk)
    bent = forward = 0
    with np.errstate(divide="ignore", invalid="ignore"):
        for side in ("left", "right"):
            upper, middle, lower = (at(f"{side}_{name}") for name in joints)
            along = lower - upper
            along = along / np.linalg.norm(along, axis=-1, keepdims=True)
            off = (middle - upper) - along * np.sum((middle - upper) * along, axis=-1, keepdims=True)
            clear = np.linalg.norm(off, axis=-1) > BENT_MM
            if joints[0] == "shoulder":
                clear &= np.sum((middle - upper) * trunk, axis=-1) < 0
            bent += int(clear.sum())
            forward += int((clear & (np.sum(off * front, axis=-1) > 0)).sum())
    return bent, forward


def _across(joints: FloatArray, name: str) -> FloatArray:
    across: FloatArray = joints[:, H36M17.index(f"left_{name}")] - joints[:, H36M17.index(f"right_{name}")]
    return across


def split_facts(labels: Labels) -> list[tuple[Check, float, str]]:
    """Return (check, value, what is wrong or "") for what can only be measured on a whole split."""
    facts: list[tuple[Check, float, str]] = []
    leg = median_leg_mm(labels)
    if not np.isnan(leg):
        wrong = f"the median leg measures {leg:.0f} mm: a unit is wrong" if not LEG_MM[0] < leg < LEG_MM[1] else ""
        facts.append((SIZE, leg, wrong))
    return facts + sides(labels)


def sides(labels: Labels) -> list[tuple[Check, float, str]]:
    """Return what ``split_facts`` does, for left and right alone; nothing where too few are there to tell."""
    knees, forward = bent_limbs(labels, ("hip", "knee", "ankle"))
    elbows, ahead = bent_limbs(labels, ("shoulder", "elbow", "wrist"))
    people, opposed = opposed_axes(labels)
    exchanged = "left and right are exchanged, or an axis is flipped"
    counted = (
        (AXES, people, opposed, MOST_OPPOSED, f"people have hips and shoulders on opposite sides: {_HALF}"),
        (KNEES, knees, knees - forward, MOST_WRONG, f"bent knees bend backward: {exchanged}"),
        (ELBOWS, elbows, ahead, MOST_WRONG, f"bent elbows point forward: {exchanged}"),
    )
    facts = []
    for check, total, wrong, most, sentence in counted:
        if total >= FEWEST:
            share = 100 * wrong / total
            facts.append((check, share, f"{share:.0f} % of {total} {sentence}" if share > most else ""))
    return facts
