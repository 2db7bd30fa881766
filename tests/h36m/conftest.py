from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from h36m_handmade import HandMade, write_raw


@pytest.fixture
def make_raw(tmp_path: Path) -> Callable[..., HandMade]:
    """``make_raw({9: ["Directions 1"]}, frames=3)`` writes ``tmp_path / "raw"``."""
    return partial(write_raw, tmp_path / "raw")
