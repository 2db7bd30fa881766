"""Moving one pose onto another: by the root joint, or by the best rotation, translation and scale (Procrustes).

The similarity is the least-squares one of Umeyama (PAMI 1991): with centred poses P (source) and T (target) and
H = P^T T = U S V^T, the row-vector rotation is U D V^T, D = diag(1, 1, det(U V^T)) where reflections are forbidden and
the identity where they are allowed, and the scale is trace(S D) / |P|^2. Shapes: N poses, J joints; mm; float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

MIN_JOINTS = 3
"""Fewer counted joints leave the rotation undefined whatever their positions."""
_CHUNK = 2048
"""Poses: an array of 17 joints takes 0.8 MB. More leave the cache, fewer pay more for each of NumPy's hundred calls."""
_BLOCK = 512
"""Poses whose axes are exchanged at once: what is read and written stays in the cache next to the core."""


def align_root(points_mm: npt.NDArray[Any], root: int) -> FloatArray:
    """(N, J, 3) -> (N, J, 3) relative to joint ``root``; a pose whose root is NaN becomes NaN."""
    points = np.asarray(points_mm, np.float64)
    return points - points[:, root : root + 1]


def align_similarity(
    source_mm: npt.NDArray[Any],
    target_mm: npt.NDArray[Any],
    *,
    scale: bool = True,
    reflection: bool = False,
    mask: npt.NDArray[Any] | None = None,
) -> FloatArray:
    """``source_mm`` (N, J, 3) moved onto ``target_mm`` (N, J, 3) by each pose's own best similarity.

    "Best" is least squares over the joints that ``mask`` (N, J) counts (true; default all); masked joints take no part
    and are moved along. ``scale=False`` leaves the size alone (rigid), ``reflection=True`` admits mirroring. A pose is
    NaN throughout where the answer is undefined: fewer than three counted joints, a counted joint that is not finite on
    either side, or all counted joints of either side in one point. Points on a line are well defined: every minimiser
    leaves the same sum of squared distances, and one of them is returned.
    """
    source, target, counted = check_pair(source_mm, target_mm, mask)
    aligned = np.empty(source.shape)
    for part in chunks(len(source)):
        weights = None if counted is None else chunk_of(counted, part)
        turned, _, center = _turned(chunk_of(source, part), chunk_of(target, part), weights, scale, reflection)
        aligned[part] = (turned + center[:, None]).transpose(2, 1, 0)[: len(aligned[part])]
    return aligned


def similarity_distances(
    source_mm: npt.NDArray[Any],
    target_mm: npt.NDArray[Any],
    counted: BoolArray | None,
    *,
    scale: bool = True,
    reflection: bool = False,
) -> FloatArray:
    """(n, J) distances in mm between ``target_mm`` and ``align_similarity``'s result, (n, J, 3), at counted joints.

    Everything is held at once: for one of ``chunks``.
    """
    turned, fixed, _ = _turned(source_mm, target_mm, counted, scale, reflection)
    with np.errstate(all="ignore"):
        turned -= fixed
        return plane_lengths(turned).T


def chunks(count: int) -> Iterator[slice]:
    """Yield the parts of ``count`` poses that are worked on together: few enough to stay in a core's cache."""
    for start in range(0, count, _CHUNK):
        yield slice(start, start + _CHUNK)


def chunk_of(values: npt.NDArray[Any], part: slice) -> npt.NDArray[Any]:
    """(N, ...) -> (n, ...), a single pose twice: alone, NumPy adds its numbers up in another order, which would round
    otherwise than among its neighbours."""
    found = values[part]
    return np.repeat(found, 2, axis=0) if len(found) == 1 else found


def planes(points: npt.NDArray[Any]) -> FloatArray:
    """(n, J, 3) -> (3, J, n), copied: long rows, which NumPy works through several numbers at a time."""
    found = np.empty(points.shape[::-1])
    for start in range(0, len(points), _BLOCK):
        found[..., start : start + _BLOCK] = points[start : start + _BLOCK].astype(np.float64).transpose(2, 1, 0)
    return found


def plane_lengths(vectors: FloatArray) -> FloatArray:
    """(3, J, n) -> (J, n)."""
    square = np.einsum("kjn,kjn->jn", vectors, vectors)
    return np.asarray(np.sqrt(square, out=square))


def check_pair(
    first_mm: npt.NDArray[Any], second_mm: npt.NDArray[Any], mask: npt.NDArray[Any] | None
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], BoolArray | None]:
    """The three as arrays, unchanged otherwise. Raises ``ValueError`` unless they are (N, J, 3) twice and (N, J)."""
    first, second = np.asarray(first_mm), np.asarray(second_mm)
    if first.ndim != 3 or first.shape[-1] != 3 or first.shape != second.shape:
        raise ValueError(f"expected two arrays of the same shape (N, J, 3), found {first.shape} and {second.shape}")
    if mask is None:
        return first, second, None
    counted = np.asarray(mask)
    if counted.dtype != np.bool_ or counted.shape != first.shape[:2]:
        raise ValueError(f"expected a bool mask of shape {first.shape[:2]}, found {counted.dtype} {counted.shape}")
    return first, second, counted


