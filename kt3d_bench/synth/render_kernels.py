"""The loops of ``render`` and ``view``, compiled. Numbers have the type of the rays unless stated otherwise.

Shapes: C cones, P parts, H and W rows and columns of the window, K pairs of a pixel and a cone that may cover it (cone
by cone, row by row), M pixels that show the person (row by row).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.synth.compiled import compiled

Array = npt.NDArray[Any]
Spans = npt.NDArray[np.int64]
MISSED_MM = 1e9
_PENALTY = 1e30
_LEAST = 1e-30  # Replaces zero under a square root whose result is then clamped to 1e-9
_MARGIN_PX = 1.0


@compiled
def _tangents(across: float, depth: float, radius: float) -> tuple[float, float]:
    """Return the bounds of a sphere in front of the camera's plane in one normalised coordinate."""
    square = depth * depth - radius * radius
    root = radius * np.sqrt(max(across * across + depth * depth - radius * radius, 0.0))
    return (across * depth - root) / square, (across * depth + root) / square


@compiled
def _bounded(value: float, bound: int) -> int:
    """Return ``value`` rounded up to a pixel within 0..bound; 0 for NaN."""
    up = np.ceil(value)
    return int(min(max(up, 0.0), float(bound))) if up == up else 0


@compiled
def _box(
    x: float, y: float, z: float, radius: float, matrix: Array, lens: Array, tangential: float, steps: Array,
    width: int, height: int, box: Spans,
) -> None:  # fmt: skip
    """Write the half-open pixel rectangle around a sphere's image into ``box``, x0 y0 x1 y1; the whole image if the
    camera's plane cuts the sphere."""
    if not z > radius:
        box[0], box[1], box[2], box[3] = 0, 0, width, height
        return
    x_low, x_high = _tangents(x, z, radius)
    y_low, y_high = _tangents(y, z, radius)
    distorted = len(steps) > 2
    k1, k2, p1, p2, k3 = lens[0], lens[1], lens[2], lens[3], lens[4]
    left, top, right, bottom = np.inf, np.inf, -np.inf, -np.inf
    for i in range(len(steps)):
        for j in range(len(steps)):
            across, down = x_low + steps[i] * (x_high - x_low), y_low + steps[j] * (y_high - y_low)
            if distorted:
                r2 = across * across + down * down
                radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)) + tangential * (p2 * across + p1 * down)
                across, down = across * radial + p2 * r2, down * radial + p1 * r2
            column = across * matrix[0, 0] + down * matrix[0, 1] + matrix[0, 2]
            row = across * matrix[1, 0] + down * matrix[1, 1] + matrix[1, 2]
            left, right = column if column < left else left, column if column > right else right
            top, bottom = row if row < top else top, row if row > bottom else bottom
    x_margin, y_margin = _MARGIN_PX, _MARGIN_PX
    if distorted:
        x_margin, y_margin = _MARGIN_PX + 0.05 * (right - left), _MARGIN_PX + 0.05 * (bottom - top)
    box[0], box[2] = _bounded(left - x_margin, width), _bounded(right + x_margin + 1, width)
    box[1], box[3] = _bounded(top - y_margin, height), _bounded(bottom + y_margin + 1, height)


