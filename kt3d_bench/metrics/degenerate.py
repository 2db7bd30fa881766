"""Count degenerate predictions by kind, so that no table hides them.

How metrics treat them: a joint without a finite answer leaves MPJPE, N-MPJPE and PA-MPJPE of its sample
undefined (NaN) and is wrong for PCK, AUC and mAP; joints all in one point leave PA-MPJPE undefined, and N-MPJPE too as
they lie at the root; joints on a line are measured like any others; fewer than three counted joints leave PA-MPJPE
undefined. None of it ever counts as an error of 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

NO_ANSWER = "a counted joint without a finite answer"
ALL_ZERO = "every joint at the origin"
ONE_POINT = "all joints in one point"
ON_A_LINE = "all joints on one line"
FEW_JOINTS = "fewer than three counted joints"
_FLAT = 1e-6
"""Second over first singular value of the centred joints, at or below which they lie on a line."""


def degenerate_samples(pred_mm: npt.NDArray[Any], counted: npt.NDArray[np.bool_]) -> dict[str, int]:
    """Return kind -> number of (N, J, 3) predictions whose ``counted`` (N, J) joints are of that kind, each under its
    first kind. ``FEW_JOINTS`` comes from the truth, the other kinds from the prediction."""
    pred = np.asarray(pred_mm, np.float64)
    answered = np.isfinite(pred).all(axis=-1)
    kinds = np.full(len(pred), "", dtype=f"<U{max(map(len, (NO_ANSWER, ALL_ZERO, ONE_POINT, ON_A_LINE, FEW_JOINTS)))}")
    kinds[counted.sum(axis=1) < 3] = FEW_JOINTS
    kinds[(kinds == "") & (counted & ~answered).any(axis=1)] = NO_ANSWER
    rest = np.flatnonzero(kinds == "")
    used = np.where(counted[rest, :, None], pred[rest], 0.0)
    kinds[rest[(used == 0).all(axis=(1, 2))]] = ALL_ZERO
    weights = counted[rest].sum(axis=1)[:, None, None]
    centred = np.where(counted[rest, :, None], used - used.sum(axis=1, keepdims=True) / weights, 0.0)
    spread = np.einsum("njk,njl->nkl", centred, centred)
    largest, second = np.sqrt(np.maximum(np.linalg.eigvalsh(spread)[:, :0:-1], 0.0)).T
    magnitude = np.abs(used).max(axis=(1, 2), initial=0.0)
    kinds[rest[(kinds[rest] == "") & (largest <= 1e-9 * magnitude)]] = ONE_POINT
    kinds[rest[(kinds[rest] == "") & (second <= _FLAT * largest)]] = ON_A_LINE
    names, counts = np.unique(kinds[kinds != ""], return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}
