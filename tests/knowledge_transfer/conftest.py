"""Random tiny batches and methods for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from kt3d_knowledge_transfer.config import PRESETS, Config
from kt3d_knowledge_transfer.method import KnowledgeTransfer

from kt3d_bench.loading.batches import UnlabelledBatch
from kt3d_bench.method import MethodContext, Progress, Stage
from kt3d_bench.testing import tiny_batch, unlabelled

PX = 32
PARTS = 6
TINY: dict[str, Any] = {
    **PRESETS["tiny"], "input_px": PX, "batch_size": 4, "generator_width": 8, "classifier_width": 8,
    "adversarial_delay_steps": 0,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def batch() -> Callable[..., Any]:
    """Builds a random batch; ``mask_2d`` and ``mask_3d`` (17,) default to everything, ``labelled=False`` to nothing."""

    def build(
        *images: str,
        size: int = 4,
        labelled: bool = True,
        mask_2d: torch.Tensor | None = None,
        mask_3d: torch.Tensor | None = None,
        surface_mm: float | None = None,
    ) -> UnlabelledBatch:
        masks = {"mask_2d": mask_2d, "mask_3d": mask_3d}
        made = tiny_batch(size, images, input_px=PX, num_parts=PARTS, surface_mm=surface_mm, seed=None, **masks)
        return made if labelled else unlabelled(made)

    return build


@pytest.fixture
def build() -> Callable[..., Any]:
    """Builds a tiny method: ``build("rgb", bridge="none")``."""

    def method(
        modality: str = "rgb",
        *,
        transfers: bool = True,
        supervision: str = "none",
        kind: type[KnowledgeTransfer] = KnowledgeTransfer,
        **settings: Any,
    ) -> KnowledgeTransfer:
        return kind(Config(**{**TINY, **settings}), MethodContext(modality, PARTS, supervision, transfers))

    return method


@pytest.fixture
def train(batch: Callable[..., Any]) -> Callable[..., Any]:
    """Takes optimiser steps of one stage as the harness does, on random data; returns the last result."""

    def run(
        method: KnowledgeTransfer, name: str, *, steps: int = 1, step: int = 0, rate: float = 1e-3, **target: Any
    ) -> Any:
        stage: Stage = next(stage for stage in method.stages() if stage.name == name)
        method.start_stage(stage)
        method.eval()
        method.requires_grad_(False)
        for child in stage.trains:
            method.get_submodule(child).train()
            method.get_submodule(child).requires_grad_(True)
        optimizer = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=rate)
        result = None
        for number in range(step, step + steps):
            batches = {}
            for role, modalities in stage.roles.items():
                options = {"labelled": False, **target} if role == "target" else {}
                if role == "pretrain":
                    options = {"mask_3d": torch.zeros(17, dtype=torch.bool)}
                batches[role] = batch(*modalities, **options)
            progress = Progress(number, min(1.0, number / 100))
            result = method.step(stage, batches, progress)
            optimizer.zero_grad()
            torch.stack([loss.reshape(()) for loss in result.losses.values()]).sum().backward()
            optimizer.step()
            with torch.no_grad():
                method.after_step(stage, progress)
        method.eval()
        return result

    return run
