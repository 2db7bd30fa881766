"""Finding the official files, as archives or unpacked, wherever the root lies.

Official names are ``S1/Videos/<name>.<camera>.mp4`` and ``S1/MyPoseFeatures/<feature>/<name>[.<camera>].cdf`` inside
``Videos_S1.tgz`` and ``Poses_<feature>_S1.tgz``; common tools re-root them to ``S1/Poses_<feature>/`` or serve the
archives as ``s1/<feature>.tgz`` or ``<feature>/SubjectSpecific_1.tgz``. So a file is known by its base name, the
folder it lies in and the nearest ``S<number>`` above it, where an archive counts as a folder. Archive members are read
by name into memory or a temporary file of our own naming: nothing is unpacked to a path that an archive chooses, and
links are ignored.
"""

from __future__ import annotations

import errno
import gzip
import os
import re
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, cast

from kt3d_bench.errors import RawDataError
from kt3d_h36m.metadata import read_cameras, read_frame_counts
from kt3d_h36m.sequences import CAMERAS, Recording, find_recording

__all__ = [
    "RawFolder", "Source", "find_metadata", "holds_videos", "local_file", "local_files", "read_cameras",
    "read_frame_counts", "scan",
]  # fmt: skip

FEATURES: dict[str, str] = {
    "Videos": ".mp4",
    "D2_Positions": ".cdf",
    "D3_Positions": ".cdf",
    "D3_Positions_mono": ".cdf",
    "D3_Positions_mono_universal": ".cdf",
    "ground_truth_bb": ".mat",
}
_ARCHIVE_FEATURES = {"Segments_mat_gt_bb": "ground_truth_bb"}
SITE = "http://vision.imar.ro/human3.6m/ (registration needed)"
CODE_MEND = f"put code-v1.2.zip (or its Release-v1.2/metadata.xml) there, from {SITE}"
_SITE_NUMBERS = {1: 1, 6: 5, 7: 6, 2: 7, 3: 8, 4: 9, 5: 11}
"""k of the site's ``SubjectSpecific_<k>.tgz`` -> subject."""
_IMAGE_FOLDER = re.compile(r"s_\d\d_act_\d\d_subact_\d\d_ca_\d\d|imageSequence|S\d+_.+\.\d{8}")
"""Folders of derived layouts with a million images: not official, not walked."""
_RECORDINGS = 30
"""Of each subject."""
_ARCHIVES = (".tgz", ".tar.gz", ".tar")
_GLANCE = 64
"""Files of an archive that tell whose it is."""
_CODE = re.compile(r"code|release|metadata|h36m|human3", re.IGNORECASE)
"""In the name of a .zip that is meant to hold the cameras."""
_LARGEST_MEMBER = {".mp4": 4 << 30, ".cdf": 256 << 20, ".mat": 16 << 30, ".xml": 64 << 20}


@dataclass(frozen=True, order=True)
class Source:
    """One official file: ``path`` itself, or the member of the archive at ``path``."""

    path: str
    member: str | None = None

    def __str__(self) -> str:
        return self.path if self.member is None else f"{self.path}:{self.member}"


@dataclass(frozen=True)
class RawFolder:
    """What lies under a raw folder. Keys are (recording, camera identifier); the camera is "" for D3_Positions."""

    root: Path
    files: dict[str, dict[tuple[Recording, str], Source]] = field(default_factory=dict)
    """Feature -> files."""
    metadata: Source | None = None
    archives: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    """Files in the right place whose names mean no recording; ``_ALL`` sequences are not among them."""

    def subjects(self, feature: str) -> tuple[int, ...]:
        return tuple(sorted({recording.subject for recording, _ in self.files.get(feature, {})}))


