from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_workplace import Workplace

from kt3d_bench.training import checkpoint
from kt3d_bench.training.run import final_checkpoint

SCRIPT = Path(__file__).with_name("training_ddp_script.py")


@pytest.mark.slow
def test_two_processes_train_what_one_trains(workplace: Workplace, tmp_path: Path) -> None:
    for dataset in ("dots-target", "dots-source"):
        workplace.prepare(dataset)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    models = []
    for devices in ("1", "2"):
        command = [sys.executable, str(SCRIPT), str(workplace.root), str(tmp_path / "plugins"), devices, "full"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        assert sorted(done.stdout.split()) == ["main", "other"][: int(devices)]
        models.append(checkpoint.load(final_checkpoint(workplace.root / "runs" / f"run-{devices}"))["model"])
    one, two = models
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}")
