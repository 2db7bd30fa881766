"""Round cones on a CPU: only the pixels that a cone may cover are looked at, in compiled loops.

The arithmetic is that of ``people.render.intersect``, operation by operation, so images agree with it to the last bit;
what depends on a cone or on a pixel alone is computed once.
Shapes: C cones, P parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kt3d_bench.records import Camera
from kt3d_bench.synth.body import CONE_PART
from kt3d_bench.synth.rays import Window, camera_rays, spans_px

Array = npt.NDArray[Any]
Float = type[np.float32] | type[np.float64]


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
    from kt3d_bench.synth import sparse_kernels as kernels

    cones, radii, axes, front, left = (
        np.ascontiguousarray(values) for values in (person.cones, person.radii, person.axes, person.front, person.left)
    )
    window, start, stop = spans_px(cones, radii, camera)
    width, height = window[2] - window[0], window[3] - window[1]
    maps = blank(width, height, normals)
    if not maps["part"].size:
        return window, maps
    xy = np.moveaxis(camera_rays(camera, window), -1, 0).astype(dtype, "C")
    rays, table, squares = kernels.meet(cones, radii, xy, start, stop)
    depths, reaches, winners = kernels.nearest(rays, table, _roots(squares), start, stop)
    pixels, found, squares = kernels.surface(xy, depths, reaches, winners, table, CONE_PART, axes)
    flat = {name: values.reshape(width * height, *values.shape[2:]) for name, values in maps.items()}
    kernels.paint(
        pixels, found, _roots(squares), depths, winners, CONE_PART, front, left, flat["depth_mm"],
        flat["part"], flat["along"], flat["front"], flat["left"], flat.get("normal_cam", np.empty((0, 3), np.float32)),
    )  # fmt: skip
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


def _roots(values: Array) -> Array:
    """Square roots, in place. Torch's: its last bit is not always IEEE's, and the stand-ins were drawn with it."""
    tensor = torch.from_numpy(values)
    torch.sqrt(tensor, out=tensor)
    return values
