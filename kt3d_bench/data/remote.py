"""Shards that lie behind a URL: fetched into a local mirror, each file whole and verified, or not at all.

A mirror is an ordinary shards folder in the cache (``$KT3D_CACHE``, else ``cache`` in the data root), named after the
SHA-256 of its manifest, which pins every tar by size and SHA-256; ``remote.json`` says where the rest is. Opening a
split fetches its indexes; tars come when they are first read, or ahead of need by ``Mirror.fetch``. Processes may share
a cache; a download that was cut off goes on where it stopped. Nothing is ever thrown away: delete what is not needed.

http and https are read through fsspec's aiohttp client, which notices truncated bodies and stalls, and comes with
Lightning; s3 through s3fs (the extra ``remote``). Nothing else is opened: some readers of tars would hand ``pipe:`` to
a shell.
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

from kt3d_bench.data.index import ShardIndex, index_path, read_index
from kt3d_bench.data.manifest import MANIFEST, Shard, decode_manifest, read_manifest
from kt3d_bench.errors import ArtefactError, UsageError
from kt3d_bench.files import cache_root, write_whole

SOURCE = "remote.json"
TRIES = 6
"""Failures in a row, with nothing arriving in between, until a file is given up."""
CONNECT_S = 10.0
STALL_S = 30.0
"""A connection that delivers nothing for so long is given up."""
PIECE_BYTES = 8 << 20
"""Asked for at a time: what a dropped connection can cost."""
CONNECTIONS = 4
_PAUSE_S = 0.5
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*(?:://|::)|pipe:")
_ELSE = "give a folder, or a URL that begins with https://, http://, s3:// or file://"


def is_url(place: Path | str) -> bool:
    """Whether a place is meant as a URL, of whatever scheme, and not as a folder."""
    return isinstance(place, str) and _URL.match(place) is not None


def local_folder(place: Path | str) -> Path:
    """The folder with the shards of a place: itself, or the mirror of a URL, whose manifest is fetched anew.

    Raises ``UsageError`` for a URL that is not supported, ``ArtefactError`` when nothing is to be had there.
    """
    if isinstance(place, Path) or not is_url(place):
        return Path(place)
    parts = urlsplit(place)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or parts.query or parts.fragment:
            raise UsageError("a file URL names a folder of this machine", where=place, hint=_ELSE)
        return Path(unquote(parts.path))
    return _mirrored(_checked(place)).folder


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "s3"):
        raise UsageError(f"shards are not read through '{url.partition(':')[0]}:'", where=url, hint=_ELSE)
    if "::" in url or not parts.hostname or parts.query or parts.fragment:
        raise UsageError("this is no URL of a folder", where=url, hint="leave out '::', '?' and '#'")
    if "@" in parts.netloc:
        hidden = url.replace(parts.netloc, parts.netloc.rpartition("@")[2])
        raise UsageError("the URL holds a password, which runs would record", where=hidden, hint="leave it out")
    return url.rstrip("/")


def _mirrored(url: str) -> Mirror:
    where = f"{url}/{MANIFEST}"
    data = _read_whole(where)
    manifest = decode_manifest(data, where=where, hint="check the URL, which must name a folder of shards")
    name = re.sub(r"[^A-Za-z0-9_.\-]", "_", url.rpartition("/")[2]) or manifest.dataset
    folder = cache_root() / "shards" / f"{name}-{hashlib.sha256(data).hexdigest()[:24]}"
    write_whole(folder / SOURCE, json.dumps({"url": url}).encode())
    if not (folder / MANIFEST).exists():
        write_whole(folder / MANIFEST, data)
    return Mirror(folder, url)


@dataclass(frozen=True)
class Mirror:
    """A shards folder whose files are fetched from ``url``."""

    folder: Path
    url: str

    @classmethod
    def of(cls, folder: Path) -> Mirror | None:
        """The mirror that a folder is; ``None`` for ordinary shards. Raises ``ArtefactError`` when it is damaged."""
        path = folder / SOURCE
        try:
            return cls(folder, _checked(str(json.loads(path.read_bytes())["url"])))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError, UsageError) as error:
            raise ArtefactError("does not say where shards come from", where=path, hint="delete its folder") from error

    def fetch_indexes(self, shards: Sequence[Shard]) -> int:
        """Fetch the missing indexes of ``shards``; returns how many were missing. Raises ``ArtefactError``."""
        missing = [shard for shard in shards if not index_path(self.folder / shard.name).exists()]
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(self._fetch_index, missing))
        return len(missing)

    def _fetch_index(self, shard: Shard) -> None:
        path = index_path(self.folder / shard.name)
        write_whole(path, _read_whole(f"{self.url}/{path.name}"))
        index: ShardIndex | None = None
        with suppress(ArtefactError):
            index = read_index(path)
        if index is None or (index.tar_sha256, index.tar_size, len(index)) != (shard.sha256, shard.size, shard.samples):
            path.unlink(missing_ok=True)
            raise self._foreign(path.name)

    def forget_indexes(self, shards: Sequence[Shard]) -> ArtefactError:
        """Delete indexes that do not hold what the manifest says; returns the error to raise."""
        for shard in shards:
            index_path(self.folder / shard.name).unlink(missing_ok=True)
        return self._foreign("the indexes")

    def fetch(self, shards: Sequence[Shard], progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Fetch the missing tars of ``shards``, several at a time; ``progress(done, total)`` in bytes.

        Raises ``ArtefactError`` when one cannot be had whole, or the disk has no room; what is there stays.
        """
        missing = [shard for shard in shards if not (self.folder / shard.name).exists()]
        total = sum(shard.size for shard in missing)
        begun = sum(_size(self._part(shard)) for shard in missing)
        free = shutil.disk_usage(self.folder).free
        if total - begun > free:
            raise ArtefactError(
                f"{(total - begun) / 1e9:.1f} GB are to be fetched and {free / 1e9:.1f} GB are free",
                where=self.folder,
                hint="free some space, or name another folder by KT3D_CACHE",
            )
        done = 0
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            try:
                for shard in pool.map(self.fetch_tar, missing):
                    done += shard.size
                    progress(done, total)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def fetch_tar(self, shard: Shard) -> Shard:
        """Have one tar here, whole and of the manifest's SHA-256. Raises ``ArtefactError``."""
        target = self.folder / shard.name
        try:
            with _part_file(target, self._part(shard)) as part:
                if part is None:
                    return shard
                for attempt in (1, 2):
                    _download(f"{self.url}/{shard.name}", part, shard.size)
                    part.seek(0)
                    if hashlib.file_digest(part, "sha256").hexdigest() == shard.sha256:
                        os.fsync(part.fileno())
                        self._part(shard).replace(target)
                        return shard
                    part.truncate(0)
                    if attempt == 2:
                        self._part(shard).unlink(missing_ok=True)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise ArtefactError(
                "the disk is full" if full else f"cannot be written ({error})",
                where=target,
                hint="free some space, or name another folder by KT3D_CACHE",
            ) from error
        raise self._foreign(shard.name)

    def _part(self, shard: Shard) -> Path:
        return self.folder / f"{shard.name}.part"

    def _foreign(self, name: str) -> ArtefactError:
        return ArtefactError(
            f"{name} does not fit the manifest (its SHA-256, size or labels are others)",
            where=self.url,
            hint="upload all files of one preparation, the manifest last",
        )


