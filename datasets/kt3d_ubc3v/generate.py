"""A licence-free stand-in for UBC3V: generated people in the official layout.

Like the original, inter-pose has one character and hard-pose several, in harder poses; every posture is seen by three
random roll-free cameras that look down at the person. Postures are independent of one another. The same seed gives
the same files whatever the number of workers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from kt3d_bench.standins import check_numbers, in_parallel, standin_folder
from kt3d_bench.synth import (
    ACTIVITIES,
    Bodies,
    Clip,
    Figures,
    Motions,
    pose,
    read_motions,
    render,
    sample_bodies,
    sample_clip,
)
from kt3d_ubc3v.painting import paint
from kt3d_ubc3v.recording import SIZE_PX, MayaCamera, joint_matrices, sample_camera, write_ground_truth

VERSION = 1
DEMO: Mapping[str, Any] = {"people": 14, "frames": 50, "test_postures": 100}
"""A stand-in that a laptop makes and trains on in minutes."""
CHECK: Mapping[str, Any] = {"people": 2, "frames": 2, "test_postures": 2}
"""The smallest one, for ``kt3d check``."""
FRAMES_PER_SECTION = 1001
_SUBSETS = ("inter-pose", "hard-pose")
_CAMERA_NAMES = ("Cam1", "Cam2", "Cam3")
_BLOCK = 10
"""Postures drawn from one random stream: fixed, so that results do not depend on the number of workers."""
_CHARACTERS = 16
_MOST_POSTURES = 1_000_000
"""Of one split, about five times as many as the official dataset has."""
_RATE_HZ = 25.0
_RANDOM_SHARE = 0.35
"""Share of hard-pose's postures that are drawn anywhere within the joints' limits, not from an activity."""


@dataclass(frozen=True)
class _Block:
    """A few consecutive postures of one section."""

    folder: str
    first: int
    """Of the first posture in its section, counted from 1."""
    number: int
    """Of the first posture in its split, counted from 0."""
    count: int
    stream: tuple[int, ...]
    characters: int
    character_stream: tuple[int, ...]
    hard: bool
    motions: Motions | None
    device: str


_Painted = tuple[str, npt.NDArray[np.float64], dict[str, list[MayaCamera]]]
"""A block's section folder, joint matrices, and poses of every camera."""


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
) -> Mapping[str, int]:
    """Write inter-pose/train with ``people`` x ``frames`` postures and hard-pose/test with ``test_postures`` (default:
    a seventh of that); each posture gives three samples. ``people`` (at most 16) characters appear in hard-pose.

    ``motion`` (a .bvh or .amc file, or a folder of them) replaces the drawn postures; its files are used evenly.
    Returns the samples per split. Raises ``UsageError`` for impossible numbers and when ``out`` holds data that was not
    generated, ``RawDataError`` when no motion can be used.
    """
    train, most = people * frames, _MOST_POSTURES
    test = max(1, round(train / 7)) if test_postures is None else test_postures
    check_numbers(
        {
            "people": (people, 1, most),
            "frames": (frames, 1, most),
            "people x frames": (train, 1, most),
            "test postures": (test, 1, most),
        },
        seed=seed,
        workers=workers,
    )
    marker = {"dataset": "ubc3v", "version": VERSION, "seed": seed, "people": people, "frames": frames}
    motions = read_motions(motion) if motion else None
    with standin_folder(out, _SUBSETS, marker | (motions.marker if motions else {})) as folder:
        easy, hard = (folder / subset for subset in _SUBSETS)
        blocks = itertools.chain(
            _blocks(easy / "train", train, (seed, 0), 1, motions, device),
            _blocks(hard / "test", test, (seed, 1), min(people, _CHARACTERS), motions, device),
        )
        painted = in_parallel(_paint_block, blocks, workers=workers, device=device)
        _write_sections(painted, train + test, progress)
    return {"train": train * len(_CAMERA_NAMES), "test": test * len(_CAMERA_NAMES)}


