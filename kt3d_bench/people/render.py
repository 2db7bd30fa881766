"""Exact images of round cones: one intersection function, a sparse full-frame path and a dense path for equal crops.

A round cone is the convex hull of two spheres. The ray formula follows Quilez, "Intersectors" (iquilezles.org, rounded
cone), with the ray's origin first moved next to the cone so that float32 keeps micrometres.
Shapes: N figures, H and W image rows and columns, C cones, P parts, K ray-cone pairs.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kt3d_bench.geometry.cameras import distort, undistort
from kt3d_bench.people.body import CONE_PART, Figures
from kt3d_bench.records import Camera

Float32 = npt.NDArray[np.float32]
Window = tuple[int, int, int, int]
Vector = tuple[Tensor, Tensor, Tensor]
_FAR = float("inf")
_MARGIN_PX = 1.0


def _dot(a: Vector, b: Vector) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _minus(a: Vector, b: Vector) -> Vector:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def intersect(x: Tensor, y: Tensor, a: Vector, b: Vector, radius_a: Tensor, radius_b: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays (x, y, 1) from the camera centre first meet round cones, everything broadcasting together.

    ``a``, ``b``: sphere centres, mm, camera frame. Returns z-depth in mm (infinite = missed) and where on the cone:
    0 on sphere a, 1 on sphere b, between on the side. Only arithmetic on single components is used, so the result of a
    pair does not depend on what else is in the batch.
    """
    inverse = 1.0 / torch.sqrt(x * x + y * y + 1.0)
    ray = (x * inverse, y * inverse, inverse)
    middle = (0.5 * (a[0] + b[0]), 0.5 * (a[1] + b[1]), 0.5 * (a[2] + b[2]))
    start = _dot(middle, ray)
    origin = (ray[0] * start, ray[1] * start, ray[2] * start)
    ba, oa, ob = _minus(b, a), _minus(origin, a), _minus(origin, b)
    taper = radius_a - radius_b
    m0, m1, m2, m3 = _dot(ba, ba), _dot(ba, oa), _dot(ba, ray), _dot(ray, oa)
    m5, m6, m7 = _dot(oa, oa), _dot(ob, ray), _dot(ob, ob)
    d2 = m0 - taper * taper
    k2 = d2 - m2 * m2
    k1 = d2 * m3 - m1 * m2 + m2 * taper * radius_a
    k0 = d2 * m5 - m1 * m1 + m1 * taper * radius_a * 2.0 - m0 * radius_a * radius_a
    h = k1 * k1 - k0 * k2
    side = (-torch.sqrt(h) - k1) / k2
    height = m1 - radius_a * taper + side * m2
    on_side = (h >= 0) & (d2 > 0) & (height > 0) & (height < d2)
    cap_a = -m3 - torch.sqrt(m3 * m3 - m5 + radius_a * radius_a)
    cap_b = -m6 - torch.sqrt(m6 * m6 - m7 + radius_b * radius_b)
    cap_a = torch.nan_to_num(cap_a, nan=_FAR)
    cap_b = torch.nan_to_num(cap_b, nan=_FAR)
    nearest = torch.where(on_side, side, torch.minimum(cap_a, cap_b))
    share = torch.where(on_side, height / d2, (cap_b < cap_a).to(height.dtype))
    depth = (nearest + start) * inverse
    return torch.where(depth > 0, depth, torch.full_like(depth, _FAR)), share