def scan(root: Path, *, subjects: Iterable[int] | None = None, without: Iterable[str] = ()) -> RawFolder:
    """List what is there, archives included. Archives that by their name hold only other ``subjects``, features
    ``without`` use, or what lies there unpacked and complete stay closed: a video archive takes its time. Unpacked
    files win over archived ones. Archives of other datasets are left alone.

    Raises ``RawDataError`` when ``root`` is not a folder or an archive is damaged.
    """
    if not root.is_dir():
        raise RawDataError("is not a folder", where=root, hint=f"put the official download there, from {SITE}")
    wanted, unused = None if subjects is None else set(subjects), set(without)
    files: dict[str, dict[tuple[Recording, str], Source]] = {feature: {} for feature in FEATURES}
    metadata: list[Source] = []
    archives: list[Path] = []
    unknown: list[str] = []

    def add(parts: Sequence[str], source: Source) -> None:
        if parts[-1] == "metadata.xml":
            metadata.append(source)
            return
        feature, subject = _feature(parts[:-1]), _subject(parts[:-1])
        if feature is None or subject is None or not parts[-1].endswith(FEATURES[feature]):
            return
        if wanted is not None and subject not in wanted:
            return
        name, camera = _split_name(parts[-1].removesuffix(FEATURES[feature]))
        recording = find_recording(subject, name)
        if (camera == "") != (feature == "D3_Positions") or recording is None:
            if not name.startswith("_"):
                unknown.append(str(source))
            return
        files[feature].setdefault((recording, camera), source)

    for path in _walk(root):
        parts = path.relative_to(root).parts
        if path.name.endswith(_ARCHIVES):
            archives.append(path)
        elif path.name.endswith(".zip"):
            metadata += _zip_metadata(path)
        else:
            add(parts, Source(str(path)))
    for archive in archives:
        outer = (*archive.relative_to(root).parts[:-1], _stem(archive.name))
        feature, subject = _feature(outer), _subject(outer)
        closed = feature in unused or (wanted is not None and subject is not None and subject not in wanted)
        closed = closed or (feature is not None and _complete(files[feature], feature, subject))
        for member in () if closed else _members(archive, outer):
            add((*outer, *PurePosixPath(member).parts), Source(str(archive), member))
    return RawFolder(
        root,
        {feature: dict(sorted(found.items())) for feature, found in files.items()},
        _preferred(metadata),
        tuple(str(path.relative_to(root)) for path in archives),
        tuple(sorted(unknown)),
    )


def find_metadata(root: Path) -> Source | None:
    """The official ``metadata.xml`` anywhere under ``root``, unpacked or in a .zip; ``None`` when it is not there.

    Raises ``RawDataError`` when a .zip is damaged.
    """
    found: list[Source] = []
    for path in _walk(root):
        if path.name == "metadata.xml":
            found.append(Source(str(path)))
        elif path.name.endswith(".zip"):
            found += _zip_metadata(path)
    return _preferred(found)


def _preferred(metadata: Iterable[Source]) -> Source | None:
    return min(metadata, key=lambda source: (source.member is not None, source), default=None)


def holds_videos(root: Path) -> bool:
    """Whether official videos lie under ``root``, or an archive that by its name holds some. Opens nothing."""
    for path in _walk(root):
        folders = path.relative_to(root).parts[:-1]
        if path.name.endswith(_ARCHIVES):
            folders = (*folders, _stem(path.name))
        elif not path.name.endswith(FEATURES["Videos"]):
            continue
        if _feature(folders) == "Videos" and _subject(folders) is not None:
            return True
    return False


def _complete(found: Mapping[tuple[Recording, str], Source], feature: str, subject: int | None) -> bool:
    """Whether all files of one subject's feature are there, unpacked."""
    unpacked = sum(one.subject == subject and source.member is None for (one, _), source in found.items())
    return unpacked == _RECORDINGS * (1 if feature == "D3_Positions" else len(CAMERAS))


def _walk(root: Path) -> Iterator[Path]:
    """All files in a fixed order; folders reached through links are entered once."""
    seen: set[str] = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not _IMAGE_FOLDER.fullmatch(name))
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_file():
                yield path


def _stem(name: str) -> str:
    return next(name.removesuffix(ending) for ending in _ARCHIVES if name.endswith(ending))


def _feature(folders: Sequence[str]) -> str | None:
    """The feature named by the innermost folder that names one: ``Poses_D3_Positions_S1`` -> ``D3_Positions``."""
    for folder in reversed(folders):
        name = re.sub(r"_S\d+$", "", folder).removeprefix("Poses_")
        name = _ARCHIVE_FEATURES.get(name, name)
        if name in FEATURES:
            return name
    return None


def _subject(folders: Sequence[str]) -> int | None:
    for folder in reversed(folders):
        if match := re.search(r"(?:^|_)[sS](\d{1,2})$", folder):
            return int(match[1])
        if match := re.fullmatch(r"SubjectSpecific_(\d)", folder):
            return _SITE_NUMBERS.get(int(match[1]))
    return None


def _split_name(stem: str) -> tuple[str, str]:
    """``Directions 1.54138969`` -> (``Directions 1``, ``54138969``); no camera gives ""."""
    name, dot, camera = stem.rpartition(".")
    return (name, camera) if dot and camera in CAMERAS else (stem, "")


