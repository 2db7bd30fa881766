"""Files written whole or not at all, SHA-256, ``.npz`` files read safely, installed versions, and where data lies."""

from __future__ import annotations

import contextlib
import errno
import io
import lzma
import math
import os
import platform
import re
import stat
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from kt3d_bench.budgets import OverBudgetError, require_bytes, zip_members
from kt3d_bench.errors import SYSTEM_ERRORS, ArtefactError

if TYPE_CHECKING:
    import numpy.typing as npt

_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_whole(path: Path, content: bytes) -> None:
    """``write_atomically``, making the folder first. Raises ``ArtefactError`` when the file cannot be written."""
    write_all({path: content})


def write_all(files: Mapping[Path, bytes]) -> None:
    """Write each file as ``write_whole`` does, in this order; flush each folder to disk once, at the end. Raises
    ``ArtefactError`` for the first file that cannot be written."""
    for path, content in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _renamed_at_end(path) as file:
                file.write(content)
        except OSError as error:
            hint = "free space or choose a folder"
            raise ArtefactError(f"cannot be written ({error})", where=path, hint=hint) from error
    for folder in dict.fromkeys(path.parent for path in files):
        _flush(folder)


def write_atomically(path: Path, content: bytes, *, temporary: Path | None = None) -> None:
    """Write a file whole or not at all, as ``opened_atomically`` does. Raises ``OSError``."""
    with opened_atomically(path, temporary=temporary) as file:
        file.write(content)


@contextlib.contextmanager
def opened_atomically(path: Path, *, temporary: Path | None = None) -> Iterator[IO[bytes]]:
    """Yield ``temporary`` (default: a hidden name, by one process at a time) in the same folder to write ``path`` into;
    then flush it to disk and rename it, unless the block raises.

    Readers see the old file or the new one, and a power cut leaves one of the two. What a killed process leaves is
    gone after the next write of ``path``. Raises ``OSError``.
    """
    with _renamed_at_end(path, temporary) as file:
        yield file
    _flush(path.parent)


@contextlib.contextmanager
def _renamed_at_end(path: Path, temporary: Path | None = None) -> Iterator[IO[bytes]]:
    begun, descriptor = (temporary, None) if temporary else _begun(path)
    try:
        with begun.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        begun.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            begun.unlink()
        raise
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _flush(folder: Path) -> None:
    """Flush the names in a folder to disk, where its file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _begun(path: Path) -> tuple[Path, int | None]:
    """Return the new, empty and locked file in which ``path`` is written, and its descriptor; a name of this process's
    own and ``None`` where that cannot be had, as on a file system without locks."""
    import fcntl

    begun = path.with_name(f".{path.name}.tmp")
    while True:
        descriptor = -1
        try:
            descriptor = os.open(begun, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            if descriptor >= 0:
                os.close(descriptor)
            return path.with_name(f".{path.name}.{os.getpid()}.tmp"), None
        with contextlib.suppress(FileNotFoundError):
            mine, there = os.fstat(descriptor), begun.stat(follow_symlinks=False)
            if os.path.samestat(mine, there):
                if stat.S_ISREG(mine.st_mode) and (mine.st_size, mine.st_nlink) == (0, 1):
                    return begun, descriptor
                begun.unlink()
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hex. A command asks it once of every file. Raises ``OSError``."""
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def utf8_text(text: str) -> str:
    """Return a text with what is no UTF-8 in it written out: a file may have any name, an index or an entry not."""
    return text.encode("utf-8", "backslashreplace").decode()


