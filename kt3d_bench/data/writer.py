"""Write one shard: a WebDataset tar and its side index, whose bytes depend on the samples alone.

The tar is plain (POSIX ustar), and its headers differ in name and size alone: WebDataset's ``TarWriter`` takes as long
for them as OpenCV for encoding a mask. Both files are written under a temporary name in the same folder, flushed to
disk and renamed, the index last: if there is an index, the shard is complete.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO
from uuid import uuid4

import numpy as np

from kt3d_bench.data.format import FIELDS, IMAGES, encode
from kt3d_bench.data.index import LabelRow, Labels, ShardIndex, encode_index, index_path, label_row
from kt3d_bench.errors import PluginError
from kt3d_bench.files import utf8_text, write_atomically
from kt3d_bench.records import Sample, Skipped

_FIELD_OF_EXTENSION = {field.extension: name for name, field in FIELDS.items()}
_LONGEST_NAME, _MOST_BYTES = 100, 8**11
"""What fits into the fields of a header."""


def _header(name: bytes, size: int) -> bytes:
    """Return a member's header (POSIX ustar). ``name`` has at most 100 bytes, and ``size`` is less than 8 GiB."""
    info = tarfile.TarInfo(name.decode())
    info.size, info.mode, info.uname, info.gname = size, 0o444, "kt3d", "kt3d"
    return info.tobuf(tarfile.USTAR_FORMAT, "utf-8")


def _temporary_of(path: Path, mark: str) -> Path:
    """Return the name of a shard's file before it is complete. It can be found by its ending after a crash, and each
    attempt has its own, since a worker that was given up may still be writing."""
    return path.with_name(f"{path.name}.{mark}.tmp")


class ShardWriter:
    """Context manager that writes ``path`` (``<split>-%06d.tar``) and its index.

    Leaving it normally publishes both files and sets ``index``; leaving it by an exception removes the unfinished
    files. A shard without samples publishes only an index, which lists its skipped samples and marks it as done.
    """

    def __init__(self, path: Path, *, configuration: str = "") -> None:
        self.path = path
        self.configuration = configuration
        self.index: ShardIndex | None = None
        self._mark = uuid4().hex[:12]
        self._temporary = _temporary_of(path, self._mark)
        self._images: tuple[str, ...] = ()
        self._tangential_factor = 2.0
        self._places: dict[str, list[tuple[int, int]]] = {}
        self._size = 0
        self._digest = hashlib.sha256()
        self._labels: list[LabelRow] = []
        self._items: list[str] = []
        self._item_of: list[int] = []
        self._keys: dict[str, str] = {}
        self._skipped: list[Skipped] = []
        self._file: IO[bytes]

    def __enter__(self) -> ShardWriter:
        self._file = self._temporary.open("wb")
        return self

    def start_item(self, name: str) -> None:
        """Assign the samples written from now on to this work item; messages and the index name it."""
        self._items.append(utf8_text(name))

    def write(self, sample: Sample) -> None:
        """Append a sample. Raises ``PluginError`` for a key that was used before, for other images than the samples
        before it have, and for values that cannot be stored."""
        if not self._items:
            self.start_item(self.path.stem)
        item = self._items[-1]
        if sample.key in self._keys:
            raise doubled_key(sample.key, self._keys[sample.key], item)
        images = tuple(name for name in IMAGES if getattr(sample, name) is not None)
        if not self._keys:
            self._images, self._tangential_factor = images, sample.camera.tangential_factor
        if images != self._images:
            what = f"sample {sample.key} holds {', '.join(images)} but those before it hold {', '.join(self._images)}"
            raise PluginError(what, where=f"item {item}", hint="every sample of a split must hold the same images")
        if sample.camera.tangential_factor != self._tangential_factor:
            raise PluginError(
                f"sample {sample.key} has tangential factor {sample.camera.tangential_factor}, those before it "
                f"{self._tangential_factor}",
                where=f"item {item}",
                hint="every camera of a split must use the same distortion formula",
            )
        try:
            members = encode(sample)
        except ValueError as error:
            raise PluginError(f"a sample cannot be stored ({error})", where=f"item {item}") from error
        self._append(sample.key, members)
        self._keys[sample.key] = item
        self._item_of.append(len(self._items) - 1)
        self._labels.append(label_row(sample))

    def _append(self, key: str, members: Mapping[str, bytes]) -> None:
        """Write the members of a sample at once, in the order of their extensions."""
        parts, end = [], self._size
        for extension, data in sorted(members.items()):
            name = f"{key}.{extension}".encode()
            if len(name) > _LONGEST_NAME:
                raise PluginError(f"a key is too long for a plain tar header ({key})", where=f"item {self._items[-1]}")
            if len(data) >= _MOST_BYTES:
                what = f"sample {key} is too large for a plain tar header ({extension}: {len(data)} bytes)"
                raise PluginError(what, where=f"item {self._items[-1]}")
            parts += [_header(name, len(data)), data, bytes(-len(data) % tarfile.BLOCKSIZE)]
            self._places.setdefault(_FIELD_OF_EXTENSION[extension], []).append((end + tarfile.BLOCKSIZE, len(data)))
            end += sum(map(len, parts[-3:]))
        self._add(b"".join(parts))

    def _add(self, block: bytes) -> None:
        self._file.write(block)
        self._digest.update(block)
        self._size += len(block)

    def skip(self, skipped: Skipped) -> None:
        """Record a sample that could not be used."""
        self._skipped.append(Skipped(utf8_text(skipped.name), utf8_text(skipped.reason), utf8_text(skipped.where)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._publish()
        finally:
            with suppress(OSError):
                self._file.close()
            self._temporary.unlink(missing_ok=True)

    def _publish(self) -> None:
        end = 2 * tarfile.BLOCKSIZE
        self._add(bytes(end + -(self._size + end) % tarfile.RECORDSIZE))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self.index = self._describe()
        if self._keys:
            self._temporary.replace(self.path)
        path = index_path(self.path)
        write_atomically(path, encode_index(self.index), temporary=_temporary_of(path, self._mark))

    def _describe(self) -> ShardIndex:
        names = (*self._images, "labels")
        table = {name: np.array(self._places.get(name, []), np.int64).reshape(-1, 2) for name in names}
        return ShardIndex(
            configuration=self.configuration,
            tar_sha256=self._digest.hexdigest() if self._keys else "",
            tar_size=self._size if self._keys else 0,
            keys=np.array(list(self._keys), np.str_),
            offsets={name: np.ascontiguousarray(rows[:, 0]) for name, rows in table.items()},
            sizes={name: np.ascontiguousarray(rows[:, 1]) for name, rows in table.items()},
            tangential_factor=self._tangential_factor,
            labels=Labels.of_rows(self._labels),
            items=tuple(self._items),
            item_of=np.array(self._item_of, np.int64),
            skipped=tuple(self._skipped),
        )


def doubled_key(key: str, first: str, second: str) -> PluginError:
    """Return the error for a key that two work items (or one item twice) produced."""
    items = f"item {first}, twice" if first == second else f"items {first} and {second}"
    return PluginError(f"the sample key {key} is produced by {items}", hint="keys must be unique within a split")
