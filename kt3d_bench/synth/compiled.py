"""Compiled loops: plain Python over NumPy arrays, compiled by Numba once per machine.

Machine code is cached beside the module, else in the user's cache folder, else for this process only. It is compiled
again when the module's file changes, so kernels use only kernels and constants of their own module. No operation is
fused or reordered (``fastmath`` is off), so every sum, product, quotient and square root is NumPy's to the last bit.
Import modules of kernels inside functions: importing Numba takes 0.2 s, its first call another 0.3 s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile ``function`` for the types that it is called with; it releases the GIL, and x / 0 is infinity."""
    try:
        return cast(Function, njit(cache=True, nogil=True, error_model="numpy")(function))
    except RuntimeError:  # there is no folder to cache machine code in
        return cast(Function, njit(nogil=True, error_model="numpy")(function))
