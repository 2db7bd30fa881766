"""MPII Human Pose (Andriluka et al., CVPR 2014): colour images with 2D joints, as a dataset plugin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kt3d_bench import DatasetPlugin, hookimpl


@hookimpl
def kt3d_datasets() -> Sequence[DatasetPlugin]:
    return (
        DatasetPlugin(
            name="mpii",
            title="MPII Human Pose",
            modalities=("rgb",),
            splits=("train",),
            folder=Path(__file__).parent,
            convert="kt3d_mpii.convert",
            generate="kt3d_mpii.generate",
            labels="2d",
        ),
    )
