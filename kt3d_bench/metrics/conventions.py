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
    def aligned_rooted(self) -> FloatArray:
        """The same of root-relative poses, which a similarity does not notice."""
        pred, true = (align_root(joints, _HIP) for joints in (self.pred_mm, self.true_mm))
        return pa_joint_errors(pred, true, mask=self.mask)

    @cached_property
    def scaled(self) -> FloatArray:
        """(N, 17) distances in mm, both hips at the origin and each prediction scaled."""
        return scaled_joint_errors(self.pred_mm, self.true_mm, root=_HIP, mask=self.mask)

    @cached_property
    def rigid(self) -> tuple[FloatArray, FloatArray]:
        """(N, 17) distances in mm after the best rotation and translation over 18 joints, the last of which is between
        the shoulders: with the hip moved to the origin again, and with the hip where alignment put it."""
        pred, true = (
            np.concatenate([joints, joints[:, _SHOULDERS].mean(axis=1, keepdims=True)], axis=1)
            for joints in (self.pred_mm, self.true_mm)
        )
        mask = np.column_stack([self.mask, self.mask[:, _SHOULDERS].all(axis=1)])
        moved = align_similarity(pred, true, scale=False, mask=mask)
        rerooted, kept = (joint_errors(moved, true, root=root, mask=mask)[:, :-1] for root in (_HIP, None))
        return rerooted, kept


@dataclass(frozen=True)
class Printed:
    """One number as the program prints it."""

    label: str
    unit: str
    value: float
    why: str
    """How it differs from the others of this name."""


@dataclass(frozen=True)
class Convention:
    name: str
    source: str
    """Whose program, and which of its files."""
    why: str
    """One line on what makes its numbers its own."""
    numbers: tuple[tuple[str, str, Callable[[Case], float], str], ...]
    """The fields of each ``Printed``, its value as a function."""


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
    printed = (Printed(label, unit, value(case), why) for label, unit, value, why in CONVENTIONS[name].numbers)
    return tuple(printed), int(usable.sum())


def _pooled(values: FloatArray) -> float:
    return float(values[~np.isnan(values)].mean())


def _framewise(values: FloatArray) -> float:
    """Mean over joints, then over samples."""
    counted = ~np.isnan(values)
    return float((np.where(counted, values, 0.0).sum(axis=1) / counted.sum(axis=1)).mean())


def _action_mean(values: FloatArray, case: Case) -> float:
    return float(np.mean([_pooled(values[case.action == action]) for action in np.unique(case.action)]))


def _known(values: npt.NDArray[Any], of: FloatArray) -> FloatArray:
    """``values`` where ``of`` is labelled, else NaN."""
    return np.where(np.isnan(of), np.nan, values)


