"""Logs named ``warn_...`` are reported when they have lasted for a while, and when a stage ends with them."""

from __future__ import annotations

import doctest
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from training_toys import CONTEXT, FakeFeed, Notes, ToyConfig, ToyMethod

from kt3d_bench.interrupts import InterruptedRunError
from kt3d_bench.loading.batches import UnlabelledBatch
from kt3d_bench.method import Progress, Stage, StepResult
from kt3d_bench.training import persistence
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
        (0, 1, []),
        (2, 5, ["stage 'first', step 4: its method has warned of flat poses since step 3"]),
        (
            4,
            STEPS,
            [
                "stage 'first', step 6: its method has warned of flat poses since step 5",
                "stage 'first' ends while its method warns of flat poses",
            ],
        ),
        (STEPS - 1, STEPS, []),
    ],
)
def test_a_warning_is_said_once_it_has_stood_for_a_fifth_of_the_stage(
    tmp_path: Path, begin: int, end: int, said: list[str]
) -> None:
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


def test_a_resumed_stage_recalls_what_its_method_warned_of(tmp_path: Path) -> None:
    """The warning begins with the first step after the checkpoint: it has not stood since the first step of all."""
    feeds = {"source": FakeFeed("source"), "target": FakeFeed("target", labelled=False)}
    fabric, store, notes = Fabric(accelerator="cpu", devices=1), StageStore(tmp_path / "stages"), Notes()
    for report in (Notes(4, "first"), notes):
        torch.manual_seed(0)
        method = Warner(ToyConfig(steps=STEPS), CONTEXT)
        method.begin, method.end = 4, 5
        with suppress(InterruptedRunError):
            run_stages(fabric, method, feeds, tmp_path, store, LoopOptions(), report, resume=report is notes)
    assert [note for note in notes.notes if "warned" in note] == []


def test_the_documented_stretches_are_found() -> None:
    result = doctest.testmod(persistence)
    assert result.attempted == 2
    assert result.failed == 0
