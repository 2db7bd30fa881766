"""The metrics: public functions over poses of any leading shape, and the per-joint arithmetic that boards use too.

``mpjpe``, ``pa_mpjpe``, ``n_mpjpe``, ``pck`` and ``auc`` take (..., J, 3) in mm and return one number per pose, in
float64. Everything else works on N poses of J joints, with masks (N, J), true = counted. The order of averaging is
always: over the counted joints of a pose, then over poses. Undefined is NaN, never 0: a counted joint whose prediction
is not finite makes the error of its pose NaN (and is wrong for PCK), and so does a counted joint whose truth is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kt3d_bench.cores import cores
from kt3d_bench.geometry.alignment import (
    align_root,
    align_similarity,
    check_pair,
    chunk_of,
    chunks,
    plane_lengths,
    planes,
    similarity_distances,
)
from kt3d_bench.skeletons import H36M17, LIMBS

FloatArray = npt.NDArray[np.float64]
PerJoint = Callable[[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any] | None], FloatArray]
"""Poses (N, J, 3) twice and their mask -> (N, J)."""

METRIC_VERSION = 1
"""Raised with every change that can change a number; rows of different versions are never ranked together."""
PCK_THRESHOLD_MM = 100.0
CURVE_MM: tuple[float, ...] = tuple(5.0 * step for step in range(31))
"""Thresholds of the PCK curve, 0, 5, ..., 150 mm, whose mean is the AUC (as in MPI-INF-3DHP's evaluation)."""
_MANY = 65_536
"""Poses from which threads are worth starting: about 50 ms of one core."""


def joint_errors(
    pred_mm: npt.NDArray[Any],
    true_mm: npt.NDArray[Any],
    *,
    root: int | None = None,
    mask: npt.NDArray[Any] | None = None,
) -> FloatArray:
    """(N, J) distances in mm between predicted and true joints; NaN where masked or not finite.

    ``root`` is the joint that both poses are moved to before measuring; ``None`` measures where they are.
    """
    return _in_chunks(pred_mm, true_mm, mask, lambda pred, true, _: _distances(pred, true, root))


def pa_joint_errors(
    pred_mm: npt.NDArray[Any],
    true_mm: npt.NDArray[Any],
    *,
    scale: bool = True,
    reflection: bool = False,
    mask: npt.NDArray[Any] | None = None,
) -> FloatArray:
    """(N, J) distances in mm after each prediction was moved onto its truth; see ``alignment.align_similarity``."""

    def errors(pred: npt.NDArray[Any], true: npt.NDArray[Any], counted: npt.NDArray[Any] | None) -> FloatArray:
        return _finite(similarity_distances(pred, true, counted, scale=scale, reflection=reflection))

    return _in_chunks(pred_mm, true_mm, mask, errors)


def scaled_joint_errors(
    pred_mm: npt.NDArray[Any],
    true_mm: npt.NDArray[Any],
    *,
    root: int,
    mask: npt.NDArray[Any] | None = None,
) -> FloatArray:
    """(N, J) distances in mm after moving joint ``root`` of both poses to the origin and then multiplying each
    prediction by the factor that leaves the least squared error over the counted joints.

    A pose is NaN where that factor is undefined: a counted joint that is not finite, or all of them at the root.
    """

    def errors(pred: npt.NDArray[Any], true: npt.NDArray[Any], counted: npt.NDArray[Any] | None) -> FloatArray:
        with np.errstate(all="ignore"):
            moved, fixed = align_root(pred, root), align_root(true, root)
            weights = np.ones(moved.shape[:2], bool) if counted is None else counted
            used, wanted = np.where(weights[..., None], moved, 0.0), np.where(weights[..., None], fixed, 0.0)
            factor = np.einsum("njk,njk->n", used, wanted) / np.einsum("njk,njk->n", used, used)
            return _distances(moved * factor[:, None, None], fixed, None)

    return _in_chunks(pred_mm, true_mm, mask, errors)


def _in_chunks(
    pred_mm: npt.NDArray[Any], true_mm: npt.NDArray[Any], mask: npt.NDArray[Any] | None, joint_values: PerJoint
) -> FloatArray:
    """(N, J) ``joint_values``, a few thousand poses at a time; NaN where masked."""
    pred, true, counted = check_pair(pred_mm, true_mm, mask)
    errors = np.empty(pred.shape[1::-1]).T

    def work(part: slice) -> None:
        weights = None if counted is None else chunk_of(counted, part)
        found = joint_values(chunk_of(pred, part), chunk_of(true, part), weights)
        errors[part] = found[: len(errors[part])]

    _by_all_cores(work, len(pred))
    if counted is not None:
        errors[~counted] = np.nan
    return errors


def _by_all_cores(work: Callable[[slice], None], count: int) -> None:
    """Do the work on every chunk of ``count`` poses, with all cores where that takes more than a moment."""
    parts = list(chunks(count))
    threads = min(cores(), len(parts))
    if count < _MANY or threads == 1:
        for part in parts:
            work(part)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, parts))


