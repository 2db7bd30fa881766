"""The official tree: ``<subset>/<split>/<section>/{groundtruth.mat, images/{depthRender,groundtruth}/CamN/*.png}``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import MissingDataError, RawDataError
from kt3d_bench.rawfiles import any_case, contents, find, inside, listed, near, read_bytes

SUBSETS = ("easy-pose", "inter-pose", "hard-pose")
CAMERAS = ("Cam1", "Cam2", "Cam3")
PROTOCOL = {"train": ("inter-pose", "train"), "test": ("hard-pose", "test")}
"""Our split -> the archive's subset and split."""
SITE = "https://www.cs.ubc.ca/research/UBC3V/"
_SIZE_PX = (512, 424)
_IMAGE = re.compile(r"mayaProject\.(\d{6})\.png", re.IGNORECASE)
_FILE_LIMIT = 16 << 20


@dataclass(frozen=True)
class Section:
    """A section: a folder whose name is a number."""

    folder: Path
    subset: str
    split: str
    number: int

    @property
    def name(self) -> str:
        return f"{self.subset}/{self.split}/{self.number}"

    @property
    def sequence(self) -> str:
        """What sample keys begin with: ``hard_test_0007``."""
        return f"{self.subset.removesuffix('-pose')}_{self.split}_{self.number:04d}"

    @property
    def ground_truth(self) -> Path:
        return any_case(self.folder / "groundtruth.mat")

    def images(self, kind: str) -> Path:
        """``kind`` is "depthRender" or "groundtruth" (the part colours)."""
        return inside(self.folder, "images", kind)

    def image(self, kind: str, camera: str, frame: int) -> Path:
        """Frames start at 1."""
        return inside(self.images(kind), camera) / f"mayaProject.{frame:06d}.png"

    def frames(self, kind: str) -> frozenset[int]:
        """Numbers of the frames that any camera has an image of."""
        found: set[int] = set()
        for camera in CAMERAS:
            folder = inside(self.images(kind), camera)
            if folder.is_dir():
                matches = (_IMAGE.fullmatch(path.name) for path in folder.iterdir())
                found.update(int(match[1]) for match in matches if match and int(match[1]) > 0)
        return frozenset(found)


def _subset_folder(raw: Path, subset: str) -> Path | None:
    """Return where the subset lies: in ``raw``, one folder further down, or ``raw`` itself."""
    if raw.name.lower() == subset and raw.is_dir():
        return raw
    return next((path for path in find(raw, subset) if path.is_dir()), None)


def _packed_subset(raw: Path, subset: str) -> Path | None:
    return next((path for path in find(raw, f"{subset}.tar.gz", f"{subset}.tar") if path.is_file()), None)


def find_sections(raw: Path, subset: str, split: str) -> Sequence[Section]:
    """Return the sections of one split of one subset, by number.

    Raises ``RawDataError`` when ``raw`` does not hold them, saying what it holds instead, ``MissingDataError`` when the
    subset's folder is not there at all.
    """
    if not raw.is_dir():
        raise RawDataError(
            f"is not a folder, expected one that holds {subset}/{split}",
            where=raw,
            hint="point --raw at the unpacked UBC3V archives, or make a stand-in with `kt3d generate ubc3v`",
        )
    folder = _subset_folder(raw, subset)
    if folder is None:
        if (packed := _packed_subset(raw, subset)) is not None:
            raise RawDataError(
                f"is still packed, expected the folder {subset}",
                where=packed,
                hint=f"unpack it first, because images are read in random order: tar -xf {packed} -C {packed.parent}",
            )
        ready = [name for name, (other, part) in PROTOCOL.items() if _holds(_subset_folder(raw, other), part)]
        otherwise = f", or prepare what is here: --split {ready[0]}" if ready else ""
        raise MissingDataError(
            f"holds no folder {subset}, found {contents(raw)}{near(raw, subset)}",
            where=raw,
            hint=f"unpack {subset}.tar.gz (from {SITE}) here, or point --raw at the folder that holds {subset}"
            f"{otherwise}",
        )
    parent = inside(folder, split)
    numbered = [path for path in parent.iterdir() if path.name.isdecimal()] if parent.is_dir() else []
    sections = [
        Section(path, subset, split, int(path.name))
        for path in sorted(numbered, key=lambda path: int(path.name))
        if path.is_dir()
    ]
    if not any(section.ground_truth.is_file() for section in sections):
        found = f"found {len(sections)} section folders" if sections else "found no section folders"
        raise RawDataError(
            f"holds no section with a groundtruth.mat, {found}",
            where=parent,
            hint=f"unpack {subset}.tar.gz again; sections are folders named 1, 2, 3, ...",
        )
    return sections


