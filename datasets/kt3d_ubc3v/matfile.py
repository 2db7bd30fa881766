"""A reader for MATLAB v5 files that damaged bytes cannot crash.

``scipy.io.loadmat`` is documented as not hardened: a flipped byte in a v5 file can end the interpreter. This reader
follows the published layout (MathWorks, "MAT-File Format", level 5) in plain Python, checks every size against its
parent before it is used, and raises ``RawDataError`` for whatever does not fit. It reads what the dataset needs:
numeric, char, cell and struct arrays, compressed or not, in either byte order.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import RawDataError

_FILE_LIMIT = 1 << 30
_UNPACKED_LIMIT = 1 << 30
_DEPTH_LIMIT = 16
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _CHAR = 1, 2, 4
_NUMERIC = range(6, 16)
_FORMATS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXT = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}


@dataclass(frozen=True)
class Cells:
    """A cell array: its shape, its elements in MATLAB's column-major order."""

    shape: tuple[int, ...]
    items: tuple[Any, ...]


@dataclass(frozen=True)
class Structs:
    """A struct array: its shape, and one mapping of field name to value per element, in the file's field order."""

    shape: tuple[int, ...]
    items: tuple[dict[str, Any], ...]


class _DamagedError(Exception):
    """The bytes do not follow the format; the message says how."""


def read_mat(path: Path) -> dict[str, Any]:
    """The variables of a v5 .mat file, by name: NumPy arrays, ``str``, ``Cells`` and ``Structs``.

    Raises ``RawDataError`` when the file is absent, too large, not v5, damaged or cut short.
    """
    hint = "download or unpack this file again"
    try:
        if path.stat().st_size > _FILE_LIMIT:
            raise RawDataError("is larger than 1 GiB, no file of this dataset is", where=path, hint=hint)
        data = path.read_bytes()
    except OSError as error:
        raise RawDataError(f"cannot be read ({error.strerror})", where=path, hint=hint) from error
    if data[:10] == b"MATLAB 7.3":
        raise RawDataError("is a MATLAB v7.3 file, expected v5", where=path, hint="use the file as downloaded")
    if len(data) < 128 or data[126:128] not in (b"IM", b"MI") or not data.startswith(b"MATLAB 5.0"):
        raise RawDataError("is not a MATLAB v5 file", where=path, hint=hint)
    try:
        return _Reader(data, "<" if data[126:128] == b"IM" else ">").variables()
    except _DamagedError as error:
        raise RawDataError(f"is damaged ({error})", where=path, hint=hint) from error


