"""A licence-free stand-in for UBC3V: generated people in the official layout.

Like the original, inter-pose has one character and hard-pose several, in harder poses; every posture is seen by three
random roll-free cameras that look down at the person. Postures are independent of one another. The same seed gives
the same files whatever the number of workers.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import RawDataError, UsageError

VERSION = 1
DEMO: Mapping[str, Any] = {"people": 14, "frames": 50, "test_postures": 100}
"""A stand-in that a laptop makes and trains on in minutes."""
MARKER = "kt3d-generated.json"
FRAMES_PER_SECTION = 1001
_CAMERA_NAMES = ("Cam1", "Cam2", "Cam3")
_BLOCK = 10
"""Postures drawn from one random stream: fixed, so that results do not depend on the number of workers."""
_CHARACTERS = 16
_RATE_HZ = 25.0
_RANDOM_SHARE = 0.35
"""Share of hard-pose's postures that are drawn anywhere within the joints' limits, not from an activity."""


@dataclass(frozen=True)
class _Block:
    """A few consecutive postures of one section."""

    folder: str
    first: int
    count: int
    stream: tuple[int, ...]
    characters: int
    character_stream: tuple[int, ...]
    hard: bool
    motion: str | None
    motion_frames: tuple[int, ...]
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
    test_postures: int | None = None,
    workers: int | None = None,
    **options: Any,
) -> Mapping[str, int]:
    """Write inter-pose/train with ``people`` x ``frames`` postures and hard-pose/test with ``test_postures`` (default:
    a seventh of that); each posture gives three samples. ``people`` (at most 16) characters appear in hard-pose.

    ``motion`` (.bvh or .amc) replaces the drawn postures. Raises ``UsageError`` for impossible numbers or options and
    ``RawDataError`` when ``out`` holds data that was not generated.
    """
    if options:
        raise UsageError(f"UBC3V's generator has no option '{sorted(options)[0]}'",
                         mend="known: test_postures, workers")  # fmt: skip
    train = people * frames
    test = max(1, round(train / 7)) if test_postures is None else test_postures
    if min(people, frames, test) < 1 or seed < 0:
        raise UsageError(
            f"people, frames and test postures must be at least 1 and the seed 0 or more, found {people}, {frames}, "
            f"{test} and {seed}"
        )
    for_train, for_test = _motion_frames(motion, train), _motion_frames(motion, test)
    _prepare_folder(out)
    unfinished = _unfinished(out)
    plan = [
        *_blocks(unfinished / "inter-pose" / "train", train, (seed, 0), 1, motion, for_train, device),
        *_blocks(
            unfinished / "hard-pose" / "test", test, (seed, 1), min(people, _CHARACTERS), motion, for_test, device
        ),
    ]
    _run(plan, progress, workers if device == "cpu" else 1)
    marker = {"dataset": "ubc3v", "version": VERSION, "seed": seed, "people": people, "frames": frames}
    (out / MARKER).write_text(json.dumps(marker) + "\n", encoding="utf-8")
    for subset in ("inter-pose", "hard-pose"):
        shutil.move(unfinished / subset, out / subset)
    shutil.rmtree(unfinished)
    return {"train": train * len(_CAMERA_NAMES), "test": test * len(_CAMERA_NAMES)}


def _unfinished(out: Path) -> Path:
    """Where the stand-in grows: beside ``out``, so that half of one is never taken for the dataset."""
    return out.absolute().with_name(out.absolute().name + ".part")


def _prepare_folder(out: Path) -> None:
    """An empty folder, or one whose earlier stand-in is removed."""
    out.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(_unfinished(out), ignore_errors=True)
    if (out / MARKER).is_file():
        (out / MARKER).unlink()
        for subset in ("inter-pose", "hard-pose"):
            shutil.rmtree(out / subset, ignore_errors=True)
    present = sorted(path.name for path in out.iterdir())
    if present:
        raise RawDataError(
            f"already holds {', '.join(present[:4])}, which was not generated",
            where=out,
            mend="choose another --out; nothing was changed",
        )


def _blocks(folder: Path, postures: int, stream: tuple[int, int], characters: int, motion: Path | None,
            motion_frames: tuple[int, ...], device: str) -> Iterator[_Block]:  # fmt: skip
    for start in range(0, postures, FRAMES_PER_SECTION):
        section = start // FRAMES_PER_SECTION + 1
        stop = min(postures, start + FRAMES_PER_SECTION)
        for first in range(start, stop, _BLOCK):
            count = min(_BLOCK, stop - first)
            yield _Block(
                folder=str(folder / str(section)),
                first=first - start + 1,
                count=count,
                stream=(*stream, first),
                characters=characters,
                character_stream=stream,
                hard=stream[1] == 1,
                motion=None if motion is None else str(motion),
                motion_frames=motion_frames[first : first + count],
                device=device,
            )


@lru_cache(maxsize=1)
def _read_motion(path: Path) -> Any:
    from kt3d_bench.people import read_amc, read_bvh

    if path.suffix.lower() not in (".bvh", ".amc"):
        raise UsageError(f"a motion is a .bvh or .amc file, found '{path.name}'", where=path)
    return read_bvh(path) if path.suffix.lower() == ".bvh" else read_amc(path)


def _motion_frames(path: Path | None, postures: int) -> tuple[int, ...]:
    """Frames of the recording, spread evenly over it, one per posture."""
    if path is None:
        return ()
    length = len(_read_motion(path))
    return tuple(int(frame) for frame in np.linspace(0, length - 1, postures).round())


def _run(plan: list[_Block], progress: Callable[[int, int], None], workers: int | None) -> None:
    """Paint all blocks, then write each section's ground truth from what they return."""
    from joblib import Parallel, delayed

    from kt3d_ubc3v.recording import write_ground_truth

    total, done = sum(block.count for block in plan), 0
    progress(done, total)
    pool = Parallel(n_jobs=workers or -1, return_as="generator", batch_size=1)
    sections: dict[str, list[Any]] = {}
    for block, (matrices, cameras) in zip(plan, pool(delayed(_paint_block)(block) for block in plan), strict=True):
        sections.setdefault(block.folder, []).append((matrices, cameras))
        done += block.count
        progress(done, total)
    for folder, pieces in sections.items():
        write_ground_truth(
            Path(folder) / "groundtruth.mat",
            np.concatenate([matrices for matrices, _ in pieces]),
            {name: [pose for _, cameras in pieces for pose in cameras[name]] for name in _CAMERA_NAMES},
        )


