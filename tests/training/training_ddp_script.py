"""Train the plain toy, then predict: ``python training_ddp_script.py ROOT PLUGINS DEVICES SUPERVISION [NAME [MORE]]``.

A script of its own, because the launcher starts the other processes by running the command again. MORE is "resume", or
"stop" to ask for an interruption after the third step. A NAME that begins with "duel" trains the toy of that name.
Every process prints one line: who it is, and what it wrote.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from training_toys import PlainMethod
from training_workplace import Workplace, offer

from kt3d_bench.interrupts import InterruptedRunError
from kt3d_bench.method import Progress, Stage
from kt3d_bench.plugins import registry
from kt3d_bench.training import checkpoint
from kt3d_bench.training.predict import predict
from kt3d_bench.training.ranks import is_main_process
from kt3d_bench.training.train import train

if __name__ == "__main__":
    root, folder, devices, supervision, name, more = [*sys.argv[1:], "", ""][:6]
    name = name or f"run-{devices}"
    lent = registry.lent({"dots": offer(Path(folder))}, alone=True)
    lent.__enter__()
    written: list[str] = []
    save = checkpoint.save

    def noted(path: Path, content: Any) -> str:
        written.append("stage" if path.parent.name == "stages" else path.name)
        return save(path, content)

    def after_step(self: PlainMethod, stage: Stage, progress: Progress) -> None:
        gradients = {name: parameter.grad for name, parameter in self.named_parameters() if parameter.grad is not None}
        if progress.step == 0:
            kept = Path(root) / f"{name}-{stage.name}-{os.environ.get('RANK', os.environ.get('LOCAL_RANK', '0'))}.pt"
            torch.save({key: value.clone() for key, value in gradients.items()}, kept)
        if more == "stop" and stage.name == "second" and progress.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    checkpoint.save = noted
    PlainMethod.after_step = after_step  # type: ignore[method-assign]
    config = Workplace(Path(root)).config(
        method="duel" if name.startswith("duel") else "plain", devices=int(devices), supervision=supervision,
        name=name, threads=1, settings={"steps": 5, "kind": "plain"},
    )  # fmt: skip
    try:
        predict(train(config, resume=more == "resume"), devices=int(devices), device="cpu", batch_size=2)
    except InterruptedRunError:
        written.append("interrupted")
    line = {"main": is_main_process(), "world": os.environ.get("WORLD_SIZE", "1"), "wrote": written}
    os.write(1, (json.dumps(line) + "\n").encode())
