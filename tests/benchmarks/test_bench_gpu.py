"""The script for a GPU walks through all its parts on a CPU, and its checks hold there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(400)
def test_the_gpu_script_can_be_rehearsed(tmp_path: Path) -> None:
    out = tmp_path / "rehearsal.json"
    command = [sys.executable, "-m", "tests.benchmarks.gpu", "--rehearse", "--out", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    rows = json.loads(out.read_text())["rows"]
    assert {row["part"] for row in rows} == {
        "machine", "soft-argmax", "rendering", "training", "adapting", "loading", "precision",
    }  # fmt: skip
    checks = [row for row in rows if row["what"].startswith("check:")]
    assert len(checks) >= 14
    assert all(row["value"] for row in checks)
    assert not any("not measured" in row["what"] or "failed" in row["what"] for row in rows)