class _Reader:
    def __init__(self, data: bytes, order: str) -> None:
        self.order = order
        self.data = data
        self.two_words = struct.Struct(order + "II")
        self.unpacked = 0

    def variables(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        position, whole = 128, self.data
        while position < len(whole):
            kind, start, end, following = self._tag(whole, position, len(whole))
            if kind == _COMPRESSED:
                inner = self._inflate(whole[start:end])
                inner_kind, inner_start, inner_end, _ = self._tag(inner, 0, len(inner))
                if inner_kind != _MATRIX:
                    raise _DamagedError(f"compressed element of type {inner_kind}")
                name, value = self._matrix(inner, inner_start, inner_end, 0)
                following = end
            elif kind == _MATRIX:
                name, value = self._matrix(whole, start, end, 0)
            else:
                raise _DamagedError(f"element of type {kind} at byte {position}")
            found[name] = value
            position = following
        return found

    def _inflate(self, packed: bytes) -> bytes:
        try:
            machine = zlib.decompressobj()
            unpacked = machine.decompress(packed, _UNPACKED_LIMIT - self.unpacked)
        except zlib.error as error:
            raise _DamagedError(str(error)) from error
        self.unpacked += len(unpacked)
        if machine.unconsumed_tail:
            raise _DamagedError("unpacks to more than 1 GiB")
        if not machine.eof:
            raise _DamagedError("a compressed element is cut short")
        return unpacked

    def _tag(self, data: bytes, position: int, limit: int) -> tuple[int, int, int, int]:
        """Type, start and end of the data, and where the next element starts (padding skipped)."""
        if position + 8 > limit:
            raise _DamagedError(f"ends inside an element's tag at byte {position}")
        kind, size = self.two_words.unpack_from(data, position)
        if kind >> 16:
            kind, size = kind & 0xFFFF, kind >> 16
            if size > 4:
                raise _DamagedError(f"a small element claims {size} bytes")
            return kind, position + 4, position + 4 + size, position + 8
        start, end = position + 8, position + 8 + size
        if end > limit:
            raise _DamagedError(f"an element at byte {position} claims {size} bytes, {limit - start} are left")
        return kind, start, end, min(limit, end + (-size % 8))

    def _numbers(self, data: bytes, position: int, limit: int) -> tuple[npt.NDArray[Any], int]:
        kind, start, end, following = self._tag(data, position, limit)
        if kind not in _FORMATS:
            raise _DamagedError(f"numbers of unknown type {kind}")
        dtype = np.dtype(self.order + _FORMATS[kind])
        if (end - start) % dtype.itemsize:
            raise _DamagedError("an element is no whole count of numbers")
        return np.frombuffer(data, dtype, (end - start) // dtype.itemsize, start), following

    def _matrix(self, data: bytes, position: int, limit: int, depth: int) -> tuple[str, Any]:
        if position == limit:
            return "", np.zeros((0, 0))
        if depth > _DEPTH_LIMIT:
            raise _DamagedError("arrays are nested too deeply")
        flags, position = self._numbers(data, position, limit)
        shape_numbers, position = self._numbers(data, position, limit)
        if len(flags) != 2 or not 2 <= len(shape_numbers) <= 8:
            raise _DamagedError("an array without flags or dimensions")
        shape = tuple(int(number) for number in shape_numbers)
        count = prod(shape)
        if min(shape) < 0 or count > len(data):
            raise _DamagedError(f"an array claims dimensions {shape}")
        raw_name, position = self._bytes(data, position, limit)
        name = raw_name.decode("latin-1")
        kind = int(flags[0]) & 0xFF
        if kind in _NUMERIC:
            values, _ = self._numbers(data, position, limit)
            if len(values) != count:
                raise _DamagedError(f"an array of {count} numbers holds {len(values)}")
            return name, values.reshape(shape, order="F")
        if kind == _CHAR:
            return name, self._text(data, position, limit)
        if kind == _CELL:
            cells, _ = self._children(data, position, limit, count, depth)
            return name, Cells(shape, tuple(cells))
        if kind == _STRUCT:
            return name, self._structs(data, position, limit, shape, count, depth)
        raise _DamagedError(f"an array of class {kind}, which this dataset does not use")

    def _structs(
        self, data: bytes, position: int, limit: int, shape: tuple[int, ...], count: int, depth: int
    ) -> Structs:
        width_numbers, position = self._numbers(data, position, limit)
        raw_names, position = self._bytes(data, position, limit)
        width = int(width_numbers[0]) if len(width_numbers) == 1 else 0
        if not 0 < width <= 256 or len(raw_names) % width:
            raise _DamagedError("a struct's field names do not fit")
        names = [
            raw_names[at : at + width].split(b"\0", 1)[0].decode("latin-1") for at in range(0, len(raw_names), width)
        ]
        values, _ = self._children(data, position, limit, count * len(names), depth)
        stride = len(names)
        rows = (values[row * stride : (row + 1) * stride] for row in range(count))
        return Structs(shape, tuple(dict(zip(names, row, strict=True)) for row in rows))

    def _children(self, data: bytes, position: int, limit: int, count: int, depth: int) -> tuple[list[Any], int]:
        if count * 8 > limit - position:
            raise _DamagedError(f"{count} nested arrays do not fit in {limit - position} bytes")
        values = []
        for _ in range(count):
            kind, start, end, following = self._tag(data, position, limit)
            if kind != _MATRIX:
                raise _DamagedError(f"a nested element of type {kind}")
            values.append(self._matrix(data, start, end, depth + 1)[1])
            position = following
        return values, position

    def _bytes(self, data: bytes, position: int, limit: int) -> tuple[bytes, int]:
        _, start, end, following = self._tag(data, position, limit)
        return data[start:end], following

    def _text(self, data: bytes, position: int, limit: int) -> str:
        kind, start, end, _ = self._tag(data, position, limit)
        encoding = _TEXT.get(kind)
        if encoding is None:
            raise _DamagedError(f"text of unknown type {kind}")
        if encoding.startswith("utf-") and encoding != "utf-8":
            encoding += "-le" if self.order == "<" else "-be"
        return data[start:end].decode(encoding, errors="replace")