def defined_mean(values: FloatArray) -> float:
    """Return the mean of the finite values; NaN without any."""
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def mean_over_joints(values: FloatArray, mask: npt.NDArray[Any] | None = None) -> FloatArray:
    """(N, J) -> (N,) mean over counted joints; NaN where a counted value is, or where nothing is counted."""
    if mask is None:
        return np.asarray(values.mean(axis=1)) if values.shape[1] else np.full(len(values), np.nan)
    counted = np.asarray(mask, bool)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(counted, values, 0.0).sum(axis=1) / counted.sum(axis=1))


def mpjpe(
    pred_mm: npt.ArrayLike, true_mm: npt.ArrayLike, root: int | None = 0, *, mask: npt.ArrayLike | None = None
) -> FloatArray:
    """Return the mean per joint position error in mm: (..., J, 3) mm twice -> (...).

    The mean Euclidean distance over the counted joints, after moving joint ``root`` of both poses to the origin;
    ``root=None`` compares the poses where they are. The root itself stays in the mean, with distance 0. A pose with a
    counted joint that is not finite is NaN. Ionescu et al., PAMI 2014.

        >>> true = np.zeros((1, 2, 3))
        >>> mpjpe(true + [[[0.0, 0.0, 0.0], [3.0, 4.0, 0.0]]], true)
        array([2.5])
    """
    return _per_pose(pred_mm, true_mm, root, mask, lambda p, t, m: joint_errors(p, t, root=root, mask=m))


def pa_mpjpe(
    pred_mm: npt.ArrayLike,
    true_mm: npt.ArrayLike,
    *,
    scale: bool = True,
    reflection: bool = False,
    mask: npt.ArrayLike | None = None,
) -> FloatArray:
    """Return MPJPE in mm after Procrustes alignment of the prediction to the truth: (..., J, 3) mm twice -> (...).

    The alignment (rotation, translation, with ``scale`` one factor, with ``reflection`` mirroring allowed) minimises
    the *squared* distances over the counted joints; the result is the mean distance. NaN where the alignment is
    undefined (``alignment.align_similarity``), such as for fewer than three counted joints. The default is Protocol #2
    of Martinez et al., ICCV 2017.

        >>> true = np.eye(3)[None] * 100
        >>> bool(pa_mpjpe(7 - 2 * true[:, :, [1, 2, 0]], true, reflection=True) < 1e-9)
        True
    """
    return _per_pose(
        pred_mm, true_mm, None, mask, lambda p, t, m: pa_joint_errors(p, t, scale=scale, reflection=reflection, mask=m)
    )


def n_mpjpe(
    pred_mm: npt.ArrayLike, true_mm: npt.ArrayLike, root: int = 0, *, mask: npt.ArrayLike | None = None
) -> FloatArray:
    """Return the normalised MPJPE in mm: (..., J, 3) mm twice -> (...).

    Both poses are moved to their joint ``root``; each prediction is then scaled by its own best factor, which may be
    negative, as in the public code. NaN where all counted joints are predicted at the root. Rhodin et al., CVPR 2018.

        >>> true = np.array([[[0.0, 0.0, 0.0], [0.0, 300.0, 0.0]]])
        >>> n_mpjpe(true / 2 + 7, true)
        array([0.])
    """
    return _per_pose(pred_mm, true_mm, root, mask, lambda p, t, m: scaled_joint_errors(p, t, root=root, mask=m))


