"""A dataset small enough to count by hand: raw files hold one number per line, each line becomes one sample.

Lines may also ask for trouble: ``skip REASON``, ``damaged``, ``damaged-until MARK``, ``die``, ``die-once MARK``,
``full``, ``vanish``, ``wait MARK``, ``key NAME``, ``wrong``, ``part N``, ``rgb-only``, ``factor``, ``interrupt``,
``huge``, ``pose``, ``bug``. Items of files whose names begin with ``pose`` promise poses only.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kt3d_bench import Camera, DatasetPlugin, Option, RawDataError, Sample, Skipped, WorkItem
from kt3d_bench.progress import Reporter
from kt3d_bench.skeletons import H36M17, NUM_JOINTS

NUM_PARTS = 5
CARD = """
name: fake
title: Fake
what: Numbers.
modalities: [rgb, depth, parts]
homepage: https://example.org
how_to_obtain: [Write it.]
download_size: 1 kB
licence: Do as you like.
redistribution: Allowed.
citation: "@misc{fake}"
joints:
{joints}
num_parts: 5
box_rule: joints
protocol: All lines.
"""


def write_card(folder: Path) -> None:
    """Write a good card into a dataset plugin's folder."""
    rows = "\n".join(f"  - {{joint: {name}, quality: exact}}" for name in H36M17.joints)
    (folder / "card.yaml").write_text(CARD.replace("{joints}", rows))


def plugin(folder: Path, **changes: Any) -> DatasetPlugin:
    fields: dict[str, Any] = {
        "name": "fake",
        "title": "Fake",
        "modalities": ("rgb", "depth", "parts"),
        "splits": ("train", "test"),
        "folder": folder,
        "convert": "data_fake_dataset",
        "generate": "data_fake_dataset",
        "options": {
            "step": Option(1, "every n-th line"),
            "view": Option("front", "which view", ("front", "top")),
            "flip": Option(False, "mirror"),
            "scale": Option(1.0, "size"),
        },
        **changes,
    }
    return DatasetPlugin(**fields)


def plan(raw: Path, split: str, options: Mapping[str, Any]) -> Sequence[WorkItem]:
    files = sorted((raw / split).glob("*.txt"))
    return [
        WorkItem(
            f"{split}/{path.stem}",
            len(path.read_text().split("\n")),
            {"path": str(path), "step": options["step"]},
            poses_only=path.stem.startswith("pose"),
        )
        for path in files
    ]


def convert(item: WorkItem) -> Iterator[Sample | Skipped]:
    path = Path(item.payload["path"])
    for number, line in enumerate(path.read_text().splitlines()[:: item.payload["step"]]):
        name = f"{path.parent.name}_{path.stem}_{number:03d}"
        word, _, rest = line.partition(" ")
        if word == "skip":
            yield Skipped(name, rest)
        elif word == "damaged":
            raise RawDataError("line is damaged", where=path, hint="download it again")
        elif word == "damaged-until":
            if not Path(rest).exists():
                raise RawDataError("line is damaged", where=path, hint="download it again")
        elif word == "die":
            os._exit(7)
        elif word == "die-once":
            if not Path(rest).exists():
                Path(rest).touch()
                os._exit(7)
        elif word == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        elif word == "vanish":
            (path.parent / "gone.bin").read_bytes()
        elif word == "wait":
            while not Path(rest).exists():
                time.sleep(0.02)
        elif word == "wrong":
            yield 3  # type: ignore[misc]
        elif word == "bug":
            raise ZeroDivisionError("division by zero")
        elif word == "interrupt":
            raise KeyboardInterrupt
        elif word == "key":
            yield sample(rest, number)
        elif word == "part":
            yield sample(name, number, part=int(rest))
        elif word == "rgb-only":
            yield sample(name, number, images=("rgb",))
        elif word == "pose":
            yield sample(name, number, images=())
        elif word == "factor":
            yield sample(name, number, tangential_factor=1.0)
        elif word == "huge":
            yield sample(name, number, size_px=(2049, 2))
        else:
            yield sample(name, int(word), subject=path.stem)


def sample(
    key: str,
    seed: int,
    *,
    images: Sequence[str] = ("rgb", "depth_mm", "parts"),
    subject: str = "S1",
    part: int = NUM_PARTS - 1,
    tangential_factor: float = 2.0,
    size_px: tuple[int, int] = (12, 9),
) -> Sample:
    """A sample whose every value follows from ``seed``."""
    rng = np.random.default_rng(seed)
    width, height = size_px
    joints_px = rng.uniform(0, 10, (NUM_JOINTS, 2)).astype(np.float32)
    joints_px[3] = np.nan
    parts = rng.integers(0, part + 1, (height, width), np.uint8)
    parts[0, 0] = part
    content = {
        "rgb": rng.integers(0, 256, (height, width, 3), np.uint8),
        "depth_mm": rng.integers(1300, 2900, (height, width), np.uint16),  # in front of all joints
        "parts": parts,
    }
    return Sample(
        key=key,
        camera=Camera.pinhole(
            (300.0 + seed, 301.5),
            (6.1, 4.2),
            size_px,
            distortion=rng.normal(0, 0.1, 5),
            position_world_mm=rng.normal(0, 1e3, 3),
            tangential_factor=tangential_factor,
        ),
        joints_px=joints_px,
        joints_cam_mm=(rng.normal(0, 50, (NUM_JOINTS, 3)) + np.array([0, 0, 3000])).astype(np.float32),
        visible=rng.integers(-1, 2, NUM_JOINTS).astype(np.int8),
        quality=np.full(NUM_JOINTS, 3, np.uint8),
        box_px=np.array([1, 2, 8.5, 7], np.float32),
        subject=subject,
        action="walk" if seed % 2 else "",
        camera_id="c1",
        sequence=f"{subject}-walk",
        frame=seed,
        **{name: content[name] for name in images},
    )


class Recorder(Reporter):
    """Keep what a preparation reports."""

    def __init__(self) -> None:
        self.total, self.calls, self.notes = 0, list[tuple[int, int, int]](), list[str]()

    def start(self, task: str, total: int, *, done: int = 0) -> None:
        self.total = total

    def advance(self, done: int, **counts: Any) -> None:
        self.calls.append((done, counts["samples"], counts["values"]["skipped"]))

    def note(self, text: str) -> None:
        self.notes.append(text)