def _damaged(archive: Path | str, error: Exception) -> RawDataError:
    if isinstance(error, OSError) and error.errno in _FULL:
        raise OSError(error.errno, error.strerror, tempfile.gettempdir())
    return RawDataError(
        f"is damaged or cut short ({type(error).__name__}: {error})",
        where=archive,
        hint="download the archive again and compare its MD5 with the official one",
    )


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a system says when the temporary copy of a member finds no room: no fault of the archive."""
_ARCHIVE_ERRORS = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, KeyError,
)  # fmt: skip


@contextmanager
def _open_tar(archive: Path | str) -> Iterator[tuple[tarfile.TarFile, IO[bytes]]]:
    """The archive as a forward-only tar, and the unpacked stream below it."""
    with Path(archive).open("rb") as packed:
        compressed = packed.read(2) == b"\x1f\x8b"
        packed.seek(0)
        with ExitStack() as stack:
            stream = cast(IO[bytes], stack.enter_context(gzip.GzipFile(fileobj=packed)) if compressed else packed)
            yield stack.enter_context(tarfile.open(fileobj=stream, mode="r|")), stream


def _members(archive: Path, outer: Sequence[str]) -> list[str]:
    """Names of the regular files of a tar archive, read to its end: only there gzip tells that it is whole.

    One that neither ``outer``, its folders and own name, nor its first members tell to be Human3.6M's has none: it may
    be another dataset's, and large.
    """
    names: list[str] = []
    ours = _feature(outer) is not None or _subject(outer) is not None
    try:
        with _open_tar(archive) as (tar, stream):
            for member in tar:
                if member.isreg():
                    names.append(member.name)
                    parts = (*outer, *PurePosixPath(member.name).parts)
                    ours = ours or _feature(parts[:-1]) is not None or parts[-1] == "metadata.xml"
                if not ours and len(names) == _GLANCE:
                    return []
            while stream.read(1 << 20):
                continue
            return names
    except _ARCHIVE_ERRORS as error:
        if ours:
            raise _damaged(archive, error) from error
        return []


def _zip_metadata(archive: Path) -> list[Source]:
    try:
        with zipfile.ZipFile(archive) as bundle:
            names = sorted(name for name in bundle.namelist() if PurePosixPath(name).name == "metadata.xml")
    except _ARCHIVE_ERRORS as error:
        if _CODE.search(archive.name):
            raise _damaged(archive, error) from error
        return []
    return [Source(str(archive), name) for name in names]


@contextmanager
def local_file(source: Source) -> Iterator[Path]:
    """The file itself, or a temporary copy of the archive member that is gone afterwards."""
    with local_files([source]) as found:
        yield next(found)[1]


@contextmanager
def local_files(sources: Iterable[Source]) -> Iterator[Iterator[tuple[Source, Path]]]:
    """An iterator over (source, local path) that opens each archive once. A path is valid until the next step.

    Plain files come first in their order, then archive members in the order they are stored.
    Raises ``RawDataError`` when an archive is damaged, a member is gone, or it is larger than its kind may be.
    """
    with tempfile.TemporaryDirectory(prefix="kt3d-") as folder:
        yield _each(list(sources), Path(folder))


def _each(sources: Sequence[Source], folder: Path) -> Iterator[tuple[Source, Path]]:
    archived: dict[str, dict[str, Source]] = {}
    for source in sources:
        if source.member is None:
            yield source, Path(source.path)
        else:
            archived.setdefault(source.path, {})[source.member] = source
    for archive, wanted in archived.items():
        copies = _zip_copies if archive.endswith(".zip") else _tar_copies
        for member, path in copies(archive, dict(wanted), folder):
            yield wanted.pop(member), path
            path.unlink(missing_ok=True)
        if wanted:
            raise RawDataError(f"no longer holds {min(wanted)}", where=archive, hint="leave raw data alone meanwhile")


def _tar_copies(archive: str, wanted: dict[str, Source], folder: Path) -> Iterator[tuple[str, Path]]:
    left = set(wanted)
    try:
        with _open_tar(archive) as (tar, _):
            for member in tar:
                if member.name not in left or not member.isreg():
                    continue
                left.discard(member.name)
                path = _copy_path(archive, member.name, member.size, folder)
                content = tar.extractfile(member)
                assert content is not None
                with content, path.open("wb") as copy:
                    shutil.copyfileobj(content, copy, 1 << 20)
                if path.stat().st_size != member.size:
                    raise EOFError(f"{member.name} is cut short")
                yield member.name, path
                if not left:
                    return
    except _ARCHIVE_ERRORS as error:
        raise _damaged(archive, error) from error


def _zip_copies(archive: str, wanted: dict[str, Source], folder: Path) -> Iterator[tuple[str, Path]]:
    try:
        with zipfile.ZipFile(archive) as bundle:
            for name in sorted(wanted):
                path = _copy_path(archive, name, bundle.getinfo(name).file_size, folder)
                with bundle.open(name) as content, path.open("wb") as copy:
                    shutil.copyfileobj(content, copy, 1 << 20)
                yield name, path
    except _ARCHIVE_ERRORS as error:
        raise _damaged(archive, error) from error


def _copy_path(archive: str, member: str, size: int, folder: Path) -> Path:
    suffix = PurePosixPath(member).suffix
    largest = _LARGEST_MEMBER.get(suffix, 0)
    if size > largest:
        raise RawDataError(f"{member} claims {size} bytes, more than the {largest} such a file may have", where=archive)
    return folder / f"member{suffix}"