def _holds(folder: Path | None, split: str) -> bool:
    return folder is not None and inside(folder, split).is_dir()


def read_rgba(path: Path) -> npt.NDArray[np.uint8]:
    """Read an image as (424, 512, 4) uint8 RGBA. Raises ``RawDataError`` when it is missing, damaged or another kind.

    The header is checked before anything is decoded, so that a small file cannot unpack to a huge one.
    """
    import cv2

    hint = "unpack the archive again"
    data = read_bytes(any_case(path), _FILE_LIMIT, hint)
    if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < 33:
        raise RawDataError("is not a PNG image", where=path, hint=hint)
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    if (width, height) != _SIZE_PX or data[24:26] != b"\x08\x06":
        raise RawDataError(
            f"is {width} x {height} with {data[24]} bits and colour type {data[25]}, expected 512 x 424 RGBA of 8 bits",
            where=path,
            hint="use the images as published; resized copies lose the camera",
        )
    decoded: npt.NDArray[Any] | None = None
    with suppress(cv2.error):
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.shape != (height, width, 4) or decoded.dtype != np.uint8:
        raise RawDataError("cannot be decoded", where=path, hint=hint)
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGRA2RGBA), np.uint8)


def describe(raw: Path) -> Sequence[str]:
    """Return sentences for ``kt3d inspect``: what lies under ``raw``, and which archive each split lacks."""
    lines: list[str] = []
    folders = {subset: _subset_folder(raw, subset) for subset in SUBSETS}
    for subset, folder in folders.items():
        for split in ("train", "valid", "test"):
            if _holds(folder, split):
                lines += _describe_split(raw, subset, split)
    if lines:
        lines.insert(0, f"Layout: the official download, unpacked in {raw}.")
    packed = {subset: _packed_subset(raw, subset) for subset in SUBSETS if folders[subset] is None}
    lines += [f"Not read while it is packed: {path}." for path in packed.values() if path is not None]
    for split, (subset, part) in PROTOCOL.items():
        folder = folders[subset]
        if folder is not None and not inside(folder, part).is_dir():
            lines.append(f"Split {split} lacks {folder / part}; unpack {subset}.tar.gz again, from {SITE}.")
        elif folder is None and packed[subset] is None:
            lines.append(f"Split {split} lacks {subset}.tar.gz, from {SITE}.")
    return lines


def _describe_split(raw: Path, subset: str, split: str) -> Iterator[str]:
    try:
        sections = find_sections(raw, subset, split)
    except RawDataError as error:
        yield f"{error.message}."
        return
    frames = {section: section.frames("depthRender") for section in sections}
    plain = sum(not section.frames("groundtruth") for section in sections)
    colours = f", {plain} sections without part colours" if plain else ""
    yield f"{subset}/{split}: {len(sections)} sections, {sum(map(len, frames.values()))} frames{colours}."
    lacking = [f"{section.name}/groundtruth.mat" for section in sections if not section.ground_truth.is_file()]
    lacking += [f"{section.name}/images/depthRender" for section, found in frames.items() if not found]
    if lacking:
        yield f"Missing: {listed(lacking)}; unpack {subset}.tar.gz again, from {SITE}."
