"""Pose CDFs, read in a child process with limits: a damaged one can make cdflib loop or ask for gigabytes.

Variable ``Pose``: (1, n, 96) or (1, n, 64), 32 joints interleaved; a missing leading axis is accepted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import RawDataError
from kt3d_bench.rawfiles import BoundedReader

JOINTS = 32
_HINT = "unpack or download the archive again and compare its MD5 with the official one"
_MAGIC_2, _MAGIC_3 = bytes.fromhex("cdf26002"), bytes.fromhex("cdf30001")
_reader = BoundedReader("kt3d_h36m.cdf:read_variable", timeout_s=20.0, memory_mb=1536)


def read_pose(path: Path, dimensions: int, *, where: str | None = None) -> npt.NDArray[np.float64]:
    """Read (n, 32, ``dimensions``) float64 as stored: mm for 3, px for 2.

    Raises ``RawDataError`` naming ``where`` (default ``path``) when the file is damaged or holds no such ``Pose``.
    """
    found = _reader.read(path, JOINTS * dimensions, where=where or path, hint=_HINT)
    return found["Pose"].reshape(-1, JOINTS, dimensions)


def read_variable(path: str, columns: int) -> dict[str, npt.NDArray[np.float64]]:
    """Read (n, ``columns``) values of the variable ``Pose``, in the child process. Raises ``RawDataError``."""
    import cdflib

    size, announced = Path(path).stat().st_size, _announced_size(path)
    if announced is not None and size < announced:
        raise RawDataError(f"is cut short: it has {size} of its {announced} bytes")
    cdf = cdflib.CDF(path)
    names = [*cdf.cdf_info().zVariables, *cdf.cdf_info().rVariables]
    if "Pose" not in names:
        raise RawDataError(f"is no pose CDF: it has no variable Pose (found: {', '.join(names) or 'none'})")
    values: npt.NDArray[Any] = np.asarray(cdf.varget("Pose"))
    if values.ndim == 3 and values.shape[0] == 1:
        values = values[0]
    if values.dtype.kind not in "fiu" or values.ndim != 2 or values.shape[1] != columns or not len(values):
        raise RawDataError(
            f"is no pose CDF: Pose is {values.dtype} {values.shape}, expected numbers of shape (1, n, {columns})"
        )
    return {"Pose": np.ascontiguousarray(values, np.float64)}


def _announced_size(path: str) -> int | None:
    """Return the size that the file states (``eof`` of its global descriptor record), ``None`` where it states none.

    cdflib reads a file that was cut inside its values without complaint.
    """
    with Path(path).open("rb") as file:
        head = file.read(28)
        if head[:4] not in (_MAGIC_2, _MAGIC_3) or head[4:8] != bytes.fromhex("0000ffff"):
            return None
        wide = head[:4] == _MAGIC_3
        file.seek(int.from_bytes(head[20:28] if wide else head[16:20]))
        record = file.read(44)
        return int.from_bytes(record[36:44] if wide else record[20:24]) or None
