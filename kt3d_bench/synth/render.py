"""Exact images of round cones: one intersection function, a sparse full-frame path and a dense path for equal crops.

A round cone is the convex hull of two spheres. The ray formula follows Quilez, "Intersectors" (iquilezles.org, rounded
cone), with the ray's origin first moved next to the cone so that float32 keeps micrometres.
Shapes: N figures, H and W image rows and columns, C cones, P parts, K ray-cone pairs.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kt3d_bench.records import Camera
from kt3d_bench.synth import sparse
from kt3d_bench.synth.body import CONE_PART, Figures
from kt3d_bench.synth.rays import Window, camera_rays, spans_px

Float32 = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]
Vector = tuple[Tensor, Tensor, Tensor]
MISSED_MM = 1e9
_PENALTY = 1e30
_CACHED_PAIRS = 16384


def _dot(a: Vector, b: Vector) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _minus(a: Vector, b: Vector) -> Vector:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def intersect(x: Tensor, y: Tensor, a: Vector, b: Vector, radius_a: Tensor, radius_b: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays (x, y, 1) from the camera centre first meet round cones; any shapes that broadcast together.

    ``a``, ``b``: sphere centres, mm, camera frame; neither sphere may hold the other unless they are equal. Returns
    z-depth in mm (``MISSED_MM`` and more = missed) and where on the cone: 0 on sphere a, 1 on sphere b, between on the
    side. Only arithmetic on single components is used, so the result of a pair does not depend on what else is in the
    batch; misses are pushed far away by a penalty, because selecting is many times slower than adding on a CPU.
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


@dataclass(frozen=True, eq=False)
class RenderedFigure:
    """One person in one camera's full image. Maps are made on demand from the window the person covers."""

    size_px: tuple[int, int]
    window_px: Window
    """x0, y0, x1, y1: the person lies inside (half-open); equal bounds = not in the image."""
    maps: dict[str, npt.NDArray[Any]]
    """Window-sized arrays by name."""

    def _full(self, name: str) -> npt.NDArray[Any]:
        part = self.maps[name]
        x0, y0, x1, y1 = self.window_px
        image = np.zeros((self.size_px[1], self.size_px[0], *part.shape[2:]), part.dtype)
        image[y0:y1, x0:x1] = part
        return image

    @functools.cached_property
    def depth_mm(self) -> Float32:
        """(H, W) float32 z-depth; 0 = nothing there."""
        return self._full("depth_mm")

    @functools.cached_property
    def part(self) -> npt.NDArray[np.uint8]:
        """(H, W) uint8, index into ``PARTS`` + 1; 0 = background."""
        return self._full("part")

    @functools.cached_property
    def along(self) -> Float32:
        """(H, W) float32 0..1 along the part's bone."""
        return self._full("along")

    @functools.cached_property
    def front(self) -> Float32:
        """(H, W) float32 -1..1: cosine between the part's own front and the direction from its axis to the surface."""
        return self._full("front")

    @functools.cached_property
    def left(self) -> Float32:
        """(H, W) float32 -1..1: the same with the part's own left (the person's left for limbs too)."""
        return self._full("left")

    @functools.cached_property
    def normal_cam(self) -> Float32:
        """(H, W, 3) float32 unit surface normal in the camera frame; zero on the background."""
        return self._full("normal_cam")


@dataclass(frozen=True, eq=False)
class Render:
    """What ``render`` returns: a sequence of ``RenderedFigure``, with per-figure lists of maps beside it."""

    figures: tuple[RenderedFigure, ...]

    def __len__(self) -> int:
        return len(self.figures)

    def __getitem__(self, index: int) -> RenderedFigure:
        return self.figures[index]

    def __iter__(self) -> Iterator[RenderedFigure]:
        return iter(self.figures)

    @property
    def depth_mm(self) -> list[Float32]:
        return [figure.depth_mm for figure in self.figures]

    @property
    def part(self) -> list[npt.NDArray[np.uint8]]:
        return [figure.part for figure in self.figures]

    @property
    def along(self) -> list[Float32]:
        return [figure.along for figure in self.figures]

    @property
    def front(self) -> list[Float32]:
        return [figure.front for figure in self.figures]

    @property
    def left(self) -> list[Float32]:
        return [figure.left for figure in self.figures]

    @property
    def normal_cam(self) -> list[Float32]:
        return [figure.normal_cam for figure in self.figures]


@dataclass(frozen=True, eq=False)
class _Posed:
    """Figures in their cameras' frames."""

    cones: npt.NDArray[np.float64]
    radii: npt.NDArray[np.float64]
    axes: npt.NDArray[np.float64]
    front: npt.NDArray[np.float64]
    left: npt.NDArray[np.float64]