def _paint_block(block: _Block) -> tuple[npt.NDArray[np.float64], dict[str, list[Any]]]:
    """Write the images of one block; return its joint matrices and camera poses."""
    import cv2

    from kt3d_bench.people import render
    from kt3d_ubc3v.painting import paint
    from kt3d_ubc3v.recording import SIZE_PX, joint_matrices, sample_camera

    cv2.setNumThreads(1)
    quick = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]
    rng = np.random.default_rng(block.stream)
    figures = _figures(block, rng)
    poses: dict[str, list[Any]] = {name: [] for name in _CAMERA_NAMES}
    for index in range(block.count):
        for name in _CAMERA_NAMES:
            pose = sample_camera(rng)
            poses[name].append(pose)
            image = render(figures[index], [pose.camera()], device=block.device, normals=False)[0]
            depth, parts = paint(image.maps, image.window_px, SIZE_PX, rng)
            for kind, rgba in (("depthRender", depth), ("groundtruth", parts)):
                folder = Path(block.folder) / "images" / kind / name
                folder.mkdir(parents=True, exist_ok=True)
                bgra = rgba[..., [2, 1, 0, 3]]
                _, data = cv2.imencode(".png", bgra, quick)
                (folder / f"mayaProject.{block.first + index:06d}.png").write_bytes(data.tobytes())
    return joint_matrices(figures), poses


def _figures(block: _Block, rng: np.random.Generator) -> Any:
    """One figure per posture, turned at random, hips near the origin."""
    from kt3d_bench.people import ACTIVITIES, Figures, clip_from_motion, pose, sample_bodies, sample_clip

    characters = sample_bodies(np.random.default_rng(block.character_stream), block.characters)
    activities = sorted(set(ACTIVITIES) - {"random"})
    recording = None if block.motion is None else _read_motion(Path(block.motion))
    postures = []
    for index in range(block.count):
        body = characters[int(rng.integers(block.characters))]
        if recording is not None:
            clip = clip_from_motion(recording, recording.rate_hz, block.motion_frames[index], 1)
        else:
            loose = block.hard and rng.random() < _RANDOM_SHARE
            activity = "random" if loose else activities[int(rng.integers(len(activities)))]
            clip = sample_clip(rng, activity, 1, _RATE_HZ)
        figure = pose(body, clip)
        at = figure.landmark("pelvis")[0]
        drift = rng.normal(0.0, [40.0, 40.0, 25.0])
        yaw = rng.uniform(-np.pi, np.pi)
        postures.append(figure.moved(0.0, -at).moved(yaw, drift))
    return Figures.concatenate(postures)
