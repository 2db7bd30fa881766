"""Files written whole or not at all, with bytes that depend on their content alone; where data lies."""

from __future__ import annotations

import contextlib
import io
import os
import platform
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

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
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


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


def default_data_root() -> Path:
    """Return ``$KT3D_DATA``, else ``kt3d-data`` in the working directory."""
    return Path(os.environ.get("KT3D_DATA") or "kt3d-data")


def cache_root() -> Path:
    """Return where downloads are kept: ``$KT3D_CACHE``, else ``cache`` in the data root."""
    return Path(os.environ.get("KT3D_CACHE") or default_data_root() / "cache")