_SIMILAR = "rotation, translation and scale, no mirroring"
_ACTIONS = "; mean over frames of an action, then over actions"
CONVENTIONS: Mapping[str, Convention] = {
    one.name: one
    for one in (
        Convention("kt3d", "this harness", "means over joints, then over samples; every variant has its own name", (
            ("MPJPE (root-aligned)", "mm", lambda c: _framewise(c.rooted), "mean over joints, then over samples"),
            ("PA-MPJPE (with scale)", "mm", lambda c: _framewise(c.aligned),
             f"{_SIMILAR}; mean over joints, then over samples"),
            ("PCK@150 (root-aligned)", "%", lambda c: 100 * _framewise(_known(c.rooted <= 150, c.rooted)),
             "distance <= threshold, hip included"),
            ("AUC (root-aligned)", "%",
             lambda c: 100 * _framewise(_known(1 - np.searchsorted(CURVE_MM, c.rooted) / len(CURVE_MM), c.rooted)),
             "mean PCK over 0, 5, ..., 150 mm"),
        )),
        Convention("mmpose", "open-mmlab/mmpose 1.x, keypoint_mpjpe",
                   "pools all visible joints of all frames into one mean, so frames with more joints weigh more; its "
                   "alignment uses invisible joints too, which cannot be repeated without their truth", (
            ("MPJPE", "mm", lambda c: _pooled(c.rooted),
             "root-relative, one mean over all visible joints of all frames"),
            ("P-MPJPE", "mm", lambda c: _pooled(c.aligned), f"{_SIMILAR}; one pooled mean"),
            ("N-MPJPE", "mm", lambda c: _pooled(c.scaled), "root-relative, one scale per pose; one pooled mean"),
        )),
        Convention("videopose3d", "facebookresearch/VideoPose3D, run.py and common/loss.py",
                   "averages over actions, so an action with few frames weighs as much as one with many; it does not "
                   "move the predicted hip to the origin, which here it is", (
            ("Protocol #1 (MPJPE) action-wise average", "mm", lambda c: _action_mean(c.rooted, c),
             f"root-relative{_ACTIONS}"),
            ("Protocol #2 (P-MPJPE) action-wise average", "mm", lambda c: _action_mean(c.aligned, c),
             f"{_SIMILAR}{_ACTIONS}"),
            ("Protocol #3 (N-MPJPE) action-wise average", "mm", lambda c: _action_mean(c.scaled, c),
             f"root-relative, one scale per pose{_ACTIONS}"),
        )),
        Convention("3d-pose-baseline", "una-dinosauria/3d-pose-baseline, src/predict_3dpose.py",
                   "averages over actions; it also drops the frames of an incomplete last batch of 64 per action, "
                   "which a file cannot repeat", (
            ("Average", "mm", lambda c: _action_mean(c.rooted, c),
             "hip moved to the origin; mean over the actions' means"),
            ("Val error avg", "mm", lambda c: _pooled(c.rooted), "the same, one mean over all frames"),
            ("Average --procrustes", "mm", lambda c: _action_mean(c.aligned_rooted, c),
             f"{_SIMILAR}; mean over the actions' means"),
        )),
        Convention("integral", "JimmySuen/integral-human-pose, hm36.py",
                   "aligns without scale and over 18 joints, and moves the hip back afterwards: the largest of the "
                   "numbers called PA-MPJPE; the 18th joint is taken between the shoulders", (
            ("hm36_17j", "mm", lambda c: _pooled(c.rooted),
             "hip moved to the origin, the hip counts as one joint of 17"),
            ("hm36_17j_align", "mm", lambda c: _pooled(c.rigid[0]),
             "rotation and translation without scale, over 18 joints, then the hip is moved to the origin again"),
            ("Protocol #1 error (PA MPJPE)", "mm", lambda c: _pooled(c.rigid[1]),
             "the PyTorch port by mks0601, first version: as above, but the hip stays where alignment put it"),
        )),
        Convention("posepile", "isarandi/PosePile, its Human3.6M eval.py",
                   "pools all joints of all frames; PCK counts distances below the threshold only, and AUC is exact", (
            ("MPJPE", "mm", lambda c: _pooled(c.rooted),
             "hip moved to the origin; one mean over all joints of all frames"),
            ("MPJPE --procrustes", "mm", lambda c: _pooled(c.aligned), _SIMILAR),
            ("absolute MPJPE", "mm", lambda c: _pooled(c.absolute),
             "nothing aligned: means little where the depth was given"),
            *((f"PCK@{mm}", "%", lambda c, mm=mm: 100 * _pooled(_known(c.rooted < mm, c.rooted)),
               "distance < threshold, hip included") for mm in (50, 100, 150)),
            *((f"AUC@{mm}", "%", lambda c, mm=mm: 100 * _pooled(np.maximum(0, 1 - c.rooted / mm)),
               "the exact area under the curve, not a mean over 31 thresholds") for mm in (50, 100, 150)),
        )),
    )
}  # fmt: skip
"""Every convention by name; ``kt3d`` is this harness's own, for comparison."""
