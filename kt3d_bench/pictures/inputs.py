"""Find and read what users have: photographs, depth images and videos, each known by its content, not by its name.

Orientation tags are followed, so pixels are those of the upright picture. Shapes: H and W image rows and columns.
"""

from __future__ import annotations

import ctypes
import glob
import itertools
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import Kt3dError, RawDataError, UsageError
from kt3d_bench.rawfiles import reading

IMAGES = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
SUFFIXES = frozenset(
    f".{name}" for name in ("jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "gif", "ppm", "pgm", "npy",
                            "mp4", "m4v", "mov", "mkv", "webm", "avi", "ts")
)  # fmt: skip
"""What is taken out of a folder."""
MOST_BYTES, MOST_PIXELS = 256 << 20, 64_000_000
"""Largest image file and largest image."""
_KINDS = "give JPEG, PNG, WebP, BMP, TIFF, GIF or PPM images, NPY depth images, or MP4, MKV, WebM or AVI videos"
_DEPTH = "give one channel of 16 bits (PNG, TIFF) or an array (NPY), in mm, 0 = no reading"
_HEIF = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis")
_METRES, _FAR_M = 50.0, 100.0
"""Median readings below the first, in mm, or above the second, in m, are taken for another unit."""
Unit = Literal["mm", "m"]
Container = Literal["mov", "matroska", "avi", "mpegts"]


