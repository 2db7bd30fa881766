"""Pictures of results: true and predicted skeletons over their images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.skeletons import H36M17

LEFT, RIGHT, MIDDLE = "#1f77b4", "#d62728", "#444444"
_LEFT = {left for _, left in H36M17.mirror_pairs}
_RIGHT = {right for right, _ in H36M17.mirror_pairs}


@dataclass(frozen=True, eq=False)
class Panel:
    """One image with a skeleton over it, and the same skeleton from the side."""

    title: str
    image: npt.NDArray[Any]
    """(H, W, 3) uint8, or (H, W) depth mm."""
    joints_px: npt.NDArray[Any]
    """(17, 2) px of ``image``; NaN = not drawn."""
    joints_root_mm: npt.NDArray[Any] | None = None
    """(17, 3) relative to the hip, camera axes; drawn seen from the person's side when given."""


def comparison(path: Path, rows: Sequence[Sequence[Panel]]) -> Path:
    """Write a PNG with one row of panels per sample; above each image its skeleton, below it the side view.

    The side view looks along the camera's x axis: depth to the right, up to the top, so that what the image cannot show
    is seen. Left limbs are blue, right limbs red.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    columns = max(len(row) for row in rows)
    figure, grid = pyplot.subplots(
        2 * len(rows),
        columns,
        figsize=(1.9 * columns, 4.1 * len(rows)),
        squeeze=False,
        height_ratios=[3, 2] * len(rows),
    )
    for axes in grid.flat:
        axes.set_axis_off()
    for number, row in enumerate(rows):
        for column, panel in enumerate(row):
            top, side = grid[2 * number, column], grid[2 * number + 1, column]
            image = np.asarray(panel.image)
            if image.ndim == 2:
                shown = np.ma.masked_equal(image, 0)
                top.imshow(shown, cmap="viridis")
            else:
                top.imshow(image)
            _draw(top, np.asarray(panel.joints_px))
            top.set_xlim(0, image.shape[1] - 1)
            top.set_ylim(image.shape[0] - 1, 0)
            if number == 0:
                top.set_title(panel.title, fontsize=7, wrap=True)
            if panel.joints_root_mm is not None:
                joints = np.asarray(panel.joints_root_mm)
                _draw(side, np.stack([joints[:, 2], -joints[:, 1]], axis=-1))
                side.set_xlim(-1000, 1000)
                side.set_ylim(-1100, 900)
                side.set_aspect("equal")
                side.axvline(0, color="0.9", linewidth=0.5, zorder=0)
    figure.tight_layout(pad=0.4)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def _draw(axes: Any, joints: npt.NDArray[Any]) -> None:
    for child, parent in H36M17.bones:
        points = joints[[child, parent]]
        if np.isfinite(points).all():
            colour = LEFT if child in _LEFT else RIGHT if child in _RIGHT else MIDDLE
            axes.plot(points[:, 0], points[:, 1], color=colour, linewidth=1.6, solid_capstyle="round")
    axes.scatter(joints[:, 0], joints[:, 1], s=3, color="white", edgecolors="black", linewidths=0.3, zorder=3)
