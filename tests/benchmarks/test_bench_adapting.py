"""What an adapt step of knowledge-transfer costs beside a supervised step of the same networks, by turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import pytest
import torch
from clock import best_s
from conftest import FiveRuns
from torch import Tensor

from kt3d_bench.loading.batches import CameraBatch, LabelledBatch, UnlabelledBatch
from kt3d_bench.method import Method, MethodContext, Progress, Stage
from kt3d_bench.plugins import registry
from kt3d_bench.training.stages import freeze_all_but

BATCH = 4
NUM_PARTS = 44


def _images(modality: str, side: int) -> Tensor:
    if modality == "parts":
        return torch.randint(0, NUM_PARTS, (BATCH, side, side))
    if modality == "foreground":
        return torch.randint(0, 2, (BATCH, 1, side, side)).float()
    return torch.rand(BATCH, 3 if modality == "rgb" else 1, side, side) * (1 if modality == "rgb" else 3500)


def _batch(modalities: tuple[str, ...], side: int, *, labelled: bool) -> UnlabelledBatch:
    images = {modality: _images(modality, side) for modality in modalities}
    cameras = CameraBatch(torch.eye(3)[:2].expand(BATCH, 2, 3), torch.zeros(BATCH, 5), 1.0)
    surface = torch.full((BATCH,), 3000.0)
    if not labelled:
        return UnlabelledBatch(images, cameras, surface)
    joints, seen = torch.randn(BATCH, 17, 3) * 300, torch.ones(BATCH, 17, dtype=torch.bool)
    labels = (torch.rand(BATCH, 17, 2) * side, joints + 3000, joints, seen, seen, torch.eye(3).expand(BATCH, 3, 3))
    return LabelledBatch(images, cameras, surface, *labels)


def _stepper(name: str, stage_name: str, modality: str, **settings: object) -> Callable[[], None]:
    kind = registry.load(registry.method(name).load)
    torch.manual_seed(0)
    config = kind.Config(**{**kind.PRESETS["small"], **settings})
    method: Method = kind(config, MethodContext(modality, NUM_PARTS, "none", True))
    stage: Stage = next(stage for stage in method.stages() if stage.name == stage_name)
    method.start_stage(stage)
    freeze_all_but(method, stage)
    optimiser = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=1e-4)
    hidden = stage_name == "adapt"
    batches = {
        role: _batch(modalities, method.input_px, labelled=not hidden or role != "target")
        for role, modalities in stage.roles.items()
    }

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        losses = method.step(stage, batches, Progress(3, 0.5)).losses
        torch.stack([loss.reshape(()) for loss in losses.values()]).sum().backward()
        optimiser.step()

    return step


@pytest.mark.parametrize("modality", ["rgb", "depth"])
def test_adapting_costs_little_more_than_two_supervised_steps(figures: FiveRuns, modality: str) -> None:
    """ResNet-50 at 128 px, the preset `small` as it is, all losses on."""
    adapt = _stepper("knowledge-transfer", "adapt", modality, adversarial_delay_steps=0)
    supervised = _stepper("integral-pose", "supervised", modality)
    adapt()
    supervised()

    def ratio() -> dict[str, float]:
        found = best_s(1, warm=0, adapt=adapt, supervised=supervised)
        return {f"adapt-{modality}": found["adapt"] / found["supervised"]}

    assert statistics.median(figures(ratio)[f"adapt-{modality}"]) < 3
