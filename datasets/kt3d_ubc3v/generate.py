"""A licence-free stand-in for UBC3V: generated people in the official layout.

As in the original, inter-pose has one character and hard-pose several, in harder poses. Three random cameras without
roll look down at each posture. Postures are independent of one another. The same seed gives the same files with any
number of workers.
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

from kt3d_bench import synth
from kt3d_bench.standins import check_held_out, check_numbers, in_parallel, standin_folder
from kt3d_ubc3v.recording import SIZE_PX, MayaCamera, joint_matrices, sample_camera, write_ground_truth

VERSION = 2
DEMO: Mapping[str, Any] = {"people": 14, "frames": 50, "test_postures": 120}
"""A stand-in that a laptop makes and trains on in minutes."""
SIZES: Mapping[str, Mapping[str, Any]] = {"laptop": {"people": 100, "frames": 100, "test_postures": 600}}
"""Preset -> arguments of a stand-in for training of that size."""
CHECK: Mapping[str, Any] = {"people": 2, "frames": 2, "test_postures": 2}
"""The smallest stand-in, for ``kt3d check``."""
FRAMES_PER_SECTION = 1001  # At most
_TEST_SECTIONS = 60
"""Sections of hard-pose, each of one character, where there are as many postures: results are compared by sections."""
_SUBSETS = ("inter-pose", "hard-pose")
_CAMERA_NAMES = ("Cam1", "Cam2", "Cam3")
_BLOCK = 10
"""Postures drawn from one random stream; fixed, so that results do not depend on the number of workers."""
_CHARACTERS = (6, 16)
"""Least and most characters of hard-pose."""
_STREAMS = {"train": 0, "test": 5, "validation": 6}
"""Random stream of the training split, and of the test split by whose people are held out."""
_MOST_POSTURES = 1_000_000  # Per split, about five times as many as in the official dataset
_RATE_HZ = 25.0
_RANDOM_SHARE = 0.35
"""Share of hard-pose's postures that are drawn anywhere within the joint limits, not from an activity."""


@dataclass(frozen=True)
class _Split:
    folder: Path
    stream: tuple[int, int]  # Seed and number of the split
    characters: int
    section_frames: int
    hard: bool
    motions: synth.Motions | None
    device: str


@dataclass(frozen=True)
class _Block:
    """A few consecutive postures of one section."""

    split: _Split
    number: int  # Number of the first posture in its split, from 0
    count: int

    @property
    def section(self) -> Path:
        return self.split.folder / str(self.number // self.split.section_frames + 1)


_Painted = tuple[Path, npt.NDArray[np.float64], dict[str, list[MayaCamera]]]
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
    held_out: str = "test",
) -> Mapping[str, int]:
    """Write inter-pose/train with ``people`` x ``frames`` postures and hard-pose/test with ``test_postures`` (default:
    a seventh of that); each posture gives three samples. ``people`` (6 to 16) characters appear in hard-pose, one in
    each section. ``held_out``: "test", or "validation" for other characters, postures and cameras in hard-pose.

    ``motion`` (a .bvh or .amc file, or a folder of them) replaces the drawn postures; its files are used evenly.
    Returns the samples per split. Raises ``UsageError`` for impossible numbers and when ``out`` holds data that was not
    generated, ``RawDataError`` when no motion can be used.
    """
    train, most = people * frames, _MOST_POSTURES
    test = max(1, round(train / 7)) if test_postures is None else test_postures
    check_held_out(held_out)
    check_numbers(seed, workers, people=(people, 1, most), frames=(frames, 1, most), people_x_frames=(train, 1, most),
                  test_postures=(test, 1, most))  # fmt: skip
    marker = {"dataset": "ubc3v", "version": VERSION, "seed": seed, "people": people, "frames": frames,
              "held_out": held_out}  # fmt: skip
    motions = synth.read_motions(motion) if motion else None
    with standin_folder(out, _SUBSETS, marker | (motions.marker if motions else {})) as folder:
        easy, hard = (folder / subset for subset in _SUBSETS)
        training = _Split(easy / "train", (seed, _STREAMS["train"]), 1, FRAMES_PER_SECTION, False, motions, device)
        testing = _test_split(hard / "test", seed, held_out, people, test, motions, device)
        blocks = itertools.chain(_blocks(training, train), _blocks(testing, test))
        painted = in_parallel(_paint_block, blocks, workers=workers, device=device)
        _write_sections(painted, train + test, progress)
    return {"train": train * len(_CAMERA_NAMES), "test": test * len(_CAMERA_NAMES)}


