"""The official tree: ``<subset>/<split>/<section>/{groundtruth.mat, images/{depthRender,groundtruth}/CamN/*.png}``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import MissingDataError, RawDataError

SUBSETS = ("easy-pose", "inter-pose", "hard-pose")
CAMERAS = ("Cam1", "Cam2", "Cam3")
PROTOCOL = {"train": ("inter-pose", "train"), "test": ("hard-pose", "test")}
"""Our split -> the archive's subset and split."""
SITE = "https://www.cs.ubc.ca/research/UBC3V/"
_SIZE_PX = (512, 424)
_IMAGE = re.compile(r"mayaProject\.(\d{6})\.png")
_FILE_LIMIT = 16 << 20


@dataclass(frozen=True)
class Section:
    """One section: a folder with an integer for a name."""

    folder: Path
    subset: str
    split: str
    number: int

    @property
    def name(self) -> str:
        return f"{self.subset}/{self.split}/{self.number}"

    @property
    def ground_truth(self) -> Path:
        return self.folder / "groundtruth.mat"

    def images(self, kind: str) -> Path:
        """``kind`` is "depthRender" or "groundtruth" (the part colours)."""
        return self.folder / "images" / kind

    def image(self, kind: str, camera: str, frame: int) -> Path:
        """Frames start at 1."""
        return self.images(kind) / camera / f"mayaProject.{frame:06d}.png"

    def frames(self, kind: str) -> frozenset[int]:
        """Numbers of the frames that any camera has an image of."""
        found: set[int] = set()
        for camera in CAMERAS:
            folder = self.images(kind) / camera
            if folder.is_dir():
                matches = (_IMAGE.fullmatch(path.name) for path in folder.iterdir())
                found.update(int(match[1]) for match in matches if match and int(match[1]) > 0)
        return frozenset(found)


def subset_folder(raw: Path, subset: str) -> Path | None:
    """Where the subset lies: in ``raw``, one folder further down, or ``raw`` itself."""
    if raw.name == subset and raw.is_dir():
        return raw
    if (raw / subset).is_dir():
        return raw / subset
    nested = sorted(raw.glob(f"*/{subset}/")) if raw.is_dir() else []
    return nested[0] if nested else None


def packed_subset(raw: Path, subset: str) -> Path | None:
    """The subset's archive in ``raw`` or one folder further down."""
    names = (f"{subset}.tar.gz", f"{subset}.tar")
    places = (path for name in names for path in (raw / name, *sorted(raw.glob(f"*/{name}"))))
    return next((path for path in places if path.is_file()), None)


def find_sections(raw: Path, subset: str, split: str) -> Sequence[Section]:
    """The sections of one split of one subset, by number.

    Raises ``RawDataError`` when ``raw`` does not hold them, saying what it holds instead, ``MissingDataError`` when the
    subset's folder is not there at all.
    """
    wanted = f"{subset}/{split}"
    if not raw.is_dir():
        raise RawDataError(
            f"is not a folder, expected one that holds {wanted}",
            where=raw,
            hint="point --raw at the unpacked UBC3V archives, or make a stand-in with `kt3d generate ubc3v`",
        )
    folder = subset_folder(raw, subset)
    if folder is None:
        packed = packed_subset(raw, subset)
        if packed is not None:
            raise RawDataError(
                f"is still packed, expected the folder {subset}",
                where=packed,
                hint=f"unpack it, as images are read in another order: tar -xf {packed} -C {packed.parent}",
            )
        present = sorted(path.name for path in raw.iterdir())[:8]
        ready = [name for name, (other, part) in PROTOCOL.items() if _holds(subset_folder(raw, other), part)]
        otherwise = f", or prepare what is here: --split {ready[0]}" if ready else ""
        raise MissingDataError(
            f"holds no folder {subset}, found {', '.join(present) if present else 'nothing'}",
            where=raw,
            hint=f"unpack {subset}.tar.gz (from {SITE}) here, or point --raw at the folder that holds {subset}"
            f"{otherwise}",
        )
    parent = folder / split
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
    return folder is not None and (folder / split).is_dir()


def read_rgba(path: Path) -> npt.NDArray[np.uint8]:
    """A (424, 512, 4) uint8 RGBA image. Raises ``RawDataError`` when it is missing, damaged or of another kind.

    The header is checked before anything is decoded, so that a small file cannot unpack to a huge one.
    """
    import cv2

    hint = "unpack the archive again"
    if not path.is_file():
        raise RawDataError("is missing", where=path, hint=hint)
    if path.stat().st_size > _FILE_LIMIT:
        raise RawDataError("is larger than 16 MiB, no image of this dataset is", where=path, hint=hint)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RawDataError(f"cannot be read ({error.strerror})", where=path, hint=hint) from error
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
