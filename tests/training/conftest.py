"""A workplace: two datasets of dots, a toy method, and an empty data root."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from training_workplace import Workplace, offer

from kt3d_bench.plugins import registry


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    with registry.lent({"dots": offer(tmp_path / "plugins")}, alone=True):
        yield Workplace(tmp_path / "data")
