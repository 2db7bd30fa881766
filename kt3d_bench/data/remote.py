"""Shards behind a URL: downloaded into a local mirror, each file complete and verified, or not at all.

A mirror is an ordinary shards folder in the cache (``$KT3D_CACHE``, else ``cache`` in the data root), named after the
SHA-256 of its manifest, which pins every tar by size and SHA-256; ``remote.json`` records the URL. Opening a split
downloads its indexes; a tar is downloaded when it is first read, or ahead of time by ``Mirror.fetch``. Processes may
share a cache, and an interrupted download continues where it stopped. Nothing is deleted automatically.

Files are read by ``data.download``, those of s3 through s3fs (the extra ``remote``).
Other schemes are refused: some readers of tars would hand ``pipe:`` to a shell.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from kt3d_bench.budgets import json_value, read_whole
from kt3d_bench.data.download import HttpFiles, S3Files
from kt3d_bench.data.index import index_path, read_index
from kt3d_bench.data.manifest import MANIFEST, Shard, decode_manifest, read_manifest
from kt3d_bench.errors import ArtefactError, UsageError
from kt3d_bench.files import cache_root, write_whole

SOURCE = "remote.json"
TRIES = 6
"""Failures in a row, without any byte in between, after which a file is given up."""
CONNECT_S = 10.0
STALL_S = 30.0
"""Seconds without any byte after which a connection is dropped."""
PIECE_BYTES = 8 << 20
"""Bytes per request, and so the most that a dropped connection loses."""
SMALL_BYTES = 256 << 20
"""Largest manifest or index that is downloaded."""
CONNECTIONS = 4
_PAUSE_S = 0.5
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*(?:://|::)|pipe:")
_SCHEMES = "give a folder, or a URL that begins with https://, http://, s3:// or file://"
_ROOM = "free some space, or name another folder by KT3D_CACHE"


def is_url(place: Path | str) -> bool:
    """Return whether a place is meant as a URL, of whatever scheme, and not as a folder."""
    return isinstance(place, str) and _URL.match(place) is not None


def local_folder(place: Path | str) -> Path:
    """Return the folder of a place's shards: itself, or the mirror of a URL, whose manifest is downloaded again.

    Raises ``UsageError`` for an unsupported URL, ``ArtefactError`` when its manifest cannot be downloaded.
    """
    if isinstance(place, Path) or not is_url(place):
        return Path(place)
    parts = urlsplit(place)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or parts.query or parts.fragment:
            raise UsageError("a file URL names a folder of this machine", where=place, hint=_SCHEMES)
        return Path(unquote(parts.path))
    url = _checked(place)
    where = f"{url}/{MANIFEST}"
    data = _read(where, 0, SMALL_BYTES)
    manifest = decode_manifest(data, where=where, hint="check the URL, which must name a folder of shards")
    name = re.sub(r"[^A-Za-z0-9_.\-]", "_", url.rpartition("/")[2]) or manifest.dataset
    folder = _mirrors() / f"{name}-{hashlib.sha256(data).hexdigest()[:24]}"
    write_whole(folder / SOURCE, json.dumps({"url": url}).encode())
    if not (folder / MANIFEST).exists():
        write_whole(folder / MANIFEST, data)
    return folder


def _mirrors() -> Path:
    return cache_root() / "shards"


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "s3"):
        raise UsageError(f"shards are not read through '{url.partition(':')[0]}:'", where=url, hint=_SCHEMES)
    if "::" in url or not parts.hostname or parts.query or parts.fragment:
        raise UsageError("this is not the URL of a folder", where=url, hint="leave out '::', '?' and '#'")
    if "@" in parts.netloc:
        hidden = url.replace(parts.netloc, parts.netloc.rpartition("@")[2])
        raise UsageError("the URL holds a password, which runs would record", where=hidden, hint="leave it out")
    return url.rstrip("/")


@dataclass(frozen=True)
class Mirror:
    """A shards folder whose files are downloaded from ``url``."""

    folder: Path
    url: str

    @classmethod
    def of(cls, folder: Path) -> Mirror | None:
        """Return the mirror that a folder is; ``None`` for ordinary shards.

        Only a folder in the cache can be a mirror: a ``remote.json`` in anybody's download must not cause network
        requests. Raises ``ArtefactError`` when ``remote.json`` is damaged.
        """
        path = folder / SOURCE
        if folder.absolute().parent != _mirrors().absolute() or not path.exists():
            return None
        try:
            return cls(folder, _checked(str(json_value(read_whole(path))["url"])))
        except (OSError, ValueError, KeyError, TypeError, UsageError) as error:
            raise ArtefactError("does not say where shards come from", where=path, hint="delete its folder") from error

    def fetch_indexes(self, shards: Sequence[Shard]) -> int:
        """Download the missing indexes of ``shards``; return how many were missing. Raises ``ArtefactError``."""
        missing = [shard for shard in shards if not index_path(self.folder / shard.name).exists()]
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(self._fetch_index, missing))
        return len(missing)

    def _fetch_index(self, shard: Shard) -> None:
        path = index_path(self.folder / shard.name)
        write_whole(path, _read(f"{self.url}/{path.name}", 0, SMALL_BYTES))
        with suppress(ArtefactError):
            index = read_index(path)
            if (index.tar_sha256, index.tar_size, len(index)) == (shard.sha256, shard.size, shard.samples):
                return
        path.unlink(missing_ok=True)
        raise self._foreign(path.name)

    def forget_indexes(self, shards: Sequence[Shard]) -> ArtefactError:
        """Delete the indexes of ``shards``, which differ from the manifest; return the error to raise."""
        for shard in shards:
            index_path(self.folder / shard.name).unlink(missing_ok=True)
        return self._foreign("the indexes")

    def fetch(self, shards: Sequence[Shard], progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Download the missing tars of ``shards``, several at a time; ``progress(done, total)`` in bytes.

        Raises ``ArtefactError`` when one cannot be downloaded completely, or the disk has no room. What has arrived
        stays.
        """
        missing = [shard for shard in shards if not (self.folder / shard.name).exists()]
        parts = [self.folder / f"{shard.name}.part" for shard in missing]
        total, done = sum(shard.size for shard in missing), 0
        needed = total - sum(part.stat().st_size for part in parts if part.exists())
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            what = f"the download needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free"
            raise ArtefactError(what, where=self.folder, hint=_ROOM)
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            try:
                for shard in pool.map(self.fetch_tar, missing):
                    done += shard.size
                    progress(done, total)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def fetch_tar(self, shard: Shard) -> Shard:
        """Download one tar unless it is there, and check its SHA-256, twice at most. Raises ``ArtefactError``."""
        target, part = self.folder / shard.name, self.folder / f"{shard.name}.part"
        try:
            with _locked(target, part) as file:
                if file is None:
                    return shard
                for _ in range(2):
                    _download(f"{self.url}/{shard.name}", file, shard.size)
                    file.seek(0)
                    if hashlib.file_digest(file, "sha256").hexdigest() == shard.sha256:
                        os.fsync(file.fileno())
                        part.replace(target)
                        return shard
                    file.truncate(0)
                part.unlink(missing_ok=True)
                raise self._foreign(shard.name)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            what = "the disk is full" if full else f"cannot be written ({error})"
            raise ArtefactError(what, where=target, hint=_ROOM) from error

    def _foreign(self, name: str) -> ArtefactError:
        return ArtefactError(
            f"{name} does not fit the manifest (its SHA-256, size or labels are others)",
            where=self.url,
            hint="upload all files of one preparation, the manifest last",
        )