def _blocks(folder: Path, postures: int, stream: tuple[int, int], characters: int,
            motions: Motions | None, device: str) -> Iterator[_Block]:  # fmt: skip
    for start in range(0, postures, FRAMES_PER_SECTION):
        section = start // FRAMES_PER_SECTION + 1
        stop = min(postures, start + FRAMES_PER_SECTION)
        for first in range(start, stop, _BLOCK):
            count = min(_BLOCK, stop - first)
            yield _Block(
                folder=str(folder / str(section)),
                first=first - start + 1,
                number=first,
                count=count,
                stream=(*stream, first),
                characters=characters,
                character_stream=stream,
                hard=stream[1] == 1,
                motions=motions,
                device=device,
            )


def _write_sections(painted: Iterator[_Painted], postures: int, progress: Callable[[int, int], None]) -> None:
    """Write a section's ground truth as soon as its last block is painted."""
    done = 0
    progress(done, postures)
    for folder, pieces in itertools.groupby(painted, key=lambda piece: piece[0]):
        matrices, cameras = [], []
        for _, some_matrices, some_cameras in pieces:
            matrices.append(some_matrices)
            cameras.append(some_cameras)
            done += len(some_matrices)
            progress(done, postures)
        write_ground_truth(
            Path(folder) / "groundtruth.mat",
            np.concatenate(matrices),
            {name: [pose for block in cameras for pose in block[name]] for name in _CAMERA_NAMES},
        )


def _paint_block(block: _Block) -> _Painted:
    """Write the images of one block."""
    quick = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]
    rng = np.random.default_rng(block.stream)
    figures = _figures(block, rng)
    poses: dict[str, list[MayaCamera]] = {name: [] for name in _CAMERA_NAMES}
    for index in range(block.count):
        for name in _CAMERA_NAMES:
            camera = sample_camera(rng)
            poses[name].append(camera)
            image = render(figures[index], [camera.camera()], device=block.device, normals=False)[0]
            depth, parts = paint(image.maps, image.window_px, SIZE_PX, rng)
            for kind, rgba in (("depthRender", depth), ("groundtruth", parts)):
                folder = Path(block.folder) / "images" / kind / name
                folder.mkdir(parents=True, exist_ok=True)
                bgra = rgba[..., [2, 1, 0, 3]]
                _, data = cv2.imencode(".png", bgra, quick)
                (folder / f"mayaProject.{block.first + index:06d}.png").write_bytes(data.tobytes())
    return block.folder, joint_matrices(figures), poses


def _figures(block: _Block, rng: np.random.Generator) -> Figures:
    """One figure per posture, turned at random, hips near the origin."""
    characters = sample_bodies(np.random.default_rng(block.character_stream), block.characters)
    postures = []
    for index in range(block.count):
        body = characters[int(rng.integers(block.characters))]
        clip = None
        if block.motions is not None:
            clip = block.motions.clip(block.number + index, 1, _RATE_HZ, seed=(*block.character_stream, 2))
        postures.append(posture(body, rng, hard=block.hard, clip=clip))
    return Figures.concatenate(postures)


def posture(body: Bodies, rng: np.random.Generator, *, hard: bool = False, clip: Clip | None = None) -> Figures:
    """One body in one posture, turned at random, hips near the origin; ``hard`` poses go beyond the activities."""
    if clip is None:
        activities = sorted(set(ACTIVITIES) - {"random"})
        loose = hard and rng.random() < _RANDOM_SHARE
        activity = "random" if loose else activities[int(rng.integers(len(activities)))]
        clip = sample_clip(rng, activity, 1, _RATE_HZ)
    figure = pose(body, clip)
    at = figure.landmark("pelvis")[0]
    drift = rng.normal(0.0, [40.0, 40.0, 25.0])
    yaw = rng.uniform(-np.pi, np.pi)
    return figure.moved(0.0, -at).moved(yaw, drift)
