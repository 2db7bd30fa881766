"""A licence-free stand-in for MPII: generated people on random backgrounds, annotated in 2D in the official layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kt3d_bench.standins import check_numbers, in_parallel, standin_folder
from kt3d_bench.synth import read_motions
from kt3d_mpii.release import write_release
from kt3d_mpii.scenes import Block, draw_block

VERSION = 1
DEMO: Mapping[str, Any] = {"people": 1200, "frames": 1}
"""A stand-in that a laptop makes and trains on in minutes."""
_IMAGES, _ANNOTATIONS = "images", "mpii_human_pose_v1_u12_2"
_BLOCK = 10
"""Images drawn from one random stream; fixed, so that results do not depend on the number of workers."""
_MOST_IMAGES = 250_000
"""Ten times the official set; the annotations of all images are kept in memory and written into one file."""


def generate(
    out: Path,
    *,
    people: int,
    frames: int,
    seed: int,
    motion: Path | None = None,
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
    workers: int | None = None,
) -> Mapping[str, int]:
    """Write ``people`` x ``frames`` images of one or two persons each; about one in sixteen is a test image.

    ``motion`` (a .bvh or .amc file, or a folder of them) replaces the drawn postures; its files are used evenly.
    Returns the annotated persons per split. Raises ``UsageError`` for impossible numbers and when ``out`` holds data
    that was not generated, ``RawDataError`` when no motion can be used.
    """
    total = people * frames
    most = _MOST_IMAGES
    check_numbers(seed, workers, people=(people, 1, most), frames=(frames, 1, most), people_x_frames=(total, 1, most))
    marker = {"dataset": "mpii", "version": VERSION, "seed": seed, "people": people, "frames": frames}
    motions = read_motions(motion) if motion else None
    with standin_folder(out, (_IMAGES, _ANNOTATIONS), marker | (motions.marker if motions else {})) as folder:
        (folder / _IMAGES).mkdir()
        blocks = (
            Block(str(folder / _IMAGES), first, min(_BLOCK, total - first), seed, motions, device)
            for first in range(0, total, _BLOCK)
        )
        progress(0, total)
        images = []
        for drawn in in_parallel(draw_block, blocks, workers=workers, device=device):
            images += drawn
            progress(len(images), total)
        return {"train": write_release(folder / _ANNOTATIONS / "mpii_human_pose_v1_u12_1.mat", images)}