def _test_split(
    folder: Path, seed: int, held_out: str, people: int, postures: int, motions: synth.Motions | None, device: str
) -> _Split:
    characters = int(np.clip(people, *_CHARACTERS))
    section_frames = int(np.clip(postures // _TEST_SECTIONS, 1, FRAMES_PER_SECTION))
    return _Split(folder, (seed, _STREAMS[held_out]), characters, section_frames, True, motions, device)


def _blocks(split: _Split, postures: int) -> Iterator[_Block]:
    for start in range(0, postures, split.section_frames):
        stop = min(postures, start + split.section_frames)
        for number in range(start, stop, _BLOCK):
            yield _Block(split, number, min(_BLOCK, stop - number))


def _write_sections(painted: Iterator[_Painted], postures: int, progress: Callable[[int, int], None]) -> None:
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
            folder / "groundtruth.mat",
            np.concatenate(matrices),
            {name: [pose for block in cameras for pose in block[name]] for name in _CAMERA_NAMES},
        )


def _paint_block(block: _Block) -> _Painted:
    from kt3d_ubc3v.painting import paint

    quick = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]
    rng = np.random.default_rng((*block.split.stream, block.number))
    figures = _figures(block, rng)
    first = block.number % block.split.section_frames + 1
    poses: dict[str, list[MayaCamera]] = {name: [] for name in _CAMERA_NAMES}
    for index in range(block.count):
        for name in _CAMERA_NAMES:
            camera = sample_camera(rng)
            poses[name].append(camera)
            image = synth.render(figures[index], [camera.camera()], device=block.split.device, normals=False)[0]
            depth, parts = paint(image.maps, image.window_px, SIZE_PX, rng)
            for kind, rgba in (("depthRender", depth), ("groundtruth", parts)):
                folder = block.section / "images" / kind / name
                folder.mkdir(parents=True, exist_ok=True)
                _, data = cv2.imencode(".png", cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA), quick)
                (folder / f"mayaProject.{first + index:06d}.png").write_bytes(data.tobytes())
    return block.section, joint_matrices(figures), poses


def _figures(block: _Block, rng: np.random.Generator) -> synth.Figures:
    """Return one figure per posture, turned at random, hips near the origin."""
    split = block.split
    characters = synth.sample_bodies(np.random.default_rng(split.stream), split.characters)
    body = characters[block.number // split.section_frames % split.characters]
    postures = []
    for index in range(block.count):
        clip = None
        if split.motions is not None:
            clip = split.motions.clip(block.number + index, 1, _RATE_HZ, seed=(*split.stream, 2))
        postures.append(posture(body, rng, hard=split.hard, clip=clip))
    return synth.Figures.concatenate(postures)


def posture(
    body: synth.Bodies, rng: np.random.Generator, *, hard: bool = False, clip: synth.Clip | None = None
) -> synth.Figures:
    """Draw one body in one posture, turned at random, hips near the origin; ``hard`` poses go beyond the activities."""
    if clip is None:
        activities = sorted(set(synth.ACTIVITIES) - {"random"})
        loose = hard and rng.random() < _RANDOM_SHARE
        activity = "random" if loose else activities[int(rng.integers(len(activities)))]
        clip = synth.sample_clip(rng, activity, 1, _RATE_HZ)
    figure = synth.pose(body, clip)
    x, y, z = figure.landmark("pelvis")[0]
    drift = rng.normal(0.0, [40.0, 40.0, 25.0])
    yaw = rng.uniform(-np.pi, np.pi)
    cos, sin = np.cos(yaw), np.sin(yaw)
    return figure.moved(yaw, drift - [cos * x - sin * y, sin * x + cos * y, z])