def complete(folder: Path, splits: Sequence[str] | None = None) -> None:
    """Have everything of a mirror here (of ``splits``, default all), for what reads shards file by file.

    Does nothing for ordinary shards. Raises ``ArtefactError`` as ``Mirror.fetch``.
    """
    mirror = Mirror.of(folder)
    if mirror is None:
        return
    for name, split in read_manifest(folder).splits.items():
        if splits is None or name in splits:
            mirror.fetch_indexes(split.shards)
            mirror.fetch(split.shards)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@contextmanager
def _part_file(target: Path, part: Path) -> Iterator[BufferedRandom | None]:
    """The unfinished file, open and ours alone; ``None`` when someone has finished it meanwhile."""
    import fcntl

    while True:
        if target.exists():
            yield None
            return
        with part.open("a+b") as file:
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
            if target.exists() or not part.exists() or os.fstat(file.fileno()).st_ino != part.stat().st_ino:
                continue
            yield file
            return


def _download(url: str, file: BufferedRandom, size: int) -> None:
    """Append to ``file`` until it holds ``size`` bytes of ``url``."""
    offset = file.seek(0, os.SEEK_END)
    if offset > size:
        offset = file.truncate(0)
    failures = 0
    while offset < size:
        end = min(offset + PIECE_BYTES, size)
        piece, problem = _read(url, offset, end)
        if len(piece) > end - offset:
            piece = piece[offset:] if len(piece) == size else b""
            problem = problem or "it sends something else than was asked for"
        if piece:
            file.write(piece)
            file.flush()
            offset += len(piece)
            failures = 0
            continue
        failures += 1
        _give_up_or_wait(url, failures, problem or "nothing arrives")


