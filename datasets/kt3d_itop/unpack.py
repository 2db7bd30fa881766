"""Packed files, unpacked once: HDF5 reads its file in any order, and gzip must start over for every step back.

The copy grows beside the packed file in ``kt3d-unpacked/``, or in the system's temporary folder where that place
cannot be written, and takes its name when it is whole. It is used again as long as path, size and time of the packed
file are the same, and may be deleted at any time. Processes that need it at once wait for the first.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kt3d_bench.errors import RawDataError
from kt3d_bench.rawfiles import DISK_FULL, GZIP, begins_with, reading

FOLDER = "kt3d-unpacked"
LARGEST_BYTES = 8 << 30  # The largest official file unpacks to 5.7 GiB
_BLOCK = 1 << 20
_HEAD = 64
SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HINT = "download it again"


def plain_file(source: Path) -> Path:
    """Return ``source`` itself, or its unpacked copy, which is made now where there is none.

    Raises ``RawDataError`` when the packed file is damaged, cut short, not HDF5 inside, unpacks to more than it
    declares, or when there is no room for the copy.
    """
    if not packed(source):
        return source
    copy = unpacked_copy(source)
    if copy is not None:
        return copy
    need = declared_bytes(source)
    folder = _folder_with_room(source, need)
    with _locked(folder) as locked:
        copy = folder / _copy_name(source)
        if not copy.is_file():
            if locked:
                _remove_older(folder, source)
            _unpack(source, copy, need)
    return copy


def packed(source: Path) -> bool:
    """Return whether a file is packed, by its first bytes. Raises ``RawDataError`` when it cannot be read."""
    with reading(source, _HINT):
        return begins_with(source, GZIP)


def unpacked_copy(source: Path) -> Path | None:
    """Return the copy of a packed file, if there is a whole one."""
    for folder in _folders(source):
        path = folder / _copy_name(source)
        if _ours(folder) and path.is_file():
            return path
    return None


def _folders(source: Path) -> tuple[Path, Path]:
    return source.absolute().parent / FOLDER, Path(tempfile.gettempdir()) / f"{FOLDER}-{os.getuid()}"


def _place(source: Path) -> str:
    return hashlib.sha256(str(source.absolute()).encode()).hexdigest()[:8]


def _stem(source: Path) -> str:
    return re.sub(r"\.h5(\.gz)?$", "", source.name, flags=re.IGNORECASE)


def _copy_name(source: Path) -> str:
    status = source.stat()
    version = hashlib.sha256(f"{status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:8]
    return f"{_stem(source)}.{_place(source)}.{version}.h5"


def _remove_older(folder: Path, source: Path) -> None:
    for path in folder.glob(f"{_stem(source)}.{_place(source)}.*"):
        path.unlink(missing_ok=True)


def _ours(folder: Path) -> bool:
    """Return whether this is a folder of the user's own: the temporary folder is shared with others."""
    try:
        return not folder.is_symlink() and folder.is_dir() and folder.stat().st_uid == os.getuid()
    except OSError:
        return False


def _folder_with_room(source: Path, need: int) -> Path:
    free: list[str] = []
    for folder in _folders(source):
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError:
            continue
        if not _ours(folder) or not os.access(folder, os.W_OK):
            continue
        room = shutil.disk_usage(folder).free
        if room > need:
            return folder
        free.append(f"{folder} has {room / 1e9:.1f} GB")
    raise RawDataError(
        f"needs {need / 1e9:.1f} GB to be unpacked, but {' and '.join(free) or 'no folder can be written'}",
        where=source,
        hint=f"free some space, set TMPDIR to a roomier place, or unpack it elsewhere (gunzip {source.name}) and point "
        "--raw there",
    )


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Wait for other processes that unpack into the folder; yield ``False`` on file systems without locks."""
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def declared_bytes(source: Path) -> int:
    """Return the size of the unpacked file, as the HDF5 superblock in its first bytes declares it.

    Raises ``RawDataError`` when the packed file is damaged, holds no HDF5, or declares more than any official file.
    """
    with reading(source, _HINT), gzip.open(source) as packed:
        head = packed.read(_HEAD)
    if head.startswith(GZIP):
        raise RawDataError("is packed twice", where=source, hint="unpack it once with gunzip, or download it again")
    if not head.startswith(SIGNATURE) or len(head) < _HEAD:
        raise RawDataError("holds no HDF5 file", where=source, hint=_HINT)
    version = head[8]
    start = {0: 40, 1: 44}.get(version, 28)
    size = int.from_bytes(head[start : start + 8], "little")
    if size > LARGEST_BYTES:
        raise RawDataError(
            f"declares to unpack to {size} bytes, no official file has more than {LARGEST_BYTES}",
            where=source,
            hint=_HINT,
        )
    return size


def _unpack(source: Path, copy: Path, declared: int) -> None:
    part = copy.with_name(f"{copy.name}.{os.getpid()}.part")
    try:
        with part.open("wb", buffering=0) as file:
            written = 0
            for block in _blocks(source):
                if (written := written + len(block)) > declared:
                    break
                left = memoryview(block)
                while left:
                    left = left[os.write(file.fileno(), left) :]
            os.fsync(file.fileno())
        if written != declared:
            over, under = f"more than the {declared} bytes that", f"{written} bytes, but {declared} are what"
            size = over if written > declared else under
            raise RawDataError(f"unpacks to {size} its HDF5 header declares", where=source, hint=_HINT)
        part.replace(copy)
    except OSError as error:
        reason = "the disk is full" if error.errno in DISK_FULL else error
        raise RawDataError(
            f"cannot be unpacked to {copy.parent}: {reason}",
            where=source,
            hint="free some space, or set TMPDIR to a roomier place",
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _blocks(source: Path) -> Iterator[bytes]:
    with reading(source, _HINT), gzip.open(source) as packed:
        while block := packed.read(_BLOCK):
            yield block
