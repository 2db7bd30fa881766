"""Soft-argmax over a volume (Sun et al., ECCV 2018): softmax over all voxels, expected value along each axis.

The volumes are walked in blocks (on a CPU such that stay in the cache), and the backward pass recomputes the
probabilities from the logits, their log-sum and the mean: no second volume is ever stored. On an NVIDIA GPU with Triton
``softargmax_triton`` does the same in one pass each way.
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

    Computed in float32 at least; float64 stays float64.
    """
    one_pass = _triton() if logits.device.type == "cuda" else None
    if one_pass is not None and logits.dtype != torch.float64 and logits.numel():
        return one_pass(logits)
    result: Tensor = _SoftArgmax.apply(logits)  # type: ignore[no-untyped-call]
    return result


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
    xs, ys, zs = _centred(shares)
    means = (shares.sum((2, 3)) @ xs, shares.sum((2, 4)) @ ys, shares.sum((3, 4)) @ zs)
    return torch.stack(means, dim=-1) + _centre(shares)


class _SoftArgmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        volumes = logits.reshape(-1, *logits.shape[2:])
        xs, ys, zs = _centred(volumes)
        log_sums, means = [], []
        for block in torch.split(volumes, _block_size(volumes)):
            wide = _wide(block)
            peaks = wide.amax((1, 2, 3))
            shares = (wide - peaks[:, None, None, None]).exp_()
            plane = shares.sum(1)
            depth_sums = shares.sum((2, 3))
            total = depth_sums.sum(1)
            log_sums.append(peaks + total.log())
            mean = torch.stack([plane.sum(1) @ xs, plane.sum(2) @ ys, depth_sums @ zs], dim=-1)
            means.append(mean / total[:, None])
        log_sum, mean = torch.cat(log_sums), torch.cat(means)
        ctx.save_for_backward(logits, log_sum, mean)
        return (mean + _centre(volumes)).view(*logits.shape[:2], 3)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        logits, log_sum, mean = ctx.saved_tensors
        volumes = logits.reshape(-1, *logits.shape[2:])
        axes = _centred(volumes)
        grad = grad.reshape(-1, 3)
        lines = [grad[:, axis, None] * (axes[axis] - mean[:, axis, None]) for axis in range(3)]
        result = torch.empty(volumes.shape, dtype=logits.dtype, device=logits.device)
        size = _block_size(volumes)
        for start in range(0, len(volumes), size):
            part = slice(start, start + size)
            shares = (_wide(volumes[part]) - log_sum[part, None, None, None]).exp_()
            plane = lines[1][part, :, None] + lines[0][part, None, :]
            shares *= lines[2][part, :, None, None] + plane[:, None]
            result[part] = shares
        return result.view(logits.shape)


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _block_size(volumes: Tensor) -> int:
    voxels = _BLOCK_VOXELS if volumes.device.type == "cpu" else _BLOCK_VOXELS_ELSEWHERE
    return max(1, voxels // max(1, volumes[0].numel()))


def _centred(volumes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Bin centres along x, y and z, measured from the middle of the volume (small numbers round less)."""
    dtype = torch.float64 if volumes.dtype == torch.float64 else torch.float32
    sizes = (volumes.shape[-1], volumes.shape[-2], volumes.shape[-3])
    x, y, z = (torch.arange(n, dtype=dtype, device=volumes.device) - (n - 1) / 2 for n in sizes)
    return x, y, z


def _centre(volumes: Tensor) -> Tensor:
    dtype = torch.float64 if volumes.dtype == torch.float64 else torch.float32
    sizes = (volumes.shape[-1], volumes.shape[-2], volumes.shape[-3])
    return torch.tensor([(n - 1) / 2 for n in sizes], dtype=dtype, device=volumes.device)