def _in_cameras(figures: Figures, cameras: Sequence[Camera]) -> _Posed:
    if len(cameras) != len(figures):
        raise ValueError(f"{len(figures)} figures and {len(cameras)} cameras: one camera per figure is needed")
    rotation = np.stack([camera.rotation for camera in cameras])
    centre = np.stack([camera.position_world_mm for camera in cameras])[:, None, None]
    cones, radii = _without_nested_spheres(
        np.einsum("nij,ncej->ncei", rotation, figures.cones_world_mm - centre), figures.radii_mm
    )
    return _Posed(
        cones,
        radii,
        np.einsum("nij,ncej->ncei", rotation, figures.axes_world_mm - centre),
        np.einsum("nij,npj->npi", rotation, figures.front_world),
        np.einsum("nij,npj->npi", rotation, figures.left_world),
    )


def _without_nested_spheres(cones: Array, radii: Array) -> tuple[Array, Array]:
    """Where one sphere of a cone holds the other, both become the larger one: the same body."""
    length = np.linalg.norm(cones[..., 1, :] - cones[..., 0, :], axis=-1)
    nested = (length <= np.abs(radii[..., 1] - radii[..., 0]))[..., None]
    if not nested.any():
        return cones, radii
    larger = radii.argmax(axis=-1)[..., None]
    alone = np.take_along_axis(cones, larger[..., None], axis=-2)
    return (
        np.where(nested[..., None], alone, cones),
        np.where(nested, np.take_along_axis(radii, larger, axis=-1), radii),
    )


def _rows(table: Tensor, index: Tensor) -> tuple[Tensor, ...]:
    """Columns of the (M, ...) table's rows at ``index``, each (K,): single components are fast, rows are not."""
    return tuple(column.index_select(0, index) for column in table.reshape(len(table), -1).T.contiguous())


def _surface(
    x: Tensor, y: Tensor, depth: Tensor, share: Tensor, cone: Tensor, posed: dict[str, Tensor], normals: bool
) -> dict[str, Tensor]:
    """Maps for hit rays: all arguments (K,); ``posed`` holds flat per-cone and per-part tables."""
    hit = (x * depth, y * depth, depth)
    part = posed["part"].index_select(0, cone)
    sx, sy, sz, ex, ey, ez = _rows(posed["axes"], part)
    axis = (ex - sx, ey - sy, ez - sz)
    relative = _minus(hit, (sx, sy, sz))
    along = (_dot(relative, axis) / _dot(axis, axis)).clamp(0.0, 1.0)
    out = _minus(relative, (axis[0] * along, axis[1] * along, axis[2] * along))
    length = torch.sqrt(_dot(out, out)).clamp(min=1e-9)
    fx, fy, fz = _rows(posed["front"], part)
    lx, ly, lz = _rows(posed["left"], part)
    maps = {
        "depth_mm": depth,
        "part": posed["part_id"].index_select(0, cone),
        "along": along,
        "front": (_dot(out, (fx, fy, fz)) / length).clamp(-1.0, 1.0),
        "left": (_dot(out, (lx, ly, lz)) / length).clamp(-1.0, 1.0),
    }
    if normals:
        ax, ay, az, bx, by, bz = _rows(posed["cones"], cone)
        normal = _minus(hit, (ax + share * (bx - ax), ay + share * (by - ay), az + share * (bz - az)))
        scale = 1.0 / torch.sqrt(_dot(normal, normal)).clamp(min=1e-9)
        maps["normal_cam"] = torch.stack([component * scale for component in normal], dim=-1)
    return maps


def _tables(posed: _Posed, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """Flat tables over figures x cones and figures x parts."""
    count, cones = posed.cones.shape[:2]
    parts = posed.axes.shape[1]

    def tensor(values: npt.NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values.reshape(-1, *values.shape[2:]))).to(device, dtype)

    part = torch.from_numpy(np.tile(CONE_PART, count)).to(device)
    base = torch.arange(count, device=device).repeat_interleave(cones) * parts
    return {
        "cones": tensor(posed.cones), "radii": tensor(posed.radii), "axes": tensor(posed.axes),
        "front": tensor(posed.front), "left": tensor(posed.left), "part": part + base,
        "part_id": (part + 1).to(torch.uint8),
    }  # fmt: skip


def render(
    figures: Figures,
    cameras: Sequence[Camera],
    *,
    device: str | torch.device = "cpu",
    normals: bool = True,
    dtype: torch.dtype = torch.float32,
) -> Render:
    """One image per figure, each in its own camera: depth, part id, along, front, left and normals, full frame.

    Rays go through the centres of the pixels with the lens distortion undone, so the images are exact. Only the
    rectangles that the cones cover are computed. See ``RenderedFigure`` for the maps.
    """
    posed = _in_cameras(figures, cameras)
    target = torch.device(device)
    if target.type == "cpu":
        return Render(tuple(_draw_here(posed, index, camera, normals, dtype) for index, camera in enumerate(cameras)))
    return Render(
        tuple(_render_one(posed, index, camera, target, normals, dtype) for index, camera in enumerate(cameras))
    )


