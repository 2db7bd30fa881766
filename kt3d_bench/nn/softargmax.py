"""Soft-argmax over a volume (Sun et al., ECCV 2018): softmax over all voxels, expected value along each axis.

The volumes are walked in blocks, which on a CPU stay in the cache, and the backward pass computes the probabilities
again: no second volume is ever stored. On an NVIDIA GPU with Triton ``softargmax_triton`` does the same
in one pass each way.
Shapes: B batch, J joints, D, H and W voxels along z, y and x.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_BLOCK_VOXELS = 1 << 18
"""Voxels worked on at a time on a CPU: 1 MB of float32."""
_BLOCK_VOXELS_ELSEWHERE = 1 << 24


def soft_argmax(logits: Tensor) -> Tensor:
    """(B, J, D, H, W) -> (B, J, 3) x, y, z in voxels, bin centres at integers 0..size-1.

    Computed in float32 at least; float64 stays float64. In an exported program it is the plain definition.
    """
    if torch.compiler.is_exporting():
        return soft_argmax_plain(logits)
    one_pass = _triton() if logits.device.type == "cuda" else None
    if one_pass is not None and logits.dtype != torch.float64 and logits.numel():
        return one_pass(logits)
    return expected(marginals(logits))


def marginals(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, J, D, H, W) -> (B, J, W), (B, J, H), (B, J, D): the softmax over all voxels, summed onto x, y and z.

    Computed in float32 at least; float64 stays float64.
    """
    found: tuple[Tensor, Tensor, Tensor] = _Marginals.apply(logits)  # type: ignore[no-untyped-call]
    return found


def expected(along: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Marginals along x, y and z -> (B, J, 3) expected x, y, z in voxels: the soft-argmax of their volume.

    No matrix product: autocast would round it to bf16, an eighth of a pixel.
    """
    return torch.stack([(one * _bins(one)).sum(-1) + (one.shape[-1] - 1) / 2 for one in along], dim=-1)


@cache
def _triton() -> Callable[[Tensor], Tensor] | None:
    try:
        from kt3d_bench.nn.softargmax_triton import soft_argmax_triton
    except ImportError:
        return None
    return soft_argmax_triton


def soft_argmax_plain(logits: Tensor) -> Tensor:
    """The definition, written down: the same as ``soft_argmax`` on any device, with a volume of probabilities."""
    wide = _wide(logits)
    shares = wide.flatten(2).softmax(dim=2).view(wide.shape)
    return expected((shares.sum((2, 3)), shares.sum((2, 4)), shares.sum((3, 4))))


class _Marginals(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        volumes = logits.reshape(-1, *logits.shape[2:])
        totals, along = [], []
        size = _block_size(volumes)
        buffer = _buffer(volumes, size)
        for block in torch.split(volumes, size):
            shares = _shares(block, buffer)
            plane = shares.sum(1)
            sums = (plane.sum(1), plane.sum(2), shares.sum((2, 3)))
            totals.append(sums[2].sum(1, keepdim=True))
            along.append([one / totals[-1] for one in sums])
        xs, ys, zs = (torch.cat(parts) for parts in zip(*along, strict=True))
        ctx.save_for_backward(logits, torch.cat(totals), xs, ys, zs)
        found = tuple(one.view(*logits.shape[:2], -1) for one in (xs, ys, zs))
        return found[0], found[1], found[2]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        logits, totals, *along = ctx.saved_tensors
        volumes = logits.reshape(-1, *logits.shape[2:])
        lines = [grad.reshape(len(volumes), -1) for grad in grads]
        lines = [(line - (line * one).sum(1, keepdim=True)) / totals for line, one in zip(lines, along, strict=True)]
        result = torch.empty(volumes.shape, dtype=logits.dtype, device=logits.device)
        size = _block_size(volumes)
        buffer, factors = _buffer(volumes, size), _buffer(volumes, size)
        for start in range(0, len(volumes), size):
            part = slice(start, start + size)
            plane = lines[1][part, :, None] + lines[0][part, None, :]
            factor = torch.add(lines[2][part, :, None, None], plane[:, None], out=factors[: len(plane)])
            torch.mul(_shares(volumes[part], buffer), factor, out=result[part])
        return result.view(logits.shape)


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _shares(volumes: Tensor, buffer: Tensor) -> Tensor:
    """(N, D, H, W) -> the softmax over each volume but for one factor of about 1: torch's own kernel, a volume for each
    thread, is twice as fast as ``exp`` and divides by a sum of 262,144 voxels that is right to five digits."""
    shares = buffer[: len(volumes)]
    torch.softmax(volumes.flatten(1), 1, dtype=shares.dtype, out=shares.flatten(1))
    return shares


def _buffer(volumes: Tensor, size: int) -> Tensor:
    """Room for a block. New memory for each block would cost more than the arithmetic wherever the system takes freed
    memory back at once."""
    dtype = torch.float64 if volumes.dtype == torch.float64 else torch.float32
    return torch.empty((size, *volumes.shape[1:]), dtype=dtype, device=volumes.device)


def _block_size(volumes: Tensor) -> int:
    on_cpu = volumes.device.type == "cpu"
    voxels = _BLOCK_VOXELS if on_cpu else _BLOCK_VOXELS_ELSEWHERE
    size = max(torch.get_num_threads() if on_cpu else 1, voxels // max(1, volumes[0].numel()))
    return min(size, len(volumes))


def _bins(values: Tensor) -> Tensor:
    """Bin centres along the last axis, measured from its middle (small numbers round less)."""
    size = values.shape[-1]
    return torch.arange(size, dtype=values.dtype, device=values.device) - (size - 1) / 2
