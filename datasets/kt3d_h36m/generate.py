"""A licence-free stand-in: generated people in one room under four cameras, written in the official layout.

Recordings are clips of 1 to ``frames`` frames (frame 0 is a test frame), plus one of 130 for the every-64th rule. The
writer shares no constant or helper with the reader, so that reading the set back tests both.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench import synth
from kt3d_bench.errors import UsageError
from kt3d_bench.records import Camera
from kt3d_bench.standins import check_held_out, check_numbers, in_parallel, standin_folder
from kt3d_h36m.standin_recordings import (
    ACTIVITIES,
    CAMERA_IDS,
    HELD_OUT_CASTS,
    JOINT_NAMES,
    LEFT_OUT,
    PEOPLE,
    Take,
    joints_32,
)
from kt3d_h36m.standin_room import Rig, Room, metadata_xml, sample_rig

Image = npt.NDArray[np.uint8]
VERSION = 2  # Bumped with every change of what is generated
DEMO: Mapping[str, Any] = {"people": 7, "frames": 1, "frame_px": 400, "long_clip": False}
"""A stand-in that a laptop makes and trains on in minutes: one frame of each sequence, no long clip."""
SIZES: Mapping[str, Mapping[str, Any]] = {
    "laptop": {"people": 7, "frames": 100, "frame_px": 400, "long_clip": False},
    "small": {"people": 7, "frames": 100, "long_clip": False},
    "paper": {"people": 7, "frames": 400},
}
"""Preset -> arguments of a stand-in for training of that size."""
_LONG_FRAMES = 130
_TEST_STEP, _TRAIN_STEP = 64, 5
_RATE_HZ = 50.0
_CDF_REAL4 = 44
_WIDTH_PX = (64, 2000)
_PLACE_MM = 650.0
_BATCH = 5  # Recordings that a worker makes at once
# independent random streams
_RIG, _ROOM, _VIEW, _PERSON, _TAKES, _CLIP, _LENGTHS, _MOTION = range(8)


@dataclass(frozen=True, eq=False)
class _Studio:
    """What all recordings of one stand-in share."""

    root: Path
    seed: int
    rig: Rig
    rooms: tuple[Image, ...]  # The empty room per camera, as high as the highest images of any subject
    motions: synth.Motions | None
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
    workers: int | None = None,
    held_out: str = "test",
) -> Mapping[str, int]:
    """Write the stand-in to ``out`` (absent, empty, or an earlier one) and return the samples per split.

    ``people``: how many of the seven labelled subjects, at least two, since each split needs one; ``frames``: maximum
    length of a clip; ``actions`` of the 15 actions and ``takes`` of the 2 takes are recorded; ``frame_px``: the images'
    width (officially 1000); ``motion``: a BVH or AMC file, or a folder of them, that replaces the actions' poses,
    resampled to 50 Hz and used evenly. The result does not depend on ``workers``. ``held_out``: "test", or "validation"
    for other people, poses and lengths in the recordings of S9 and S11; all else stays the same.
    Raises ``UsageError`` for impossible numbers or when ``out`` holds something else, ``RawDataError`` when no motion
    can be used or none is as long as the longest clip.
    """
    check_held_out(held_out)
    check_numbers(seed, workers, frames=(frames, 1, 10_000), actions=(actions, 1, len(ACTIVITIES)), takes=(takes, 1, 2),
                  frame_px=(frame_px, *_WIDTH_PX))  # fmt: skip
    if frame_px % 2:
        raise UsageError(f"frame_px is {frame_px}, but video frames have even sizes", hint=f"use {frame_px + 1}")
    chosen = PEOPLE[: min(max(people, 2), len(PEOPLE))]
    facts = {
        "dataset": "h36m", "version": VERSION, "seed": seed, "people": len(chosen), "frames": frames,
        "frame_px": frame_px, "actions": actions, "takes": takes, "long_clip": long_clip,
        "motion": None, "held_out": held_out,
    }  # fmt: skip
    recorded = _takes(seed, chosen, held_out, actions, takes, frames, long_clip)
    motions = synth.read_motions(motion) if motion else None
    if motions:
        motions.require(max(take.frames for take in recorded), _RATE_HZ)
        facts |= motions.marker
    samples = _expected_samples(recorded, dict(chosen))
    names = [*(subject for subject, _ in PEOPLE), "metadata.xml"]
    with standin_folder(out, names, {**facts, "samples": samples}, indent=2) as folder:
        studio = _new_studio(folder, seed, frame_px, recorded, motions, device)
        record = functools.partial(_record, studio)
        counts = {}
        written = in_parallel(record, recorded, workers=workers, device=device, batch=_BATCH)
        for done, (take, numbers) in enumerate(zip(recorded, written, strict=True), start=1):
            counts[take.subject, take.action, take.number] = numbers
            progress(done, len(recorded))
        (folder / "metadata.xml").write_bytes(metadata_xml(studio.rig, counts, JOINT_NAMES))
    return samples


def _takes(
    seed: int, people: Sequence[tuple[str, str]], held_out: str, actions: int, takes: int, frames: int, long_clip: bool
) -> list[Take]:
    """Return every recording with its length. The first take of the first action of S9 is the long one."""
    recorded = []
    for subject, split in people:
        cast = int(subject[1:]) + (HELD_OUT_CASTS[held_out] if split == "test" else 0)
        rng = np.random.default_rng([seed, _LENGTHS, cast])
        lengths = rng.integers(1, frames, size=(len(ACTIVITIES), 2), endpoint=True)
        for index, action in enumerate(list(ACTIVITIES)[:actions]):
            for number in range(1, takes + 1):
                long = long_clip and (subject, index, number) == ("S9", 0, 1)
                length = _LONG_FRAMES if long else int(lengths[index, number - 1])
                recorded.append(Take(subject, action, number, length, cast))
    return recorded


def _expected_samples(recorded: Sequence[Take], split_of: Mapping[str, str]) -> dict[str, int]:
    samples = {"train": 0, "test": 0}
    for take in recorded:
        step = _TEST_STEP if split_of[take.subject] == "test" else _TRAIN_STEP
        cameras = [camera for camera in CAMERA_IDS if (take.subject, take.file_name, camera) != LEFT_OUT]
        samples[split_of[take.subject]] += len(cameras) * len(range(0, take.frames, step))
    return samples


def _new_studio(
    root: Path, seed: int, frame_px: int, takes: Sequence[Take], motions: synth.Motions | None, device: str
) -> _Studio:
    subjects = list(dict.fromkeys(take.subject for take in takes))
    rig = sample_rig(np.random.default_rng([seed, _RIG]), frame_px)
    room = Room(np.random.default_rng([seed, _ROOM]))
    tallest = [max((rig.camera(subject, index) for subject in subjects), key=lambda camera: camera.size_px[1])
               for index in range(4)]  # fmt: skip
    rooms = tuple(
        room.seen_by(camera, np.random.default_rng([seed, _VIEW, index])) for index, camera in enumerate(tallest)
    )
    return _Studio(root, seed, rig, rooms, motions, tuple(takes), device)


def _record(studio: _Studio, take: Take) -> list[int]:
    """Write one recording: a world CDF, and per camera a camera CDF, an image CDF and a video."""
    figures, height_mm, seat = _people(studio, take)
    rng = studio.rng(_PERSON, 1, *take.person)
    style = synth.sample_style(rng)
    lamp_world = _facing_world(style.light_cam, rng.uniform(-np.pi, np.pi))
    folder = studio.root / take.subject
    features = folder / "MyPoseFeatures"
    world_mm = joints_32(figures, height_mm)
    _write_pose_cdf(features / "D3_Positions" / f"{take.file_name}.cdf", world_mm)
    rng = studio.rng(_TAKES, take.cast, take.action_number, take.number)
    lengths = []
    for index, camera_id in enumerate(CAMERA_IDS):
        name = f"{take.file_name}.{camera_id}"
        cam_mm = studio.rig.to_camera(take.subject, index, world_mm)
        _write_pose_cdf(features / "D3_Positions_mono" / f"{name}.cdf", cam_mm)
        _write_pose_cdf(features / "D2_Positions" / f"{name}.cdf", studio.rig.to_image(index, cam_mm))
        camera = studio.rig.camera(take.subject, index)
        empty = studio.rooms[index][: camera.size_px[1]]
        more = int(rng.integers(0, 3) if index in (0, 3) else rng.integers(2, 6))
        lit = replace(style, light_cam=tuple((camera.rotation @ lamp_world).tolist()))
        images = _images(figures, camera, lit, seat, empty, more, studio.device)
        _write_video(folder / "Videos" / f"{name}.mp4", images)
        lengths.append(take.frames + more)
    return [*lengths, 4 * take.frames + int(rng.integers(0, 4))]


def _facing_world(light_cam: tuple[float, float, float], yaw_rad: float) -> npt.NDArray[np.float64]:
    """Return (3,) the direction to the lamp in the world, given for a level camera that looks along ``yaw_rad``."""
    right, down, ahead = light_cam
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.array([cos * ahead + sin * right, sin * ahead - cos * right, -down])


def _images(
    figures: synth.Figures, camera: Camera, style: synth.Style, seat: synth.Seat | None, empty: Image, more: int,
    device: str,
) -> Iterator[Image]:  # fmt: skip
    """Yield the video's images: one per figure, and the last one ``more`` times again."""
    image = empty
    for figure in figures:
        image, _ = synth.draw_person(empty, figure, camera, style, seat=seat, device=device)
        yield image
    for _ in range(more):
        yield image


