"""Files of the official download, plain or inside an archive.

Archive members are read by name into a temporary file of our own naming: nothing is unpacked to a path that an archive
chooses, and links are ignored.
"""

from __future__ import annotations

import gzip
import tarfile
import zipfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from kt3d_bench.budgets import BoundedStream, BoundedTarInfo
from kt3d_bench.errors import RawDataError
from kt3d_bench.rawfiles import copy_to_scratch, reading, scratch_folder

_HINT = "download the archive again and compare its MD5 with the official one"
_LARGEST_MEMBER = {".mp4": 4 << 30, ".cdf": 256 << 20, ".mat": 16 << 30, ".xml": 64 << 20}


@dataclass(frozen=True, order=True)
class Source:
    """One official file: ``path`` itself, or the member of the archive at ``path``."""

    path: str
    member: str | None = None

    def __str__(self) -> str:
        return self.path if self.member is None else f"{self.path}:{self.member}"


@contextmanager
def local_file(source: Source) -> Iterator[Path]:
    """Yield the file itself, or a temporary copy of the archive member that is gone afterwards."""
    with closing(local_files([source])) as found:
        yield next(found)[1]


def local_files(sources: Iterable[Source]) -> Generator[tuple[Source, Path]]:
    """Yield (source, local path), opening each archive once. A path is valid until the next step.

    Plain files come first in their order, then archive members in the order they are stored.
    Raises ``RawDataError`` when an archive is damaged, a member is gone, or it is larger than its kind may be.
    """
    archived: dict[str, dict[str, Source]] = {}
    for source in sources:
        if source.member is None:
            yield source, Path(source.path)
        else:
            archived.setdefault(source.path, {})[source.member] = source
    for archive, wanted in archived.items():
        copies = _zip_copies if archive.lower().endswith(".zip") else _tar_copies
        with scratch_folder() as folder:
            for member, path in copies(archive, set(wanted), folder):
                yield wanted.pop(member), path
                path.unlink(missing_ok=True)
        if wanted:
            raise RawDataError(
                f"no longer holds {min(wanted)}", where=archive, hint="do not change raw data while it is prepared"
            )


def _tar_copies(archive: str, wanted: set[str], folder: Path) -> Iterator[tuple[str, Path]]:
    with reading(archive, _HINT), _open_tar(Path(archive)) as (tar, _):
        for member in tar:
            if member.name in wanted and member.isreg():
                wanted.remove(member.name)
                content = tar.extractfile(member)
                assert content is not None
                yield member.name, _copy(archive, member.name, member.size, content, folder)
            if not wanted:
                return


def _zip_copies(archive: str, wanted: set[str], folder: Path) -> Iterator[tuple[str, Path]]:
    with reading(archive, _HINT), zipfile.ZipFile(archive) as bundle:
        for name in sorted(wanted):
            with bundle.open(name) as content:
                path = _copy(archive, name, bundle.getinfo(name).file_size, content, folder)
            yield name, path


def _copy(archive: str, member: str, size: int, content: IO[bytes], folder: Path) -> Path:
    suffix = PurePosixPath(member).suffix.lower()
    largest = _LARGEST_MEMBER.get(suffix, 0)
    if size > largest:
        raise RawDataError(f"{member} claims {size} bytes, more than the {largest} such a file may have", where=archive)
    path = folder / f"member{suffix}"
    copy_to_scratch(content, path)
    if path.stat().st_size != size:
        raise EOFError(f"{member} is cut short")
    return path


@contextmanager
def _open_tar(archive: Path) -> Iterator[tuple[tarfile.TarFile, IO[bytes]]]:
    with archive.open("rb") as packed, ExitStack() as stack:
        compressed = packed.read(2) == b"\x1f\x8b"
        packed.seek(0)
        unpacked = cast(IO[bytes], stack.enter_context(gzip.GzipFile(fileobj=packed)) if compressed else packed)
        stream = cast(IO[bytes], BoundedStream(unpacked, packed))
        yield stack.enter_context(tarfile.open(fileobj=stream, mode="r|", tarinfo=BoundedTarInfo)), stream


def tar_members(archive: Path) -> Iterator[str]:
    """Yield the names of the regular files of a tar archive, and read it to its end: only there gzip shows damage.

    Raises ``RawDataError`` when the archive is damaged.
    """
    with reading(archive, _HINT), _open_tar(archive) as (tar, stream):
        for member in tar:
            if member.isreg():
                yield member.name
        while stream.read(1 << 20):
            continue


def zip_members(archive: Path) -> list[str]:
    """Return the names in a .zip. Raises ``RawDataError`` when it is damaged."""
    with reading(archive, _HINT), zipfile.ZipFile(archive) as bundle:
        return bundle.namelist()