def _turned(
    source: npt.NDArray[Any], target: npt.NDArray[Any], counted: BoolArray | None, scale: bool, reflection: bool
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the sources, turned and scaled, and the targets, both as planes about their centres; the latter (3, n)."""
    moved, fixed = planes(source), planes(target)
    weights = None if counted is None else np.ascontiguousarray(counted.T)
    joints: Any = float(source.shape[1]) if weights is None else weights.sum(axis=0).astype(np.float64)
    with np.errstate(all="ignore"):
        center_moved, center_fixed = (_counted(one, weights).sum(axis=1) / joints for one in (moved, fixed))
        moved -= center_moved[:, None]
        fixed -= center_fixed[:, None]
        used_moved, used_fixed = _counted(moved, weights), _counted(fixed, weights)
        spread_moved, spread_fixed = _square_sum(used_moved), _square_sum(used_fixed)
        size = np.sqrt(spread_moved * spread_fixed)
        covariance = np.einsum("ijn,kjn->ikn", used_moved, used_fixed)
        covariance /= size
        defined = (
            (joints >= MIN_JOINTS)
            & (spread_moved > _ONE_POINT * joints * np.einsum("kn,kn->n", center_moved, center_moved))
            & (spread_fixed > _ONE_POINT * joints * np.einsum("kn,kn->n", center_fixed, center_fixed))
            & (size > 0)
            & np.isfinite(size)
            & np.isfinite(covariance).all(axis=(0, 1))
        )
        undefined = np.flatnonzero(~defined)
        covariance[:, :, undefined] = np.eye(3)[:, :, None] / 3
        matrix, overlap = _rotations_by_svd(covariance, reflection) if reflection else _rotations(covariance)
        if scale:
            matrix *= overlap * size / spread_moved
        matrix[:, :, undefined] = np.nan
        return np.einsum("ijn,ikn->kjn", moved, matrix), fixed, center_fixed


def _counted(vectors: FloatArray, weights: BoolArray | None) -> FloatArray:
    return vectors if weights is None else np.where(weights, vectors, 0.0)


def _rotations(covariance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(3, 3, n) covariances H, |H| <= 1 -> proper rotations R (3, 3, n) maximising the overlap tr(R^T H), and that.

    With H = R S, S symmetric, the overlap is the trace I1 of S and the largest root of
    x^4 - 2 |H|^2 x^2 - 8 det(H) x + (|H|^4 - 4 |cof H|^2) (Horn, JOSA A 1987; Theobald, Acta Cryst. A 2005), found from
    above by Newton's method. With I2 = (I1^2 - |H|^2) / 2 and I3 = det H, Cayley and Hamilton's theorem for S gives
    (I1 I2 - I3) R = I1 cof H + (I1^2 - I2) H - H H^T H. Where the left factor is small (the rotation is all but
    undetermined) or the root is not found, the singular value decomposition decides.
    """
    after, next_but_one = covariance[:, [1, 2, 0]], covariance[:, [2, 0, 1]]
    cofactor = after[[1, 2, 0]] * next_but_one[[2, 0, 1]]
    cofactor -= after[[2, 0, 1]] * next_but_one[[1, 2, 0]]
    determinant = np.einsum("kn,kn->n", covariance[0], cofactor[0])
    square = _square_sum(covariance)
    constant = square * square - 4 * _square_sum(cofactor)
    overlap = np.ones_like(square)
    for _ in range(_NEWTON_STEPS):
        squared = overlap * overlap
        value = ((squared - 2 * square) * overlap - 8 * determinant) * overlap + constant
        step = value / (4 * ((squared - square) * overlap - 2 * determinant))
        step[np.abs(step) < _NO_STEP] = 0.0
        overlap -= step
        if not step.any():
            break
    second = (overlap * overlap - square) / 2
    gap = overlap * second - determinant
    rotation = overlap * cofactor
    rotation += (overlap * overlap - second) * covariance
    rotation -= np.einsum("iln,ljn->ijn", np.einsum("ikn,lkn->iln", covariance, covariance), covariance)
    rotation /= gap
    doubtful = np.flatnonzero(~((gap > _MIN_GAP) & (np.abs(step) < 1e-13)))
    if len(doubtful):
        rotation[:, :, doubtful], overlap[doubtful] = _rotations_by_svd(covariance[:, :, doubtful], False)
    return rotation, overlap


def _rotations_by_svd(covariance: FloatArray, reflection: bool) -> tuple[FloatArray, FloatArray]:
    """As ``_rotations``; with ``reflection`` any orthogonal matrix."""
    left, singular, right = np.linalg.svd(covariance.transpose(2, 0, 1))
    if not reflection:
        sign = np.where(np.linalg.det(left @ right) < 0, -1.0, 1.0)
        left[:, :, 2] *= sign[:, None]
        singular[:, 2] *= sign
    return np.ascontiguousarray((left @ right).transpose(1, 2, 0)), singular.sum(axis=1)


_NEWTON_STEPS = 12
_NO_STEP = 1e-15
"""Steps below this are not taken, so that a pose's number does not depend on how many its neighbours take."""
_MIN_GAP = 0.01
"""Below this the closed form would lose more than about 1e-10 of a metre-sized pose's millimetres."""
_ONE_POINT = (64 * np.finfo(np.float64).eps) ** 2
"""Spread over magnitude, both squared, at or below which joints lie in one point but for rounding."""


def _square_sum(planes: FloatArray) -> FloatArray:
    total: FloatArray = np.einsum("ijn,ijn->n", planes, planes)
    return total
