"""Costs of the network parts, as ratios to the obvious way in the same run."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from clock import best_s
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from kt3d_bench.nn.integral import IntegralNet
from kt3d_bench.nn.softargmax import soft_argmax, soft_argmax_plain
from kt3d_bench.training.acceleration import cpu_has_bf16


def test_soft_argmax_beats_the_materialised_softmax(benchmark: BenchmarkFixture) -> None:
    """Forward and backward over 4 x 17 x 64^3 on the CPU."""
    torch.manual_seed(0)
    logits = torch.randn(4, 17, 64, 64, 64, requires_grad=True)

    def there_and_back(function: Callable[[Tensor], Tensor]) -> None:
        logits.grad = None
        function(logits).square().sum().backward()

    plain = best_s(lambda: there_and_back(soft_argmax_plain))
    own = best_s(lambda: there_and_back(soft_argmax))
    benchmark.extra_info["time over materialised softmax"] = own / plain
    benchmark.pedantic(there_and_back, (soft_argmax,), rounds=2)
    assert own < plain


def test_soft_argmax_is_a_small_part_of_a_tiny_step(benchmark: BenchmarkFixture) -> None:
    """Batch 32 at 64 px."""
    torch.manual_seed(0)
    net, images = IntegralNet(1, backbone="tiny", side=16), torch.randn(32, 1, 64, 64)
    logits = torch.randn(32, 17, 16, 16, 16, requires_grad=True)

    def step() -> None:
        net(images).voxels.square().sum().backward()

    whole = best_s(step)
    part = best_s(lambda: soft_argmax(logits).square().sum().backward())
    benchmark.extra_info["share of soft-argmax"] = part / whole
    benchmark.pedantic(step, rounds=2)
    assert part < 0.3 * whole


@pytest.mark.skipif(not cpu_has_bf16(), reason="this CPU has no bf16")
def test_bf16_shortens_a_tiny_step_on_a_cpu_that_has_it(benchmark: BenchmarkFixture) -> None:
    """Forward and backward, batch 32 at 64 px, one thread, taking turns."""
    torch.manual_seed(0)
    net, images = IntegralNet(3, backbone="tiny", side=16), torch.randn(32, 3, 64, 64)

    def step(bf16: bool) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = net(images).voxels.square().mean()
        loss.backward()

    torch.set_num_threads(1)
    pairs = [(best_s(lambda: step(True)), best_s(lambda: step(False))) for _ in range(3)]
    ratio = min(one for one, _ in pairs) / min(other for _, other in pairs)
    benchmark.extra_info["time over single precision"] = ratio
    benchmark.pedantic(step, (True,), rounds=2)
    assert ratio < 0.9
