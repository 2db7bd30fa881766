"""Functions that a ``BoundedReader`` calls in its child process."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import RawDataError


def read(path: str, times: float) -> dict[str, npt.NDArray[Any]]:
    """The file's first word says what happens; without one of these it is a list of numbers."""
    match Path(path).read_text().split():
        case ["sleep"]:
            time.sleep(60)
        case ["crash"]:
            os.abort()
        case ["killed"]:
            os.kill(os.getpid(), signal.SIGKILL)
        case ["locked"]:
            raise PermissionError(errno.EACCES, "Permission denied")
        case ["memory"]:
            return {"numbers": np.zeros(1 << 31, np.uint8)}
        case ["other"]:
            raise RawDataError("is something else")
        case numbers:
            return {"numbers": np.array(numbers, np.float64) * times, "child": np.array(os.getpid())}
    raise AssertionError
