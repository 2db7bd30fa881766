"""Heat maps of joints, in an image or in a volume: how they are drawn, and where their peaks are.

Shapes: B batch, J joints, n = 2 or 3 axes. Maps have their axes in the order (z,) y, x; places name x first.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def gaussian_maps(places: Tensor, sizes: Sequence[int], sigmas: Sequence[float]) -> Tensor:
    """(B, J, n) places x, y (, z) in bins, whose middles are at integers -> (B, J, (D,) H, W) maps: 1 at the place, and
    exp(-d^2 / (2 sigma^2)) beside it. ``sizes`` and ``sigmas`` in bins, along x, y (, z). NaN where a joint is NaN."""
    found: Tensor | None = None
    for axis, (size, sigma) in enumerate(zip(sizes, sigmas, strict=True)):
        bins = torch.arange(size, device=places.device, dtype=places.dtype)
        line = torch.exp(-(bins - places[..., axis, None]).square() / (2 * sigma**2))
        found = line if found is None else line[(..., *(None,) * axis)] * found[:, :, None]
    assert found is not None, "maps have an axis"
    return found


def peaks(maps: Tensor, *, refine: bool) -> Tensor:
    """(B, J, (D,) H, W) maps -> (B, J, n) x, y (, z) in bins: the highest bin; with ``refine`` the mean of the 3^n bins
    around it, weighted by the map where that is positive."""
    sizes = tuple(maps.shape[:1:-1])
    flat = maps.flatten(2)
    rest, place = flat.argmax(-1), []
    for size in sizes:
        place.append(rest % size)
        rest = rest // size
    top = torch.stack(place, -1)
    if not refine:
        return top.float()
    steps = torch.cartesian_prod(*[torch.arange(-1, 2, device=maps.device)] * len(sizes))
    around = top[:, :, None] + steps
    last = torch.tensor(sizes, device=maps.device) - 1
    inside = ((around >= 0) & (around <= last)).all(-1)
    number, stride = torch.zeros_like(inside, dtype=torch.long), 1
    for axis, size in enumerate(sizes):
        number = number + around[..., axis].clamp(0, size - 1) * stride
        stride *= size
    weight = flat.gather(2, number.flatten(2)).view(number.shape).clamp(min=0) * inside + 1e-12 * inside
    found: Tensor = (around * (weight / weight.sum(-1, keepdim=True))[..., None]).sum(2)
    return found


def middles(maps: Tensor) -> Tensor:
    """(B, J, (D,) H, W) maps -> (B, J, n) x, y (, z) in bins: the mean of all bins, weighted by the square of the map
    where that is positive. Where a map is low and wide, it errs less than the peak."""
    weight = maps.clamp(min=0).square() + 1e-12
    total, place = weight.flatten(2).sum(-1), []
    for axis in range(maps.ndim - 1, 1, -1):
        bins = torch.arange(maps.shape[axis], device=maps.device, dtype=maps.dtype)
        others = tuple(each for each in range(2, maps.ndim) if each != axis)
        place.append((weight.sum(others) * bins).sum(-1) / total)
    return torch.stack(place, -1)


def squared_error(maps: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Mean squared error of (B, J, ...) maps over those of the (B, J) ``known`` joints; 0 without any. The truth of the
    others may be NaN."""
    counted = known[(..., *(None,) * (maps.ndim - 2))].expand_as(maps)
    return (maps - truth.where(counted, maps.detach())).square().sum() / counted.sum().clamp(min=1)
