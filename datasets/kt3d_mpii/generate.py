"""A licence-free stand-in for MPII: generated people in front of anything, annotated in 2D in the official layout."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kt3d_bench.errors import UsageError
from kt3d_bench.standins import MARKER, growing

if TYPE_CHECKING:
    from kt3d_mpii.scenes import Block

VERSION = 1
DEMO: Mapping[str, Any] = {"people": 1200, "frames": 1}
"""A stand-in that a laptop makes and trains on in minutes."""
_IMAGES, _ANNOTATIONS = "images", "mpii_human_pose_v1_u12_2"
_BLOCK = 10
"""Images drawn from one random stream: fixed, so that results do not depend on the number of workers."""
_MOST_IMAGES = 250_000
"""Ten times the official set; the annotations of all images go into one file, and stay in memory until then."""


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
    **options: Any,
) -> Mapping[str, int]:
    """Write ``people`` x ``frames`` images of one or two persons each; about one in sixteen is a test image.

    ``motion`` (a .bvh or .amc file, or a folder of them) replaces the drawn postures, which then are spread evenly over
    all files. Raises ``UsageError`` for impossible numbers or options and when ``out`` holds data that was not
    generated, ``RawDataError`` when no motion can be used.
    """
    if options:
        raise UsageError(f"MPII's generator has no option '{sorted(options)[0]}'", hint="known: workers")
    if min(people, frames) < 1 or seed < 0:
        raise UsageError(
            f"people and frames must be at least 1 and the seed 0 or more, found {people}, {frames}, {seed}"
        )
    total = people * frames
    if total > _MOST_IMAGES:
        raise UsageError(
            f"{people} people x {frames} frames are {total} images, and at most {_MOST_IMAGES} can be generated",
            hint="ask for fewer",
        )
    marker = {"dataset": "mpii", "version": VERSION, "seed": seed, "people": people, "frames": frames}
    motions = None
    if motion is not None:
        from kt3d_bench.synth import read_motions

        motions = read_motions(motion)
        marker |= {"motion": motion.name, "motion_digest": motions.digest}
    from kt3d_mpii.scenes import Block

    with growing(out, (_IMAGES, _ANNOTATIONS)) as folder:
        (folder / _IMAGES).mkdir()
        plan = (
            Block(str(folder / _IMAGES), first, min(_BLOCK, total - first), seed, motions, device)
            for first in range(0, total, _BLOCK)
        )
        samples = _run(plan, folder, total, progress, workers if device == "cpu" else 1)
        (folder / MARKER).write_text(json.dumps(marker) + "\n", encoding="utf-8")
    return {"train": samples}


def _run(plan: Iterator[Block], folder: Path, total: int, progress: Callable[[int, int], None],
         workers: int | None) -> int:  # fmt: skip
    from joblib import Parallel, delayed

    from kt3d_mpii.release import write_release
    from kt3d_mpii.scenes import draw_block

    progress(0, total)
    pool = Parallel(n_jobs=workers or -1, return_as="generator", batch_size=1)
    images = []
    for drawn in pool(delayed(draw_block)(block) for block in plan):
        images += drawn
        progress(len(images), total)
    return write_release(folder / _ANNOTATIONS / "mpii_human_pose_v1_u12_1.mat", images)
