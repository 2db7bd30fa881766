"""The metric ``bone_length_mm``: how far the lengths of bones are off, whatever the pose."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kt3d_bench import JointInput
from kt3d_bench.skeletons import H36M17


def length_errors(given: JointInput) -> npt.NDArray[np.float64]:
    """Return (N, J) mm: at each joint the error of the bone that leads to it. The hip, and joints whose bone has an end
    that is not labelled, have the mean of the others, so that a pose's mean over its joints is that over its bones."""
    predicted, true = (H36M17.bone_lengths(np.asarray(pose, np.float64)) for pose in (given.pred_mm, given.true_mm))
    outer, inner = (list(ends) for ends in zip(*H36M17.bones, strict=True))
    known = given.mask[:, outer] & given.mask[:, inner] & np.isfinite(true)
    errors = np.where(known, np.abs(predicted - true), 0.0)
    with np.errstate(invalid="ignore"):
        means = errors.sum(axis=1) / known.sum(axis=1)
    found = np.repeat(means[:, None], given.mask.shape[1], axis=1)
    found[:, outer] = np.where(known, errors, means[:, None])
    return found