def _draw_here(posed: _Posed, index: int, camera: Camera, normals: bool, dtype: torch.dtype) -> RenderedFigure:
    person = sparse.Person(
        posed.cones[index], posed.radii[index], posed.axes[index], posed.front[index], posed.left[index]
    )
    precise = np.float64 if dtype == torch.float64 else np.float32
    window, maps = sparse.draw(person, camera, normals=normals, dtype=precise)
    return RenderedFigure(camera.size_px, window, maps)


def _render_one(
    posed: _Posed, index: int, camera: Camera, device: torch.device, normals: bool, dtype: torch.dtype
) -> RenderedFigure:
    rows = slice(index, index + 1)
    single = _Posed(posed.cones[rows], posed.radii[rows], posed.axes[rows], posed.front[rows], posed.left[rows])
    window, start, stop = spans_px(single.cones[0], single.radii[0], camera)
    width, height = window[2] - window[0], window[3] - window[1]
    lengths = stop - start
    if not lengths.any():
        return RenderedFigure(camera.size_px, (0, 0, 0, 0), sparse.blank(0, 0, normals))
    rays = torch.from_numpy(np.array(camera_rays(camera, window), order="C").reshape(-1, 2)).to(device, dtype)
    tables = _tables(single, device, dtype)

    first_pixel = (np.arange(height) * width + start).ravel()
    lengths = lengths.ravel()
    ends = np.cumsum(lengths)
    pixels = np.arange(ends[-1]) + np.repeat(first_pixel - (ends - lengths), lengths)
    per_cone = lengths.reshape(len(start), height).sum(axis=1)
    pixel = torch.from_numpy(pixels).to(device)
    cone = torch.repeat_interleave(torch.from_numpy(per_cone)).to(device)
    depth = torch.empty(len(pixels), dtype=dtype, device=device)
    share = torch.empty_like(depth)
    by_coordinate = torch.cat([tables["cones"].reshape(-1, 6), tables["radii"]], dim=1).T.contiguous()
    x_ray, y_ray = rays.T.contiguous()
    step = _CACHED_PAIRS if device.type == "cpu" else len(pixels)
    for low in range(0, len(pixels), step):
        some = slice(low, low + step)
        ax, ay, az, bx, by, bz, ra, rb = (values.index_select(0, cone[some]) for values in by_coordinate)
        depth[some], share[some] = intersect(
            x_ray.index_select(0, pixel[some]), y_ray.index_select(0, pixel[some]), (ax, ay, az), (bx, by, bz), ra, rb
        )

    pairs = _nearest_pairs(pixels, per_cone, depth.cpu().numpy(), width * height)
    hit = np.flatnonzero(pairs >= 0)
    chosen = torch.from_numpy(pairs[hit]).to(device)
    maps = sparse.blank(width, height, normals)
    where = pixel.index_select(0, chosen)
    found = _surface(
        x_ray.index_select(0, where), y_ray.index_select(0, where), depth.index_select(0, chosen),
        share.index_select(0, chosen), cone.index_select(0, chosen), tables, normals,
    )  # fmt: skip
    for name, values in found.items():
        maps[name].reshape(width * height, *values.shape[1:])[hit] = values.cpu().numpy()
    return RenderedFigure(camera.size_px, window, maps)


def _nearest_pairs(
    pixels: npt.NDArray[np.int64], per_cone: npt.NDArray[np.int64], depth: npt.NDArray[Any], count: int
) -> npt.NDArray[np.int64]:
    """(count,) the pair that is nearest in each pixel (the earlier cone where two are equal), -1 = none."""
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


def render_crops(
    figures: Figures,
    cameras: Sequence[Camera],
    size_px: tuple[int, int],
    *,
    device: str | torch.device = "cpu",
    normals: bool = True,
) -> dict[str, Tensor]:
    """Equal small images: the maps of ``render`` stacked to (N, H, W[, 3]) tensors on ``device``.

    Every camera's image has ``size_px`` (width, height). On the CPU this is ``render``; elsewhere ``render_dense``.
    """
    width, height = size_px
    if any(camera.size_px != (width, height) for camera in cameras):
        raise ValueError(f"every camera of a dense batch has the size {size_px}")
    if torch.device(device).type != "cpu":
        return render_dense(figures, cameras, device=device, normals=normals)
    images = render(figures, cameras, normals=normals)
    names = ("depth_mm", "part", "along", "front", "left", *(("normal_cam",) if normals else ()))
    return {name: torch.from_numpy(np.stack([getattr(image, name) for image in images])) for name in names}