@dataclass(frozen=True, eq=False)
class RenderedFigure:
    """One person in one camera's full image. Maps are made on demand from the window the person covers."""

    size_px: tuple[int, int]
    window_px: Window
    """x0, y0, x1, y1: the person lies inside (half-open); equal bounds = not in the image."""
    maps: dict[str, npt.NDArray[np.generic]]
    """Window-sized arrays by name."""

    def _full(self, name: str) -> npt.NDArray[np.generic]:
        part = self.maps[name]
        x0, y0, x1, y1 = self.window_px
        image = np.zeros((self.size_px[1], self.size_px[0], *part.shape[2:]), part.dtype)
        image[y0:y1, x0:x1] = part
        return image

    @functools.cached_property
    def depth_mm(self) -> Float32:
        """(H, W) float32 z-depth; 0 = nothing there."""
        return self._full("depth_mm")  # type: ignore[return-value]

    @functools.cached_property
    def part(self) -> npt.NDArray[np.uint8]:
        """(H, W) uint8, index into ``PARTS`` + 1; 0 = background."""
        return self._full("part")  # type: ignore[return-value]

    @functools.cached_property
    def along(self) -> Float32:
        """(H, W) float32 0..1 along the part's bone."""
        return self._full("along")  # type: ignore[return-value]

    @functools.cached_property
    def front(self) -> Float32:
        """(H, W) float32 -1..1: cosine between the part's own front and the direction from its axis to the surface."""
        return self._full("front")  # type: ignore[return-value]

    @functools.cached_property
    def left(self) -> Float32:
        """(H, W) float32 -1..1: the same with the part's own left (the person's left for limbs too)."""
        return self._full("left")  # type: ignore[return-value]

    @functools.cached_property
    def normal_cam(self) -> Float32:
        """(H, W, 3) float32 unit surface normal in the camera frame; zero on the background."""
        return self._full("normal_cam")  # type: ignore[return-value]


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


@functools.lru_cache(maxsize=16)
def _distorted_rays(key: tuple[bytes, bytes, float, tuple[int, int]]) -> Float32:
    intrinsics, distortion, tangential_factor, size = key
    matrix = np.frombuffer(intrinsics).reshape(2, 3)
    xy = _ideal(matrix, (0, 0, *size))
    rays: Float32 = undistort(xy, np.frombuffer(distortion), tangential_factor).astype(np.float32)
    rays.setflags(write=False)
    return rays


def _ideal(matrix: npt.NDArray[np.float64], window: Window) -> npt.NDArray[np.float64]:
    x0, y0, x1, y1 = window
    pixels = np.stack(np.meshgrid(np.arange(x0, x1), np.arange(y0, y1)), axis=-1) - matrix[:, 2]
    rays: npt.NDArray[np.float64] = pixels @ np.linalg.inv(matrix[:, :2]).T
    return rays


def camera_rays(camera: Camera, window_px: Window | None = None) -> Float32:
    """(H, W, 2) float32 x, y of the rays (x, y, 1) through the centres of the window's pixels, distortion undone.

    NaN where the distortion has no inverse. Full-frame tables of distorted cameras are kept for the next call.
    """
    x0, y0, x1, y1 = window_px or (0, 0, *camera.size_px)
    if camera.distortion.any():
        key = (camera.intrinsics_px.tobytes(), camera.distortion.tobytes(), camera.tangential_factor, camera.size_px)
        return _distorted_rays(key)[y0:y1, x0:x1]
    return _ideal(camera.intrinsics_px, (x0, y0, x1, y1)).astype(np.float32)


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
    return _Posed(
        np.einsum("nij,ncej->ncei", rotation, figures.cones_world_mm - centre),
        figures.radii_mm,
        np.einsum("nij,ncej->ncei", rotation, figures.axes_world_mm - centre),
        np.einsum("nij,npj->npi", rotation, figures.front_world),
        np.einsum("nij,npj->npi", rotation, figures.left_world),
    )


def _tangents(
    across: npt.NDArray[np.float64], depth: npt.NDArray[np.float64], radius: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Bounds of spheres in one normalised coordinate; infinite when the camera's plane cuts the sphere."""
    ahead = depth > radius
    square = np.where(ahead, depth**2 - radius**2, 1.0)
    root = radius * np.sqrt(np.maximum(across**2 + depth**2 - radius**2, 0))
    low = (across * depth - root) / square
    high = (across * depth + root) / square
    return np.where(ahead, low, -np.inf), np.where(ahead, high, np.inf)


def _boxes_px(cones: npt.NDArray[np.float64], radii: npt.NDArray[np.float64], camera: Camera) -> npt.NDArray[np.int64]:
    """(C, 4) half-open pixel rectangles that hold each cone's image."""
    width, height = camera.size_px
    x_low, x_high = _tangents(cones[..., 0], cones[..., 2], radii)
    y_low, y_high = _tangents(cones[..., 1], cones[..., 2], radii)
    low = np.stack([x_low.min(1), y_low.min(1)], axis=-1)
    high = np.stack([x_high.max(1), y_high.max(1)], axis=-1)
    behind = (cones[..., 2] + radii).max(1) <= 0
    everywhere = ~np.isfinite(low).all(-1) | ~np.isfinite(high).all(-1)
    steps = np.linspace(0, 1, 5 if camera.distortion.any() else 2)
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    with np.errstate(invalid="ignore"):
        points = low[:, None] + grid * (high - low)[:, None]
        margin = _MARGIN_PX
        if camera.distortion.any():
            points = distort(points, camera.distortion, camera.tangential_factor)
            margin += 2.0
        pixels = points @ camera.intrinsics_px[:, :2].T + camera.intrinsics_px[:, 2]
        start = np.floor(pixels.min(1) - margin)
        stop = np.ceil(pixels.max(1) + margin) + 1
    boxes = np.concatenate([start, stop], axis=1)
    boxes[everywhere] = (0, 0, width, height)
    boxes = np.clip(np.nan_to_num(boxes), 0, [width, height, width, height]).astype(np.int64)
    boxes[behind | (boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1])] = 0
    return boxes


