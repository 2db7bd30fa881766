"""UBC3V (Shafaei and Little, CRV 2016): synthetic depth and body-part images of three cameras per posture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kt3d_bench import DatasetPlugin, Option, hookimpl


@hookimpl
def kt3d_datasets() -> Sequence[DatasetPlugin]:
    return (
        DatasetPlugin(
            name="ubc3v",
            title="UBC3V",
            modalities=("depth", "parts"),
            splits=("train", "test"),
            folder=Path(__file__).parent,
            convert="kt3d_ubc3v.convert",
            generate="kt3d_ubc3v.generate",
            stream="kt3d_ubc3v.stream",
            options={
                "intrinsics": Option(
                    "maya",
                    "camera model: the rendering camera (361.56 px, no distortion) or the toolkit's Kinect-2 table",
                    choices=("maya", "kinect2"),
                ),
                "depth_factor": Option(
                    1.0,
                    "factor on the decoded depth; the official toolkit uses 1.03 to fit its Kinect-2 table",
                    choices=(1.0, 1.03),
                ),
            },
        ),
    )
