"""How far away a person is, from one picture: the depth of the hip that gives bones of a known length.

With the ray (x, y, 1) of each joint and its depth z relative to the hip, the joint lies at (x, y, 1) (Z + z). The sum
of the bones' lengths is a convex function of the hip's depth Z and grows beyond its minimum, so one Z gives the sum
that is known. The size of a person cannot be seen in a picture: the result is right as far as the lengths are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kt3d_bench.skeletons import H36M17

FloatArray = npt.NDArray[np.float64]
STATURE_MM = 1700.0
"""Of a person about whom nothing is known."""
_OF_STATURE = {
    "hip": 0.0955, "knee": 0.245, "ankle": 0.246, "spine": 0.144, "thorax": 0.144, "nose": 0.100, "head": 0.085,
    "shoulder": 0.1295, "elbow": 0.186, "wrist": 0.146,
}  # fmt: skip
"""End of a bone -> its length as a share of stature, after Drillis and Contini (Body segment parameters, 1966): the
trunk, 0.288 from hip to shoulder, in two halves; neck and head as far as the shares of shoulder and chin leave them."""
_CHILDREN, _PARENTS = (list(column) for column in zip(*H36M17.bones, strict=True))
NEAREST_MM, FARTHEST_MM = 200.0, 1e6


def usual_lengths_mm(stature_mm: float = STATURE_MM) -> FloatArray:
    """Return the (16,) lengths of ``H36M17.bones`` of a person of usual proportions."""
    ends = (H36M17.joints[child].rpartition("_")[2] for child in _CHILDREN)
    return stature_mm * np.array([_OF_STATURE[end] for end in ends])


def root_depth_mm(
    rays: FloatArray, z_root_mm: FloatArray, lengths_mm: FloatArray, used: npt.NDArray[np.bool_]
) -> float:
    """Return the hip's depth Z that gives the bones between ``used`` joints (17,) their lengths (16,), in sum.

    ``rays`` (17, 2): x and y of each joint at depth 1; ``z_root_mm`` (17,). Where the depths alone are longer than the
    bones, it is the Z at which they are shortest. NaN without a bone, and where no Z gives the lengths.
    """
    from scipy.optimize import brentq

    bones = used[_CHILDREN] & used[_PARENTS] & np.isfinite(lengths_mm)
    known = used & np.isfinite(z_root_mm)
    if not bones.any():
        return float("nan")
    homogeneous = np.concatenate([rays, np.ones((len(rays), 1))], axis=1)
    offset = homogeneous * z_root_mm[:, None]
    slope = (homogeneous[_CHILDREN] - homogeneous[_PARENTS])[bones]
    start = (offset[_CHILDREN] - offset[_PARENTS])[bones]
    wanted = float(lengths_mm[bones].sum())

    def excess(z: float) -> float:
        return float(np.linalg.norm(start + z * slope, axis=1).sum()) - wanted

    def growth(z: float) -> float:
        bone = start + z * slope
        return float(((bone * slope).sum(1) / np.maximum(np.linalg.norm(bone, axis=1), 1e-9)).sum())

    nearest = max(NEAREST_MM, NEAREST_MM - float(z_root_mm[known].min()))
    if growth(FARTHEST_MM) <= 0 or excess(FARTHEST_MM) < 0:
        return float("nan")
    shortest = nearest if growth(nearest) >= 0 else brentq(growth, nearest, FARTHEST_MM)
    return float(shortest if excess(shortest) >= 0 else brentq(excess, shortest, FARTHEST_MM, xtol=1e-6))


def translation_mm(rays: FloatArray, joints_root_mm: FloatArray, used: npt.NDArray[np.bool_]) -> FloatArray:
    """Return the (3,) position of the hip that puts a pose of known size (17, 3) on its rays (17, 2), by least squares:
    x (P_z + T_z) = P_x + T_x for each joint, and the same for y. NaN with fewer than two joints."""
    pose, ray = joints_root_mm[used], rays[used]
    if len(pose) < 2:
        return np.full(3, np.nan)
    zero, one = np.zeros(len(pose)), np.ones(len(pose))
    matrix = np.concatenate([np.stack([one, zero, -ray[:, 0]], 1), np.stack([zero, one, -ray[:, 1]], 1)])
    target = (ray * pose[:, 2:] - pose[:, :2]).T.ravel()
    found: FloatArray = np.linalg.lstsq(matrix, target)[0]
    return found
