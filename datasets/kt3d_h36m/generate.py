"""A licence-free stand-in: generated people in one room under four cameras, written in the official layout.

Recordings are clips of 1 to ``frames`` frames (frame 0 is a test frame), plus one of 130 for the every-64th rule. The
writer shares no constant or helper with the reader, so reading the set back proves something.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import UsageError
from kt3d_bench.standins import MARKER, growing
from kt3d_h36m.standin_cameras import Rig, metadata_xml, sample_rig
from kt3d_h36m.standin_files import write_pose_cdf, write_video
from kt3d_h36m.standin_recordings import ACTIVITIES, CAMERA_IDS, LEFT_OUT, PEOPLE, Take
from kt3d_h36m.standin_room import Room
from kt3d_h36m.standin_skeleton import JOINT_NAMES, joints_32

if TYPE_CHECKING:
    from kt3d_bench.synth import Figures, Motions

VERSION = 1
"""Bumped with every change of what is generated."""
DEMO: Mapping[str, Any] = {"people": 7, "frames": 1, "frame_px": 400, "long_clip": False}
"""A stand-in that a laptop makes and trains on in minutes: one frame of each sequence, no long clip."""
SIZES: Mapping[str, Mapping[str, Any]] = {
    "small": {"people": 7, "frames": 100, "long_clip": False},
    "paper": {"people": 7, "frames": 400},
}
"""Preset -> arguments of a stand-in for training of that size."""
_LONG_FRAMES = 130
_TEST_STEP, _TRAIN_STEP = 64, 5
_RATE_HZ = 50.0
_WIDTH_PX = (64, 2000)
_PLACE_MM = 650.0
# independent random streams
_RIG, _ROOM, _VIEW, _PERSON, _TAKES, _CLIP, _LENGTHS, _MOTION = range(8)


@dataclass(frozen=True, eq=False)
class _Set:
    """What all recordings of one generated set share."""

    root: Path
    seed: int
    rig: Rig
    rooms: tuple[npt.NDArray[np.uint8], ...]
    """The empty room per camera, of the greatest height any subject's images have."""
    motions: Motions | None
    takes: tuple[Take, ...]
    device: str

    def rng(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *stream])


def generate(
    out: Path,
    *,
    people: int,
    frames: int,
    seed: int,
    motion: Path | None = None,
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
    frame_px: int = 400,
    actions: int = 15,
    takes: int = 2,
    long_clip: bool = True,
    workers: int = 1,
) -> Mapping[str, int]:
    """Write the stand-in to ``out`` (absent, empty, or an earlier one) and return the samples per split.

    ``people`` of the seven labelled subjects are written (more than seven count as seven, fewer than two as two:
    each split needs one); ``frames`` bounds the clips' length; the first ``actions`` of the 15 actions and ``takes``
    of the 2 takes are recorded; ``frame_px`` is the images' width (officially 1000); ``motion``, a BVH or AMC file
    or a folder of them, moves the people instead of the actions' own poses: resampled to 50 Hz, the takes spread
    evenly over all files. The result does not depend on ``workers``.
    Raises ``UsageError`` for impossible numbers or when ``out`` holds something else, ``RawDataError`` when no motion
    can be used or none is as long as the longest clip.
    """
    _check(frames=(frames, 1, 10_000), actions=(actions, 1, len(ACTIVITIES)), takes=(takes, 1, 2),
           frame_px=(frame_px, *_WIDTH_PX), workers=(workers, 1, 1024), seed=(seed, 0, 2**63))  # fmt: skip
    if frame_px % 2:
        raise UsageError(f"frame_px is {frame_px}, but video frames have even sizes", hint=f"use {frame_px + 1}")
    chosen = PEOPLE[: min(max(people, 2), len(PEOPLE))]
    facts = {
        "dataset": "h36m", "version": VERSION, "seed": seed, "people": len(chosen), "frames": frames,
        "frame_px": frame_px, "actions": actions, "takes": takes, "long_clip": long_clip,
        "motion": None if motion is None else motion.name,
    }  # fmt: skip
    recorded = _takes(seed, [subject for subject, _ in chosen], actions, takes, frames, long_clip)
    motions = None
    if motion is not None:
        from kt3d_bench.synth import read_motions

        motions = read_motions(motion)
        motions.require(max(take.frames for take in recorded), _RATE_HZ)
        facts["motion_digest"] = motions.digest
    samples = _expected_samples(recorded, dict(chosen))
    with growing(out, [*(subject for subject, _ in PEOPLE), "metadata.xml"]) as folder:
        whole = _new_set(folder, seed, frame_px, recorded, motions, device)
        counts = {}
        for done, (take, numbers) in enumerate(_record_all(whole, recorded, workers), start=1):
            counts[take.subject, take.action, take.number] = numbers
            progress(done, len(recorded))
        (folder / "metadata.xml").write_bytes(metadata_xml(whole.rig, counts, JOINT_NAMES))
        (folder / MARKER).write_text(json.dumps({**facts, "samples": samples}, indent=2) + "\n")
    return samples


def _check(**numbers: tuple[int, int, int]) -> None:
    for name, (value, least, most) in numbers.items():
        if not least <= value <= most:
            raise UsageError(f"{name} is {value}, expected {least} to {most}")


