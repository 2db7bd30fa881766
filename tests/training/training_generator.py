"""The generator of the source's stand-ins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kt3d_bench.plugins import registry
from kt3d_bench.testing import write_tiny_raw

VERSION = 1
DEMO = {"people": 3, "frames": 2}


def generate(
    out: Path, *, people: int, frames: int, seed: int, progress: Callable[[int, int], None], **_: Any
) -> Mapping[str, int]:
    """Write people x frames training samples and two for testing."""
    source = registry.dataset("dots-source")
    write_tiny_raw(out, source, train=people * frames, test=2, seed=seed + 7, generated=True)
    progress(1, 1)
    return {"train": people * frames, "test": 2}