def render_dense(
    figures: Figures, cameras: Sequence[Camera], *, device: str | torch.device = "cpu", normals: bool = True
) -> dict[str, Tensor]:
    """Every pixel of N equal images against every cone, all figures at once: made for a GPU.

    Same intersection as ``render``; in torch the same values, by Triton (where it is installed, on CUDA) the same to a
    hundredth of a millimetre.
    """
    maps = dense_maps(figures, cameras, device=device, normals=normals)
    return {name: maps.full(name) for name in maps.values}


@dataclass(frozen=True, eq=False)
class DenseMaps:
    """The K pixels of N equal images (H, W) that show a person, and their maps."""

    shape: tuple[int, int, int]
    """N, H, W"""
    pixel: Tensor
    """(K,) index into the N H W pixels, ascending"""
    figure: Tensor
    """(K,) 0..N-1"""
    values: dict[str, Tensor]
    """Name -> (K,) or (K, 3)"""

    def full(self, name: str) -> Tensor:
        """(N, H, W) or (N, H, W, 3), zero where nobody is."""
        values = self.values[name]
        count, rows, columns = self.shape
        image = values.new_zeros((count * rows * columns, *values.shape[1:]))
        image.index_copy_(0, self.pixel, values)
        return image.view(*self.shape, *values.shape[1:])


def dense_maps(
    figures: Figures, cameras: Sequence[Camera], *, device: str | torch.device = "cpu", normals: bool = True
) -> DenseMaps:
    """``render_dense``, of the pixels that show somebody only. What is left to the CPU grows with the number of
    figures, not of pixels, unless a lens is distorted."""
    width, height = cameras[0].size_px
    target = torch.device(device)
    posed = _in_cameras(figures, cameras)
    tables = _tables(posed, target, torch.float32)
    count, cones = posed.cones.shape[:2]
    x, y = _dense_rays(cameras, target)
    by_cone = torch.cat([tables["cones"].reshape(count, cones, 6), tables["radii"].reshape(count, cones, 2)], dim=2)
    first_hits = _first_hits
    if target.type == "cuda" and _has_triton():
        from kt3d_bench.synth.dense_triton import first_hits
    depth, share, winner = (values.reshape(-1) for values in first_hits(x, y, by_cone))
    pixel = (winner >= 0).nonzero()[:, 0]
    figure = pixel // (height * width)
    cone = winner[pixel] + figure * cones
    x, y = (rays.expand(count, height, width)[*_unravelled(pixel, height, width)] for rays in (x, y))
    maps = _surface(x, y, depth[pixel], share[pixel], cone, tables, normals)
    return DenseMaps((count, height, width), pixel, figure, maps)


def _unravelled(pixel: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    place = pixel % (height * width)
    return pixel // (height * width), place // width, place % width


@functools.cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def _dense_rays(cameras: Sequence[Camera], device: torch.device) -> tuple[Tensor, Tensor]:
    """(N, H, W) x and y of the rays, expanded views where lenses are straight."""
    width, height = cameras[0].size_px
    matrix = np.stack([camera.intrinsics_px for camera in cameras])
    skewed = matrix[:, 0, 1].any() or matrix[:, 1, 0].any()
    if skewed or any(camera.distortion.any() for camera in cameras):
        rays = torch.from_numpy(np.stack([camera_rays(camera) for camera in cameras])).to(device)
        return rays[..., 0], rays[..., 1]
    columns, rows = np.arange(width), np.arange(height)
    inverse = np.linalg.inv(matrix[:, :, :2])
    x = ((columns - matrix[:, :1, 2]) * inverse[:, 0, :1]).astype(np.float32)
    y = ((rows - matrix[:, 1:, 2]) * inverse[:, 1, 1:]).astype(np.float32)
    shape = (len(cameras), height, width)
    return (
        torch.from_numpy(x).to(device)[:, None, :].expand(shape),
        torch.from_numpy(y).to(device)[:, :, None].expand(shape),
    )


def _first_hits(x: Tensor, y: Tensor, cones: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(N, H, W) rays and (N, C, 8) cones -> (N, H, W) depth (0 = nothing there), place on the cone, cone or -1."""
    nearest = torch.full(x.shape, MISSED_MM, device=x.device)
    shares = torch.zeros_like(nearest)
    winner = torch.full(x.shape, -1, dtype=torch.int32, device=x.device)
    for index in range(cones.shape[1]):
        ax, ay, az, bx, by, bz, radius_a, radius_b = cones[:, index, :, None, None].unbind(1)
        depth, share = intersect(x, y, (ax, ay, az), (bx, by, bz), radius_a, radius_b)
        nearer = depth < nearest
        nearest = torch.where(nearer, depth, nearest)
        shares = torch.where(nearer, share, shares)
        winner = torch.where(nearer, index, winner)
    return torch.where(winner >= 0, nearest, torch.zeros_like(nearest)), shares, winner
