"""Files written whole or not at all, ``.npz`` files read safely, installed versions, and where data lies."""

from __future__ import annotations

import contextlib
import io
import math
import os
import platform
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.budgets import OverBudgetError, zip_members
from kt3d_bench.errors import ArtefactError

_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_whole(path: Path, content: bytes) -> None:
    """``write_atomically``, making the folder first. Raises ``ArtefactError`` when the file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise ArtefactError(f"cannot be written ({error})", where=path, hint="free space or choose a folder") from error


def write_atomically(path: Path, content: bytes, *, temporary: Path | None = None) -> None:
    """Write ``temporary`` (default: a hidden name of this process's own) in the same folder, flush it to disk, rename.

    Readers see the old file or the new one, and a power cut leaves one of the two. Raises ``OSError``.
    """
    begun = temporary or path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with begun.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        begun.replace(path)
    finally:
        with contextlib.suppress(OSError):
            begun.unlink()
    with contextlib.suppress(OSError):
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def utf8_text(text: str) -> str:
    """Return a text with what is no UTF-8 in it written out: a file may have any name, an index or an entry not."""
    return text.encode("utf-8", "backslashreplace").decode()


def npz_bytes(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Arrays of any shapes as an uncompressed ``.npz`` without times of writing. Object arrays raise ``ValueError``."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy", _EPOCH), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array, order="C"), allow_pickle=False)
    return buffer.getvalue()


def installed_versions(distributions: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python and of those ``distributions`` that are installed, read without importing them."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in distributions:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def read_npz(path: Path, *, max_bytes: int, hint: str) -> dict[str, npt.NDArray[Any]]:
    """Read every array of an ``.npz``, never unpickling anything and never unpacking more than ``max_bytes``.

    Raises ``ArtefactError``, with ``hint``, for a file that is no such archive, is corrupt, or unpacks to far more than
    its own size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = zip_members(archive, max_bytes)
            return {one.filename.removesuffix(".npy"): _member(archive, one) for one in members}
    except CORRUPT as error:
        named = type(error) in (ValueError, OverBudgetError)
        reason = str(error) if named else f"{type(error).__name__}: {error}"
        raise ArtefactError(f"is not a readable .npz file ({reason})", where=path, hint=hint) from error


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> npt.NDArray[Any]:
    """Read one array after its header was found to declare exactly the bytes that follow, and no objects."""
    with archive.open(info) as stream:
        shape, _, dtype = _NPY_HEADERS[np.lib.format.read_magic(stream)](stream)
        if dtype.hasobject:
            raise ValueError(f"{info.filename} holds pickled objects, which are never loaded")
        count, left = math.prod(shape), info.file_size - stream.tell()
        if count * dtype.itemsize != left or count > max(left, 0):
            raise ValueError(f"{info.filename} declares {dtype} {shape} and holds {left} bytes")
    with archive.open(info) as stream:
        array: npt.NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return array


_NPY_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
CORRUPT = (
    *(ValueError, KeyError, TypeError, OSError, EOFError, MemoryError, OverflowError, RuntimeError),
    *(SyntaxError, tokenize.TokenError, struct.error, zipfile.BadZipFile, zlib.error),
)
"""What zipfile and NumPy raise for corrupt files."""


def default_data_root() -> Path:
    """Return ``$KT3D_DATA``, else ``kt3d-data`` in the working directory."""
    return Path(os.environ.get("KT3D_DATA") or "kt3d-data")


def cache_root() -> Path:
    """Return where downloads are kept: ``$KT3D_CACHE``, else ``cache`` in the data root."""
    return Path(os.environ.get("KT3D_CACHE") or default_data_root() / "cache")
