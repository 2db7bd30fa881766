"""Pose CDFs, read in a child process with limits.

A damaged CDF can make cdflib loop for ever or ask for gigabytes, and nothing short of reading tells. So one child
process reads many files and answers in plain bytes; it is killed and started anew when it exceeds its time.
Variable ``Pose``: (1, n, 96) or (1, n, 64), 32 joints interleaved; a missing leading axis is accepted.
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import RawDataError

JOINTS = 32
_MEND = "unpack or download the archive again and compare its MD5 with the official one"


class PoseReader:
    """Reads pose CDFs through one child process; use as a context manager or call ``close``.

    ``timeout_s`` bounds one file, ``memory_mb`` the address space of the child.
    """

    def __init__(self, *, timeout_s: float = 30.0, memory_mb: int = 2048) -> None:
        self._timeout_s = timeout_s
        self._memory_mb = memory_mb
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PoseReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child; the next ``read`` starts another."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()

    def read(self, path: Path, dimensions: int, *, where: str | None = None) -> npt.NDArray[np.float64]:
        """(n, 32, ``dimensions``) float64 as stored: mm for 3, px for 2.

        Raises ``RawDataError`` naming ``where`` (default ``path``) when the file is damaged, holds no such ``Pose``,
        or takes longer or more memory than allowed.
        """
        where = str(path) if where is None else where
        child = self._running()
        assert child.stdin is not None
        request = json.dumps({"path": str(path), "columns": JOINTS * dimensions}) + "\n"
        try:
            child.stdin.write(request.encode())
            child.stdin.flush()
            answer, payload = self._answer(child)
        except TimeoutError:
            self.close()
            raise RawDataError(
                f"could not be read within {self._timeout_s:g} s: the file is damaged", where=where, hint=_MEND
            ) from None
        except (EOFError, OSError, ValueError) as error:
            self.close()
            raise RawDataError(f"ended the process that read it: the file is damaged ({error})", where=where,
                               hint=_MEND) from error  # fmt: skip
        if "error" in answer:
            raise RawDataError(f"is not a pose CDF: {answer['error']}", where=where, hint=_MEND)
        return np.frombuffer(payload, np.float64).reshape(-1, JOINTS, dimensions)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self.close()
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "kt3d_h36m.cdf_child", str(self._memory_mb)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
        return self._child

    def _answer(self, child: subprocess.Popen[bytes]) -> tuple[dict[str, str], bytes]:
        deadline = time.monotonic() + self._timeout_s
        buffer = bytearray()
        header: dict[str, str] | None = None
        length = 0
        assert child.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            while header is None or len(buffer) < length:
                left = deadline - time.monotonic()
                if left <= 0 or not selector.select(left):
                    raise TimeoutError
                chunk = os.read(child.stdout.fileno(), 1 << 20)
                if not chunk:
                    raise EOFError("no answer")
                buffer += chunk
                if header is None and b"\n" in buffer:
                    line, _, rest = bytes(buffer).partition(b"\n")
                    answer = json.loads(line)
                    header, length, buffer = answer, int(answer.get("bytes", 0)), bytearray(rest)
        return header, bytes(buffer)


_shared: PoseReader | None = None


def shared_reader() -> PoseReader:
    """The reader of this process: one child for all its files, ended at exit."""
    global _shared
    if _shared is None:
        _shared = PoseReader()
        atexit.register(_shared.close)
    return _shared