@compiled
def spans(
    cones: Array, radii: Array, matrix: Array, lens: Array, tangential: float, steps: Array, shares: Array,
    width: int, height: int,
) -> tuple[Spans, Spans, Spans]:  # fmt: skip
    """Return (4,) window, and (C, H) first and past-last columns, as ``view.spans_px`` explains. float64.

    ``steps``: where a sphere's bounds are projected, 0..1; more than two = through the lens. ``shares``: where along
    a cone its spheres are, 0..1.
    """
    count, pieces = len(cones), len(shares) - 1
    boxes = np.empty((count, pieces, 4), np.int64)
    used = np.zeros((count, pieces), np.bool_)
    box = np.empty((2, 4), np.int64)
    window = np.array([width, height, 0, 0])
    for cone in range(count):
        a, b = cones[cone, 0], cones[cone, 1]
        radius_a, radius_b = radii[cone, 0], radii[cone, 1]
        behind = -max(radius_a, radius_b)
        before = 0.0
        for end in range(pieces + 1):
            share = shares[end]
            rest = 1 - share
            z = a[2] * rest + b[2] * share
            _box(
                a[0] * rest + b[0] * share, a[1] * rest + b[1] * share, z, radius_a * rest + radius_b * share,
                matrix, lens, tangential, steps, width, height, box[end % 2],
            )  # fmt: skip
            if end > 0:
                own = boxes[cone, end - 1]
                own[0], own[1] = min(box[0, 0], box[1, 0]), min(box[0, 1], box[1, 1])
                own[2], own[3] = max(box[0, 2], box[1, 2]), max(box[0, 3], box[1, 3])
                if max(before, z) > behind and own[2] > own[0] and own[3] > own[1]:
                    used[cone, end - 1] = True
                    window[0], window[1] = min(window[0], own[0]), min(window[1], own[1])
                    window[2], window[3] = max(window[2], own[2]), max(window[3], own[3])
            before = z
    if window[2] == 0:
        window[:] = 0
    x0, y0, x1, y1 = window[0], window[1], window[2], window[3]
    start, stop = np.full((count, y1 - y0), x1 - x0), np.zeros((count, y1 - y0), np.int64)
    for cone in range(count):
        for piece in range(pieces):
            if used[cone, piece]:
                own = boxes[cone, piece]
                for row in range(own[1] - y0, own[3] - y0):
                    start[cone, row] = min(start[cone, row], own[0] - x0)
                    stop[cone, row] = max(stop[cone, row], own[2] - x0)
        for row in range(y1 - y0):
            if stop[cone, row] == 0:
                start[cone, row] = 0
    return window, start, stop


@compiled
def straight_rays(matrix: Array, x0: int, y0: int, x1: int, y1: int) -> npt.NDArray[np.float32]:
    """Return (2, H, W) x and y of the rays through a window's pixels; ``matrix`` (2, 3) float64 without skew."""
    rays = np.empty((2, y1 - y0, x1 - x0), np.float32)
    inverse_x, inverse_y = 1 / matrix[0, 0], 1 / matrix[1, 1]
    for row in range(y0, y1):
        xs, ys = rays[0, row - y0], rays[1, row - y0]
        y = np.float32((row - matrix[1, 2]) * inverse_y)
        for column in range(x0, x1):
            xs[column - x0] = (column - matrix[0, 2]) * inverse_x
            ys[column - x0] = y
    return rays


@compiled
def _before_roots(
    rx: float, ry: float, rz: float, ax: float, ay: float, az: float, bx: float, by: float, bz: float,
    mx: float, my: float, mz: float, m0: float, d2: float, tip: float, square_a: float, square_b: float, two: float,
) -> tuple[float, float, float, float, float, float, float, float, float, float]:  # fmt: skip
    """Compute ``render_torch.intersect`` up to its square roots: their arguments (side, cap a, cap b), and the terms
    needed afterwards."""
    start = mx * rx + my * ry + mz * rz
    ox, oy, oz = rx * start - ax, ry * start - ay, rz * start - az
    m1 = bx * ox + by * oy + bz * oz
    m2 = bx * rx + by * ry + bz * rz
    m3 = rx * ox + ry * oy + rz * oz
    m5 = ox * ox + oy * oy + oz * oz
    foot = tip - m1
    k2 = d2 - m2 * m2
    k1 = d2 * m3 + m2 * foot
    k0 = d2 * (m5 - square_a) - foot * foot
    m6 = m3 - m2
    m7 = m5 - two * m1 + m0
    return (k1 * k1 - k0 * k2, m3 * m3 - m5 + square_a, m6 * m6 - m7 + square_b, k1, k2, m2, m3, m6, foot, start)


