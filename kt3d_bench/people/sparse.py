"""Round cones on a CPU: only the pixels that a cone may cover are looked at, in NumPy, block by block in the cache.

The arithmetic is that of ``people.render.intersect``, operation by operation, so depths agree with it to the last bit;
what depends on a cone or on a pixel alone is computed once. (In torch each of these hundred small operations costs
several times as much to start.)
Shapes: C cones, P parts, K pairs of a pixel and a cone that may cover it, M pixels of the window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kt3d_bench.people.body import CONE_PART
from kt3d_bench.people.rays import Window, camera_rays, spans_px
from kt3d_bench.records import Camera

Array = npt.NDArray[Any]
Float = type[np.float32] | type[np.float64]
MISSED_MM = 1e9
_PENALTY = 1e30
_BLOCK = 8192


@dataclass(frozen=True, eq=False)
class Person:
    """One posed figure in its camera's frame, mm."""

    cones: npt.NDArray[np.float64]
    """(C, 2, 3) ends; no sphere holds the other unless they are equal."""
    radii: npt.NDArray[np.float64]
    """(C, 2)"""
    axes: npt.NDArray[np.float64]
    """(P, 2, 3)"""
    front: npt.NDArray[np.float64]
    """(P, 3)"""
    left: npt.NDArray[np.float64]
    """(P, 3)"""


def draw(
    person: Person, camera: Camera, *, normals: bool, dtype: Float = np.float32
) -> tuple[Window, dict[str, Array]]:
    """The window that holds the person, and its maps: see ``people.render.RenderedFigure``."""
    window, start, stop = spans_px(person.cones, person.radii, camera)
    width, height = window[2] - window[0], window[3] - window[1]
    lengths = (stop - start).ravel()
    if not lengths.any():
        return (0, 0, 0, 0), blank(0, 0, normals)
    rays = camera_rays(camera, window).reshape(-1, 2).T.astype(dtype)
    per_cone = (stop - start).sum(axis=1)
    first_pixel = (np.arange(height) * width + start).ravel()
    ends = np.cumsum(lengths)
    pixels = np.arange(ends[-1]) + np.repeat(first_pixel - (ends - lengths), lengths)

    depth, share = _meet(rays, pixels, per_cone, person, dtype)
    hit, pairs = _nearest(pixels, depth, width * height)
    cone = np.searchsorted(np.cumsum(per_cone), pairs, side="right")
    x, y = rays[:, hit]
    found = _surface(x, y, depth[pairs], share(pairs, cone), cone, person, normals, dtype)
    maps = blank(width, height, normals)
    for name, values in found.items():
        maps[name].reshape(width * height, *values.shape[1:])[hit] = values
    return window, maps


def blank(width: int, height: int, normals: bool) -> dict[str, Array]:
    """Maps of a window without a person."""
    maps: dict[str, Array] = {
        name: np.zeros((height, width), np.float32) for name in ("depth_mm", "along", "front", "left")
    }
    maps["part"] = np.zeros((height, width), np.uint8)
    if normals:
        maps["normal_cam"] = np.zeros((height, width, 3), np.float32)
    return maps


def _dot(a: Array, b: Array) -> Array:
    """Over the first axis, of length 3, from left to right."""
    products: Array = a * b
    total: Array = products[0] + products[1]
    total += products[2]
    return total


def _root(values: Array) -> Array:
    """Square root, in place. Torch's: its last bit is not always NumPy's, and the stand-ins were drawn with it."""
    tensor = torch.from_numpy(values)
    torch.sqrt(tensor, out=tensor)
    return values


def _meet(rays: Array, pixels: Array, per_cone: Array, person: Person, dtype: Float) -> tuple[Array, Any]:
    """(K,) depths of all pairs in mm (``MISSED_MM`` and more, or NaN = missed), and a function from pairs that hit to
    where on the cone they do."""
    a: Array = np.ascontiguousarray(person.cones[:, 0].T.astype(dtype))
    b: Array = np.ascontiguousarray(person.cones[:, 1].T.astype(dtype))
    radius_a, radius_b = person.radii.T.astype(dtype)
    half = dtype(0.5)
    ba = b - a
    taper = radius_a - radius_b
    m0 = _dot(ba, ba)
    d2 = m0 - taper * taper
    by_cone = np.concatenate(
        [a, ba, a + half * ba, [m0, d2, taper * radius_a, radius_a * radius_a, radius_b * radius_b]]
    )
    x, y = rays
    inverse = 1 / np.sqrt(x * x + y * y + 1)
    by_pixel = np.stack([x * inverse, y * inverse, inverse])

    depth, kept = np.empty(len(pixels), dtype), np.empty((3, len(pixels)), dtype)
    ends = np.cumsum(per_cone)
    with np.errstate(all="ignore"):
        for low in range(0, len(pixels), _BLOCK):
            some = slice(low, low + _BLOCK)
            counts = np.diff(np.clip(ends - low, 0, len(pixels[some])), prepend=0)
            _meet_block(by_pixel.take(pixels[some], axis=1), by_cone.repeat(counts, axis=1), depth[some], kept[:, some])

    def share(pairs: Array, cone: Array) -> Array:
        nearest, slope, foot = kept[:, pairs]
        place: Array = np.clip((nearest * slope - foot) / np.maximum(d2, dtype(1e-6))[cone], 0, 1)
        return place

    return depth, share


