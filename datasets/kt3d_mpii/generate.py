"""A licence-free stand-in for MPII: generated people in front of anything, annotated in 2D in the official layout."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kt3d_bench.errors import RawDataError, UsageError

VERSION = 1
DEMO: Mapping[str, Any] = {"people": 1200, "frames": 1}
"""A stand-in that a laptop makes and trains on in minutes."""
MARKER = "kt3d-generated.json"
_IMAGES, _ANNOTATIONS = "images", "mpii_human_pose_v1_u12_2"
_BLOCK = 10
"""Images drawn from one random stream: fixed, so that results do not depend on the number of workers."""


@dataclass(frozen=True)
class Block:
    """A few consecutive images."""

    folder: str
    first: int
    count: int
    seed: int
    motion: str | None
    device: str


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

    ``motion`` (.bvh or .amc) replaces the drawn postures. Raises ``UsageError`` for impossible numbers or options and
    ``RawDataError`` when ``out`` holds data that was not generated.
    """
    if options:
        raise UsageError(f"MPII's generator has no option '{sorted(options)[0]}'", mend="known: workers")
    if min(people, frames) < 1 or seed < 0:
        raise UsageError(
            f"people and frames must be at least 1 and the seed 0 or more, found {people}, {frames}, {seed}"
        )
    if motion is not None:
        from kt3d_mpii.scenes import read_motion

        read_motion(motion)
    _prepare_folder(out)
    unfinished = _unfinished(out)
    (unfinished / _IMAGES).mkdir(parents=True)
    total = people * frames
    recording = None if motion is None else str(motion)
    plan = [
        Block(str(unfinished / _IMAGES), first, min(_BLOCK, total - first), seed, recording, device)
        for first in range(0, total, _BLOCK)
    ]
    samples = _run(plan, unfinished, total, progress, workers if device == "cpu" else 1)
    marker = {"dataset": "mpii", "version": VERSION, "seed": seed, "people": people, "frames": frames}
    (out / MARKER).write_text(json.dumps(marker) + "\n", encoding="utf-8")
    for name in (_IMAGES, _ANNOTATIONS):
        shutil.move(unfinished / name, out / name)
    shutil.rmtree(unfinished)
    return {"train": samples}


def _unfinished(out: Path) -> Path:
    """Where the stand-in grows: beside ``out``, so that half of one is never taken for the dataset."""
    return out.absolute().with_name(out.absolute().name + ".part")


def _prepare_folder(out: Path) -> None:
    """An empty folder, or one whose earlier stand-in is removed."""
    out.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(_unfinished(out), ignore_errors=True)
    if (out / MARKER).is_file():
        (out / MARKER).unlink()
        for name in (_IMAGES, _ANNOTATIONS):
            shutil.rmtree(out / name, ignore_errors=True)
    present = sorted(path.name for path in out.iterdir())
    if present:
        raise RawDataError(
            f"already holds {', '.join(present[:4])}, which was not generated",
            where=out,
            mend="choose another --out; nothing was changed",
        )


def _run(plan: Sequence[Block], folder: Path, total: int, progress: Callable[[int, int], None],
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