def pck(
    pred_mm: npt.ArrayLike,
    true_mm: npt.ArrayLike,
    root: int | None = 0,
    *,
    threshold_mm: float = PCK_THRESHOLD_MM,
    mask: npt.ArrayLike | None = None,
) -> FloatArray:
    """Return the percentage, 0..100, of counted joints at most ``threshold_mm`` off: (..., J, 3) mm twice -> (...).

    ``root`` as in ``mpjpe``; with it, the root is always correct. A predicted joint that is not finite is wrong, a true
    one makes its pose NaN. The 3D PCK of Mehta et al., 3DV 2017, who use 150 mm.

        >>> true = np.zeros((1, 2, 3))
        >>> pck(true + [[[0.0, 0.0, 100.0], [0.0, 0.0, 100.1]]], true, root=None)
        array([50.])
    """
    return _per_pose(
        pred_mm, true_mm, root, mask, lambda p, t, m: _correct(joint_errors(p, t, root=root), t, root, threshold_mm)
    )


def auc(
    pred_mm: npt.ArrayLike, true_mm: npt.ArrayLike, root: int | None = 0, *, mask: npt.ArrayLike | None = None
) -> FloatArray:
    """Return the area under the PCK curve, 0..100: the mean PCK at ``CURVE_MM``: (..., J, 3) mm twice -> (...).

    ``root`` and what is not finite as in ``pck``. Distances <= threshold count and 0 mm is one of the 31 thresholds, so
    a perfect pose has 100. Mehta et al., 3DV 2017.

        >>> true = np.zeros((1, 1, 3))
        >>> round(float(auc(true + [0.0, 0.0, 75.0], true, root=None)[0]), 3)  # correct at 75, 80, ..., 150: 16 of 31
        51.613
    """
    return _per_pose(pred_mm, true_mm, root, mask, lambda p, t, m: _auc_shares(joint_errors(p, t, root=root), t, root))


def _per_pose(
    pred_mm: npt.ArrayLike,
    true_mm: npt.ArrayLike,
    root: int | None,
    mask: npt.ArrayLike | None,
    joint_values: PerJoint,
) -> FloatArray:
    """Return ``joint_values`` of (N, J, 3) poses and their (N, J) mask, averaged over joints, in the poses' own shape.

    Raises ``ValueError`` for poses and masks whose shapes do not fit, and for a ``root`` that is not a joint.
    """
    pred, true = np.asarray(pred_mm), np.asarray(true_mm)
    if pred.ndim < 2 or pred.shape[-1] != 3 or pred.shape != true.shape:
        raise ValueError(f"expected two arrays of the same shape (..., J, 3), found {pred.shape} and {true.shape}")
    *leading, joints, _ = pred.shape
    if root is not None and not 0 <= root < joints:
        raise ValueError(f"root is {root}, expected a joint from 0 to {joints - 1}, or None")
    counted = None if mask is None else np.asarray(mask)
    if counted is not None and (counted.dtype != np.bool_ or counted.shape != pred.shape[:-1]):
        raise ValueError(f"expected a bool mask of shape {pred.shape[:-1]}, found {counted.dtype} {counted.shape}")
    count = math.prod(leading)
    counted = None if counted is None else counted.reshape(count, joints)
    pred, true = pred.reshape(count, joints, 3), true.reshape(count, joints, 3)
    values = np.empty(count)

    def work(part: slice) -> None:
        mask = None if counted is None else chunk_of(counted, part)
        found = mean_over_joints(joint_values(chunk_of(pred, part), chunk_of(true, part), mask), mask)
        values[part] = found[: len(values[part])]

    _by_all_cores(work, count)
    found: FloatArray = values.reshape(leading)[()]
    return found


