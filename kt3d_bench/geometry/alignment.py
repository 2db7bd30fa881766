"""Moving one pose onto another: by the root joint, or by the best rotation, translation and scale (Procrustes).

The similarity is the least-squares one of Umeyama (PAMI 1991): with centred poses P (source) and T (target) and
H = P^T T = U S V^T, the row-vector rotation is U D V^T, D = diag(1, 1, det(U V^T)) where reflections are forbidden and
the identity where they are allowed, and the scale is trace(S D) / |P|^2. Shapes: N poses, J joints; mm; float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

MIN_JOINTS = 3
"""Fewer counted joints leave the rotation undefined whatever their positions."""
_CHUNK = 2048
"""Poses handled at once: small enough that every temporary stays in the processor's cache."""


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
    for start in range(0, len(source), _CHUNK):
        part = slice(start, start + _CHUNK)
        weights = None if counted is None else counted[part]
        aligned[part] = _aligned(source[part], target[part], weights, scale, reflection)
    return aligned


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


def _aligned(
    source: npt.NDArray[Any], target: npt.NDArray[Any], counted: BoolArray | None, scale: bool, reflection: bool
) -> FloatArray:
    """One chunk. Inside, arrays are (3, J, n): long contiguous rows, which NumPy works through several at a time."""
    moved, fixed = _planes(source), _planes(target)
    if counted is None:
        joints: Any = float(source.shape[1])
        used_moved, used_fixed = moved, fixed
    else:
        weights = np.ascontiguousarray(counted.T)
        joints = weights.sum(axis=0).astype(np.float64)
        used_moved, used_fixed = np.where(weights, moved, 0.0), np.where(weights, fixed, 0.0)
    with np.errstate(all="ignore"):
        center_moved, center_fixed = used_moved.sum(axis=1) / joints, used_fixed.sum(axis=1) / joints
        magnitude_moved, magnitude_fixed = _square_sum(used_moved), _square_sum(used_fixed)
        used_moved = used_moved - center_moved[:, None]
        used_fixed = used_fixed - center_fixed[:, None]
        if counted is not None:
            used_moved, used_fixed = used_moved * weights, used_fixed * weights
        spread_moved, spread_fixed = _square_sum(used_moved), _square_sum(used_fixed)
        size = np.sqrt(spread_moved * spread_fixed)
        covariance = np.einsum("ijn,kjn->ikn", used_moved, used_fixed) / size
        defined = (
            (joints >= MIN_JOINTS)
            & (spread_moved > _ONE_POINT * magnitude_moved)
            & (spread_fixed > _ONE_POINT * magnitude_fixed)
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
        away = moved - center_moved[:, None]
        result: FloatArray = np.einsum("ijn,ikn->kjn", away, matrix) + center_fixed[:, None]
    return result.transpose(2, 1, 0)


def _rotations(covariance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(3, 3, n) covariances H, |H| <= 1 -> proper rotations R (3, 3, n) maximising the overlap tr(R^T H), and that.

    With H = R S, S symmetric, the overlap is the trace I1 of S and the largest root of
    x^4 - 2 |H|^2 x^2 - 8 det(H) x + (|H|^4 - 4 |cof H|^2) (Horn, JOSA A 1987; Theobald, Acta Cryst. A 2005), found from
    above by Newton's method. With I2 = (I1^2 - |H|^2) / 2 and I3 = det H, Cayley and Hamilton's theorem for S gives
    (I1 I2 - I3) R = I1 cof H + (I1^2 - I2) H - H H^T H. Where the left factor is small (the rotation is all but
    undetermined) or the root is not found, the singular value decomposition decides.
    """
    cofactor = np.stack(
        [
            _cross(covariance[1], covariance[2]),
            _cross(covariance[2], covariance[0]),
            _cross(covariance[0], covariance[1]),
        ]
    )
    determinant = np.einsum("kn,kn->n", covariance[0], cofactor[0])
    square = _square_sum(covariance)
    constant = square * square - 4 * _square_sum(cofactor)
    overlap = np.ones_like(square)
    step = overlap
    for _ in range(_NEWTON_STEPS):
        value = ((overlap * overlap - 2 * square) * overlap - 8 * determinant) * overlap + constant
        step = value / (4 * ((overlap * overlap - square) * overlap - 2 * determinant))
        overlap = overlap - step
    second = (overlap * overlap - square) / 2
    gap = overlap * second - determinant
    cubic = np.einsum("iln,ljn->ijn", np.einsum("ikn,lkn->iln", covariance, covariance), covariance)
    rotation: FloatArray = (overlap * cofactor + (overlap * overlap - second) * covariance - cubic) / gap
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


def _cross(first: FloatArray, second: FloatArray) -> FloatArray:
    (a, b, c), (x, y, z) = first, second
    return np.stack([b * z - c * y, c * x - a * z, a * y - b * x])


_NEWTON_STEPS = 12
_MIN_GAP = 0.01
"""Below this the closed form would lose more than about 1e-10 of a metre-sized pose's millimetres."""
_ONE_POINT = (64 * np.finfo(np.float64).eps) ** 2
"""Spread over magnitude, both squared, at or below which joints lie in one point but for rounding."""


def _planes(points: npt.NDArray[Any]) -> FloatArray:
    return np.ascontiguousarray(points.transpose(2, 1, 0), np.float64)


def _square_sum(planes: FloatArray) -> FloatArray:
    total: FloatArray = np.einsum("ijn,ijn->n", planes, planes)
    return total
