"""Exact images of posed people: depth, body parts, surface coordinates and normals.

On a CPU compiled loops look only at the pixels that a cone may cover (``render_kernels``). Their arithmetic is that of
``render_torch``, operation by operation, so images agree with it to the last bit.
Shapes: H and W image rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kt3d_bench.records import Camera
from kt3d_bench.synth.body import CONE_PART, Figures
from kt3d_bench.synth.view import Maps, Person, Window, blank_maps, camera_rays, people_in_cameras, spans_px


@dataclass(frozen=True, eq=False)
class RenderedFigure:
    """One person in one camera's image, stored as the window that the person covers.

    Maps, all zero where nobody is: ``depth_mm`` float32 z-depth; ``part`` uint8, index into ``PARTS`` + 1; ``along``
    float32 0..1 along the part's bone; ``front`` and ``left`` float32 -1..1, the cosine between the part's own front
    (left: the person's left, for limbs too) and the direction from its axis to the surface; ``normal_cam`` (..., 3)
    float32 unit surface normal in the camera frame, where asked for.
    """

    size_px: tuple[int, int]
    window_px: Window
    """x0, y0, x1, y1 (half-open) around the person; equal bounds = not in the image."""
    maps: Maps
    """Window-sized arrays by name."""

    def full(self, name: str) -> npt.NDArray[Any]:
        """Return the map ``name`` of the whole image, (H, W) or (H, W, 3)."""
        part = self.maps[name]
        x0, y0, x1, y1 = self.window_px
        image = np.zeros((self.size_px[1], self.size_px[0], *part.shape[2:]), part.dtype)
        image[y0:y1, x0:x1] = part
        return image

    @property
    def depth_mm(self) -> npt.NDArray[np.float32]:
        """(H, W) float32 z-depth of the whole image, mm; 0 = nothing there."""
        return self.full("depth_mm")

    @property
    def part(self) -> npt.NDArray[np.uint8]:
        """(H, W) uint8 of the whole image, index into ``PARTS`` + 1; 0 = background."""
        return self.full("part")


def render(
    figures: Figures,
    cameras: Sequence[Camera],
    *,
    device: str | torch.device = "cpu",
    normals: bool = True,
    dtype: torch.dtype = torch.float32,
) -> list[RenderedFigure]:
    """Render one image per figure, each in its own camera.

    Rays go through the centres of the pixels with the lens distortion undone, so the images are exact. Only the
    rectangles that the cones cover are computed. Raises ``ValueError`` unless there is one camera per figure.
    """
    target = torch.device(device)
    images = []
    for person, camera in zip(people_in_cameras(figures, cameras), cameras, strict=True):
        if target.type == "cpu":
            window, maps = _draw(person, camera, normals, np.float64 if dtype == torch.float64 else np.float32)
        else:
            from kt3d_bench.synth.render_torch import draw

            window, maps = draw(person, camera, target, normals=normals, dtype=dtype)
        images.append(RenderedFigure(camera.size_px, window, maps))
    return images


def _draw(
    person: Person, camera: Camera, normals: bool, dtype: type[np.float32] | type[np.float64]
) -> tuple[Window, Maps]:
    import kt3d_bench.synth.render_kernels as kernels

    window, start, stop = spans_px(person.cones, person.radii, camera)
    width, height = window[2] - window[0], window[3] - window[1]
    maps = blank_maps(width, height, normals)
    if not maps["part"].size:
        return window, maps
    xy = np.moveaxis(camera_rays(camera, window), -1, 0).astype(dtype, "C")
    rays, table, squares = kernels.meet(person.cones, person.radii, xy, start, stop)
    depths, reaches, winners = kernels.nearest(rays, table, _roots(squares), start, stop)
    pixels, found, squares = kernels.surface(xy, depths, reaches, winners, table, CONE_PART, person.axes)
    flat = {name: values.reshape(width * height, *values.shape[2:]) for name, values in maps.items()}
    kernels.paint(
        pixels, found, _roots(squares), depths, winners, CONE_PART, person.front, person.left, flat["depth_mm"],
        flat["part"], flat["along"], flat["front"], flat["left"], flat.get("normal_cam", np.empty((0, 3), np.float32)),
    )  # fmt: skip
    return window, maps


def _roots(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Take square roots in place, by torch: its last bit is not always IEEE's, and stand-ins were drawn with it."""
    tensor = torch.from_numpy(values)
    torch.sqrt(tensor, out=tensor)
    return values
