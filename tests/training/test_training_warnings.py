"""Logs whose name begins with ``warn_`` are said: when first raised, and when a stage ends with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from training_toys import CONTEXT, FakeFeed, Notes, ToyConfig, ToyMethod

from kt3d_bench.loading.batches import UnlabelledBatch
from kt3d_bench.method import Progress, Stage, StepResult
from kt3d_bench.training.loop import run_stages
from kt3d_bench.training.stages import StageStore
from kt3d_bench.training.steps import LoopOptions

STEPS = 6


class Warner(ToyMethod):
    """Warns of flat poses in the first stage, from step ``begin`` up to step ``end``."""

    begin, end = 0, 0

    def step(self, stage: Stage, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> StepResult:
        result = super().step(stage, batches, progress)
        raised = stage.name == "first" and self.begin <= progress.step < self.end
        return StepResult(result.losses, {"warn_flat_poses": float(raised)})


@pytest.mark.parametrize(
    ("begin", "end", "said"),
    [
        (0, 0, []),
        (2, 5, ["stage 'first', step 3: its method warns of flat poses"]),
        (
            4,
            STEPS,
            [
                "stage 'first', step 5: its method warns of flat poses",
                "stage 'first' ends while its method warns of flat poses",
            ],
        ),
    ],
)
def test_a_warning_is_said_once_and_at_the_end(tmp_path: Path, begin: int, end: int, said: list[str]) -> None:
    torch.manual_seed(0)
    method = Warner(ToyConfig(steps=STEPS), CONTEXT)
    method.begin, method.end = begin, end
    report = Notes()
    feeds = {"source": FakeFeed("source"), "target": FakeFeed("target", labelled=False)}
    fabric = Fabric(accelerator="cpu", devices=1)
    run_stages(fabric, method, feeds, tmp_path, StageStore(tmp_path / "stages"), LoopOptions(), report)
    assert report.notes == said
    lines = [json.loads(text) for text in (tmp_path / "log.jsonl").read_text().splitlines()]
    first = [line["logs"]["warn_flat_poses"] for line in lines if line["stage"] == "first"]
    assert first == [float(begin <= step < end) for step in range(STEPS)]