@compiled
def meet(cones: Array, radii: Array, xy: Array, start: Spans, stop: Spans) -> tuple[Array, Array, Array]:
    """Return unit rays (3, H, W) of ``xy`` (2, H, W); cones as a table (C, 14) of a, b - a, middle and the terms that
    ``_before_roots`` names; and (3, K) the arguments of the square roots, 1 where not positive: torch's square root,
    which ``render`` takes, is forty times slower at zero."""
    height, width = xy.shape[1:]
    one, zero, two = xy.dtype.type(1), xy.dtype.type(0), xy.dtype.type(2)
    half = one / two
    rays = np.empty((3, height, width), xy.dtype)
    for row in range(height):
        xs, ys, rx, ry, rz = xy[0, row], xy[1, row], rays[0, row], rays[1, row], rays[2, row]
        for i in range(width):
            inverse = one / np.sqrt(xs[i] * xs[i] + ys[i] * ys[i] + one)
            rx[i], ry[i], rz[i] = xs[i] * inverse, ys[i] * inverse, inverse
    table = np.empty((len(cones), 14), xy.dtype)
    ends = np.empty(2, xy.dtype)
    for cone in range(len(cones)):
        of = table[cone]
        for axis in range(3):
            of[axis], of[3 + axis] = cones[cone, 0, axis], cones[cone, 1, axis]
            of[3 + axis] -= of[axis]
            of[6 + axis] = of[axis] + half * of[3 + axis]
        ends[0], ends[1] = radii[cone, 0], radii[cone, 1]
        taper = ends[0] - ends[1]
        of[9] = of[3] * of[3] + of[4] * of[4] + of[5] * of[5]
        of[10] = of[9] - taper * taper
        of[11], of[12], of[13] = taper * ends[0], ends[0] * ends[0], ends[1] * ends[1]
    squares = np.empty((3, (stop - start).sum()), xy.dtype)
    first = 0
    for cone in range(len(cones)):
        (ax, ay, az, bx, by, bz, mx, my, mz, m0, d2, tip, square_a, square_b) = (
            table[cone, 0], table[cone, 1], table[cone, 2], table[cone, 3], table[cone, 4], table[cone, 5],
            table[cone, 6], table[cone, 7], table[cone, 8], table[cone, 9], table[cone, 10], table[cone, 11],
            table[cone, 12], table[cone, 13],
        )  # fmt: skip
        for row in range(height):
            low, length = start[cone, row], stop[cone, row] - start[cone, row]
            if length > 0:
                rx, ry, rz = rays[0, row, low:], rays[1, row, low:], rays[2, row, low:]
                side, cap_a, cap_b = squares[0, first:], squares[1, first:], squares[2, first:]
                for i in range(length):
                    found = _before_roots(
                        rx[i], ry[i], rz[i], ax, ay, az, bx, by, bz, mx, my, mz, m0, d2, tip, square_a, square_b, two
                    )
                    side[i] = found[0] if found[0] > zero else one
                    cap_a[i] = found[1] if found[1] > zero else one
                    cap_b[i] = found[2] if found[2] > zero else one
                first += length
    return rays, table, squares


@compiled
def nearest(
    rays: Array, table: Array, roots: Array, start: Spans, stop: Spans
) -> tuple[Array, Array, npt.NDArray[np.int16]]:
    """Return per pixel of the window the depth in mm (``MISSED_MM`` = missed), the place along the nearest cone (not
    yet divided by its length), and that cone (the earlier one if two are equally near; -1 = none)."""
    height, width = rays.shape[1:]
    zero, two, penalty = rays.dtype.type(0), rays.dtype.type(2), rays.dtype.type(_PENALTY)
    depths = np.full((height, width), rays.dtype.type(MISSED_MM))
    reaches = np.empty((height, width), rays.dtype)
    winners = np.full((height, width), np.int16(-1))
    first = 0
    for cone in range(len(table)):
        index = np.int16(cone)
        (ax, ay, az, bx, by, bz, mx, my, mz, m0, d2, tip, square_a, square_b) = (
            table[cone, 0], table[cone, 1], table[cone, 2], table[cone, 3], table[cone, 4], table[cone, 5],
            table[cone, 6], table[cone, 7], table[cone, 8], table[cone, 9], table[cone, 10], table[cone, 11],
            table[cone, 12], table[cone, 13],
        )  # fmt: skip
        for row in range(height):
            low, length = start[cone, row], stop[cone, row] - start[cone, row]
            if length > 0:
                rx, ry, rz = rays[0, row, low:], rays[1, row, low:], rays[2, row, low:]
                side_root, a_root, b_root = roots[0, first:], roots[1, first:], roots[2, first:]
                depth, reach, winner = depths[row, low:], reaches[row, low:], winners[row, low:]
                for i in range(length):
                    h, from_a, from_b, k1, k2, m2, m3, m6, foot, begin = _before_roots(
                        rx[i], ry[i], rz[i], ax, ay, az, bx, by, bz, mx, my, mz, m0, d2, tip, square_a, square_b, two
                    )
                    side = (-(side_root[i] if h > zero else zero) - k1) / k2
                    up = side * m2 - foot
                    side += penalty * (max(-h, zero) + max(-up, zero) + max(up - d2, zero))
                    cap_a = penalty * max(-from_a, zero) - m3 - (a_root[i] if from_a > zero else zero)
                    cap_b = penalty * max(-from_b, zero) - m6 - (b_root[i] if from_b > zero else zero)
                    along = cap_a if cap_a < cap_b else cap_b
                    along = side if side < along else along
                    z = (along + begin) * rz[i]
                    z += penalty * max(-z, zero)
                    nearer = z < depth[i]
                    depth[i] = z if nearer else depth[i]
                    reach[i] = along * m2 - foot if nearer else reach[i]
                    winner[i] = index if nearer else winner[i]
                first += length
    return depths, reaches, winners


