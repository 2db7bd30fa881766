from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))


@pytest.fixture
def workplace(tmp_path: Path):  # type: ignore[no-untyped-def]
    """A data root whose datasets are made of dots, and toy methods; see ``training_workplace``."""
    from training_workplace import Workplace, offer

    from kt3d_bench.plugins import registry

    with registry.lent({"dots": offer(tmp_path / "plugins")}, alone=True):
        yield Workplace(tmp_path / "kt3d-data")
