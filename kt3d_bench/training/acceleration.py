"""What makes the same training faster: precision, and on a GPU memory layout, compiled networks, a fused optimiser.

Training on a CPU repeats itself bit for bit. On a GPU it changes the order of sums, so
weights agree with plain training to rounding; a resumed run agrees with an uninterrupted one to rounding as well, as
it does without any of this (cuDNN chooses its algorithms by the clock). What was used is in ``run.yaml`` and part of
every stage's digest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from kt3d_bench.progress import Reporter

PARTS = "compiled_parts"
"""Attribute by which a module names those of its submodules that are compiled instead of the whole; () = none."""
_SPECIALISATIONS = 64
"""Networks, modes and batch sizes that one piece of code may be compiled for."""


@dataclass(frozen=True)
class Acceleration:
    """What is switched on."""

    channels_last: bool = False
    """Weights of convolutions in NHWC order, as cuDNN's tensor-core kernels expect; outputs follow."""
    compiled: bool = False
    """Networks go through ``torch.compile``."""
    fused: bool = False
    """The optimiser updates all weights in one kernel (rmsprop has none)."""


def choose(
    accelerator: str, preset: str, precision: str, *, channels_last: bool | None, compiled: bool | None
) -> Acceleration:
    """Return what a run uses; ``None`` = on a GPU. ``tiny`` and ``laptop`` are too short for compiling to pay off.

    With loss scaling (16-mixed) the optimiser is not fused, as a fused one would unscale gradients after clipping.
    """
    gpu = accelerator == "cuda"
    return Acceleration(
        channels_last=gpu if channels_last is None else channels_last,
        compiled=(gpu and preset not in ("tiny", "laptop")) if compiled is None else compiled,
        fused=gpu and precision != "16-mixed",
    )


def precision(asked: str, accelerator: str, wanted: str = "32-true") -> str:
    """Return the precision of a run: what was ``asked``, or for "auto" bf16 on a GPU that has it, and on a CPU what the
    preset wants (``Method.PRECISIONS``), bf16 only where the CPU computes it (AVX512-BF16, AMX); else single precision.
    """
    if asked != "auto":
        return asked
    if accelerator == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    return wanted if wanted != "bf16-mixed" or cpu_has_bf16() else "32-true"


def cpu_has_bf16() -> bool:
    """Return whether this CPU multiplies in bfloat16; others emulate it, slowly."""
    found: Mapping[str, Any] = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def prepare(method: nn.Module, acceleration: Acceleration, device: torch.device, report: Reporter) -> None:
    """Lay out and compile the networks of ``method``, in place: names and values of its state stay as they are.

    Where ``torch.compile`` does not work (no C++ compiler, no Triton), report it and train without it.
    """
    if acceleration.channels_last:
        method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if acceleration.compiled:
        reason = why_not_compile(device)
        if reason is None:
            compile_networks(method)
        else:
            report.note(f"torch.compile does not work here ({reason}): training runs without it, more slowly")


def compile_networks(method: nn.Module, backend: str = "inductor") -> int:
    """Compile the networks that ``_networks`` finds when they are first called; return how many there are. One that
    cannot be compiled runs uncompiled."""
    import torch._dynamo

    torch._dynamo.config.suppress_errors = True
    torch._dynamo.config.recompile_limit = max(_SPECIALISATIONS, torch._dynamo.config.recompile_limit)
    found = [network for child in method.children() for network in _networks(child)]
    # Without this, torch skips modules whose forward is its own, such as nn.Sequential.
    with torch._dynamo.config.patch(wrap_top_frame=True):
        for network in found:
            network.compile(dynamic=False, backend=backend)
    return len(found)


def _networks(module: nn.Module) -> Iterator[nn.Module]:
    """Yield what is compiled of a method's submodule: the parts that it names, else itself if it is called and has
    weights; of a container, and of a module that holds one which names its parts, what its children yield."""
    if hasattr(module, PARTS):
        yield from (module.get_submodule(name) for name in getattr(module, PARTS))
    elif type(module).forward is nn.Module.forward or any(hasattr(inner, PARTS) for inner in module.modules()):
        for child in module.children():
            yield from _networks(child)
    elif any(True for _ in module.parameters()):
        yield module


def why_not_compile(device: torch.device) -> str | None:
    """Return ``None`` where a small network compiles and trains on ``device``, else the reason why not, on one line."""
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()).to(device)
    try:
        torch.compile(net, dynamic=False)(torch.ones(2, 2, 8, 8, device=device)).sum().backward()
    except Exception as error:
        text = str(error).strip() or type(error).__name__
        return text.splitlines()[0][:200]
    return None