def _vector(values: Tensor) -> Vector:
    return values[..., 0], values[..., 1], values[..., 2]


def _surface(
    rays: Tensor, depth: Tensor, share: Tensor, cone: Tensor, posed: dict[str, Tensor], normals: bool
) -> dict[str, Tensor]:
    """Maps for hit rays: all arguments (K,) or (K, 2); ``posed`` holds flat per-cone and per-part tables."""
    hit = torch.stack([rays[:, 0] * depth, rays[:, 1] * depth, depth], dim=-1)
    part = posed["part"][cone]
    ends = posed["axes"][part]
    axis = ends[:, 1] - ends[:, 0]
    relative = hit - ends[:, 0]
    along = ((relative * axis).sum(-1) / (axis * axis).sum(-1)).clamp(0, 1)
    outward = torch.nn.functional.normalize(relative - along[:, None] * axis, dim=-1)
    maps = {
        "depth_mm": depth,
        "part": posed["part_id"][cone],
        "along": along,
        "front": (outward * posed["front"][part]).sum(-1).clamp(-1, 1),
        "left": (outward * posed["left"][part]).sum(-1).clamp(-1, 1),
    }
    if normals:
        a, b = posed["cones"][cone, 0], posed["cones"][cone, 1]
        maps["normal_cam"] = torch.nn.functional.normalize(hit - a - share[:, None] * (b - a), dim=-1)
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
    return Render(
        tuple(_render_one(posed, index, camera, target, normals, dtype) for index, camera in enumerate(cameras))
    )


