"""The official download: ``mpii_human_pose_v1_u12_2/mpii_human_pose_v1_u12_1.mat`` and ``images/*.jpg``.

The annotations may stay in their .zip, of which one named member is read into a temporary file. The images must be
unpacked: a .tar.gz of 12 GB can only be read from its beginning.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import MissingDataError, RawDataError
from kt3d_mpii.matchild import NOT_MPII

MAT_FILE = "mpii_human_pose_v1_u12_1.mat"
MAT_FOLDER = "mpii_human_pose_v1_u12_2"
ARCHIVES = {"images": "mpii_human_pose_v1.tar.gz", "annotations": "mpii_human_pose_v1_u12_2.zip"}
SITE = "http://human-pose.mpi-inf.mpg.de"
_PACKED_IMAGES = (ARCHIVES["images"], "mpii_human_pose_v1.tar", "images.tar.gz", "images.tar", "images.zip")
"""The official name, and those under which the images were packed again."""
_ZIP_BYTES, _MAT_BYTES = 256 << 20, 2 << 30
_ZIP_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, NotImplementedError)
_IMAGE = re.compile(r"[A-Za-z0-9_\-]+\.jpe?g", re.IGNORECASE)
_MEMORY_BYTES, _TIMEOUT_S = 16 << 30, 900.0
_JPEG_BYTES, _JPEG_PIXELS = 64 << 20, 100_000_000


@dataclass(frozen=True, eq=False)
class Person:
    """One person of one image as annotated."""

    index: int
    """Place in the image's ``annorect``, from 0."""
    joints_px: npt.NDArray[np.float64]
    """(16, 2) px, pixel centres at integers from 0 (MATLAB's 1 is taken off); NaN = not annotated."""
    visible: npt.NDArray[np.int8]
    """(16,) 1, 0, or -1 = not known."""


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """One training image with everybody in its ``annorect``, annotated or not."""

    name: str
    action: str
    """Category of the activity; "" = not labelled."""
    video: int | None
    second: int
    persons: tuple[Person, ...]


def find_annotations(raw: Path) -> Path:
    """The .mat file under ``raw``, else the .zip with it. Raises ``RawDataError`` saying what is there instead,
    ``MissingDataError`` when that is nothing of MPII's."""
    for path in (raw / MAT_FOLDER / MAT_FILE, raw / MAT_FILE, *sorted(raw.glob(f"*/{MAT_FILE}")),
                 *sorted(raw.glob(f"*/{MAT_FOLDER}/{MAT_FILE}")), raw / ARCHIVES["annotations"],
                 *sorted(raw.glob(f"*/{ARCHIVES['annotations']}"))):  # fmt: skip
        if path.is_file():
            return path
    raise _absent(raw, f"{MAT_FOLDER}/{MAT_FILE}", "annotations")


def find_images(raw: Path) -> Path:
    """The folder of images under ``raw``. Raises ``RawDataError`` saying what is there instead, ``MissingDataError``
    when that is nothing of MPII's."""
    for folder in (raw / "images", *sorted(raw.glob("*/images"))):
        if folder.is_dir():
            if not any(_IMAGE.fullmatch(path.name) for path in folder.iterdir()):
                kind = RawDataError if _traces(raw) else MissingDataError
                raise kind("holds no .jpg images", where=folder, hint=f"unpack {ARCHIVES['images']} again")
            return folder
    for packed in (path for name in _PACKED_IMAGES for path in (raw / name, *sorted(raw.glob(f"*/{name}")))):
        if packed.is_file():
            command = f"unzip {packed.name}" if packed.suffix == ".zip" else f"tar -xf {packed.name}"
            raise RawDataError(
                "is still packed, expected the folder images",
                where=packed,
                hint=f"unpack it there, as images are read in another order: cd {packed.parent} && {command}",
            )
    raise _absent(raw, "images", "images")


def _traces(raw: Path) -> bool:
    """Whether anything of the download is there: a file or folder of its name, or an image of the official ones'."""
    patterns = ("*mpii*", "*/*mpii*", "annot/*.json", "images/?????????.jpg")
    return any(True for pattern in patterns for _ in raw.glob(pattern))


def _absent(raw: Path, wanted: str, archive: str) -> RawDataError:
    if not raw.is_dir():
        return RawDataError(
            f"is not a folder, expected one that holds {wanted}",
            where=raw,
            hint="point --raw at the MPII download, or make a stand-in with `kt3d generate mpii`",
        )
    present = sorted(path.name for path in raw.iterdir())[:8]
    how = "unpack" if archive == "images" else "put"
    kind = RawDataError if _traces(raw) else MissingDataError
    return kind(
        f"holds no {wanted}, found {', '.join(present) if present else 'nothing'}",
        where=raw,
        hint=f"{how} {ARCHIVES[archive]} here, from {SITE}",
    )


