"""The same images by torch's operations on pairs of a pixel and a cone: for GPUs, and what the CPU loops are tested by.

A round cone is the convex hull of two spheres. The ray formula follows Quilez, "Intersectors" (iquilezles.org, rounded
cone), with the ray's origin first moved next to the cone so that float32 resolves micrometres.
Shapes: H and W rows and columns of the window, C cones, K pairs of a pixel and a cone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kt3d_bench.records import Camera
from kt3d_bench.synth.body import CONE_PART
from kt3d_bench.synth.view import Maps, Person, Window, blank_maps, camera_rays, spans_px

Vector = tuple[Tensor, Tensor, Tensor]
MISSED_MM = 1e9
_PENALTY = 1e30
_CACHED_PAIRS = 16384


def _dot(a: Vector, b: Vector) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _minus(a: Vector, b: Vector) -> Vector:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def intersect(x: Tensor, y: Tensor, a: Vector, b: Vector, radius_a: Tensor, radius_b: Tensor) -> tuple[Tensor, Tensor]:
    """Return where rays (x, y, 1) from the camera centre first meet round cones; any shapes that broadcast together.

    ``a``, ``b``: sphere centres, mm, camera frame; neither sphere may contain the other unless they are equal. Returns
    z-depth in mm (``MISSED_MM`` and more = missed) and where on the cone: 0 on sphere a, 1 on sphere b, between on the
    side. Only arithmetic on single components is used, so the result of a pair does not depend on what else is in the
    batch. Misses are pushed far away by a penalty, because selecting is many times slower than adding on a CPU.
    """
    inverse = torch.rsqrt(x * x + y * y + 1.0)
    ray = (x * inverse, y * inverse, inverse)
    ba = _minus(b, a)
    start = (a[0] + 0.5 * ba[0]) * ray[0] + (a[1] + 0.5 * ba[1]) * ray[1] + (a[2] + 0.5 * ba[2]) * ray[2]
    oa = (ray[0] * start - a[0], ray[1] * start - a[1], ray[2] * start - a[2])
    taper = radius_a - radius_b
    m0, m1, m2, m3, m5 = _dot(ba, ba), _dot(ba, oa), _dot(ba, ray), _dot(ray, oa), _dot(oa, oa)
    m6, m7 = m3 - m2, m5 - 2.0 * m1 + m0
    square_a = radius_a * radius_a
    d2 = m0 - taper * taper
    foot = taper * radius_a - m1
    k2 = d2 - m2 * m2
    k1 = d2 * m3 + m2 * foot
    k0 = d2 * (m5 - square_a) - foot * foot
    h = k1 * k1 - k0 * k2
    side = (-torch.sqrt(torch.relu(h)) - k1) / k2
    height = side * m2 - foot
    side = side + _PENALTY * (torch.relu(-h) + torch.relu(-height) + torch.relu(height - d2))
    from_a = m3 * m3 - m5 + square_a
    from_b = m6 * m6 - m7 + radius_b * radius_b
    cap_a = _PENALTY * torch.relu(-from_a) - m3 - torch.sqrt(torch.relu(from_a))
    cap_b = _PENALTY * torch.relu(-from_b) - m6 - torch.sqrt(torch.relu(from_b))
    nearest = torch.minimum(torch.minimum(cap_a, cap_b), torch.nan_to_num(side, nan=_PENALTY))
    share = ((nearest * m2 - foot) / torch.clamp(d2, min=1e-6)).clamp(0.0, 1.0)
    depth = (nearest + start) * inverse
    return depth + _PENALTY * torch.relu(-depth), share


def draw(
    person: Person, camera: Camera, device: torch.device, *, normals: bool, dtype: torch.dtype
) -> tuple[Window, Maps]:
    """Return the window around the person and its maps; see ``render.RenderedFigure``."""

    def columns(table: npt.NDArray[Any]) -> list[Tensor]:
        """Each coordinate of a table's rows on its own: picking single components is fast, picking rows is not."""
        return list(torch.from_numpy(table.reshape(len(table), -1).T.copy()).to(device, dtype))

    window, start, stop = spans_px(person.cones, person.radii, camera)
    width, height = window[2] - window[0], window[3] - window[1]
    maps = blank_maps(width, height, normals)
    lengths = (stop - start).ravel()
    if not lengths.any():
        return (0, 0, 0, 0), blank_maps(0, 0, normals)
    ends = np.cumsum(lengths)
    first_pixel = (np.arange(height) * width + start).ravel()
    pixels = np.arange(ends[-1]) + np.repeat(first_pixel - (ends - lengths), lengths)
    per_cone = (stop - start).sum(axis=1)
    pixel = torch.from_numpy(pixels).to(device)
    cone = torch.repeat_interleave(torch.from_numpy(per_cone)).to(device)
    x_ray, y_ray = columns(camera_rays(camera, window).reshape(-1, 2))
    cones = columns(np.concatenate([person.cones.reshape(-1, 6), person.radii], axis=1))
    depth = torch.empty(len(pixels), dtype=dtype, device=device)
    share = torch.empty_like(depth)
    step = _CACHED_PAIRS if device.type == "cpu" else len(pixels)
    for low in range(0, len(pixels), step):
        some = slice(low, low + step)
        x, y = (values.index_select(0, pixel[some]) for values in (x_ray, y_ray))
        ax, ay, az, bx, by, bz, ra, rb = (values.index_select(0, cone[some]) for values in cones)
        depth[some], share[some] = intersect(x, y, (ax, ay, az), (bx, by, bz), ra, rb)

    pairs = _nearest_pairs(pixels, per_cone, depth.cpu().numpy(), width * height)
    hit = np.flatnonzero(pairs >= 0)
    chosen = torch.from_numpy(pairs[hit]).to(device)
    pixel, cone, depth, share = (values.index_select(0, chosen) for values in (pixel, cone, depth, share))
    part = torch.from_numpy(CONE_PART).to(device).index_select(0, cone)
    surface = (x_ray.index_select(0, pixel) * depth, y_ray.index_select(0, pixel) * depth, depth)
    sx, sy, sz, ex, ey, ez = (values.index_select(0, part) for values in columns(person.axes))
    axis, relative = (ex - sx, ey - sy, ez - sz), _minus(surface, (sx, sy, sz))
    along = (_dot(relative, axis) / _dot(axis, axis)).clamp(0.0, 1.0)
    out = _minus(relative, (axis[0] * along, axis[1] * along, axis[2] * along))
    length = torch.sqrt(_dot(out, out)).clamp(min=1e-9)
    found = {"depth_mm": depth, "part": (part + 1).to(torch.uint8), "along": along}
    for name, direction in (("front", person.front), ("left", person.left)):
        dx, dy, dz = (values.index_select(0, part) for values in columns(direction))
        found[name] = (_dot(out, (dx, dy, dz)) / length).clamp(-1.0, 1.0)
    if normals:
        ax, ay, az, bx, by, bz = (values.index_select(0, cone) for values in cones[:6])
        normal = _minus(surface, (ax + share * (bx - ax), ay + share * (by - ay), az + share * (bz - az)))
        scale = 1.0 / torch.sqrt(_dot(normal, normal)).clamp(min=1e-9)
        found["normal_cam"] = torch.stack([component * scale for component in normal], dim=-1)
    for name, values in found.items():
        maps[name].reshape(width * height, *values.shape[1:])[hit] = values.cpu().numpy()
    return window, maps


def _nearest_pairs(
    pixels: npt.NDArray[np.int64], per_cone: npt.NDArray[np.int64], depth: npt.NDArray[Any], count: int
) -> npt.NDArray[np.int64]:
    """Return (count,) the pair that is nearest in each pixel (the earlier cone where two are equal), -1 = none."""
    nearest = np.full(count, MISSED_MM, depth.dtype)
    winner = np.full(count, -1, np.int64)
    begin = 0
    for length in per_cone:
        where = pixels[begin : begin + length]
        candidates = depth[begin : begin + length]
        better = np.flatnonzero(candidates < nearest[where])
        nearest[where[better]] = candidates[better]
        winner[where[better]] = begin + better
        begin += length
    return winner
