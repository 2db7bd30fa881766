"""Costs of the network parts, as ratios to the obvious way in the same run."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import pytest
import torch
from clock import best_s
from conftest import FiveRuns
from torch import Tensor

from kt3d_bench.nn.integral import IntegralNet
from kt3d_bench.nn.softargmax import soft_argmax, soft_argmax_plain
from kt3d_bench.training.acceleration import cpu_has_bf16


def test_soft_argmax_beats_the_materialised_softmax(figures: FiveRuns) -> None:
    """Forward and backward over 4 x 17 x 64^3 on the CPU."""
    torch.manual_seed(0)
    logits = torch.randn(4, 17, 64, 64, 64, requires_grad=True)

    def there_and_back(function: Callable[[Tensor], Tensor]) -> None:
        logits.grad = None
        function(logits).square().sum().backward()

    def ratio() -> dict[str, float]:
        found = best_s(own=lambda: there_and_back(soft_argmax), plain=lambda: there_and_back(soft_argmax_plain))
        return {"soft-argmax": found["own"] / found["plain"]}

    torch.set_num_threads(1)
    assert statistics.median(figures(ratio)["soft-argmax"]) < 1


def test_soft_argmax_is_a_small_part_of_a_tiny_step(figures: FiveRuns) -> None:
    """Batch 32 at 64 px."""
    torch.manual_seed(0)
    net, images = IntegralNet(1, backbone="tiny", side=16), torch.randn(32, 1, 64, 64)
    logits = torch.randn(32, 17, 16, 16, 16, requires_grad=True)

    def step() -> None:
        net(images).voxels.square().sum().backward()

    def share() -> dict[str, float]:
        found = best_s(whole=step, part=lambda: soft_argmax(logits).square().sum().backward())
        return {"soft-argmax-share": found["part"] / found["whole"]}

    assert statistics.median(figures(share)["soft-argmax-share"]) < 0.3


@pytest.mark.skipif(not cpu_has_bf16(), reason="this CPU has no bf16")
def test_bf16_shortens_a_tiny_step_on_a_cpu_that_has_it(figures: FiveRuns) -> None:
    """Forward and backward, batch 32 at 64 px, one thread, taking turns."""
    torch.manual_seed(0)
    net, images = IntegralNet(3, backbone="tiny", side=16), torch.randn(32, 3, 64, 64)

    def step(bf16: bool) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = net(images).voxels.square().mean()
        loss.backward()

    def ratio() -> dict[str, float]:
        found = best_s(bf16=lambda: step(True), single=lambda: step(False))
        return {"bf16-tiny": found["bf16"] / found["single"]}

    torch.set_num_threads(1)
    assert statistics.median(figures(ratio)["bf16-tiny"]) < 0.9