def _people(studio: _Studio, take: Take) -> tuple[synth.Figures, float, synth.Seat | None]:
    """Return the take's posed person near the middle of the room, facing any direction, the person's height, and what
    the person sits on."""
    rng = studio.rng(_CLIP, take.cast, take.action_number, take.number)
    body = synth.sample_bodies(studio.rng(_PERSON, 2, *take.person), 1, height_mm=(1560, 1890))
    if studio.motions is None:
        clip = synth.sample_clip(rng, str(rng.choice(ACTIVITIES[take.action])), take.frames, _RATE_HZ)
    else:
        seed = (studio.seed, _MOTION, take.cast // 100)
        clip = studio.motions.clip(studio.takes.index(take), take.frames, _RATE_HZ, seed=seed)
    figures = synth.pose(body, clip)
    middle = np.append(figures.landmark("pelvis")[:, :2].mean(axis=0), 0.0)
    place = np.append(rng.uniform(-_PLACE_MM, _PLACE_MM, 2), 0.0)
    turned = figures.moved(0.0, -middle).moved(rng.uniform(-np.pi, np.pi), place)
    return turned, float(body.height_mm[0]), synth.seat_under(turned, rng) if clip.seated else None


def _write_pose_cdf(path: Path, points: npt.NDArray[np.float64]) -> None:
    """Write (n, 32, 2|3) as variable ``Pose`` (1, n, 64|96), float32, uncompressed: compression stores the time."""
    from cdflib.cdfwrite import CDF

    path.parent.mkdir(parents=True, exist_ok=True)
    values = points.reshape(len(points), -1).astype(np.float32)
    variable = {
        "Variable": "Pose",
        "Data_Type": _CDF_REAL4,
        "Num_Elements": 1,
        "Rec_Vary": True,
        "Dim_Sizes": list(values.shape),
        "Compress": 0,
    }
    with CDF(path, cdf_spec={"Majority": "row_major"}) as cdf:
        cdf.write_var(variable, var_data=values[None])


def _write_video(path: Path, images: Iterable[npt.NDArray[np.uint8]]) -> None:
    """Write (H, W, 3) RGB images of one even size as MPEG-4 at 50 frames per second."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(
            "mpeg4", rate=round(_RATE_HZ), options={"qmin": "2", "qmax": "3", "flags": "+bitexact"}
        )
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 40_000_000
        stream.codec_context.thread_count = 1
        started = False
        for image in images:
            if not started:
                stream.height, stream.width = image.shape[:2]
                started = True
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
