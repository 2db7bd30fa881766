"""The child process behind ``cdf.PoseReader``: requests as JSON lines on stdin, answers on stdout, until stdin ends.

An answer is one JSON line, ``{"bytes": n}`` followed by n bytes of float64, or ``{"error": sentence}``. Ctrl-C in the
terminal is the parent's affair, which then ends this process.
"""

from __future__ import annotations

import json
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def main() -> None:
    """Serve until stdin ends. The only argument is the limit of the address space in MB."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = sys.stdout.buffer
    sys.stdout = sys.stderr
    import cdflib  # noqa: F401  # before the limit: its own memory is not the file's

    _limit_memory(int(sys.argv[1]) << 20)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        try:
            poses = read_pose(request["path"], request["columns"])
        except MemoryError:
            answer, data = {"error": "it asks for more memory than a pose file needs"}, b""
        except Exception as error:
            answer, data = {"error": f"{type(error).__name__}: {error}"}, b""
        else:
            data = poses.tobytes()
            answer = {"bytes": str(len(data))}
        answers.write(json.dumps(answer).encode() + b"\n" + data)
        answers.flush()


def _limit_memory(limit_bytes: int) -> None:
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))


_MAGIC_3 = bytes.fromhex("cdf30001")
_MAGIC_2 = bytes.fromhex("cdf26002")


def announced_size(path: str) -> int | None:
    """Bytes that the file says it has (``eof`` of its global descriptor record); ``None`` where it does not say, or not
    in a way known here. cdflib reads a file that was cut inside its values without complaint."""
    with Path(path).open("rb") as file:
        head = file.read(28)
        if head[:4] not in (_MAGIC_2, _MAGIC_3) or head[4:8] != bytes.fromhex("0000ffff"):
            return None
        wide = head[:4] == _MAGIC_3
        file.seek(int.from_bytes(head[20:28] if wide else head[16:20]))
        record = file.read(44)
        return int.from_bytes(record[36:44] if wide else record[20:24]) or None


def read_pose(path: str, columns: int) -> npt.NDArray[np.float64]:
    """(n, ``columns``) values of the variable ``Pose``; ``ValueError`` says what is there instead."""
    import cdflib

    size, announced = Path(path).stat().st_size, announced_size(path)
    if announced is not None and size < announced:
        raise ValueError(f"it has {size} of its {announced} bytes")
    cdf = cdflib.CDF(path)
    names = [*cdf.cdf_info().zVariables, *cdf.cdf_info().rVariables]
    if "Pose" not in names:
        raise ValueError(f"it has no variable Pose (found: {', '.join(map(str, names)) or 'none'})")
    values: npt.NDArray[Any] = np.asarray(cdf.varget("Pose"))
    if values.dtype.kind not in "fiu":
        raise ValueError(f"Pose holds {values.dtype}, not numbers")
    if values.ndim == 3 and values.shape[0] == 1:
        values = values[0]
    if values.ndim != 2 or values.shape[1] != columns or not len(values):
        raise ValueError(f"Pose has shape {values.shape}, expected (1, n, {columns})")
    return np.ascontiguousarray(values, np.float64)


if __name__ == "__main__":
    main()
