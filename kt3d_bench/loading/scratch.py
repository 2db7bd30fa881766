"""Arrays that a thread uses again and again.

An image's memory taken anew may be mapped and zeroed by the kernel, and given back, once per image. That costs nothing
or a third of decoding it: it depends on what else lies on the heap, and on what a page fault costs on that machine.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


class _Held(threading.local):
    def __init__(self) -> None:
        self.arrays: dict[str, npt.NDArray[np.uint8]] = {}


_HELD = _Held()


def scratch(name: str, shape: Sequence[int]) -> npt.NDArray[np.uint8]:
    """Return this thread's array ``name``, of any content; it is valid until the thread asks for ``name`` again."""
    size = math.prod(shape)
    held = _HELD.arrays.get(name)
    if held is None or held.size < size:
        held = _HELD.arrays[name] = np.empty(size, np.uint8)
    return held[:size].reshape(shape)