def _read_whole(url: str) -> bytes:
    failures = 0
    while True:
        data, problem = _read(url, None, None)
        if problem is None:
            return data
        failures += 1
        _give_up_or_wait(url, failures, problem)


def _give_up_or_wait(url: str, failures: int, problem: str) -> None:
    if failures >= TRIES:
        raise ArtefactError(
            f"cannot be fetched ({problem}; tried {failures} times)",
            where=url,
            hint="check the address and the network; what has arrived is kept and the same command goes on",
        )
    time.sleep(_PAUSE_S * 2 ** (failures - 1))


def _read(url: str, start: int | None, end: int | None) -> tuple[bytes, str | None]:
    """Bytes from ``start`` to ``end`` (``None`` = all), and what went wrong where trying again may help.

    Raises ``ArtefactError`` where it does not: what is not there, or not for us.
    """

    from aiohttp import ClientError, ClientResponseError

    file_system = _file_system(urlsplit(url).scheme)
    try:
        return file_system.cat_file(url, start=start, end=end), None
    except FileNotFoundError as error:
        raise ArtefactError("there is no such file", where=url, hint="check the URL: it must hold shards") from error
    except PermissionError as error:
        raise ArtefactError(f"access is denied ({error})", where=url, hint="log in as its owner says") from error
    except ClientResponseError as error:
        if error.status < 500 and error.status not in (408, 416, 425, 429):
            raise ArtefactError(
                f"the server answers {error.status} {error.message}", where=url, hint="check the URL"
            ) from error
        return b"", f"the server answers {error.status}"
    except (ClientError, OSError, TimeoutError) as error:
        return b"", str(error) or type(error).__name__
    except Exception as error:
        if type(error).__module__ != "botocore.exceptions":
            raise
        if type(error).__name__ == "NoCredentialsError":
            raise ArtefactError(
                "S3 asks for credentials",
                where=url,
                hint="set AWS_PROFILE or AWS_ACCESS_KEY_ID, or FSSPEC_S3_ANON=true for a public bucket",
            ) from error
        return b"", str(error)


def _file_system(scheme: str) -> Any:
    import fsspec

    if scheme == "s3":
        try:
            return fsspec.filesystem("s3", config_kwargs={"connect_timeout": CONNECT_S, "read_timeout": STALL_S})
        except ImportError as error:
            raise UsageError(
                "s3 needs the library s3fs, which is not installed",
                where="s3://",
                hint='install it: pip install "kt3d-bench[remote]"',
            ) from error
    from aiohttp import ClientTimeout

    patience = ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=STALL_S)
    return fsspec.filesystem("http", client_kwargs={"timeout": patience, "trust_env": True})
