"""Weight files of other authors, which are not part of this project: where they are kept, and how they get there.

A method plugin names the files it needs (``MethodPlugin.weights``) with size and SHA-256. ``add`` takes them out of a
file that the user obtained, such as a Python wheel, and keeps them in ``<cache>/weights/<method>/``; nothing else is
ever kept, and ``read`` compares the digest each time.
"""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from kt3d_bench.budgets import MOST_MEMBERS, BoundedStream, BoundedTarInfo, OverBudgetError
from kt3d_bench.errors import ArtefactError, UsageError, did_you_mean
from kt3d_bench.files import CORRUPT, cache_root, unreadable, write_whole
from kt3d_bench.plugins import registry
from kt3d_bench.plugins.hookspecs import WeightFile

_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class KeptWeights:
    """One weight file that a method names, and whether it is here."""

    method: str
    file: WeightFile
    path: Path
    present: bool


def weights(method: str | None = None) -> list[KeptWeights]:
    """Return the weight files of a method, by default of all methods. Raises ``UsageError`` for an unknown method."""
    methods = registry.methods().values() if method is None else [registry.method(method)]
    return [
        KeptWeights(one.name, file, path := _path(one.name, file), path.is_file())
        for one in methods
        for file in one.weights
    ]


def add_weights(method: str, file: Path) -> list[KeptWeights]:
    """Keep the weight files of a method that ``file`` holds: a zip or wheel, a tar.gz, or one weight file itself.

    Returns those that were found. Raises ``UsageError`` for a method that needs none; ``ArtefactError`` for a file that
    is missing, corrupt or unpacks to too much, that holds none of them, or one of another size or SHA-256.
    """
    wanted = {one.file.name: one for one in weights(method)}
    if not wanted:
        named = {one.method for one in weights()}
        raise UsageError(f"method '{method}' needs no weight files", hint=did_you_mean(method, named))
    hint = f"obtain it again: {' or '.join(dict.fromkeys(one.file.obtain for one in wanted.values()))}"
    if not Path(file).is_file():
        raise ArtefactError("there is no such file", where=file, hint=hint)
    found: dict[str, bytes] = {}
    try:
        for name, size, stream in _members(Path(file)):
            if name in wanted and name not in found:
                found[name] = _checked(wanted[name].file, size, stream)
    except (tarfile.TarError, *CORRUPT) as error:
        what = f"no weights can be read from it ({error or type(error).__name__})"
        raise unreadable(error, Path(file)) or ArtefactError(what, where=file, hint=hint) from error
    if not found:
        raise ArtefactError(f"holds none of {', '.join(wanted)}", where=file, hint=hint)
    for name, content in found.items():
        write_whole(wanted[name].path, content)
    return [one for one in weights(method) if one.file.name in found]


def read_weights_file(method: str, name: str) -> bytes:
    """Return the content of a method's weight file. Raises ``ArtefactError``, saying how to obtain it, where it is
    missing or is not the file that the method names."""
    one = next(one for one in weights(method) if one.file.name == name)
    hint = f"{one.file.obtain}, then: kt3d weights add {method} FILE"
    if not one.present:
        raise ArtefactError("the weights are not here", where=one.path, hint=hint)
    try:
        with one.path.open("rb") as stream:
            return _checked(one.file, one.path.stat().st_size, stream)
    except ValueError as error:
        raise ArtefactError(str(error), where=one.path, hint=hint) from error


def _path(method: str, file: WeightFile) -> Path:
    return cache_root() / "weights" / method / file.name


def _checked(file: WeightFile, size: int, stream: IO[bytes]) -> bytes:
    if size != file.size_bytes:
        raise ValueError(f"{file.name} has {size} bytes, expected {file.size_bytes}")
    content = stream.read(file.size_bytes)
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise ValueError(f"the SHA-256 of {file.name} is not {file.sha256}")
    return content


def _members(path: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Yield base name, size and content of everything in an archive; of any other file, its own."""
    with path.open("rb") as packed:
        magic = packed.read(2)
        packed.seek(0)
        if magic == _GZIP:
            unpacked = BoundedStream(cast(IO[bytes], gzip.GzipFile(fileobj=packed)), packed)
            with tarfile.open(fileobj=unpacked, mode="r|", tarinfo=BoundedTarInfo) as archive:  # type: ignore[call-overload]
                for number, one in enumerate(archive):
                    _require_few(number)
                    stream = archive.extractfile(one) if one.isfile() else None
                    if stream is not None:
                        yield PurePosixPath(one.name).name, one.size, stream
        elif zipfile.is_zipfile(packed):
            with zipfile.ZipFile(packed) as wheel:
                _require_few(len(wheel.infolist()))
                for info in wheel.infolist():
                    with wheel.open(info) as stream:
                        yield PurePosixPath(info.filename).name, info.file_size, stream
        else:
            packed.seek(0)
            yield path.name, path.stat().st_size, packed


def _require_few(count: int) -> None:
    if count > MOST_MEMBERS:
        raise OverBudgetError(f"it has more than {MOST_MEMBERS} members")
