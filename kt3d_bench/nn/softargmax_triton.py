# mypy: ignore-errors
"""Soft-argmax for NVIDIA GPUs in Triton: logits are read once on the way forward; on the way back they are read and
their gradient is written once. Nothing of the size of a volume is stored beside it.

Volumes may lie in memory in any dense order: those of a channels-last network have z innermost, plain ones x. A tile
of a volume gives its peak, its sum of exponentials relative to it, and that sum weighted by each coordinate; a second,
tiny kernel joins the tiles. ``kt3d_bench.nn.softargmax`` has the definition and chooses between the ways. Triton's
interpreter (``TRITON_INTERPRET=1``) runs the same kernels on a CPU, for tests.

Shapes: B batch, J joints, D, H and W voxels along z, y and x, R = B J rows, T tiles of a row.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

_TILE_VOXELS = 8192
_WARPS = 8


@triton.jit
def _place(tile, inner: tl.constexpr, middle: tl.constexpr, voxels, BLOCK: tl.constexpr):
    """Coordinates of a tile's voxels along the innermost, middle and outermost axis, and which of them exist."""
    index = tile * BLOCK + tl.arange(0, BLOCK)
    rest = index // inner
    return index % inner, rest % middle, rest // middle, index < voxels


@triton.jit
def _tile_sums(
    logits, sums, joints, tiles, voxels, stride_b, stride_j, stride_0, stride_1, stride_2,
    half_0, half_1, half_2, inner: tl.constexpr, middle: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, tile = tl.program_id(0), tl.program_id(1)
    c0, c1, c2, inside = _place(tile, inner, middle, voxels, BLOCK)
    base = logits + (row // joints).to(tl.int64) * stride_b + (row % joints).to(tl.int64) * stride_j
    values = tl.load(base + c0 * stride_0 + c1 * stride_1 + c2 * stride_2, mask=inside, other=-float("inf"))
    values = values.to(tl.float32)
    peak = tl.max(values, 0)
    shares = tl.exp(values - peak)
    into = sums + (row * tiles + tile) * 5
    tl.store(into, peak)
    tl.store(into + 1, tl.sum(shares, 0))
    tl.store(into + 2, tl.sum(shares * (c0 - half_0), 0))
    tl.store(into + 3, tl.sum(shares * (c1 - half_1), 0))
    tl.store(into + 4, tl.sum(shares * (c2 - half_2), 0))


@triton.jit
def _join_tiles(sums, means, log_sums, tiles, axis_0, axis_1, axis_2, TILES: tl.constexpr):
    row = tl.program_id(0)
    tile = tl.arange(0, TILES)
    inside = tile < tiles
    start = sums + (row * tiles + tile) * 5
    peaks = tl.load(start, mask=inside, other=-float("inf"))
    peak = tl.max(peaks, 0)
    weights = tl.exp(peaks - peak)
    total = tl.sum(weights * tl.load(start + 1, mask=inside, other=0.0), 0)
    into = means + row * 3
    tl.store(into + axis_0, tl.sum(weights * tl.load(start + 2, mask=inside, other=0.0), 0) / total)
    tl.store(into + axis_1, tl.sum(weights * tl.load(start + 3, mask=inside, other=0.0), 0) / total)
    tl.store(into + axis_2, tl.sum(weights * tl.load(start + 4, mask=inside, other=0.0), 0) / total)
    tl.store(log_sums + row, peak + tl.log(total))


@triton.jit
def _gradient(
    logits, result, gradient, means, log_sums, joints, voxels, stride_b, stride_j, stride_0, stride_1, stride_2,
    half_0, half_1, half_2, axis_0, axis_1, axis_2, inner: tl.constexpr, middle: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, tile = tl.program_id(0), tl.program_id(1)
    c0, c1, c2, inside = _place(tile, inner, middle, voxels, BLOCK)
    base = (row // joints).to(tl.int64) * stride_b + (row % joints).to(tl.int64) * stride_j
    where = base + c0 * stride_0 + c1 * stride_1 + c2 * stride_2
    values = tl.load(logits + where, mask=inside, other=-float("inf")).to(tl.float32)
    shares = tl.exp(values - tl.load(log_sums + row))
    slope_0, slope_1, slope_2 = (
        tl.load(gradient + row * 3 + axis_0), tl.load(gradient + row * 3 + axis_1), tl.load(gradient + row * 3 + axis_2)
    )  # fmt: skip
    lines = slope_0 * (c0 - half_0 - tl.load(means + row * 3 + axis_0))
    lines += slope_1 * (c1 - half_1 - tl.load(means + row * 3 + axis_1))
    lines += slope_2 * (c2 - half_2 - tl.load(means + row * 3 + axis_2))
    tl.store(result + where, shares * lines, mask=inside)


class _Layout:
    """How the volumes of (B, J, D, H, W) logits lie in memory: axes from the innermost outwards."""

    def __init__(self, logits: Tensor) -> None:
        order = sorted((2, 3, 4), key=lambda axis: (logits.stride(axis), logits.shape[axis], -axis))
        sizes = [logits.shape[axis] for axis in order]
        self.rows = logits.shape[0] * logits.shape[1]
        self.voxels = sizes[0] * sizes[1] * sizes[2]
        self.tiles = triton.cdiv(self.voxels, _TILE_VOXELS)
        self.strides = (*logits.stride()[:2], *(logits.stride(axis) for axis in order))
        self.halves = tuple((size - 1) / 2 for size in sizes)
        self.axes = tuple(4 - axis for axis in order)
        """Column of x, y, z that each axis is."""
        self.constants = {"inner": sizes[0], "middle": sizes[1], "BLOCK": _TILE_VOXELS, "num_warps": _WARPS}


class _SoftArgmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits: Tensor) -> Tensor:
        layout = _Layout(logits)
        wide = {"dtype": torch.float32, "device": logits.device}
        sums = torch.empty((layout.rows, layout.tiles, 5), **wide)
        means, log_sums = torch.empty((layout.rows, 3), **wide), torch.empty(layout.rows, **wide)
        _tile_sums[(layout.rows, layout.tiles)](
            logits, sums, logits.shape[1], layout.tiles, layout.voxels, *layout.strides, *layout.halves,
            **layout.constants,
        )  # fmt: skip
        _join_tiles[(layout.rows,)](
            sums, means, log_sums, layout.tiles, *layout.axes, TILES=triton.next_power_of_2(layout.tiles)
        )
        ctx.save_for_backward(logits, means, log_sums)
        centre = means.new_tensor([(size - 1) / 2 for size in (logits.shape[4], logits.shape[3], logits.shape[2])])
        return (means + centre).view(*logits.shape[:2], 3)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> Tensor:
        logits, means, log_sums = ctx.saved_tensors
        layout, result = _Layout(logits), torch.empty_like(logits)
        _gradient[(layout.rows, layout.tiles)](
            logits, result, gradient.float().contiguous(), means, log_sums, logits.shape[1], layout.voxels,
            *layout.strides, *layout.halves, *layout.axes, **layout.constants,
        )  # fmt: skip
        return result


def soft_argmax_triton(logits: Tensor) -> Tensor:
    """(B, J, D, H, W) float32, bfloat16 or float16, at least one volume -> (B, J, 3) float32 x, y, z in voxels."""
    order = sorted(range(5), key=lambda axis: -logits.stride(axis))
    dense = logits if logits.permute(order).is_contiguous() else logits.contiguous()
    return _SoftArgmax.apply(dense)