def pck_curve(
    pred_mm: npt.NDArray[Any],
    true_mm: npt.NDArray[Any],
    *,
    root: int | None = None,
    mask: npt.NDArray[Any] | None = None,
) -> FloatArray:
    """(31,) PCK at ``CURVE_MM``, averaged over the samples where it is defined; NaN where it is nowhere.

    >>> pck_curve(np.zeros((1, 2, 3)), np.array([[[0.0, 0.0, 0.0], [0.0, 0.0, 7.0]]]))[:3]
    array([ 50.,  50., 100.])
    """
    pred, true, counted = check_pair(pred_mm, true_mm, mask)
    weights = np.ones(pred.shape[:2], bool) if counted is None else counted
    errors = joint_errors(pred, true, root=root, mask=counted)
    defined = weights.any(axis=1) & (_known(true, root) | ~weights).all(axis=1)
    if not defined.any():
        return np.full(len(CURVE_MM), np.nan)
    joints = weights.sum(axis=1, keepdims=True)
    share = np.broadcast_to(100.0 / np.maximum(joints, 1) / defined.sum(), errors.shape)[defined]
    first = np.searchsorted(CURVE_MM, errors[defined])
    at_each = np.bincount(first.ravel(), weights=share.ravel(), minlength=len(CURVE_MM) + 1)
    return np.cumsum(at_each[: len(CURVE_MM)])


@dataclass(frozen=True)
class JointInput:
    """What a metric's function is given: poses (N, J, 3) mm and a mask (N, J), true = counted."""

    pred_mm: npt.NDArray[Any]
    true_mm: npt.NDArray[Any]
    mask: npt.NDArray[np.bool_]
    root: int | None
    """The benchmark's alignment joint, or ``None`` where it measures absolute positions."""
    original: npt.NDArray[np.bool_] | None = None
    """(N, J) true = labelled joint of the dataset's own set; ``None`` = the same as ``mask``."""

    @property
    def original_mask(self) -> npt.NDArray[np.bool_]:
        return self.mask if self.original is None else self.original


@dataclass(frozen=True)
class Metric:
    """One metric: what its number means, and the function that gives it per sample and joint."""

    name: str
    """As in entries and benchmark files, with the unit."""
    title: str
    """As on a board."""
    unit: str
    better: Literal["lower", "higher"]
    alignment: Literal["benchmark", "none", "root", "body", "scale", "similarity", "rigid", "mirror"]
    """What is aligned away first: whatever the benchmark says, nothing, joint 0 always, the middle of spine and thorax,
    joint 0 and scale, rotation + translation + scale, rotation + translation, or similarity with mirroring allowed."""
    joint_values: Callable[[JointInput], FloatArray]
    """(N, J) values whose mean over counted joints and then over samples is the metric."""
    min_joints: int
    """A sample with fewer counted joints is undefined."""
    about: str
    paper: str
    joints: Literal["benchmark", "original", "limbs"] = "benchmark"
    """Which joints it counts: the benchmark's, those of the dataset's own set, or the benchmark's among ``LIMBS``."""

    def mask(self, given: JointInput) -> npt.NDArray[np.bool_]:
        """(N, J) true = this metric counts the joint."""
        if self.joints == "limbs":
            return given.mask & np.isin(np.arange(given.mask.shape[1]), LIMBS)
        return given.mask if self.joints == "benchmark" else given.original_mask


def _pck_values(given: JointInput, root: int | None, threshold_mm: float = PCK_THRESHOLD_MM) -> FloatArray:
    errors = joint_errors(given.pred_mm, given.true_mm, root=root)
    return np.where(given.mask, _correct(errors, given.true_mm, root, threshold_mm), np.nan)


def _auc_values(given: JointInput, root: int | None) -> FloatArray:
    errors = joint_errors(given.pred_mm, given.true_mm, root=root)
    return np.where(given.mask, _auc_shares(errors, given.true_mm, root), np.nan)


def _map_values(given: JointInput) -> FloatArray:
    errors = joint_errors(given.pred_mm, given.true_mm)
    correct = _correct(errors, given.true_mm, None, PCK_THRESHOLD_MM)
    return np.where(given.original_mask, correct, np.nan)


def _pa_values(given: JointInput, scale: bool, reflection: bool) -> FloatArray:
    return pa_joint_errors(given.pred_mm, given.true_mm, scale=scale, reflection=reflection, mask=given.mask)


