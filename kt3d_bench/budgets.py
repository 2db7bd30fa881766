"""How much a file may unpack to. Sizes on disk say little: a few bytes can declare gigabytes.

What a reader keeps in memory is limited to ``RESIDENT_BYTES``, unless its format publishes a size; what it only
streams, to ``MOST_RATIO`` times what it read. Every violation is a ``ValueError``; readers make it their own sentence.
"""

from __future__ import annotations

import json
import math
import os
import stat
import tarfile
import zipfile
from pathlib import Path
from typing import IO, Any

RESIDENT_BYTES = 1 << 30
PLAIN_BYTES, MOST_RATIO = 64 << 20, 100
"""What unpacks to less than the first is never taken for a bomb, whatever its compression ratio."""
SMALL_BYTES = 64 << 20
"""Of a file that is read whole, where its reader knows no other limit."""
MOST_VALUES = 16_000_000
"""Of a JSON document: its commas, brackets and quotes. Each may take some 50 bytes once it is read."""
MOST_MEMBERS = 100_000
MOST_NAME_BYTES = 1 << 16
"""Of a member's name and other header data in a tar."""
MOST_CHUNK_BYTES = 64 << 20
MOST_CHUNKS = 10_000_000
_MOST_BEHIND_END = 16


class OverBudgetError(ValueError):
    """A file unpacks to more than may be read."""


def require_bytes(what: str, size: int, most: int = RESIDENT_BYTES) -> None:
    """Raise ``OverBudgetError`` when ``what`` takes more than ``most`` bytes unpacked."""
    if size > most:
        raise OverBudgetError(f"{what} would unpack to {size} bytes, and at most {most} are read")


def read_whole(path: Path, most: int = SMALL_BYTES) -> bytes:
    """Read a file of at most ``most`` bytes. Raises ``OSError``, and ``OverBudgetError`` for a larger one and for what
    is no file, such as a pipe, which may never end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OverBudgetError("it is no regular file")
        content = file.read(most + 1)
    if len(content) > most:
        raise OverBudgetError(f"it is larger than {most} bytes")
    return content


def require_values(document: bytes) -> None:
    """Raise ``OverBudgetError`` for a JSON document whose values would fill the memory."""
    values = sum(document.count(mark) for mark in (b",", b"[", b"{", b'"'))
    if values > MOST_VALUES:
        raise OverBudgetError(f"it holds some {values} values, and at most {MOST_VALUES} are read")


def json_value(document: bytes) -> Any:
    """Parse a JSON document. Raises ``ValueError``, also for one that nests too deeply or holds too many values."""
    require_values(document)
    try:
        return json.loads(document)
    except RecursionError as error:
        raise ValueError("it nests too deeply") from error


def require_ratio(packed: int, unpacked: int) -> None:
    """Raise ``OverBudgetError`` for a ratio that only a bomb has."""
    if unpacked > PLAIN_BYTES and unpacked > MOST_RATIO * packed:
        raise OverBudgetError(f"{packed} bytes would unpack to {unpacked}")


def zip_members(archive: zipfile.ZipFile, most: int = RESIDENT_BYTES) -> list[zipfile.ZipInfo]:
    """Return the members of an archive that is to be read whole. Raises ``OverBudgetError`` for too many of them, one
    name twice, more than ``most`` bytes together, and a ratio that only a bomb has."""
    members = archive.infolist()
    if len(members) > MOST_MEMBERS:
        raise OverBudgetError(f"it has {len(members)} members, and at most {MOST_MEMBERS} are read")
    if len({one.filename for one in members}) < len(members):
        raise OverBudgetError("it holds an array twice")
    unpacked, packed = (sum(getattr(one, name) for one in members) for name in ("file_size", "compress_size"))
    require_ratio(packed, unpacked)
    require_bytes("it", unpacked, most)
    return members


def require_stored(archive: zipfile.ZipFile, size: int) -> None:
    """Raise ``OverBudgetError`` unless the members of an archive of ``size`` bytes are stored plainly, and so take no
    more than the file itself."""
    members = archive.infolist()
    for one in members:
        if one.compress_type != zipfile.ZIP_STORED:
            raise OverBudgetError(f"{one.filename} in it is compressed")
    if sum(one.file_size for one in members) > size:
        raise OverBudgetError("its members together are larger than the file")


def require_dataset(dataset: Any, most_chunk: int = MOST_CHUNK_BYTES) -> None:
    """Raise ``OverBudgetError`` for an HDF5 dataset in pieces that are too large or too many. Reading one value unpacks
    its whole piece, which may be far larger than the dataset."""
    if dataset.chunks:
        require_bytes("a piece of it", math.prod(dataset.chunks) * dataset.dtype.itemsize, most_chunk)
        pieces = math.prod(-(-length // piece) for length, piece in zip(dataset.shape, dataset.chunks, strict=True))
        if pieces > MOST_CHUNKS:
            raise OverBudgetError(f"it lies in {pieces} pieces, and at most {MOST_CHUNKS} are read")


class BoundedTarInfo(tarfile.TarInfo):
    """For ``tarfile.open(tarinfo=...)``, which reads the names in headers whole, whatever size they declare."""

    def _proc_member(self, tar: tarfile.TarFile) -> Any:
        if self.type in (*tarfile.GNU_TYPES, *_EXTENDED) and self.type != tarfile.GNUTYPE_SPARSE:
            require_bytes("a name in it", self.size, MOST_NAME_BYTES)
        return super()._proc_member(tar)  # type: ignore[misc]


_EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)


class BoundedStream:
    """The unpacked bytes of a compressed file, read in order, until the ratio is one that only a bomb has.

    Reading on and on behind the end is an error: ``tarfile`` does so for as long as a member claims to be."""

    def __init__(self, unpacked: IO[bytes], packed: IO[bytes]) -> None:
        self._unpacked, self._packed, self._total, self._behind_end = unpacked, packed, 0, 0

    def read(self, size: int = -1) -> bytes:
        """Read as a file does. Raises ``OverBudgetError``, and ``EOFError`` behind the end."""
        content = self._unpacked.read(size)
        self._total += len(content)
        self._behind_end = 0 if content else self._behind_end + 1
        if self._behind_end > _MOST_BEHIND_END:
            raise EOFError("a member in it is longer than the file")
        require_ratio(self._packed.tell(), self._total)
        return content