def encoding_of(content: bytes) -> str:
    """Return the encoding of text that may be UTF-16 with a mark, UTF-8, Shift-JIS or Latin-1, which fits always.

    Bytes 128 to 159 tell Shift-JIS from Latin-1, where they are control characters.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    for encoding in ("utf-8-sig", "cp932"):
        if encoding == "utf-8-sig" or re.search(rb"[\x80-\x9f]", content):
            with contextlib.suppress(UnicodeDecodeError):
                content.decode(encoding)
                return encoding
    return "latin-1"


def decoded(content: bytes) -> str:
    """Return text in whichever encoding of ``encoding_of`` it has."""
    return content.decode(encoding_of(content), "replace")


class PickledObjectsError(ValueError):
    """An array holds pickled Python objects."""


def npz_bytes(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Arrays of any shapes as an uncompressed ``.npz`` without times of writing. Object arrays raise ``ValueError``."""
    import numpy as np

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
    with _reading(path, "npz", hint), zipfile.ZipFile(path) as archive:
        members = zip_members(archive, max_bytes)
        return {one.filename.removesuffix(".npy"): _member(archive, one) for one in members}


def read_npy(path: Path, *, max_bytes: int, hint: str) -> npt.NDArray[Any]:
    """Read an ``.npy`` of at most ``max_bytes`` without unpickling. Raises ``ArtefactError`` as ``read_npz`` does."""
    with _reading(path, "npy", hint):
        if not path.is_file():
            raise ValueError("it is no regular file")
        require_bytes("it", size := path.stat().st_size, max_bytes)
        return _array(lambda: path.open("rb"), size, path.name)


@contextlib.contextmanager
def _reading(path: Path, kind: str, hint: str) -> Iterator[None]:
    try:
        yield
    except CORRUPT as error:
        if (machine := unreadable(error, path)) is not None:
            raise machine from error
        named = type(error) in (ValueError, OverBudgetError, PickledObjectsError)
        reason = str(error) if named else f"{type(error).__name__}: {error}"
        raise ArtefactError(f"is not a readable .{kind} file ({reason})", where=path, hint=hint) from error


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> npt.NDArray[Any]:
    return _array(lambda: archive.open(info), info.file_size, info.filename)


def _array(opened: Callable[[], IO[bytes]], size: int, name: str) -> npt.NDArray[Any]:
    """Read one array after its header was found to declare exactly the bytes that follow, and no objects."""
    import numpy as np

    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with opened() as stream:
        shape, _, dtype = headers[np.lib.format.read_magic(stream)](stream)
        if dtype.hasobject:
            raise PickledObjectsError(f"{name} holds pickled objects, which are never loaded")
        count, left = math.prod(shape), size - stream.tell()
        if count * dtype.itemsize != left or count > max(left, 0):
            raise ValueError(f"{name} declares {dtype} {shape} and holds {left} bytes")
    with opened() as stream:
        array: npt.NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return array


CORRUPT = (
    *(ValueError, KeyError, TypeError, OSError, EOFError, MemoryError, OverflowError, RuntimeError),
    *(SyntaxError, tokenize.TokenError, struct.error, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
"""What zipfile and NumPy raise for corrupt files."""


def unreadable(error: Exception, path: Path) -> ArtefactError | None:
    """Return the error of a file that this machine cannot read whatever its bytes are: a missing permission, too little
    memory, a failing disk. ``None`` where the bytes may be at fault."""
    if isinstance(error, MemoryError):
        return ArtefactError("cannot be read: not enough memory", where=path, hint=SYSTEM_ERRORS[errno.ENOMEM])
    if isinstance(error, OSError) and error.errno in SYSTEM_ERRORS:
        return ArtefactError(f"cannot be read ({error.strerror})", where=path, hint=SYSTEM_ERRORS[error.errno])
    return None


def default_data_root() -> Path:
    """Return ``$KT3D_DATA``, else ``kt3d-data`` in the working directory."""
    return Path(os.environ.get("KT3D_DATA") or "kt3d-data")


def cache_root() -> Path:
    """Return where downloads are kept: ``$KT3D_CACHE``, else ``cache`` in the data root."""
    return Path(os.environ.get("KT3D_CACHE") or default_data_root() / "cache")
