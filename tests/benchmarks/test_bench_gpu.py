"""The script for a GPU walks through all its parts on a CPU, and its checks hold there."""

from __future__ import annotations

import pytest
import torch

from tests.benchmarks import gpu
from tests.benchmarks.rows import ROWS


@pytest.mark.timeout(400)
def test_the_gpu_script_can_be_rehearsed() -> None:
    room = gpu.Room(torch.device("cpu"), rehearse=True)
    gpu.measure(room)
    assert not room.wrong
    assert len(room.checks) == 13
    memory = {row.name for row in ROWS["gpu.py"] if row.name.endswith("-memory")}
    assert set(room.found) == {row.name for row in ROWS["gpu.py"]} - memory