def _takes(seed: int, subjects: Sequence[str], actions: int, takes: int, frames: int, long_clip: bool) -> list[Take]:
    """Every recording with its length. The first take of the first action of S9 is the long one."""
    recorded = []
    for subject in subjects:
        rng = np.random.default_rng([seed, _LENGTHS, int(subject[1:])])
        lengths = rng.integers(1, frames, size=(len(ACTIVITIES), 2), endpoint=True)
        for index, action in enumerate(list(ACTIVITIES)[:actions]):
            for number in range(1, takes + 1):
                long = long_clip and (subject, index, number) == ("S9", 0, 1)
                length = _LONG_FRAMES if long else int(lengths[index, number - 1])
                recorded.append(Take(subject, action, number, length))
    return recorded


def _expected_samples(recorded: Sequence[Take], split_of: Mapping[str, str]) -> dict[str, int]:
    samples = {"train": 0, "test": 0}
    for take in recorded:
        step = _TEST_STEP if split_of[take.subject] == "test" else _TRAIN_STEP
        cameras = [camera for camera in CAMERA_IDS if (take.subject, take.file_name, camera) != LEFT_OUT]
        samples[split_of[take.subject]] += len(cameras) * len(range(0, take.frames, step))
    return samples


def _new_set(root: Path, seed: int, frame_px: int, takes: Sequence[Take], motions: Motions | None, device: str) -> _Set:
    subjects = list(dict.fromkeys(take.subject for take in takes))
    rig = sample_rig(np.random.default_rng([seed, _RIG]), frame_px)
    room = Room(np.random.default_rng([seed, _ROOM]))
    tallest = [max((rig.camera(subject, index) for subject in subjects), key=lambda camera: camera.size_px[1])
               for index in range(4)]  # fmt: skip
    rooms = tuple(
        room.seen_by(camera, np.random.default_rng([seed, _VIEW, index])) for index, camera in enumerate(tallest)
    )
    return _Set(root, seed, rig, rooms, motions, tuple(takes), device)


def _record_all(whole: _Set, recorded: Sequence[Take], workers: int) -> Iterator[tuple[Take, list[int]]]:
    """(take, four video lengths and mocap samples), in no particular order."""
    if workers == 1:
        for take in recorded:
            yield take, _record(whole, take)
        return
    from joblib import Parallel, delayed

    groups = [list(recorded[start : start + 5]) for start in range(0, len(recorded), 5)]
    results = Parallel(n_jobs=workers, return_as="generator_unordered")(
        delayed(_record_group)(whole, group) for group in groups
    )
    for group in results:
        yield from group


def _record_group(whole: _Set, group: Sequence[Take]) -> list[tuple[Take, list[int]]]:
    import torch

    torch.set_num_threads(1)
    return [(take, _record(whole, take)) for take in group]


def _record(whole: _Set, take: Take) -> list[int]:
    """Write one recording: a world CDF, and per camera a camera CDF, an image CDF and a video."""
    from kt3d_bench.synth import render, sample_style, shade

    who = int(take.subject[1:])
    figures, height_mm = _people(whole, take, who)
    style = sample_style(whole.rng(_PERSON, who, 1))
    folder = whole.root / take.subject
    features = folder / "MyPoseFeatures"
    world_mm = joints_32(figures, height_mm)
    write_pose_cdf(features / "D3_Positions" / f"{take.file_name}.cdf", world_mm)
    rng = whole.rng(_TAKES, who, take.action_number, take.number)
    lengths = []
    for index, camera_id in enumerate(CAMERA_IDS):
        name = f"{take.file_name}.{camera_id}"
        cam_mm = whole.rig.to_camera(take.subject, index, world_mm)
        write_pose_cdf(features / "D3_Positions_mono" / f"{name}.cdf", cam_mm)
        write_pose_cdf(features / "D2_Positions" / f"{name}.cdf", whole.rig.to_image(index, cam_mm))
        camera = whole.rig.camera(take.subject, index)
        empty = whole.rooms[index][: camera.size_px[1]]
        more = int(rng.integers(0, 3) if index in (0, 3) else rng.integers(2, 6))

        def images(
            camera: Any = camera, empty: npt.NDArray[np.uint8] = empty, more: int = more
        ) -> Iterator[npt.NDArray[np.uint8]]:
            image = empty
            for frame in range(take.frames):
                seen = render(figures[frame], [camera], device=whole.device)[0]
                image = shade(seen, style, empty)
                yield image
            for _ in range(more):
                yield image

        write_video(folder / "Videos" / f"{name}.mp4", images())
        lengths.append(take.frames + more)
    return [*lengths, 4 * take.frames + int(rng.integers(0, 4))]


def _people(whole: _Set, take: Take, who: int) -> tuple[Figures, float]:
    """The take's posed person, somewhere near the middle of the room, facing anywhere; and the person's height."""
    from kt3d_bench.synth import pose, sample_bodies, sample_clip

    rng = whole.rng(_CLIP, who, take.action_number, take.number)
    body = sample_bodies(whole.rng(_PERSON, who, 0), 1, height_mm=(1560, 1890))
    if whole.motions is None:
        clip = sample_clip(rng, str(rng.choice(ACTIVITIES[take.action])), take.frames, _RATE_HZ)
    else:
        clip = whole.motions.clip(whole.takes.index(take), take.frames, _RATE_HZ, seed=(whole.seed, _MOTION))
    figures = pose(body, clip)
    middle = np.append(figures.landmark("pelvis")[:, :2].mean(axis=0), 0.0)
    place = np.append(rng.uniform(-_PLACE_MM, _PLACE_MM, 2), 0.0)
    turned = figures.moved(0.0, -middle).moved(rng.uniform(-np.pi, np.pi), place)
    return turned, float(body.height_mm[0])
