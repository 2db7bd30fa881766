"""A licence-free stand-in for ITOP: generated people in view of a side and a top depth sensor, in the official layout.

Both views show the same scenes: one person in a furnished room who does 15 actions in turn, mostly facing the side
camera. As in the original, about half of the frames are marked as not approved: their joints are wrong or zero. Train
and test people differ. The same seed gives the same files with any number of workers: bytes depend on the content.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.cores import cores
from kt3d_bench.standins import check_held_out, check_numbers, in_parallel, standin_folder
from kt3d_bench.synth import Motions, read_motions
from kt3d_itop.standin_people import ACTIONS, RATE_HZ, Block, Doing, record
from kt3d_itop.standin_sensor import HEIGHT_PX, METRES_PER_PX, MIDDLE_PX, WIDTH_PX

VERSION = 2  # Bumped with every change of what is generated
DEMO: Mapping[str, Any] = {"people": 24, "frames": 84}
"""A stand-in that a laptop makes and trains on in minutes."""
SIZES: Mapping[str, Mapping[str, Any]] = {
    "laptop": {"people": 40, "frames": 150},
    "small": {"people": 40, "frames": 200},
    "paper": {"people": 100, "frames": 600},
}
"""Preset -> arguments of a stand-in for training of that size."""
_SPLITS = ("train", "test")
_VIEWS = {"side": "front", "top": "top"}  # View in the files' names -> view in the splits' names
_NAMES = tuple(
    f"ITOP_{view}_{split}_{kind}.h5.gz"
    for view in _VIEWS
    for split in _SPLITS
    for kind in ("depth_map", "point_cloud", "labels")
)
_UNPACKED = "kt3d-unpacked"  # Where ``prepare`` keeps unpacked copies, which a new stand-in replaces
_MOST_PEOPLE, _MOST_FRAMES = 100, 60_000
"""Person numbers have two digits; the official set has somewhat fewer frames in total."""
_TEST_EVERY = 4
_HELD_OUT_CASTS = {"test": 100, "validation": 200}
"""Added to the number of a test person in random streams; training people are their own numbers."""
_VALID_SHARE = 0.55
_STRETCH_FRAMES = 9.0  # Mean number of consecutive approved frames
_ACTIONS_EACH = 15
_CLIP_FRAMES = (3, 40)
_BLOCK_FRAMES = 50  # Frames that a worker records at once, approximately
_GROWTH_SHARE = 0.75  # Share of the progress that recording takes; packing takes the rest


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
    point_cloud: bool = False,
    held_out: str = "test",
) -> Mapping[str, int]:
    """Write ``frames`` frames of each of ``people`` people (2 to 100; one counts as two), seen from both views; every
    fourth person, at least one, is for testing. Returns the approved frames per split.

    ``motion`` (a .bvh or .amc file, or a folder of them) replaces the actions. ``point_cloud`` adds the point clouds,
    which are twice as large as everything else. ``held_out``: "test", or "validation" for other people, rooms and poses
    under the numbers of the test people. Raises ``UsageError`` for impossible numbers or when
    ``out`` holds data that was not generated, and ``RawDataError`` for motions that cannot be used.
    """
    check_held_out(held_out)
    images = max(people, 2) * frames
    check_numbers(seed, workers, people=(people, 1, _MOST_PEOPLE), frames=(frames, 1, _MOST_FRAMES),
                  people_x_frames=(images, 1, _MOST_FRAMES))  # fmt: skip
    people = max(people, 2)
    marker = {"dataset": "itop", "version": VERSION, "seed": seed, "people": people, "frames": frames,
              "held_out": held_out}  # fmt: skip
    motions = read_motions(motion) if motion else None
    if motions:
        motions.require(_clip_frames(frames), RATE_HZ)
        marker |= motions.marker
    plan = {
        split: [
            block
            for person in persons
            for block in _blocks(seed, person, _HELD_OUT_CASTS[held_out] * (split == "test"), frames, motions, device)
        ]
        for split, persons in _people(people).items()
    }
    total = round(people * frames / _GROWTH_SHARE)
    with standin_folder(out, (*_NAMES, _UNPACKED), marker) as folder:
        _record(plan, folder, point_cloud, workers, device, lambda done: progress(done, total))
        _pack(folder, workers, people * frames, total, progress)
    return {
        f"{view}-{split}": sum(sum(block.valid) for block in plan[split])
        for view in _VIEWS.values()
        for split in _SPLITS
    }


def _people(count: int) -> dict[str, list[int]]:
    test = list(range(_TEST_EVERY - 1, count, _TEST_EVERY)) or [count - 1]
    return {"train": sorted(set(range(count)) - set(test)), "test": test}


def _blocks(
    seed: int, person: int, held_out: int, frames: int, motions: Motions | None, device: str
) -> Iterator[Block]:
    """Yield one person's frames in order: clips of the actions in turn, a few clips per block.

    ``held_out`` is added to the person's number in random streams.
    """
    cast = person + held_out
    rng = np.random.default_rng((seed, 0, cast))
    order = rng.permutation(len(ACTIONS))
    length = _clip_frames(frames)
    approved = _approved(rng, frames)
    starts = range(0, frames, length)
    clips = [
        Doing(
            seed=seed,
            cast=cast,
            number=number,
            action=ACTIONS[order[number % len(ACTIONS)]],
            frames=min(length, frames - start),
            motions=motions,
            turn=person * len(starts) + number,
        )
        for number, start in enumerate(starts)
    ]
    together = max(1, _BLOCK_FRAMES // length)
    for first in range(0, len(clips), together):
        chosen = tuple(clips[first : first + together])
        start = first * length
        stop = start + sum(clip.frames for clip in chosen)
        yield Block(seed, person, cast, start, chosen, tuple(approved[start:stop]), device)


def _clip_frames(frames: int) -> int:
    """Return the length of a clip, so that each action occurs once, or repeatedly in long recordings."""
    return int(np.clip(-(-frames // _ACTIONS_EACH), *_CLIP_FRAMES))


def _approved(rng: np.random.Generator, frames: int) -> list[bool]:
    """Draw for each frame whether its joints are right: runs of both kinds, starting with an approved one."""
    flags: list[bool] = []
    while len(flags) < frames:
        kind = not flags or not flags[-1]
        mean = _STRETCH_FRAMES if kind else _STRETCH_FRAMES * (1 - _VALID_SHARE) / _VALID_SHARE
        flags += [kind] * int(rng.geometric(1 / mean))
    return flags[:frames]


def _record(plan: Mapping[str, Sequence[Block]], folder: Path, point_cloud: bool, workers: int | None, device: str,
            progress: Callable[[int], None]) -> None:  # fmt: skip
    done = 0
    progress(done)
    for split, blocks in plan.items():
        total = sum(block.frames for block in blocks)
        with ExitStack() as stack:
            files = {
                view: stack.enter_context(closing(ViewFiles(folder, view, split, total, point_cloud=point_cloud)))
                for view in _VIEWS
            }
            recorded = in_parallel(record, blocks, workers=workers, device=device)
            for block, views in zip(blocks, recorded, strict=True):
                for view, rows in views.items():
                    files[view].append(rows)
                done += block.frames
                progress(done)


def _pack(folder: Path, workers: int | None, before: int, total: int, progress: Callable[[int, int], None]) -> None:
    paths = sorted(folder.glob("*.h5"), key=lambda path: -path.stat().st_size)
    sizes = np.array([path.stat().st_size for path in paths])
    shares = np.cumsum(sizes) / sizes.sum()
    with ThreadPoolExecutor(workers or cores()) as pool:
        for share, _ in zip(shares, pool.map(lambda path: compress(path, Path(f"{path}.gz")), paths), strict=True):
            progress(before + round((total - before) * float(share)), total)


_IMAGE = (HEIGHT_PX, WIDTH_PX)
_FIELDS: dict[str, dict[str, tuple[tuple[int, ...], str]]] = {
    "depth_map": {"data": (_IMAGE, "<f2"), "id": ((), "S8")},
    "point_cloud": {"data": ((HEIGHT_PX * WIDTH_PX, 3), "<f2"), "id": ((), "S8")},
    "labels": {
        "id": ((), "S8"),
        "image_coordinates": ((15, 2), "<i2"),
        "is_valid": ((), "u1"),
        "real_world_coordinates": ((15, 3), "<f2"),
        "segmentation": (_IMAGE, "i1"),
        "visible_joints": ((15,), "<i2"),
    },
}
"""File -> dataset -> shape of one frame, and type."""
_COPY_BYTES = 1 << 20


class ViewFiles:
    """The open, unpacked files of one view and split."""

    def __init__(self, folder: Path, view: str, split: str, frames: int, *, point_cloud: bool) -> None:
        import h5py

        kinds = ["depth_map", "labels", *(["point_cloud"] if point_cloud else [])]
        self._files = {}
        self._filled = 0
        for kind in kinds:
            path = folder / f"ITOP_{view}_{split}_{kind}.h5"
            file = self._files[kind] = h5py.File(path, "w", libver=("earliest", "v108"))
            for name, (shape, dtype) in _FIELDS[kind].items():
                file.create_dataset(name, (frames, *shape), dtype, track_times=False)

    def append(self, rows: Mapping[str, npt.NDArray[Any]]) -> None:
        """Append frames, given as arrays of equal length by dataset name."""
        stop = self._filled + len(rows["id"])
        for kind, file in self._files.items():
            for name in _FIELDS[kind]:
                values = point_cloud(rows["data"]) if (kind, name) == ("point_cloud", "data") else rows[name]
                file[name][self._filled : stop] = values
        self._filled = stop

    def close(self) -> None:
        for file in self._files.values():
            file.close()


def point_cloud(depth_m: npt.NDArray[np.float16]) -> npt.NDArray[np.float16]:
    """Return (n, H * W, 3) x, y, z in metres of depth (n, H, W) in metres; zero where there is no reading."""
    z = depth_m.astype(np.float32)
    v, u = np.mgrid[:HEIGHT_PX, :WIDTH_PX].astype(np.float32)
    cloud = np.stack([(u - MIDDLE_PX[0]) * METRES_PER_PX * z, (MIDDLE_PX[1] - v) * METRES_PER_PX * z, z], axis=-1)
    return cloud.reshape(len(z), -1, 3).astype(np.float16)


def compress(path: Path, out: Path) -> None:
    """Compress ``path`` to ``out``, a gzip file without name or time, and remove ``path``."""
    with (
        path.open("rb") as source,
        out.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as target,
    ):
        shutil.copyfileobj(source, target, _COPY_BYTES)
    path.unlink()
