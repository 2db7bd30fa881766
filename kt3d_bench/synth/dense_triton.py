# mypy: ignore-errors
"""The nearest round cone of every pixel of many equal images, on an NVIDIA GPU: one Triton kernel, no pair is stored.

A program walks the cones of one figure over one tile of pixels and passes over those that cannot be seen in it; the
arithmetic is ``people.render.intersect``'s, to which tests hold it.
Shapes: N figures, C cones, H and W image rows and columns.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_ROWS, _COLUMNS = 16, 32
_PENALTY = tl.constexpr(1e30)
_MISSED = tl.constexpr(1e9)


@triton.jit
def _over(value):
    return tl.maximum(value, 0.0)


@triton.jit
def _first_hits(
    rays_x, rays_y, cones, bounds, depths, shares, winners, tall, width, count,
    x_figure, x_row, x_column, y_figure, y_row, y_column, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    PIXELS: tl.constexpr = ROWS * COLUMNS
    figure = tl.program_id(2).to(tl.int64)
    index = tl.arange(0, PIXELS)
    row, column = tl.program_id(1) * ROWS + index // COLUMNS, tl.program_id(0) * COLUMNS + index % COLUMNS
    inside = (row < tall) & (column < width)
    row, column = tl.minimum(row, tall - 1), tl.minimum(column, width - 1)
    x = tl.load(rays_x + figure * x_figure + row * x_row + column * x_column)
    y = tl.load(rays_y + figure * y_figure + row * y_row + column * y_column)
    left, right, top, bottom = tl.min(x, 0), tl.max(x, 0), tl.min(y, 0), tl.max(y, 0)
    inverse = 1.0 / tl.sqrt(x * x + y * y + 1.0)
    rx, ry, rz = x * inverse, y * inverse, inverse
    nearest = tl.full([PIXELS], _MISSED, tl.float32)
    best = tl.zeros([PIXELS], tl.float32)
    winner = tl.full([PIXELS], -1, tl.int32)
    for cone in range(count):
        box = bounds + (figure * count + cone) * 4
        across = (tl.load(box) <= right) & (tl.load(box + 2) >= left)
        if across & (tl.load(box + 1) <= bottom) & (tl.load(box + 3) >= top):
            own = cones + (figure * count + cone) * 8
            ax, ay, az = tl.load(own), tl.load(own + 1), tl.load(own + 2)
            bax, bay, baz = tl.load(own + 3) - ax, tl.load(own + 4) - ay, tl.load(own + 5) - az
            radius_a, radius_b = tl.load(own + 6), tl.load(own + 7)
            start = (ax + 0.5 * bax) * rx + (ay + 0.5 * bay) * ry + (az + 0.5 * baz) * rz
            ox, oy, oz = rx * start - ax, ry * start - ay, rz * start - az
            taper = radius_a - radius_b
            m0 = bax * bax + bay * bay + baz * baz
            m1 = bax * ox + bay * oy + baz * oz
            m2 = bax * rx + bay * ry + baz * rz
            m3 = rx * ox + ry * oy + rz * oz
            m5 = ox * ox + oy * oy + oz * oz
            m6, m7 = m3 - m2, m5 - 2.0 * m1 + m0
            square_a = radius_a * radius_a
            d2 = m0 - taper * taper
            foot = taper * radius_a - m1
            k2 = d2 - m2 * m2
            k1 = d2 * m3 + m2 * foot
            k0 = d2 * (m5 - square_a) - foot * foot
            h = k1 * k1 - k0 * k2
            side = (-tl.sqrt(_over(h)) - k1) / k2
            height = side * m2 - foot
            on_side = (h >= 0) & (height >= 0) & (height <= d2) & (k2 != 0)
            side = tl.where(on_side, side, _PENALTY)
            from_a = m3 * m3 - m5 + square_a
            from_b = m6 * m6 - m7 + radius_b * radius_b
            cap_a = tl.where(from_a >= 0, -m3 - tl.sqrt(_over(from_a)), _PENALTY)
            cap_b = tl.where(from_b >= 0, -m6 - tl.sqrt(_over(from_b)), _PENALTY)
            along = tl.minimum(tl.minimum(cap_a, cap_b), side)
            depth = (along + start) * inverse
            nearer = (depth >= 0) & (depth < nearest)
            share = tl.minimum(_over((along * m2 - foot) / tl.maximum(d2, 1e-6)), 1.0)
            nearest = tl.where(nearer, depth, nearest)
            best = tl.where(nearer, share, best)
            winner = tl.where(nearer, cone, winner)
    into = figure * tall * width + row * width + column
    tl.store(depths + into, tl.where(winner >= 0, nearest, 0.0), mask=inside)
    tl.store(shares + into, best, mask=inside)
    tl.store(winners + into, winner, mask=inside)


def first_hits(x: Tensor, y: Tensor, cones: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(N, H, W) x and y of the rays (x, y, 1), expanded where equal, and (N, C, 8) float32 ends and radii of the cones
    -> (N, H, W) depth in mm (0 = nothing there), place on the cone 0..1, and index of the cone (int32, -1 = none)."""
    count, rows, columns = x.shape
    depths, shares = (torch.empty((count, rows, columns), device=x.device) for _ in range(2))
    winners = torch.empty((count, rows, columns), dtype=torch.int32, device=x.device)
    grid = (triton.cdiv(columns, _COLUMNS), triton.cdiv(rows, _ROWS), count)
    _first_hits[grid](
        x, y, cones.contiguous(), bounds(cones).contiguous(), depths, shares, winners, rows, columns, cones.shape[1],
        *x.stride(), *y.stride(), ROWS=_ROWS, COLUMNS=_COLUMNS, num_warps=4,
    )  # fmt: skip
    return depths, shares, winners


def bounds(cones: Tensor) -> Tensor:
    """(N, C, 8) ends and radii -> (N, C, 4) least x, least y, greatest x, greatest y of the rays that may meet each
    cone: the hull of its spheres' tangents, a thousandth wider; infinite where the camera's plane cuts a sphere."""
    centres, radii = cones[..., :6].unflatten(-1, (2, 3)), cones[..., 6:, None]
    across, depth = centres[..., :2], centres[..., 2:]
    ahead = depth > radii
    square = torch.where(ahead, depth.square() - radii.square(), torch.ones_like(depth))
    root = radii * (across.square() + depth.square() - radii.square()).clamp(min=0).sqrt()
    low, high = (across * depth - root) / square, (across * depth + root) / square
    low, high = low - 1e-3 * (high - low), high + 1e-3 * (high - low)
    low = torch.where(ahead, low, torch.full_like(low, -torch.inf)).amin(-2)
    high = torch.where(ahead, high, torch.full_like(high, torch.inf)).amax(-2)
    return torch.cat([low, high], dim=-1)
