"""A workplace: two datasets of dots, a toy method, and an empty data root."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from training_workplace import Workplace, offer

from kt3d_bench import plugins


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    found = plugins.manager({"dots": offer(tmp_path / "plugins")})
    monkeypatch.setattr(plugins, "_default", lambda: found)
    return Workplace(tmp_path / "data")
