"""Whoever starts processes or threads asks one function how many cores there are for them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
def test_a_process_bound_to_one_core_has_one_and_starts_one_worker() -> None:
    script = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from kt3d_bench.cli.data import prepare\n"
        "from kt3d_bench.cores import cores\n"
        "(workers,) = (one for one in prepare.params if one.name == 'workers')\n"
        "print(cores(), workers.get_default(prepare.make_context('prepare', ['h36m'])))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["1", "1"]


def test_nobody_else_counts_cores() -> None:
    counting = re.compile(r"\b(cpu_count|sched_getaffinity)\b")
    shipped = (path for home in ("kt3d_bench", "datasets", "plugins") for path in (ROOT / home).rglob("*.py"))
    assert [path.name for path in shipped if counting.search(path.read_text(encoding="utf-8"))] == ["cores.py"]
