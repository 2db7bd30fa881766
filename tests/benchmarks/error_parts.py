"""Where a row's error comes from: the image position, the depth, each joint.

    python -m tests.benchmarks.error_parts DATASET SPLIT SHARDS PREDICTIONS.npz ...

Prints, per file, MPJPE and PA-MPJPE (mm, hip-aligned) as predicted, with the true place in the image kept, and with the
true depth kept; then the mean error per joint.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench import load, mpjpe, pa_mpjpe
from kt3d_bench.metrics.predictions import join, read_predictions
from kt3d_bench.skeletons import H36M17


def parts(pred_mm: npt.NDArray[Any], true_mm: npt.NDArray[Any]) -> Mapping[str, npt.NDArray[np.float64]]:
    """(N, 17, 3) mm twice, camera frame -> the predicted poses, and those with one half of the truth put in.

    A joint's place in the image is its ray, x / z and y / z, whatever the camera. The rays of "true 2D" meet the
    predicted depths behind the true hip; those of "true depth" are the predicted ones.
    """
    pred, true = np.asarray(pred_mm, np.float64), np.asarray(true_mm, np.float64)
    z = true[:, :1, 2] + pred[..., 2] - pred[:, :1, 2]
    rays = {name: joints / joints[..., 2:] for name, joints in (("pred", pred), ("true", true))}
    return {
        "as predicted": pred,
        "true 2D": rays["true"] * z[..., None],
        "true depth": rays["pred"] * true[..., 2:],
    }


def main(dataset: str, split: str, shards: str, *files: str) -> None:
    """Print the tables."""
    data = load(dataset, split, shards=shards)
    true = np.asarray(data.joints_cam_mm, np.float64)
    for file in files:
        pred, _, _ = join(read_predictions(Path(file)), data.keys)
        print(file)
        for name, poses in parts(pred, true).items():
            print(f"  {name:14s} {np.nanmean(mpjpe(poses, true)):6.1f} {np.nanmean(pa_mpjpe(poses, true)):6.1f}")
        errors = np.linalg.norm((pred - pred[:, :1]) - (true - true[:, :1]), axis=-1)
        print("  " + ", ".join(f"{name} {e:.0f}" for name, e in zip(H36M17.joints, np.nanmean(errors, 0), strict=True)))


if __name__ == "__main__":
    main(*sys.argv[1:])
