"""One training step taken on made-up batches: its work counted, its memory added up, its time taken.

Memory is counted, not guessed: weights, gradients and Adam's two moments by their sizes, and activations as the bytes
that autograd keeps for the backward pass (each storage once) and twice the largest of them, for the gradients on both
sides of it. Against the allocator's own peak on a CPU this was 12 to 29 % too much; a test keeps it there. Workspaces
of single kernels come on top.

Counting needs shapes, and numbers that are finite: weights are not drawn and convolutions not computed, but filled with
numbers that rise evenly. That takes a third of the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from kt3d_bench.loading.batches import CameraBatch, CameraPoses, LabelledBatch, UnlabelledBatch
from kt3d_bench.method import Method, Progress, Stage
from kt3d_bench.skeletons import NUM_JOINTS
from kt3d_bench.supervision import Grant
from kt3d_bench.training.stages import freeze_all_but

ADAM_BYTES = 12
"""Gradient and two moments of a float32 weight."""
_DISTANCE_MM = 4000.0
_made_of_others = torch._C._dispatch_has_kernel_for_dispatch_key
"""Not ``decompose`` alone: it also takes apart operations that torch runs whole, and then imports SymPy."""
_DRAWS = (torch.ops.aten.normal_.default, torch.ops.aten.uniform_.default)


@dataclass(frozen=True)
class StepCount:
    """What one step of a stage takes with ``images`` images."""

    stage: str
    images: int
    flop: float
    """Convolutions and matrix products, forward and backward."""
    fixed_bytes: int
    """Weights of the whole method; gradients and moments of what the stage trains."""
    gradient_bytes: int
    """Exchanged among devices at every step."""
    activation_bytes: int
    """With ``images`` images."""
    seconds: float | None = None
    """On the device it was timed on."""

    def memory_bytes(self, images: int) -> float:
        """On a device that takes ``images`` images a step."""
        return self.fixed_bytes + self.activation_bytes / self.images * images


class _Dispatched:
    """Holds the method that torch calls: where it is a mode's own, torch keeps it from its compiler, and importing that
    takes a second. This holds for ``FlopCounterMode`` too."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.instead(func, args, kwargs or {})

    def instead(self, func: Any, args: Any, given: Any) -> Any:
        raise NotImplementedError


class _Operations(_Dispatched, TorchDispatchMode):
    """Lets a subclass do something else in place of an operation of torch."""

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)


class Undrawn(_Operations):
    """Fills weights without drawing them, for a method that is only counted. Tensors of more than two dimensions stay
    as they were: kernels of convolutions, which are not computed, stay zero, in memory that the system hands out only
    where it is written to."""

    def instead(self, func: Any, args: Any, given: Any) -> Any:
        if func in _DRAWS:
            return args[0] if args[0].ndim > 2 else _risen(args[0], 0.01)
        made = func(*args, **given)
        if func is torch.ops.aten.empty.memory_format and made.nbytes and made.device.type == "cpu":
            return torch.from_numpy(np.zeros(made.nbytes, np.uint8)).view(made.dtype).view(made.shape)
        return made


class _Work(_Operations):
    """Adds up the FLOP of convolutions and matrix products; convolutions are not computed."""

    flop = 0

    def instead(self, func: Any, args: Any, given: Any) -> Any:
        formula = flop_registry.get(func._overloadpacket)
        if formula is None:
            if func is torch.ops.prim.device.default or not _made_of_others(func.name(), "CompositeImplicitAutograd"):
                return func(*args, **given)
            with self:
                return func.decompose(*args, **given)
        found = _UNCOMPUTED.get(func, func)(*args, **given)
        self.flop += formula(*args, **given, out_val=found)
        return found


