"""What makes the same training faster on a GPU: memory layout, compiled networks, a fused optimiser.

All of it is off on a CPU, where training then repeats itself bit for bit. On a GPU it changes the order of sums, so
weights agree with plain training to rounding; a resumed run agrees with an uninterrupted one to rounding as well, as
it does without any of this (cuDNN chooses its algorithms by the clock). What was used is in ``run.yaml`` and part of
every stage's digest.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from kt3d_bench.nn.integral import IntegralNet

if TYPE_CHECKING:
    from kt3d_bench.progress import Reporter

_SPECIALISATIONS = 64
"""Networks, modes and batch sizes that one piece of code may be compiled for."""


@dataclass(frozen=True)
class Acceleration:
    """What is switched on."""

    channels_last: bool = False
    """Weights of convolutions in NHWC order, which cuDNN's tensor-core kernels want; outputs follow."""
    compiled: bool = False
    """Encoders and decoders of every ``IntegralNet`` go through ``torch.compile``."""
    fused: bool = False
    """Adam updates all weights in one kernel."""

    def document(self) -> dict[str, Any]:
        """Plain data for ``run.yaml`` and digests."""
        return asdict(self)


def choose(
    accelerator: str, preset: str, precision: str, *, channels_last: bool | None, compiled: bool | None
) -> Acceleration:
    """What a run uses; ``None`` = on a GPU. The preset ``tiny`` is over before compiling has paid.

    Loss scaling (16-mixed) leaves the optimiser plain, as a fused one would unscale gradients unclipped.
    """
    gpu = accelerator == "cuda"
    return Acceleration(
        channels_last=gpu if channels_last is None else channels_last,
        compiled=(gpu and preset != "tiny") if compiled is None else compiled,
        fused=gpu and precision != "16-mixed",
    )


def prepare(method: nn.Module, acceleration: Acceleration, device: torch.device, report: Reporter) -> None:
    """Lay out and compile the networks of ``method``, in place: names and values of its state stay as they are.

    Where ``torch.compile`` does not work (no C++ compiler, no Triton) this is said and training goes on without.
    """
    if acceleration.channels_last:
        method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if acceleration.compiled:
        reason = why_not_compile(device)
        if reason is None:
            compile_networks(method)
        else:
            report.note(f"torch.compile does not work here ({reason}): training goes on without it, more slowly")


def compile_networks(method: nn.Module, backend: str = "inductor") -> int:
    """Compile when first used; returns how many networks. One that cannot be compiled then runs as it is."""
    import torch._dynamo

    torch._dynamo.config.suppress_errors = True
    torch._dynamo.config.recompile_limit = max(_SPECIALISATIONS, torch._dynamo.config.recompile_limit)
    nets = [module for module in method.modules() if isinstance(module, IntegralNet)]
    for net in nets:
        net.encoder.compile(dynamic=False, backend=backend)
        net.decoder.compile(dynamic=False, backend=backend)
    return len(nets)


def why_not_compile(device: torch.device) -> str | None:
    """``None`` where a small network compiles and trains on ``device``, else the reason why not, on one line."""
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()).to(device)
    try:
        torch.compile(net, dynamic=False)(torch.ones(2, 2, 8, 8, device=device)).sum().backward()
    except Exception as error:
        text = str(error).strip() or type(error).__name__
        return text.splitlines()[0][:200]
    return None


def adam(method: nn.Module, learning_rate: float, acceleration: Acceleration) -> torch.optim.Adam:
    """Over the parameters that want gradients."""
    parameters = [parameter for parameter in method.parameters() if parameter.requires_grad]
    return torch.optim.Adam(parameters, lr=learning_rate, fused=acceleration.fused or None)
