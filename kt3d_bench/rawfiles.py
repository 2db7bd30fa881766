"""Read raw files that nobody vouches for: capped sizes, images, HDF5 data, and readers in a bounded child process.

Whatever is wrong with a file becomes one ``RawDataError`` with the file as the user knows it and the caller's hint.
``python -m kt3d_bench.rawfiles`` is the child process.
"""

from __future__ import annotations

import atexit
import contextlib
import difflib
import errno
import functools
import importlib
import io
import json
import lzma
import os
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.budgets import MOST_CHUNK_BYTES, OverBudgetError, json_value, read_whole, require_dataset
from kt3d_bench.errors import SYSTEM_ERRORS, RawDataError
from kt3d_bench.files import npz_bytes
from kt3d_bench.lifeline import tie

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DAMAGE = (
    OSError, EOFError, LookupError, RuntimeError, ValueError, TypeError, MemoryError, OverflowError, SyntaxError,
    struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, tarfile.TarError,
)  # fmt: skip
_LATER = "run the same command again"
_NEAR_DEPTH, _NEAR_NAMES = 2, 5000
_IMAGE_BYTES, _IMAGE_PIXELS = 64 << 20, 100_000_000


def copy_to_scratch(source: IO[bytes], path: Path) -> None:
    """Write a stream to a file in a ``scratch_folder``. Raises ``OSError`` that names the folder of temporary files
    where its disk is full."""
    try:
        with path.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from error
        raise


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a temporary folder that is removed at the end, also when this process is killed."""
    from joblib.externals.loky.backend import resource_tracker

    folder = tempfile.mkdtemp(prefix="kt3d-")
    resource_tracker.register(folder, "folder")
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        resource_tracker.unregister(folder, "folder")


def find(root: Path, *patterns: str) -> Iterator[Path]:
    """Yield what matches each pattern in ``root``, then one folder further down, in a fixed order; capitals and small
    letters are equal."""
    for pattern in patterns:
        either = either_case(pattern)
        yield from sorted(root.glob(either))
        yield from sorted(root.glob(f"*/{either}"))


def either_case(pattern: str) -> str:
    """Return a glob pattern in which capitals and small letters are equal; it may hold no class of letters."""
    return "".join(f"[{one.lower()}{one.upper()}]" if one.isalpha() else one for one in pattern)


def inside(folder: Path, *names: str) -> Path:
    """Return what lies below ``folder`` under these names, each whatever its capitals, or would lie there."""
    for name in names:
        folder = any_case(folder / name)
    return folder


def any_case(path: Path) -> Path:
    """Return the file of that name whatever its capitals, such as ``000001.JPG``, or ``path`` where there is none."""
    if path.exists():
        return path
    return path.with_name(_names_in(path.parent).get(path.name.casefold(), path.name))


@functools.lru_cache(maxsize=8)
def _names_in(folder: Path) -> dict[str, str]:
    return {path.name.casefold(): path.name for path in folder.iterdir()} if folder.is_dir() else {}


def near(root: Path, *wanted: str) -> str:
    """Return ``", but near it are a and b"`` for files and folders whose names are like the missing ``wanted``, up to
    three folders down; "" for none."""
    names: dict[str, Path] = {}
    for folder, folders, files in os.walk(root):
        depth = len(Path(folder).relative_to(root).parts)
        folders[:] = sorted(folders) if depth < _NEAR_DEPTH else []
        names.update((name.casefold(), Path(folder, name)) for name in sorted((*folders, *files))[:_NEAR_NAMES])
        if len(names) > _NEAR_NAMES:
            break
    close = [one for name in wanted for one in difflib.get_close_matches(name.casefold(), names, n=3, cutoff=0.75)]
    paths = [str(names[one].relative_to(root)) for one in dict.fromkeys(close)]
    return f", but near it {'is' if len(paths) == 1 else 'are'} {' and '.join(paths[:3])}" if paths else ""


def begins_with(path: Path, magic: bytes) -> bool:
    """Return whether a file begins with these bytes: browsers unpack files and keep their names. Raises ``OSError``."""
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


GZIP, ZIP = b"\x1f\x8b", b"PK"
"""What packed files begin with."""


def listed(names: Sequence[str], most: int = 3) -> str:
    """Return ``"a, b, c and 4 more"``, or ``"nothing"``."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more or "nothing"


def contents(folder: Path) -> str:
    """Return what a folder holds, for an error message: the first names, or ``"nothing"``."""
    return ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"