@compiled
def surface(
    xy: Array, depths: Array, reaches: Array, winners: npt.NDArray[np.int16], table: Array, cone_part: Spans,
    axes: Array,
) -> tuple[Spans, Array, Array]:  # fmt: skip
    """Return, for the pixels that show the person, (M,) their index in the window; (7, M) the place along the part's
    bone, the vector from the bone to the surface and the one from the cone's axis to it, mm; (2, M) the squared lengths
    of the two vectors."""
    height, width = winners.shape
    zero, one = xy.dtype.type(0), xy.dtype.type(1)
    least, short = xy.dtype.type(_LEAST), xy.dtype.type(1e-6)
    bones = np.empty((len(axes), 7), xy.dtype)
    for part in range(len(axes)):
        of = bones[part]
        for axis in range(3):
            of[axis], of[3 + axis] = axes[part, 0, axis], axes[part, 1, axis]
            of[3 + axis] -= of[axis]
        of[6] = of[3] * of[3] + of[4] * of[4] + of[5] * of[5]
    count = (winners >= 0).sum()
    pixels = np.empty(count, np.int64)
    found = np.empty((7, count), xy.dtype)
    squares = np.empty((2, count), xy.dtype)
    place = 0
    for row in range(height):
        for column in range(width):
            cone = winners[row, column]
            if cone >= 0:
                z = depths[row, column]
                x, y = xy[0, row, column] * z, xy[1, row, column] * z
                bone, of = bones[cone_part[cone]], table[cone]
                px, py, pz = x - bone[0], y - bone[1], z - bone[2]
                along = (px * bone[3] + py * bone[4] + pz * bone[5]) / bone[6]
                along = zero if along < zero else (one if along > one else along)
                px, py, pz = px - bone[3] * along, py - bone[4] * along, pz - bone[5] * along
                share = reaches[row, column] / max(of[10], short)
                share = zero if share < zero else (one if share > one else share)
                nx, ny, nz = (
                    x - (of[0] + share * of[3]), y - (of[1] + share * of[4]), z - (of[2] + share * of[5])
                )  # fmt: skip
                pixels[place] = row * width + column
                found[0, place] = along
                found[1, place], found[2, place], found[3, place] = px, py, pz
                found[4, place], found[5, place], found[6, place] = nx, ny, nz
                square = px * px + py * py + pz * pz
                squares[0, place] = square if square > zero else least
                square = nx * nx + ny * ny + nz * nz
                squares[1, place] = square if square > zero else least
                place += 1
    return pixels, found, squares


@compiled
def paint(
    pixels: Spans, found: Array, roots: Array, depths: Array, winners: npt.NDArray[np.int16], cone_part: Spans,
    front_axes: Array, left_axes: Array, depth: Array, part: npt.NDArray[np.uint8], along: Array, front: Array,
    left: Array, normal: Array,
) -> None:  # fmt: skip
    """Write the maps of ``render.RenderedFigure``, (H W,) and (H W, 3) or empty for none, at ``pixels``."""
    one, least = found.dtype.type(1), found.dtype.type(1e-9)
    sides = np.empty((len(front_axes), 6), found.dtype)
    for index in range(len(front_axes)):
        for axis in range(3):
            sides[index, axis], sides[index, 3 + axis] = front_axes[index, axis], left_axes[index, axis]
    of_pixel, cone_of = depths.ravel(), winners.ravel()
    for place in range(len(pixels)):
        pixel = pixels[place]
        index = cone_part[cone_of[pixel]]
        own = sides[index]
        px, py, pz = found[1, place], found[2, place], found[3, place]
        length = max(roots[0, place], least)
        ahead = (px * own[0] + py * own[1] + pz * own[2]) / length
        aside = (px * own[3] + py * own[4] + pz * own[5]) / length
        depth[pixel], part[pixel], along[pixel] = of_pixel[pixel], index + 1, found[0, place]
        front[pixel] = -one if ahead < -one else (one if ahead > one else ahead)
        left[pixel] = -one if aside < -one else (one if aside > one else aside)
    if len(normal):
        for place in range(len(pixels)):
            pixel = pixels[place]
            scale = one / max(roots[1, place], least)
            for axis in range(3):
                normal[pixel, axis] = found[4 + axis, place] * scale