def read_annotations(path: Path) -> Sequence[AnnotatedImage]:
    """The training images in the order of the .mat file, or of the one in a .zip. Raises ``RawDataError`` for a damaged
    file or another structure.

    The file is read by a child process with limits on memory (16 GiB) and time (15 minutes), kept once read.
    """
    try:
        path.open("rb").close()
    except OSError as error:
        raise RawDataError(f"cannot be read ({error.strerror})", where=path,
                           hint=f"unpack {ARCHIVES['annotations']} again") from error  # fmt: skip
    status = path.stat()
    return _read_annotations(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1)
def _read_annotations(path: Path, mtime_ns: int, size: int) -> Sequence[AnnotatedImage]:
    with _unpacked(path) as local:
        arrays = _read_in_child(local, where=path)
    starts = np.searchsorted(arrays["person_image"], np.arange(len(arrays["name"]) + 1))
    found = []
    for row in np.flatnonzero(arrays["train"]):
        video, second = arrays["video"][row], arrays["second"][row]
        people = tuple(
            Person(int(arrays["person"][at]), arrays["joints"][at] - 1.0, arrays["visible"][at])
            for at in range(starts[row], starts[row + 1])
        )
        found.append(
            AnnotatedImage(
                name=str(arrays["name"][row]),
                action=str(arrays["action"][row]),
                video=int(video) if np.isfinite(video) else None,
                second=int(second) if np.isfinite(second) else 0,
                persons=people,
            )
        )
    return found


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """The .mat file itself, or a temporary copy of the .zip's, whose name inside decides nothing."""
    if path.suffix != ".zip":
        yield path
        return
    hint = f"download {ARCHIVES['annotations']} again, from {SITE}"
    with tempfile.TemporaryDirectory(prefix="kt3d-mpii-") as scratch:
        copy = Path(scratch) / MAT_FILE
        try:
            if path.stat().st_size > _ZIP_BYTES:
                raise RawDataError("is larger than 256 MiB, the annotations are not", where=path, hint=hint)
            with zipfile.ZipFile(path) as archive:
                members = [entry for entry in archive.infolist() if PurePosixPath(entry.filename).name == MAT_FILE]
                if not members:
                    raise RawDataError(f"holds no {MAT_FILE}", where=path, hint=hint)
                if members[0].file_size > _MAT_BYTES:
                    raise RawDataError(
                        f"{MAT_FILE} in it claims {members[0].file_size} bytes, more than the {_MAT_BYTES} it may have",
                        where=path,
                        hint=hint,
                    )
                with archive.open(members[0]) as packed, copy.open("wb") as file:
                    shutil.copyfileobj(packed, file, 1 << 20)
        except _ZIP_DAMAGE as error:
            raise RawDataError(f"is damaged ({type(error).__name__}: {error})", where=path, hint=hint) from error
        yield copy


def _read_in_child(path: Path, timeout_s: float = _TIMEOUT_S, where: Path | None = None) -> dict[str, npt.NDArray[Any]]:
    where = where or path
    hint = f"unpack {ARCHIVES['annotations']} again" if where == path else "download it again"
    with tempfile.TemporaryDirectory(prefix="kt3d-mpii-") as scratch:
        target = Path(scratch) / "annotations.npz"
        command = [sys.executable, "-m", "kt3d_mpii.matchild", str(path), str(target), str(_MEMORY_BYTES)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired as error:
            raise RawDataError(f"could not be read within {timeout_s:.0f} s", where=where, hint=hint) from error
        if done.returncode == NOT_MPII:
            raise RawDataError(f"is not MPII's annotation file: {done.stdout.strip()}", where=where, hint=hint)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or [f"its reader ended with status {done.returncode}"])[-1]
            raise RawDataError(f"is damaged ({last})", where=where, hint=hint)
        with np.load(target, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}


def read_image(folder: Path, name: str) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB, as stored: orientation tags are ignored, as the annotation tool did.

    Raises ``RawDataError`` for a name that is no plain .jpg file name, a missing file and a damaged one.
    """
    import simplejpeg

    hint = f"unpack {ARCHIVES['images']} again"
    if not _IMAGE.fullmatch(name):
        raise RawDataError(f"the annotation names the image {name!r}, expected a .jpg file name", where=folder,
                           hint=f"unpack {ARCHIVES['annotations']} again")  # fmt: skip
    path = folder / name
    if not path.is_file():
        raise RawDataError("is missing", where=path, hint=hint)
    if path.stat().st_size > _JPEG_BYTES:
        raise RawDataError("is larger than 64 MiB, no image of this dataset is", where=path, hint=hint)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RawDataError(f"cannot be read ({error.strerror})", where=path, hint=hint) from error
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        if height * width > _JPEG_PIXELS:
            raise RawDataError(f"claims {width} x {height} pixels", where=path, hint=hint)
        image: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colorspace="RGB")
    except ValueError as error:
        raise RawDataError(f"cannot be decoded ({error})", where=path, hint=hint) from error
    return image