@contextlib.contextmanager
def reading(where: str | Path, hint: str) -> Iterator[None]:
    """Turn whatever a library raises for a file into a ``RawDataError`` (``refused``); a full disk stays an
    ``OSError``."""
    try:
        yield
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise
        raise refused(error, where, hint) from error


def refused(error: Exception, where: str | Path | None = None, hint: str | None = None) -> RawDataError:
    """Return the error that says why a file is not read: "damaged" only where its bytes are to blame."""
    if isinstance(error, MemoryError):
        return RawDataError("cannot be read: not enough memory", where=where, hint=SYSTEM_ERRORS[errno.ENOMEM])
    if isinstance(error, FileNotFoundError):
        return RawDataError("is missing", where=where, hint=hint)
    if isinstance(error, OverBudgetError):
        return RawDataError(f"is not read: {error}", where=where, hint=hint)
    if isinstance(error, OSError) and error.strerror:
        hint = SYSTEM_ERRORS.get(error.errno or 0, hint)
        return RawDataError(f"cannot be read ({error.strerror})", where=where, hint=hint)
    return RawDataError(f"is damaged or cut short ({type(error).__name__}: {error})", where=where, hint=hint)


def read_bytes(path: Path, most_bytes: int, hint: str) -> bytes:
    """Read a whole file. Raises ``RawDataError`` when it is missing, unreadable or larger than ``most_bytes``."""
    with reading(path, hint):
        if path.stat().st_size > most_bytes:
            raise RawDataError(f"is larger than {most_bytes >> 20} MiB, which no such file is", where=path, hint=hint)
        return read_whole(path, most_bytes)


def read_json(path: Path, most_bytes: int, hint: str) -> Any:
    """Read a JSON file. Raises ``RawDataError`` when it cannot be read, is too large or not JSON."""
    content = read_bytes(path, most_bytes, hint)
    try:
        return json_value(content)
    except ValueError as error:
        raise RawDataError(f"is not JSON ({error})", where=path, hint=hint) from error


def read_jpeg(path: Path, hint: str) -> npt.NDArray[np.uint8]:
    """Read a JPEG file as (H, W, 3) RGB, as stored: orientation tags are ignored.

    Raises ``RawDataError`` when it is missing, damaged or, by its header, larger than 100 megapixels.
    """
    import simplejpeg

    data = read_bytes(path, _IMAGE_BYTES, hint)
    try:
        height, width = simplejpeg.decode_jpeg_header(data)[:2]
        if height * width > _IMAGE_PIXELS:
            raise RawDataError(f"claims {width} x {height} pixels", where=path, hint=hint)
        image: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB")
    except ValueError as error:
        raise RawDataError(f"cannot be decoded ({error})", where=path, hint=hint) from error
    return image


def jpeg_size(path: Path, hint: str) -> tuple[int, int]:
    """Return (width, height) px of a JPEG file by its header. Raises ``RawDataError`` when it is missing or damaged."""
    import simplejpeg

    try:
        height, width = simplejpeg.decode_jpeg_header(read_bytes(path, _IMAGE_BYTES, hint))[:2]
    except ValueError as error:
        raise RawDataError(f"cannot be decoded ({error})", where=path, hint=hint) from error
    return int(width), int(height)


def own_dataset(file: Any, name: Any, where: str | Path, hint: str, *, most_chunk_bytes: int = MOST_CHUNK_BYTES) -> Any:
    """Return an HDF5 dataset by name or reference. Raises ``RawDataError`` when it is absent, a link, keeps its values
    in another file, or lies in pieces too large or too many."""
    import h5py

    linked = isinstance(name, str) and not isinstance(file.get(name, getlink=True), h5py.HardLink)
    found = None if linked else file[name]
    if not isinstance(found, h5py.Dataset) or found.file != file or found.external or found.is_virtual:
        wanted = f"dataset '{name}'" if isinstance(name, str) else "referenced dataset"
        raise RawDataError(f"holds no {wanted} of its own (found: {listed(sorted(file), 8)})", where=where, hint=hint)
    try:
        require_dataset(found, most_chunk_bytes)
    except OverBudgetError as error:
        raise RawDataError(f"its dataset {found.name} cannot be read: {error}", where=where, hint=hint) from error
    return found


