"""The command line: each command parses, calls one function, prints. Whatever ``kt3d`` does, Python can do in one call.

Heavy libraries are imported inside the commands that need them, so that ``kt3d --help`` answers at once.
"""

from __future__ import annotations

import sys

from kt3d_bench.cli import boards, data, extensions, recipes, runs
from kt3d_bench.cli.base import main

__all__ = ["boards", "data", "extensions", "main", "recipes", "run", "runs"]


def run() -> None:
    """Entry point of the ``kt3d`` program."""
    main(prog_name="kt3d", args=sys.argv[1:])
