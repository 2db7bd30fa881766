"""What makes training faster on a GPU leaves names, and up to rounding numbers, as they are; a CPU uses none of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, cast

import pytest
import torch
from torch import nn
from training_toys import CONTEXT, Notes

from kt3d_bench.method import Method, Optimiser, Stage
from kt3d_bench.nn.integral import IntegralNet
from kt3d_bench.training.acceleration import Acceleration, choose, compile_networks, precision, prepare
from kt3d_bench.training.config import RunConfig
from kt3d_bench.training.optimisers import build


def _net() -> nn.Module:
    torch.manual_seed(0)
    return nn.ModuleDict({"net": IntegralNet(2, backbone="tiny", side=8)})


def _step(holder: nn.Module, optimiser: torch.optim.Optimizer | None = None) -> tuple[torch.Tensor, list[torch.Tensor]]:
    net: Any = holder["net"]  # type: ignore[index]
    voxels = net(torch.linspace(-1, 1, 4 * 2 * 32 * 32).sin().view(4, 2, 32, 32)).voxels
    voxels.square().sum().backward()
    gradients = [parameter.grad.clone() for parameter in holder.parameters() if parameter.grad is not None]
    if optimiser is not None:
        optimiser.step()
    return voxels.detach(), gradients


def test_a_cpu_uses_none_of_it_and_a_gpu_what_suits_the_run() -> None:
    auto: dict[str, bool | None] = {"channels_last": None, "compiled": None}
    assert choose("cpu", "paper", "32-true", **auto) == Acceleration()
    assert choose("cuda", "paper", "bf16-mixed", **auto) == Acceleration(True, True, True)
    for short in ("tiny", "laptop"):
        assert choose("cuda", short, "bf16-mixed", **auto) == Acceleration(True, False, True)
    assert choose("cuda", "paper", "16-mixed", **auto) == Acceleration(True, True, False)
    assert choose("cuda", "small", "32-true", channels_last=False, compiled=False) == Acceleration(False, False, True)
    assert choose("cpu", "tiny", "32-true", channels_last=True, compiled=True) == Acceleration(True, True, False)
    defaults = RunConfig("any")
    assert defaults.channels_last is None
    assert defaults.compiled is None
    assert set(asdict(Acceleration())) == {"channels_last", "compiled", "fused"}


def test_auto_means_what_the_device_and_the_preset_say(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, expected in ((True, "bf16-mixed"), (False, "32-true")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda found=there: found)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=there: {"avx512_bf16": found})
        assert precision("auto", "cuda") == expected
        assert precision("auto", "cpu", "bf16-mixed") == expected
        assert precision("auto", "cpu") == "32-true"
        assert precision("32-true", "cpu", "bf16-mixed") == "32-true"
        assert precision("bf16-mixed", "cpu") == "bf16-mixed"


@pytest.mark.parametrize("way", ["channels last", "compiled"])
def test_networks_keep_their_names_and_numbers(way: str) -> None:
    plain, fast = _net(), _net()
    if way == "channels last":
        prepare(fast, Acceleration(channels_last=True), torch.device("cpu"), Notes())
        weight = fast["net"].encoder.stem[0][0].weight  # type: ignore[index]
        assert weight.is_contiguous(memory_format=torch.channels_last)
    else:
        assert compile_networks(fast, backend="eager") == 2
    (first, first_gradients), (second, second_gradients) = _step(plain), _step(fast)
    torch.testing.assert_close(second, first, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(second_gradients, first_gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * float(theirs.abs().max()))
    assert list(fast.state_dict()) == list(plain.state_dict())
    restored = _net()
    restored.load_state_dict(fast.state_dict())
    assert torch.equal(restored["net"].offset.weight, fast["net"].offset.weight)  # type: ignore[index]


class OwnNetwork(Method):
    """A third-party method: a network of its own in a list, one that names its parts, one that refuses, statistics."""

    input_px = 8
    stages = step = predict = None  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__(None, CONTEXT)
        self.branches = nn.ModuleList([nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()) for _ in range(2)])
        self.head = Parts()
        self.tiny = Uncompiled()
        self.wrapper = nn.Sequential(Uncompiled(), nn.Linear(4, 4))
        self.statistics = nn.Module()
        self.statistics.register_buffer("mean", torch.zeros(3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = torch.stack([branch(images).mean((2, 3)) for branch in self.branches]).sum(0)
        return self.wrapper(self.tiny(self.head(features)))


class Parts(nn.Module):
    compiled_parts = ("last",)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(values).sin())


class Uncompiled(nn.Linear):
    compiled_parts = ()

    def __init__(self) -> None:
        super().__init__(4, 4)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return super().forward(values).tanh()


def test_networks_of_any_class_are_compiled() -> None:
    torch.manual_seed(0)
    method, images, compiled = OwnNetwork(), torch.rand(2, 3, 8, 8), []
    expected = method(images)

    def backend(graph: torch.fx.GraphModule, _: Any) -> Any:
        compiled.append([node.target.__name__ for node in graph.graph.nodes if node.op == "call_function"])
        return graph.forward

    names = list(method.state_dict())
    assert compile_networks(method, backend=backend) == 4  # type: ignore[arg-type]
    torch.testing.assert_close(method(images), expected)
    assert sorted(compiled) == [["conv2d", "relu"], ["linear"]], "equal networks share a graph"
    assert list(method.state_dict()) == names


def test_a_compiler_that_does_not_work_is_said_and_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no C++ compiler\nand many more lines")

    monkeypatch.setattr(torch, "compile", broken)
    net, notes = _net(), Notes()
    prepare(net, Acceleration(compiled=True), torch.device("cpu"), notes)
    assert any("no C++ compiler): training runs without it" in text for text in notes.notes)
    assert not any("\n" in text for text in notes.notes)
    voxels, _ = _step(net)
    assert torch.equal(voxels, _step(_net())[0])


def test_a_fused_adam_takes_the_same_step() -> None:
    plain, fused = _net(), _net()
    stage = Stage("one", {"target": ("rgb",)}, ("net",), {}, optimiser=Optimiser(learning_rate=1e-2))
    _step(plain, build(cast(Method, plain), stage, Acceleration())[""])
    _step(fused, build(cast(Method, fused), stage, Acceleration(fused=True))[""])
    moved = 0.0
    for ours, theirs, before in zip(fused.parameters(), plain.parameters(), _net().parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        moved = max(moved, float((theirs - before).detach().abs().max()))
    assert moved == pytest.approx(1e-2, rel=0.01)