def _render_one(
    posed: _Posed, index: int, camera: Camera, device: torch.device, normals: bool, dtype: torch.dtype
) -> RenderedFigure:
    rows = slice(index, index + 1)
    single = _Posed(posed.cones[rows], posed.radii[rows], posed.axes[rows], posed.front[rows], posed.left[rows])
    boxes = _boxes_px(single.cones[0], single.radii[0], camera)
    names = {"depth_mm": (np.float32, 0), "part": (np.uint8, 0), "along": (np.float32, 0), "front": (np.float32, 0),
             "left": (np.float32, 0)}  # fmt: skip
    if normals:
        names["normal_cam"] = (np.float32, 3)
    used = boxes[:, 2] > boxes[:, 0]
    if not used.any():
        empty = {name: np.zeros((0, 0, *((3,) if depth else ())), kind) for name, (kind, depth) in names.items()}
        return RenderedFigure(camera.size_px, (0, 0, 0, 0), empty)
    x0, y0 = boxes[used, :2].min(0)
    x1, y1 = boxes[used, 2:].max(0)
    window = (int(x0), int(y0), int(x1), int(y1))
    width, height = window[2] - window[0], window[3] - window[1]
    rays = torch.from_numpy(np.ascontiguousarray(camera_rays(camera, window)).reshape(-1, 2)).to(device, dtype)
    tables = _tables(single, device, dtype)

    pixel_lists, cone_ids, counts = [], [], []
    grid = np.arange(width * height).reshape(height, width)
    for cone in np.flatnonzero(used):
        bx0, by0, bx1, by1 = boxes[cone] - (window[0], window[1], window[0], window[1])
        pixels = grid[by0:by1, bx0:bx1].ravel()
        pixel_lists.append(pixels)
        cone_ids.append(cone)
        counts.append(len(pixels))
    pixel = torch.from_numpy(np.concatenate(pixel_lists)).to(device)
    cone = torch.repeat_interleave(torch.tensor(np.array(cone_ids)), torch.tensor(counts)).to(device)
    x, y = rays[pixel, 0], rays[pixel, 1]
    ends = tables["cones"]
    depth, share = intersect(
        x, y,
        (ends[:, 0, 0][cone], ends[:, 0, 1][cone], ends[:, 0, 2][cone]),
        (ends[:, 1, 0][cone], ends[:, 1, 1][cone], ends[:, 1, 2][cone]),
        tables["radii"][:, 0][cone], tables["radii"][:, 1][cone],
    )  # fmt: skip
    nearest = torch.full((width * height,), _FAR, device=device, dtype=dtype)
    nearest.scatter_reduce_(0, pixel, depth, "amin")
    wins = torch.isfinite(depth) & (depth == nearest[pixel])
    pixel, cone, depth, share = pixel[wins], cone[wins], depth[wins], share[wins]
    first = torch.full((width * height,), len(CONE_PART), device=device, dtype=torch.int64)
    first.scatter_reduce_(0, pixel, cone, "amin")
    wins = cone == first[pixel]
    pixel, cone, depth, share = pixel[wins], cone[wins], depth[wins], share[wins]
    maps = {}
    for name, values in _surface(rays[pixel], depth, share, cone, tables, normals).items():
        kind, channels = names[name]
        flat = np.zeros((width * height, channels) if channels else (width * height,), kind)
        flat[pixel.cpu().numpy()] = values.cpu().numpy()
        maps[name] = flat.reshape(height, width, *flat.shape[1:])
    return RenderedFigure(camera.size_px, window, maps)


def render_crops(
    figures: Figures,
    cameras: Sequence[Camera],
    size_px: tuple[int, int],
    *,
    device: str | torch.device = "cpu",
    normals: bool = True,
) -> dict[str, Tensor]:
    """Dense batch for equal small images: the maps of ``render`` stacked to (N, H, W[, 3]) tensors on ``device``.

    Every camera's image has ``size_px`` (width, height). Same intersection, same values as ``render``; what remains
    on the CPU is proportional to the number of figures, not pixels, unless a lens is distorted.
    """
    width, height = size_px
    if any(camera.size_px != (width, height) for camera in cameras):
        raise ValueError(f"every camera of a dense batch has the size {size_px}")
    target = torch.device(device)
    posed = _in_cameras(figures, cameras)
    tables = _tables(posed, target, torch.float32)
    count, cones = posed.cones.shape[:2]
    rays = torch.from_numpy(np.stack([camera_rays(camera) for camera in cameras])).to(target).reshape(count, -1, 2)
    x, y = rays[..., 0], rays[..., 1]
    nearest = torch.full_like(x, _FAR)
    shares = torch.zeros_like(x)
    winner = torch.zeros(x.shape, dtype=torch.int64, device=target)
    ends = tables["cones"].reshape(count, cones, 2, 3)
    radii = tables["radii"].reshape(count, cones, 2)
    for cone in range(cones):
        a, b = ends[:, cone, 0, :, None], ends[:, cone, 1, :, None]
        depth, share = intersect(
            x, y, (a[:, 0], a[:, 1], a[:, 2]), (b[:, 0], b[:, 1], b[:, 2]),
            radii[:, cone, 0, None], radii[:, cone, 1, None],
        )  # fmt: skip
        nearer = depth < nearest
        nearest = torch.where(nearer, depth, nearest)
        shares = torch.where(nearer, share, shares)
        winner = torch.where(nearer, cone, winner)
    hit = torch.isfinite(nearest)
    winner = winner + torch.arange(count, device=target)[:, None] * cones
    maps = _surface(rays[hit], nearest[hit], shares[hit], winner[hit], tables, normals)
    images = {}
    for name, values in maps.items():
        image = torch.zeros((count, height * width, *values.shape[1:]), dtype=values.dtype, device=target)
        image[hit] = values
        images[name] = image.reshape(count, height, width, *values.shape[1:])
    return images