class BoundedReader:
    """Reads files in a child process with limits on time and memory.

    Damaged bytes can make cdflib and ``scipy.io.loadmat`` loop, crash or ask for any amount of memory, and nothing
    short of reading tells. ``function`` is ``"module:name"`` of a function that takes a path and plain arguments,
    returns a mapping of arrays, and raises ``RawDataError`` for a file of another kind. One child serves all calls; it
    is killed and replaced when it exceeds ``timeout_s`` for one file, and refuses files that need more than
    ``memory_mb`` of address space.
    """

    def __init__(self, function: str, *, timeout_s: float, memory_mb: int) -> None:
        self._function = function
        self._timeout_s = timeout_s
        self._memory_mb = memory_mb
        self._child: subprocess.Popen[bytes] | None = None
        self._pipe: Connection[bytes, bytes] | None = None
        self._one_at_a_time = threading.Lock()
        atexit.register(self.close)

    def close(self) -> None:
        """End the child process; the next ``read`` starts another."""
        if self._child is not None and self._pipe is not None:
            self._pipe.close()
            self._child.kill()
            self._child.wait()
        self._child = self._pipe = None

    def read(self, path: Path, *arguments: Any, where: str | Path, hint: str) -> dict[str, npt.NDArray[Any]]:
        """Return what the function returns for a file.

        Raises ``RawDataError`` for ``where`` when the file is damaged or exceeds a limit, and when no process can be
        started or the system ends it.
        """
        with self._one_at_a_time:
            try:
                pipe = self._running()
            except OSError as error:
                what = f"no process could be started to read it ({error.strerror})"
                hint = SYSTEM_ERRORS.get(error.errno or 0, _LATER)
                raise RawDataError(what, where=where, hint=hint) from error
            try:
                pipe.send_bytes(json.dumps([str(path), *arguments]).encode())
                answer = pipe.recv_bytes() if pipe.poll(self._timeout_s) else None
            except (EOFError, OSError) as error:
                raise self._ended(where, hint) from error
            if answer is None:
                self.close()
                late = f"could not be read within {self._timeout_s:g} s: the file is damaged, or the machine is busy"
                raise RawDataError(late, where=where, hint=f"{hint}; or {_LATER}")
        if answer.startswith(b"!"):
            what, own_hint = json.loads(answer[1:])
            raise RawDataError(what, where=where, hint=own_hint or hint)
        with np.load(io.BytesIO(answer), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def _ended(self, where: str | Path, hint: str) -> RawDataError:
        """Return why the child ended by itself: nothing but a crash may be the file's fault."""
        assert self._child is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(2)
        status = self._child.returncode or 0
        self.close()
        if status == -signal.SIGKILL:
            what = "the process that reads it was killed, perhaps for want of memory"
            return RawDataError(what, where=where, hint=f"free memory, and {_LATER}")
        if status < 0:
            return RawDataError(f"is damaged: its reader crashed ({signal.strsignal(-status)})", where=where, hint=hint)
        what = f"the process that should read it could not work (exit code {status})"
        return RawDataError(what, where=where, hint=f"free memory and disk space, and {_LATER}")

    def _running(self) -> Connection[bytes, bytes]:
        if self._child is not None and self._pipe is not None and self._child.poll() is None:
            return self._pipe
        self.close()
        self._pipe, theirs = Pipe()
        with theirs:
            self._child = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    __name__,
                    self._function,
                    str(self._memory_mb),
                    str(theirs.fileno()),
                    str(os.getpid()),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
        return self._pipe


def _refusal(error: RawDataError) -> bytes:
    return b"!" + json.dumps([error.what, error.hint]).encode()


def _serve(function: str, memory_mb: str, descriptor: str, parent: str) -> None:
    """Answer requests until the parent closes the pipe or dies. Ctrl-C is left to the parent, which then ends this
    process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tie(int(parent))
    module, _, name = function.partition(":")
    read = getattr(importlib.import_module(module), name)
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (int(memory_mb) << 20, int(memory_mb) << 20))
    pipe: Connection[bytes, bytes] = Connection(int(descriptor))
    with contextlib.suppress(EOFError):
        while True:
            request = json.loads(pipe.recv_bytes())
            try:
                answer = npz_bytes(read(*request))
            except RawDataError as error:
                answer = _refusal(error)
            except MemoryError:
                answer = _refusal(RawDataError(f"asks for more than {memory_mb} MB of memory, as no intact file does"))
            except Exception as error:
                answer = _refusal(refused(error))
            pipe.send_bytes(answer)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
