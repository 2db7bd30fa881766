"""Compute what public code bases would print for the same predictions, and say why the numbers differ.

Written from reading their evaluation code, not from their papers; none of it is imported or copied. Shapes: N samples,
17 joints in the common order, mm. Each takes all joints that the truth has (no benchmark's choice of joints, no
quality). ``why`` names what cannot be repeated from a prediction file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import UsageError, did_you_mean
from kt3d_bench.geometry.alignment import align_root, align_similarity
from kt3d_bench.metrics.functional import CURVE_MM, joint_errors, pa_joint_errors, scaled_joint_errors
from kt3d_bench.skeletons import H36M17

FloatArray = npt.NDArray[np.float64]

_HIP = H36M17.root
_SHOULDERS = (H36M17.index("left_shoulder"), H36M17.index("right_shoulder"))


@dataclass(frozen=True)
class Case:
    """Answered samples only: these programs know no sample without an answer."""

    pred_mm: npt.NDArray[Any]
    """(N, 17, 3) finite."""
    true_mm: npt.NDArray[Any]
    """(N, 17, 3); NaN = not labelled."""
    mask: npt.NDArray[np.bool_]
    """(N, 17) true = labelled."""
    action: npt.NDArray[np.str_]
    """(N,) "" = none."""

    @cached_property
    def absolute(self) -> FloatArray:
        """(N, 17) distances in mm, nothing aligned; NaN = not labelled, here and below."""
        return joint_errors(self.pred_mm, self.true_mm, mask=self.mask)

    @cached_property
    def rooted(self) -> FloatArray:
        """(N, 17) distances in mm, both hips at the origin."""
        return joint_errors(self.pred_mm, self.true_mm, root=_HIP, mask=self.mask)

    @cached_property
    def aligned(self) -> FloatArray:
        """(N, 17) distances in mm after the best rotation, translation and scale, without mirroring."""
        return pa_joint_errors(self.pred_mm, self.true_mm, mask=self.mask)

    @cached_property
    def scaled(self) -> FloatArray:
        """(N, 17) distances in mm, both hips at the origin and each prediction scaled."""
        return scaled_joint_errors(self.pred_mm, self.true_mm, root=_HIP, mask=self.mask)


@dataclass(frozen=True)
class Printed:
    """One number as the program prints it."""

    label: str
    value: float
    unit: str
    why: str
    """How it differs from the others of this name."""


@dataclass(frozen=True)
class Convention:
    name: str
    source: str
    """Whose program, and which of its files."""
    why: str
    """One line on what makes its numbers its own."""
    printed: Callable[[Case], tuple[Printed, ...]]


def as_printed(
    name: str, pred_mm: npt.NDArray[Any], true_mm: npt.NDArray[Any], action: npt.NDArray[np.str_]
) -> tuple[tuple[Printed, ...], int]:
    """Return what a program prints for (N, 17, 3) predictions and truth, mm, camera frame, and for how many samples.

    Left out are samples without a finite answer for every labelled joint, without a labelled hip, or without a defined
    alignment. Raises ``UsageError`` for an unknown name, and where no sample remains.
    """
    if name not in CONVENTIONS:
        raise UsageError(f"there is no convention '{name}'", hint=did_you_mean(name, CONVENTIONS))
    mask = np.isfinite(true_mm).all(axis=-1)
    answered = np.isfinite(pred_mm).all(axis=-1)
    usable = (answered | ~mask).all(axis=1) & (mask & answered)[:, _HIP]
    usable &= np.isfinite(pa_joint_errors(pred_mm, true_mm, mask=mask)).any(axis=1)
    if not usable.any():
        raise UsageError("no sample is both answered and labelled, so there is nothing to print")
    pred, true = (np.asarray(poses, np.float64)[usable] for poses in (pred_mm, true_mm))
    case = Case(pred, true, mask[usable], action[usable])
    return CONVENTIONS[name].printed(case), int(usable.sum())


def _mmpose(case: Case) -> tuple[Printed, ...]:
    return (
        Printed("MPJPE", _pooled(case.rooted), "mm", "root-relative, one mean over all visible joints of all frames"),
        Printed(
            "P-MPJPE", _pooled(case.aligned), "mm", "rotation, translation and scale, no mirroring; one pooled mean"
        ),
        Printed("N-MPJPE", _pooled(case.scaled), "mm", "root-relative, one scale per pose; one pooled mean"),
    )


def _videopose3d(case: Case) -> tuple[Printed, ...]:
    return tuple(
        Printed(f"Protocol #{number} ({name}) action-wise average", _action_mean(values, case), "mm",
                f"{how}; mean over frames of an action, then over actions")
        for number, name, values, how in (
            (1, "MPJPE", case.rooted, "root-relative"),
            (2, "P-MPJPE", case.aligned, "rotation, translation and scale, no mirroring"),
            (3, "N-MPJPE", case.scaled, "root-relative, one scale per pose"),
        )
    )  # fmt: skip


def _baseline(case: Case) -> tuple[Printed, ...]:
    aligned = pa_joint_errors(
        align_root(case.pred_mm, _HIP), align_root(case.true_mm, _HIP), mask=case.mask
    )  # its poses are root-relative, which a similarity does not notice
    return (
        Printed("Average", _action_mean(case.rooted, case), "mm",
                "hip moved to the origin; mean over the actions' means"),
        Printed("Val error avg", _pooled(case.rooted), "mm", "the same, one mean over all frames"),
        Printed("Average --procrustes", _action_mean(aligned, case), "mm",
                "rotation, translation and scale, no mirroring; mean over the actions' means"),
    )  # fmt: skip


def _integral_pose(case: Case) -> tuple[Printed, ...]:
    # the program aligns 18 joints, the last of which is the point between the shoulders
    pred, true = _with_thorax(case.pred_mm), _with_thorax(case.true_mm)
    mask = np.column_stack([case.mask, case.mask[:, _SHOULDERS].all(axis=1)])
    aligned = align_similarity(pred, true, scale=False, mask=mask)
    rerooted = joint_errors(aligned, true, root=_HIP, mask=mask)[:, :-1]
    kept = joint_errors(aligned, true, mask=mask)[:, :-1]
    return (
        Printed("hm36_17j", _pooled(case.rooted), "mm", "hip moved to the origin, the hip counts as one joint of 17"),
        Printed("hm36_17j_align", _pooled(rerooted), "mm",
                "rotation and translation without scale, over 18 joints, then the hip is moved to the origin again"),
        Printed("Protocol #1 error (PA MPJPE)", _pooled(kept), "mm",
                "the PyTorch port by mks0601, first version: as above, but the hip stays where alignment put it"),
    )  # fmt: skip


def _posepile(case: Case) -> tuple[Printed, ...]:
    rooted, aligned, absolute = case.rooted, case.aligned, case.absolute
    lines = [
        Printed("MPJPE", _pooled(rooted), "mm", "hip moved to the origin; one mean over all joints of all frames"),
        Printed("MPJPE --procrustes", _pooled(aligned), "mm", "rotation, translation and scale, no mirroring"),
        Printed("absolute MPJPE", _pooled(absolute), "mm", "nothing aligned: means little where the depth was given"),
    ]
    for threshold in (50, 100, 150):
        below = np.where(np.isnan(rooted), np.nan, rooted < threshold)
        lines.append(Printed(f"PCK@{threshold}", 100 * _pooled(below), "%", "distance < threshold, hip included"))
    for threshold in (50, 100, 150):
        lines.append(Printed(f"AUC@{threshold}", 100 * _pooled(np.maximum(0, 1 - rooted / threshold)), "%",
                             "the exact area under the curve, not a mean over 31 thresholds"))  # fmt: skip
    return tuple(lines)


def _kt3d(case: Case) -> tuple[Printed, ...]:
    rooted, aligned = case.rooted, case.aligned
    area = np.where(np.isnan(rooted), np.nan, 1 - np.searchsorted(CURVE_MM, rooted) / len(CURVE_MM))
    return (
        Printed("MPJPE (root-aligned)", _framewise(rooted), "mm", "mean over joints, then over samples"),
        Printed("PA-MPJPE (with scale)", _framewise(aligned), "mm",
                "rotation, translation and scale, no mirroring; mean over joints, then over samples"),
        Printed("PCK@150 (root-aligned)", 100 * _framewise(np.where(np.isnan(rooted), np.nan, rooted <= 150)), "%",
                "distance <= threshold, hip included"),
        Printed("AUC (root-aligned)", 100 * _framewise(area), "%", "mean PCK over 0, 5, ..., 150 mm"),
    )  # fmt: skip


CONVENTIONS: Mapping[str, Convention] = {
    one.name: one
    for one in (
        Convention("kt3d", "this harness",
                   "means over joints, then over samples; every variant has its own name", _kt3d),
        Convention("mmpose", "open-mmlab/mmpose 1.x, keypoint_mpjpe",
                   "pools all visible joints of all frames into one mean, so frames with more joints weigh more; its "
                   "alignment uses invisible joints too, which cannot be repeated without their truth",
                   _mmpose),
        Convention("videopose3d", "facebookresearch/VideoPose3D, run.py and common/loss.py",
                   "averages over actions, so an action with few frames weighs as much as one with many; it does not "
                   "move the predicted hip to the origin, which here it is", _videopose3d),
        Convention("3d-pose-baseline", "una-dinosauria/3d-pose-baseline, src/predict_3dpose.py",
                   "averages over actions; it also drops the frames of an incomplete last batch of 64 per action, "
                   "which a file cannot repeat", _baseline),
        Convention("integral", "JimmySuen/integral-human-pose, hm36.py",
                   "aligns without scale and over 18 joints, and moves the hip back afterwards: the largest of the "
                   "numbers called PA-MPJPE; the 18th joint is taken between the shoulders", _integral_pose),
        Convention("posepile", "isarandi/PosePile, its Human3.6M eval.py",
                   "pools all joints of all frames; PCK counts distances below the threshold only, and AUC is exact",
                   _posepile),
    )
}  # fmt: skip
"""Every convention by name; ``kt3d`` is this harness's own, for comparison."""


def _pooled(values: FloatArray) -> float:
    return float(values[~np.isnan(values)].mean())


def _framewise(values: FloatArray) -> float:
    """Mean over joints, then over samples."""
    counted = ~np.isnan(values)
    return float((np.where(counted, values, 0.0).sum(axis=1) / counted.sum(axis=1)).mean())


def _action_mean(values: FloatArray, case: Case) -> float:
    return float(np.mean([_pooled(values[case.action == action]) for action in np.unique(case.action)]))


def _with_thorax(joints: FloatArray) -> FloatArray:
    return np.concatenate([joints, joints[:, _SHOULDERS].mean(axis=1, keepdims=True)], axis=1)