def _limb_values(given: JointInput) -> FloatArray:
    return pa_joint_errors(given.pred_mm, given.true_mm, mask=METRICS["pa_limbs12_mm"].mask(given))


def _body_values(given: JointInput) -> FloatArray:
    pred, true = (
        np.asarray(pose, np.float64) - pose[:, list(_TRUNK)].mean(axis=1, keepdims=True, dtype=np.float64)
        for pose in (given.pred_mm, given.true_mm)
    )
    return joint_errors(pred, true, mask=given.mask)


def _rerooted_values(given: JointInput) -> FloatArray:
    aligned = align_similarity(given.pred_mm, given.true_mm, scale=False, mask=given.mask)
    return joint_errors(aligned, given.true_mm, root=_HIP, mask=given.mask)


_HIP = H36M17.root
_TRUNK = (H36M17.index("spine"), H36M17.index("thorax"))
_IONESCU = "Ionescu et al., Human3.6M, PAMI 2014"
_MARTINEZ = "Martinez et al., A simple yet effective baseline for 3d human pose estimation, ICCV 2017"
_HAQUE = "Haque et al., Towards viewpoint invariant 3D human pose estimation, ECCV 2016"
_RHODIN = "Rhodin et al., Learning monocular 3D human pose estimation from multi-view images, CVPR 2018"
_MARIN = "Marin-Jimenez et al., 3D human pose estimation from depth maps, arXiv:1807.05389, 2018"
_MEHTA = "Mehta et al., Monocular 3D human pose estimation in the wild, 3DV 2017"


class KnownMetrics(Mapping[str, Metric]):
    """The metrics of this file by name, and after them those that plugins offer."""

    def __init__(self, own: Mapping[str, Metric]) -> None:
        self.own = own
        self.offered: Callable[[], Mapping[str, Metric]] = dict
        """Returns those of plugins; asked only where a name is not one of ``own``, or for all."""

    def __getitem__(self, name: str) -> Metric:
        return self.own[name] if name in self.own else self.offered()[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self.own, **self.offered()})

    def __len__(self) -> int:
        return len({**self.own, **self.offered()})