def _convolved(
    image: Tensor, weight: Tensor, bias: Tensor | None, stride: list[int], padding: list[int], dilation: list[int],
    transposed: bool, output_padding: list[int], groups: int,
) -> Tensor:  # fmt: skip
    """As torch's convolution, but only in shape. A list of one number holds for all dimensions."""
    stride, padding, dilation, output_padding = (
        list(one) * ((image.ndim - 2) // len(one)) for one in (stride, padding, dilation, output_padding)
    )
    spans = [step * (size - 1) + 1 for step, size in zip(dilation, weight.shape[2:], strict=True)]
    each = zip(image.shape[2:], spans, stride, padding, output_padding, strict=True)
    if transposed:
        sides = [(size - 1) * step - 2 * pad + span + more for size, span, step, pad, more in each]
    else:
        sides = [(size + 2 * pad - span) // step + 1 for size, span, step, pad, _ in each]
    channels = weight.shape[1] * groups if transposed else weight.shape[0]
    return _risen(image.new_empty((image.shape[0], channels, *sides)), 1.0)


def _convolved_back(
    gradient: Tensor, image: Tensor, weight: Tensor, bias_sizes: list[int] | None, *how: Any
) -> tuple[Tensor | None, ...]:
    """As its gradients by image, weight and bias."""
    shapes = image.shape, weight.shape, bias_sizes
    return tuple(
        _risen(gradient.new_empty(shape), 1.0) if wanted and shape is not None else None
        for shape, wanted in zip(shapes, how[-1], strict=True)
    )


_UNCOMPUTED: Mapping[Any, Callable[..., Any]] = {
    torch.ops.aten.convolution.default: _convolved,
    torch.ops.aten.convolution_backward.default: _convolved_back,
}


def _risen(tensor: Tensor, most: float) -> Tensor:
    """Fill a tensor with numbers from -most to most."""
    if not tensor.is_contiguous():
        return tensor.copy_(_risen(tensor.new_empty(tensor.shape), most))
    torch.linspace(-most, most, tensor.numel(), out=tensor.view(-1))
    return tensor


def count_step(method: Method, stage: Stage, batches: Mapping[str, UnlabelledBatch], *, bf16: bool) -> StepCount:
    """Count one step of a stage on the CPU; ``bf16``: under automatic mixed precision, as on a GPU."""
    method.start_stage(stage)
    freeze_all_but(method, stage)
    trained = [parameter for parameter in method.parameters() if parameter.requires_grad]
    kept: dict[int, int] = {parameter.untyped_storage().data_ptr(): 0 for parameter in method.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept.setdefault(storage.data_ptr(), storage.nbytes())
        held.append(tensor)
        return tensor

    held: list[Tensor] = []
    work = _Work()
    with work, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        with _precision(bf16, "cpu"):
            losses = method.step(stage, batches, Progress(0, 0.0)).losses
        activations = sum(kept.values()) + 2 * max(kept.values(), default=0)
        held.clear()
        if trained:
            _backward(losses)
    with torch.no_grad():
        method.after_step(stage, Progress(0, 0.0))
    method.zero_grad(set_to_none=True)
    weights = sum(tensor.untyped_storage().nbytes() for tensor in (*method.parameters(), *method.buffers()))
    count = sum(parameter.numel() for parameter in trained)
    role, first = next(iter(batches.items()))
    images = first.size // _images_each(stage, role)
    return StepCount(stage.name, images, float(work.flop), weights + ADAM_BYTES * count, 4 * count, activations)


def time_step(
    method: Method, stage: Stage, batches: Mapping[str, UnlabelledBatch], device: str, *, bf16: bool, steps: int = 4
) -> tuple[float, int | None]:
    """Seconds of an optimiser step on ``device``, the median of ``steps`` after two to warm up, and on a GPU the most
    bytes that torch held."""
    method.to(device)
    method.start_stage(stage)
    freeze_all_but(method, stage)
    trained = [parameter for parameter in method.parameters() if parameter.requires_grad]
    adam = torch.optim.Adam(trained, lr=0.0) if trained else None
    given = {role: batch.to(device) for role, batch in batches.items()}
    gpu = torch.device(device).type == "cuda"
    wait: Callable[[], Any] = torch.cuda.synchronize if gpu else lambda: None
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    times = []
    for number in range(steps + 2):
        wait()
        started = time.perf_counter()
        with _precision(bf16, torch.device(device).type):
            losses = method.step(stage, given, Progress(0, 0.0)).losses
        if adam is not None:
            adam.zero_grad(set_to_none=True)
            _backward(losses)
            adam.step()
        with torch.no_grad():
            method.after_step(stage, Progress(0, 0.0))
        wait()
        if number >= 2:
            times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2], torch.cuda.max_memory_allocated() if gpu else None


def _backward(losses: Mapping[str, Tensor]) -> None:
    torch.autograd.backward(torch.stack([loss.reshape(()) for loss in losses.values()]).sum())


def _precision(bf16: bool, kind: str) -> AbstractContextManager[Any]:
    return torch.autocast(kind, torch.bfloat16) if bf16 else nullcontext()


def made_up_batches(
    stage: Stage, images: int, input_px: int, num_parts: int, grant: Grant
) -> dict[str, UnlabelledBatch]:
    """Return batches of the right shapes for every role of a stage: what the loader would give, labels hidden by
    ``grant`` for the target, 2D only for pre-training."""

    def made(role: str, names: tuple[str, ...]) -> UnlabelledBatch:
        count = images * _images_each(stage, role)
        batch = _made_up(role, names, count, input_px, num_parts, grant)
        asked: dict[str, Any] = {}
        if role in stage.detections:
            draw = torch.Generator().manual_seed(1)
            asked["detections_px"] = input_px * torch.rand((count, NUM_JOINTS, 2), generator=draw)
        if "keys" in stage.asks:
            asked["keys"] = tuple(map(str, range(count)))
        if "extrinsics" in stage.asks:
            asked["poses"] = CameraPoses(torch.eye(3).repeat(count, 1, 1), torch.zeros(count, 3))
        return replace(batch, **asked)

    return {role: made(role, names) for role, names in stage.roles.items()}


def _images_each(stage: Stage, role: str) -> int:
    """Images that one sample of a batch has: frames of its clip, or cameras of its group."""
    return (1 if stage.clip_of(role) is None else stage.frames) * (stage.views or 1)


def _made_up(
    role: str, modalities: tuple[str, ...], images: int, input_px: int, num_parts: int, grant: Grant
) -> UnlabelledBatch:
    draw = torch.Generator().manual_seed(0)
    side = (images, 1, input_px, input_px)
    made = {
        "rgb": lambda: torch.rand((images, 3, input_px, input_px), generator=draw),
        "depth": lambda: _DISTANCE_MM + 300 * torch.rand(side, generator=draw),
        "parts": lambda: torch.randint(0, max(num_parts, 1), (images, input_px, input_px), generator=draw),
        "foreground": lambda: torch.randint(0, 2, (images, 1, input_px, input_px), generator=draw).float(),
    }
    pictures = {name: made[name]() for name in modalities}
    intrinsics = torch.tensor([[2.0 * input_px, 0, input_px / 2], [0, 2.0 * input_px, input_px / 2]])
    cameras = CameraBatch(intrinsics.repeat(images, 1, 1), torch.zeros(images, 5), 2.0)
    surface = torch.full((images,), _DISTANCE_MM if "depth" in modalities else float("nan"))
    if role == "target" and not grant.sees_labels:
        return UnlabelledBatch(pictures, cameras, surface)
    seen_2d, seen_3d = torch.ones(NUM_JOINTS, dtype=torch.bool), torch.full((NUM_JOINTS,), role != "pretrain")
    if role == "target":
        seen_2d, seen_3d = torch.from_numpy(grant.mask_2d), torch.from_numpy(grant.mask_3d)
    points = input_px * torch.rand((images, NUM_JOINTS, 2), generator=draw)
    relative = 600 * (torch.rand((images, NUM_JOINTS, 3), generator=draw) - 0.5)
    relative = relative - relative[:, :1]
    hip, absent = torch.tensor([0.0, 0.0, _DISTANCE_MM]), torch.tensor(float("nan"))
    return LabelledBatch(
        pictures,
        cameras,
        surface,
        torch.where((seen_2d | seen_3d)[:, None], points, absent),
        torch.where((seen_3d & seen_3d[0])[:, None], relative + hip, absent),
        torch.where(seen_3d[:, None], relative, absent),
        seen_2d.expand(images, -1),
        seen_3d.expand(images, -1),
        torch.eye(3).repeat(images, 1, 1),
    )
