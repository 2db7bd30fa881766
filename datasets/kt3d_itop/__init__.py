"""ITOP (Haque et al., ECCV 2016): depth images of people from the front and from above, with parts and 15 joints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kt3d_bench import DatasetPlugin, Option, hookimpl


@hookimpl
def kt3d_datasets() -> Sequence[DatasetPlugin]:
    return (
        DatasetPlugin(
            name="itop",
            title="ITOP",
            modalities=("depth", "parts"),
            splits=("front-train", "front-test", "top-train", "top-test"),
            views=("front", "top"),
            folder=Path(__file__).parent,
            convert="kt3d_itop.convert",
            generate="kt3d_itop.generate",
            options={
                "boxes": Option(
                    "joints",
                    "'detector' finds the person in the depth image instead of taking the joints' extent",
                    choices=("joints", "detector"),
                )
            },
        ),
    )
