"""Random tiny batches and methods for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from kt3d_knowledge_transfer.config import PRESETS, Config
from kt3d_knowledge_transfer.method import KnowledgeTransfer

from kt3d_bench.loading.batches import CameraBatch, LabelledBatch, UnlabelledBatch
from kt3d_bench.method import MethodContext, Progress, Stage

PX = 32
PARTS = 6
TINY: dict[str, Any] = {
    **PRESETS["tiny"], "input_px": PX, "batch_size": 4, "generator_width": 8, "classifier_width": 8,
    "adversarial_delay": 0.0,
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
    ) -> UnlabelledBatch:
        parts = torch.randint(0, PARTS, (size, PX, PX))
        depth = torch.where(parts > 0, 3000.0 + 300 * torch.randn(size, PX, PX), torch.zeros(())).unsqueeze(1)
        every = {"rgb": torch.rand(size, 3, PX, PX), "depth": depth, "parts": parts}
        facts: dict[str, Any] = {
            "images": {name: every[name] for name in images},
            "cameras": CameraBatch(
                torch.tensor([[40.0, 0, 15.5], [0, 40.0, 15.5]]).expand(size, 2, 3), torch.zeros(size, 5), 2.0
            ),
            "surface_mm": torch.full((size,), 3000.0 if "depth" in images else float("nan")),
        }
        if not labelled:
            return UnlabelledBatch(**facts)
        seen_2d = (torch.ones(17, dtype=torch.bool) if mask_2d is None else mask_2d).expand(size, 17)
        seen_3d = (torch.ones(17, dtype=torch.bool) if mask_3d is None else mask_3d).expand(size, 17)
        nan = torch.tensor(float("nan"))
        joints_px = torch.where((seen_2d | seen_3d)[..., None], PX * (0.2 + 0.6 * torch.rand(size, 17, 2)), nan)
        root_mm = 300 * torch.randn(size, 17, 3)
        root_mm[:, 0] = 0
        root_mm = torch.where(seen_3d[..., None], root_mm, nan)
        hip_mm = torch.where(seen_3d[:, :1, None], torch.tensor([0.0, 0, 3200.0]), nan)
        return LabelledBatch(
            **facts, joints_px=joints_px, joints_cam_mm=root_mm + hip_mm, joints_root_mm=root_mm,
            mask_2d=seen_2d.clone(), mask_3d=seen_3d.clone(),
        )  # fmt: skip

    return build


@pytest.fixture
def build() -> Callable[..., Any]:
    """Builds a tiny method: ``build("rgb", anchor="ema-2d")``."""

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