def _meet_block(ray: Array, table: Array, depth: Array, kept: Array) -> None:
    """``people.render.intersect`` for one block: ``depth`` (K,), and ``kept`` (3, K): how far along the ray, the ray's
    component along the cone, and where the cone's foot is."""
    a, ba, middle = table[:3], table[3:6], table[6:9]
    m0, d2, tip, square_a, square_b = table[9:]
    start = _dot(middle, ray)
    oa = ray * start
    oa -= a
    m1, m2, m3, m5 = _dot(ba, oa), _dot(ba, ray), _dot(ray, oa), _dot(oa, oa)
    foot = tip - m1
    k2 = m2 * m2
    np.subtract(d2, k2, out=k2)
    k1 = d2 * m3
    scratch = m2 * foot
    k1 += scratch
    np.subtract(m5, square_a, out=scratch)
    scratch *= d2
    k0 = foot * foot
    np.subtract(scratch, k0, out=k0)
    k0 *= k2
    h = k1 * k1
    h -= k0
    side = _root(np.maximum(h, 0, out=k0))
    np.negative(side, out=side)
    side -= k1
    side /= k2
    height = np.multiply(side, m2, out=k1)
    height -= foot
    far = np.maximum(np.negative(h, out=h), 0, out=h)
    far += np.maximum(np.negative(height, out=scratch), 0, out=scratch)
    height -= d2
    far += np.maximum(height, 0, out=height)
    far *= _PENALTY
    side += far

    from_a = np.multiply(m3, m3, out=k2)
    from_a -= m5
    from_a += square_a
    near = _cap(from_a, m3, scratch, height)
    m6 = np.subtract(m3, m2, out=m3)
    m1 *= 2
    m7 = np.subtract(m5, m1, out=m5)
    m7 += m0
    from_b = np.multiply(m6, m6, out=h)
    from_b -= m7
    from_b += square_b
    np.minimum(near, _cap(from_b, m6, scratch, m1), out=near)
    np.fmin(near, side, out=kept[0])
    kept[1], kept[2] = m2, foot
    np.add(kept[0], start, out=depth)
    depth *= ray[2]
    np.maximum(np.negative(depth, out=scratch), 0, out=scratch)
    scratch *= _PENALTY
    depth += scratch


def _cap(inside: Array, along: Array, scratch: Array, out: Array) -> Array:
    """How far along the ray a sphere begins, in ``out``."""
    np.maximum(np.negative(inside, out=out), 0, out=out)
    out *= _PENALTY
    out -= along
    np.maximum(inside, 0, out=scratch)
    out -= _root(scratch)
    return out


def _nearest(pixels: Array, depth: Array, count: int) -> tuple[Array, Array]:
    """Pixels that are hit, ascending, and for each the pair that is nearest (the earlier cone where two are equal)."""
    hit = np.flatnonzero(depth < MISSED_MM)
    winner = np.full(count, -1, np.int64)
    if depth.dtype == np.float32:
        # Positive floats sort like their bits; later assignments win, so the nearest comes last.
        keys = (depth[hit].view(np.uint32).astype(np.int64) << 32) | hit
        keys.sort()
        hit = keys[::-1] & 0xFFFFFFFF
    else:
        hit = hit[np.lexsort((hit, depth[hit]))[::-1]]
    winner[pixels[hit]] = hit
    covered = np.flatnonzero(winner >= 0)
    return covered, winner[covered]


def _surface(
    x: Array, y: Array, depth: Array, share: Array, cone: Array, person: Person, normals: bool, dtype: Float
) -> dict[str, Array]:
    """Maps for pixels that are hit, as ``people.render`` has them."""
    begin: Array = person.axes[:, 0].T.astype(dtype)
    end: Array = person.axes[:, 1].T.astype(dtype)
    bone = end - begin
    parts = np.concatenate([begin, bone, person.front.T.astype(dtype), person.left.T.astype(dtype), [_dot(bone, bone)]])
    part = CONE_PART[cone]
    of = parts.take(part, axis=1)
    hit = np.stack([x * depth, y * depth, depth])
    relative = hit - of[:3]
    along = _dot(relative, of[3:6])
    along /= of[12]
    np.clip(along, 0, 1, out=along)
    relative -= of[3:6] * along
    length = np.maximum(_root(_dot(relative, relative)), dtype(1e-9))
    maps = {
        "depth_mm": depth,
        "part": (part + 1).astype(np.uint8),
        "along": along,
        "front": np.clip(_dot(relative, of[6:9]) / length, -1, 1),
        "left": np.clip(_dot(relative, of[9:12]) / length, -1, 1),
    }
    if normals:
        a: Array = person.cones[:, 0].T.astype(dtype)
        b: Array = person.cones[:, 1].T.astype(dtype)
        table = np.concatenate([a, b - a]).take(cone, axis=1)
        normal = hit - (table[:3] + share * table[3:])
        normal *= 1 / np.maximum(_root(_dot(normal, normal)), dtype(1e-9))
        maps["normal_cam"] = normal.T
    return maps
