"""Train the plain toy with some processes: ``python training_ddp_script.py DATA_ROOT PLUGINS DEVICES SUPERVISION``.

A script of its own, because the launcher starts the other processes by running the command again.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from training_workplace import Workplace, offer

from kt3d_bench import plugins
from kt3d_bench.training.run import is_main_process
from kt3d_bench.training.train import train

if __name__ == "__main__":
    root, folder, devices, supervision = sys.argv[1:]
    found = plugins.manager({"dots": offer(Path(folder))})
    plugins._default = lambda: found  # type: ignore[assignment]
    config = Workplace(Path(root)).config(
        method="plain", devices=int(devices), supervision=supervision, name=f"run-{devices}", threads=1,
        settings={"steps": 5, "kind": "plain"},
    )  # fmt: skip
    train(config)
    os.write(1, b"main\n" if is_main_process() else b"other\n")