def complete(folder: Path, splits: Sequence[str] | None = None) -> None:
    """Download everything of a mirror (of ``splits``, default all) for code that reads shards file by file.

    Does nothing for ordinary shards. Raises ``ArtefactError`` as ``Mirror.fetch``.
    """
    mirror = Mirror.of(folder)
    for name, split in read_manifest(folder).splits.items() if mirror else ():
        if mirror and (splits is None or name in splits):
            mirror.fetch_indexes(split.shards)
            mirror.fetch(split.shards)


@contextmanager
def _locked(target: Path, part: Path) -> Iterator[BufferedRandom | None]:
    """Yield the unfinished file, open and locked; ``None`` when another process has finished it meanwhile."""
    import fcntl

    while not target.exists():
        with part.open("a+b") as file:
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
            if not target.exists() and part.exists() and os.fstat(file.fileno()).st_ino == part.stat().st_ino:
                yield file
                return
    yield None


def _download(url: str, file: BufferedRandom, size: int) -> None:
    """Append to ``file`` until it holds ``size`` bytes of ``url``."""
    offset = file.seek(0, os.SEEK_END)
    if offset > size:
        offset = file.truncate(0)
    while offset < size:
        file.write(_read(url, offset, min(offset + PIECE_BYTES, size), size))
        file.flush()
        offset = file.tell()


def _read(url: str, start: int, end: int, size: int | None = None) -> bytes:
    """Return bytes ``start`` to ``end`` of a file, or the first of them that arrive; ``size`` is that of the whole.

    Without ``size`` the whole file is wanted, which must not be longer than ``end``. Raises ``ArtefactError`` at once
    for a file that is not there, not permitted or too long, else after ``TRIES`` failures.
    """
    from aiohttp import ClientError, ClientResponseError

    problem = ""
    for failures in range(TRIES):
        if failures:
            time.sleep(_PAUSE_S * 2 ** (failures - 1))
        try:
            data: bytes = _file_system(urlsplit(url).scheme).cat_file(url, start=start, end=end)
            if size is None and len(data) >= end:
                raise ArtefactError(f"the file is larger than {end} bytes", where=url, hint="check the URL")
            if size is not None and start + len(data) > size:
                data, problem = b"", "the server sends other bytes than requested"
            if data or size is None:
                return data
            problem = problem or "nothing arrives"
        except FileNotFoundError as error:
            hint = "check the URL: it must hold shards"
            raise ArtefactError("there is no such file", where=url, hint=hint) from error
        except PermissionError as error:
            raise ArtefactError(f"access is denied ({error})", where=url, hint="log in as its owner says") from error
        except ClientResponseError as error:
            problem = f"the server answers {error.status}"
            if error.status < 500 and error.status not in (408, 416, 425, 429):
                raise ArtefactError(f"{problem} {error.message}", where=url, hint="check the URL") from error
        except (ClientError, OSError, TimeoutError) as error:
            problem = str(error) or type(error).__name__
        except Exception as error:
            if type(error).__module__ != "botocore.exceptions":
                raise
            problem = str(error)
            if type(error).__name__ == "NoCredentialsError":
                hint = "set AWS_PROFILE or AWS_ACCESS_KEY_ID, or FSSPEC_S3_ANON=true for a public bucket"
                raise ArtefactError("S3 asks for credentials", where=url, hint=hint) from error
    raise ArtefactError(
        f"cannot be downloaded ({problem}; tried {TRIES} times)",
        where=url,
        hint="check the address and the network; what has arrived is kept, and the same command continues",
    )


def _file_system(scheme: str) -> Any:
    if scheme == "s3":
        try:
            return S3Files(CONNECT_S, STALL_S)
        except ImportError as error:
            hint = 'install it: pip install "kt3d-bench[remote]"'
            raise UsageError("s3 needs the library s3fs, which is not installed", where="s3://", hint=hint) from error
    return HttpFiles(CONNECT_S, STALL_S)
