"""Toy methods, offered as if they were installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pictures_toys import DOTS, FILM

from kt3d_bench.plugins import registry
from kt3d_bench.testing import tiny_plugin


@pytest.fixture
def dots() -> Iterator[None]:
    """Offer the methods ``dots`` and ``film`` beside what is installed."""
    with registry.lent({"pictures-toys": tiny_plugin(methods=[DOTS, FILM])}):
        yield