@dataclass(frozen=True, eq=False)
class Picture:
    """One image: a photograph, a depth image or a frame of a video."""

    name: str
    """Of the file, as it is shown and as boxes are looked up."""
    image: npt.NDArray[Any]
    """(H, W, 3) uint8 RGB, or (H, W) uint16 depth in mm, 0 = no reading."""
    frame: int | None = None
    """Of a video, from 0."""
    time_s: float | None = None
    """Of a video, since its first frame."""
    focal_35mm: float | None = None
    """Focal length in 35-mm equivalents, as the camera recorded it."""
    notes: tuple[str, ...] = ()
    """What was odd and is corrected, one sentence each."""

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height)."""
        return int(self.image.shape[1]), int(self.image.shape[0])


def find_inputs(given: Sequence[str | Path]) -> list[Path]:
    """Return the files that are meant: files as given, those of a folder by name, those that a pattern matches.

    A file that does not exist is returned too, so that reading it says so. Raises ``UsageError`` where nothing was
    given, and for a folder or a pattern without pictures.
    """
    found: list[Path] = []
    for one in given:
        path = Path(one)
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
            if not inside:
                raise UsageError("the folder holds no pictures and no videos", where=path, hint=_KINDS)
            found += inside
        elif any(mark in str(one) for mark in "*?[") and not path.exists():
            matched = sorted(Path(name) for name in glob.glob(str(one)))  # noqa: PTH207
            if not matched:
                raise UsageError(f"no file matches '{one}'", hint="correct the pattern")
            found += matched
        else:
            found.append(path)
    if not found:
        raise UsageError("no picture is given", hint=_KINDS)
    return list(dict.fromkeys(found))


def shown_names(paths: Sequence[Path]) -> list[str]:
    """Return a different name for each file: its own, with as many folders before it as that takes."""
    names = [path.name for path in paths]
    for depth in itertools.count(2):
        doubled = {name for name in names if names.count(name) > 1}
        if not doubled or depth > 50:
            break
        names = ["/".join(path.absolute().parts[-depth:]) if name in doubled else name
                 for path, name in zip(paths, names, strict=True)]  # fmt: skip
    return names


def video_container(path: Path) -> Container | None:
    """Return FFmpeg's name of the container of a video, by its first bytes; ``None`` for what is no video.

    Raises ``RawDataError`` for a file that is missing, unreadable or empty, and for HEIF photographs.
    """
    with reading(path, _KINDS):
        if not path.is_file():
            raise RawDataError("is no file" if path.exists() else "is missing", where=path, hint=_KINDS)
        with path.open("rb") as file:
            head = file.read(256)
    if not head:
        raise RawDataError("is empty", where=path, hint=_KINDS)
    if head[4:8] == b"ftyp":
        if head[8:12] in _HEIF:
            raise RawDataError("is a HEIF or AVIF photograph", where=path, hint="save it as JPEG or PNG")
        return "mov"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[0] == 0x47 and len(head) > 188 and head[188] == 0x47:
        return "mpegts"
    return None


def read_picture(path: Path, name: str, modality: str, unit: Unit = "mm") -> Picture:
    """Read an image file for a method that sees ``modality``, "rgb" or "depth".

    Grey images become RGB, and 16-bit colours 8-bit ones. ``unit`` is that of depth readings. Raises ``RawDataError``
    for what cannot be read, is no image, is too large, or is the other of the two.
    """
    with reading(path, _KINDS):
        if path.stat().st_size > MOST_BYTES:
            raise RawDataError(f"is larger than {MOST_BYTES >> 20} MiB", where=path, hint="reduce the image")
        with path.open("rb") as file:
            array = file.read(6) == b"\x93NUMPY"
        if array and modality != "depth":
            raise RawDataError("is an array (depth), and the method reads RGB images", where=path, hint=_KINDS)
        if array:
            return _depth_picture(_read_npy(path), path, name, unit)
        return _read_image(path, name, modality, unit)


def _read_npy(path: Path) -> npt.NDArray[Any]:
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    if mapped.ndim == 3 and mapped.shape[2] == 1:
        mapped = mapped[..., 0]
    if mapped.ndim != 2 or mapped.dtype.kind not in "uif":
        raise RawDataError(
            f"is an array {mapped.dtype} {mapped.shape}, expected (H, W) numbers", where=path, hint=_DEPTH
        )
    _require_pixels(path, mapped.shape[1], mapped.shape[0])
    return np.array(mapped)


def _require_pixels(path: Path, width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        what = f"has {width} x {height} pixels, and at most {MOST_PIXELS // 10**6} million are read"
        raise RawDataError(what, where=path, hint="reduce the image")
    if not width * height:
        raise RawDataError("has no pixels", where=path, hint=_KINDS)


def _read_image(path: Path, name: str, modality: str, unit: Unit) -> Picture:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(path, formats=IMAGES)
    except UnidentifiedImageError as error:
        raise RawDataError("is no picture and no video of a known kind", where=path, hint=_KINDS) from error
    except Image.DecompressionBombError as error:
        raise RawDataError(f"is too large ({error})", where=path, hint="reduce the image") from error
    with opened as image:
        _require_pixels(path, *image.size)
        single = image.mode in ("I", "F") or image.mode.startswith("I;16")
        if single != (modality == "depth"):
            what, hint = f"holds colours (mode {image.mode}), and the method reads depth images", _DEPTH
            if single:
                what = "holds one channel of more than 8 bits, as depth images do, and the method reads RGB images"
                hint = "name a run that reads depth, or save the image with 8 bits"
            raise RawDataError(what, where=path, hint=hint)
        focal = image.getexif().get_ifd(0x8769).get(0xA405)
        upright = ImageOps.exif_transpose(image)
        pixels = np.asarray(upright if single else upright.convert("RGB"))
    if single:
        return _depth_picture(pixels, path, name, unit)
    known = float(focal) if isinstance(focal, int | float) and 4 <= focal <= 2000 else None
    return Picture(name, np.ascontiguousarray(pixels), focal_35mm=known)


def _depth_picture(values: npt.NDArray[Any], path: Path, name: str, unit: Unit) -> Picture:
    try:
        depth_mm, notes = depth_in_mm(values, unit)
    except UsageError as error:
        raise RawDataError(error.what, where=path, hint=error.hint) from error
    return Picture(name, depth_mm, notes=notes)


def depth_in_mm(values: npt.NDArray[Any], unit: Unit) -> tuple[npt.NDArray[np.uint16], tuple[str, ...]]:
    """(H, W) readings in ``unit`` -> (H, W) uint16 mm, 0 = no reading, and what was odd.

    NaN, infinite and negative readings and those beyond 65 m count as none. Raises ``UsageError`` where nothing is
    left, and for readings that look like the other unit.
    """
    read = np.asarray(values, np.float64)
    with np.errstate(invalid="ignore"):
        mm = read * (1000.0 if unit == "m" else 1.0)
        positive, far = read > 0, (mm > np.iinfo(np.uint16).max) & np.isfinite(read)
    odd = {
        "not finite": int((~np.isfinite(read)).sum()),
        "negative": int((read < 0).sum()),
        "beyond 65 m": int((far & positive).sum()),
    }
    usable = positive & np.isfinite(read)
    if not usable.any():
        raise UsageError("holds no positive depth reading", hint=_DEPTH)
    middle = float(np.median(mm[usable]))
    if unit == "mm" and middle < _METRES:
        raise UsageError(f"its depths look like metres (median {middle:.2f})", hint="say so: --depth-unit m")
    if unit == "m" and middle > 1000 * _FAR_M:
        raise UsageError(f"its depths look like mm (median {middle / 1000:.0f})", hint="leave out --depth-unit m")
    notes = tuple(f"{count} depth readings are {what} and count as none" for what, count in odd.items() if count)
    return np.where(usable & ~far, np.rint(np.where(usable & ~far, mm, 0)), 0).astype(np.uint16), notes


def video_frames(path: Path, name: str, container: Container) -> Iterator[Picture]:
    """Yield every frame of a video, upright, with its own time: frame rates may vary. One frame is in memory at a time.

    Raises ``RawDataError`` for a file that holds no video or no frame, or breaks off: after the frames before it.
    """
    import av

    hint = "convert it again, or give its frames as images"
    number, first = 0, None
    try:
        with av.open(str(path), format=container) as opened:
            stream = opened.streams.video[0] if opened.streams.video else None
            if stream is None or stream.codec_context is None:
                raise RawDataError("holds no video that can be decoded here", where=path, hint=hint)
            _require_pixels(path, stream.codec_context.width, stream.codec_context.height)
            stream.codec_context.thread_count = 1
            for frame in opened.decode(stream):
                _require_pixels(path, frame.width, frame.height)
                time_s = frame.time if frame.time is not None else number / float(stream.average_rate or 30)
                first = time_s if first is None else first
                image = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)
                yield Picture(name, np.ascontiguousarray(image, np.uint8), number, max(0.0, time_s - first))
                number += 1
    except (av.FFmpegError, ValueError, OSError) as error:
        if isinstance(error, Kt3dError):
            raise
        raise RawDataError(f"cannot be decoded after frame {number} ({error})", where=path, hint=hint) from error
    if not number:
        raise RawDataError("holds no frame", where=path, hint=hint)


def give_back_memory() -> None:
    """Return what was freed to the system, where the C library can (glibc). It keeps the pages of freed frames between
    small things that stay, such as poses: a quarter of a MB more for each 1080p frame."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def frame_count(path: Path, container: Container) -> int:
    """Return about how many frames a video has, by its header; 1 where that says nothing."""
    import av

    try:
        with av.open(str(path), format=container) as opened:
            stream = opened.streams.video[0]
            seconds = float((stream.duration or 0) * (stream.time_base or 0)) or (opened.duration or 0) / 1e6
            return max(1, stream.frames or round(seconds * float(stream.average_rate or 0)))
    except (av.FFmpegError, ValueError, OSError, IndexError):
        return 1