METRICS = KnownMetrics({
    metric.name: metric
    for metric in (
        Metric("mpjpe_mm", "MPJPE", "mm", "lower", "benchmark",
               lambda g: joint_errors(g.pred_mm, g.true_mm, root=g.root, mask=g.mask), 1,
               "mean joint distance", _IONESCU),
        Metric("mpjpe_root_mm", "MPJPE (root-aligned)", "mm", "lower", "root",
               lambda g: joint_errors(g.pred_mm, g.true_mm, root=_HIP, mask=g.mask), 1,
               "mean joint distance after both hips (joint 0) were moved to the origin", _IONESCU),
        Metric("mpjpe_body_mm", "MPJPE (body-centred)", "mm", "lower", "body", _body_values, 1,
               "mean joint distance after the middle of spine and thorax of both was moved to the origin", _MARIN),
        Metric("n_mpjpe_mm", "N-MPJPE", "mm", "lower", "scale",
               lambda g: scaled_joint_errors(g.pred_mm, g.true_mm, root=_HIP, mask=g.mask), 2,
               "mean joint distance after both hips (joint 0) were moved to the origin and the prediction scaled",
               _RHODIN),
        Metric("pa_mpjpe_mm", "PA-MPJPE (with scale)", "mm", "lower", "similarity",
               lambda g: _pa_values(g, True, False), 3,
               "mean joint distance after the best rotation, translation and scale, no mirroring", _MARTINEZ),
        Metric("pa_mpjpe_rigid_mm", "PA-MPJPE (rigid)", "mm", "lower", "rigid",
               lambda g: _pa_values(g, False, False), 3,
               "mean joint distance after the best rotation and translation, no scale, no mirroring", _MARTINEZ),
        Metric("pa_mpjpe_mirror_mm", "PA-MPJPE (mirroring)", "mm", "lower", "mirror",
               lambda g: _pa_values(g, True, True), 3,
               "as PA-MPJPE, but mirroring the prediction is allowed", _MARTINEZ),
        Metric("pa_mpjpe_rerooted_mm", "PA-MPJPE (rigid, re-rooted)", "mm", "lower", "rigid",
               _rerooted_values, 3,
               "as rigid PA-MPJPE, with both hips (joint 0) moved to the origin afterwards", _MARTINEZ),
        Metric("pa_limbs12_mm", "PA-MPJPE (12 limb joints)", "mm", "lower", "similarity",
               _limb_values, 3,
               "PA-MPJPE over shoulders, elbows, wrists, hips, knees and ankles alone, which most skeletons share",
               _MARTINEZ, "limbs"),
        Metric("pck_100", "PCK@100", "%", "higher", "benchmark",
               lambda g: _pck_values(g, g.root), 1,
               "share of joints at most 100 mm off", _MEHTA),
        Metric("pck_root_100", "PCK@100 (root-aligned)", "%", "higher", "root",
               lambda g: _pck_values(g, _HIP), 1,
               "share of joints at most 100 mm off after both hips were moved to the origin", _MEHTA),
        Metric("pck_150", "PCK@150", "%", "higher", "benchmark",
               lambda g: _pck_values(g, g.root, 150.0), 1,
               "share of joints at most 150 mm off", _MEHTA),
        Metric("pck_root_150", "PCK@150 (root-aligned)", "%", "higher", "root",
               lambda g: _pck_values(g, _HIP, 150.0), 1,
               "share of joints at most 150 mm off after both hips were moved to the origin", _MEHTA),
        Metric("auc_150", "AUC", "%", "higher", "benchmark",
               lambda g: _auc_values(g, g.root), 1,
               "mean PCK over the thresholds 0, 5, ..., 150 mm", _MEHTA),
        Metric("auc_root_150", "AUC (root-aligned)", "%", "higher", "root",
               lambda g: _auc_values(g, _HIP), 1,
               "mean PCK over the thresholds 0, 5, ..., 150 mm after both hips were moved to the origin", _MEHTA),
        Metric("map_100", "mAP@10cm", "%", "higher", "none",
               _map_values, 1,
               "share of the dataset's own joints at most 100 mm off, absolute", _HAQUE, "original"),
    )
})  # fmt: skip
"""Every metric by name."""


def _correct(errors_mm: FloatArray, true_mm: npt.NDArray[Any], root: int | None, threshold_mm: float) -> FloatArray:
    """(N, J) distances -> 100 where at most ``threshold_mm``, else 0; NaN where the truth (or its root) is."""
    with np.errstate(invalid="ignore"):
        correct = np.multiply(errors_mm <= threshold_mm, 100.0, dtype=np.float64)
    unknown = np.isnan(errors_mm) & ~_known(true_mm, root) if np.isnan(errors_mm).any() else None
    if unknown is not None:
        correct[unknown] = np.nan
    return correct


def _auc_shares(errors_mm: FloatArray, true_mm: npt.NDArray[Any], root: int | None) -> FloatArray:
    """(N, J) distances -> 0..100, the share of the curve's thresholds that each is within; NaN where the truth is."""
    shares = (len(CURVE_MM) - np.searchsorted(CURVE_MM, errors_mm)) / len(CURVE_MM) * 100.0
    missing = np.isnan(errors_mm)
    if missing.any():
        shares[missing] = np.where(_known(true_mm, root)[missing], 0.0, np.nan)
    return shares


def _known(true_mm: npt.NDArray[Any], root: int | None) -> npt.NDArray[np.bool_]:
    known: npt.NDArray[np.bool_] = np.isfinite(true_mm).all(axis=-1)
    return known if root is None else known & known[:, root : root + 1]


def _distances(pred: npt.NDArray[Any], true: npt.NDArray[Any], root: int | None) -> FloatArray:
    with np.errstate(invalid="ignore", over="ignore"):
        offset = planes(np.asarray(pred, np.float64) - np.asarray(true, np.float64))
        if root is not None:
            offset -= offset[:, root : root + 1].copy()
        return _finite(plane_lengths(offset).T)


def _finite(distance: FloatArray) -> FloatArray:
    """Make what is not finite NaN, in place."""
    np.copyto(distance, np.nan, where=~np.isfinite(distance))
    return distance
