"""Loops that are compiled: plain Python over NumPy arrays, by Numba, once per machine.

Machine code is kept beside the module, else in the user's cache folder, else for the process alone; it is made anew
when that module's file changes, so kernels use kernels and constants of their own module only. No operation is fused or
put in another order (``fastmath`` stays off), so every sum, product, quotient and square root is NumPy's to the last
bit. Import modules of kernels inside functions: Numba takes a fifth of a second, its first call another third.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """``function`` as machine code for the types that it is called with; other threads run meanwhile, and a division by
    zero is NumPy's infinity."""
    try:
        return cast(Function, njit(cache=True, nogil=True, error_model="numpy")(function))
    except RuntimeError:  # no folder in which machine code may be kept
        return cast(Function, njit(nogil=True, error_model="numpy")(function))
