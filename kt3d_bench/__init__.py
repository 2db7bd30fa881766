"""kt3d_bench: datasets, methods and one benchmark harness for 3D human pose estimation across domains.

Everything the command line does is a function here. Names are imported when they are first used, so that
``import kt3d_bench`` is fast and loads nothing heavy. ``__init__.pyi`` lists them, also for type checkers.
"""

from __future__ import annotations

import importlib
import re

__version__ = "0.1.0"

with open(__file__.removesuffix("c") + "i", encoding="utf-8") as _stub:  # noqa: PTH123
    _HOMES = {name: home for home, name in re.findall(r"^from (\S+) import (\w+) as ", _stub.read(), re.M)}
"""Public name -> module that defines it."""

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
