"""Pictures: true and predicted skeletons over their images, and contact sheets of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True, eq=False)
class Tile:
    """One sample of a contact sheet. Shapes: H and W image rows and columns."""

    title: str
    caption: str
    images: Mapping[str, npt.NDArray[Any]]
    """Modality -> (H, W, 3) RGB, (H, W) depth mm, (H, W) part ids; may be empty: then the skeleton stands alone."""
    joints_px: npt.NDArray[Any]
    """(17, 2) px; NaN = not drawn."""
    joints_cam_mm: npt.NDArray[Any]
    """(17, 3) mm, drawn from the front where there are neither images nor ``joints_px``."""
    visible: npt.NDArray[Any]
    """(17,) 1 visible, 0 occluded, -1 not known."""
    size_px: tuple[int, int]
    """(width, height) of the images."""
    num_parts: int = 0
    person: npt.NDArray[np.bool_] | None = None
    """(H, W) where the depth image shows the person; the rest of it is drawn grey."""
    alarming: bool = False
    """Whether the caption says that something is wrong."""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Section:
    """Some tiles under a heading."""

    heading: str
    tiles: Sequence[Tile]


PANEL_PX, GAP_PX, CAPTION_PX, HEADING_PX, LEGEND_PX, MARGIN_PX = 240, 6, 44, 40, 44, 16
SHEET_PX = 2016
"""Width that a sheet's rows fill: seven panels, or four pairs."""
_LEGEND_WIDTH_PX = 1230
_INK, _PAPER, _EMPTY = "#222222", 255, 238
_NO_READING = (24, 24, 32)


def contact_sheet(path: Path, sections: Sequence[Section]) -> Path:
    """Write a PNG of all tiles: each image of a sample in a panel of its own, the projected skeleton over it.

    Depth is coloured near (yellow) to far (violet) on the person, grey off the person, all but black without reading;
    parts have one colour each. Left limbs are blue, right limbs red, occluded joints hollow.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    placed, height = _placed(sections)
    widest = max((left + len(panels) * (PANEL_PX + GAP_PX) for left, _, _, panels in placed), default=0)
    canvas = np.full((height, max(widest, _LEGEND_WIDTH_PX) + MARGIN_PX, 3), _PAPER, np.uint8)
    for left, top, _, panels in placed:
        for number, panel in enumerate(panels):
            x = left + number * (PANEL_PX + GAP_PX)
            canvas[top : top + PANEL_PX, x : x + PANEL_PX] = _fitted(panel)
    figure = pyplot.figure(figsize=(canvas.shape[1] / 100, canvas.shape[0] / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(canvas, interpolation="nearest")
    for left, top, tile, panels in placed:
        joints = _panel_joints(tile)
        for number in range(len(panels)):
            _overlay(axes, joints, tile.visible, left + number * (PANEL_PX + GAP_PX), top)
        width = len(panels) * (PANEL_PX + GAP_PX)
        _write(axes, left, top + PANEL_PX + 14, _shortened(tile.title, width / 7), 9.5, _INK, weight="bold")
        colour = RIGHT if tile.alarming else "#555555"
        _write(axes, left, top + PANEL_PX + 29, _shortened(tile.caption, width / 6.2), 9, colour)
    _headings(axes, sections)
    _legend(axes, {name for section in sections for tile in section.tiles for name in tile.images})
    axes.set_xlim(-0.5, canvas.shape[1] - 0.5)
    axes.set_ylim(canvas.shape[0] - 0.5, -0.5)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
    return path


def _panels(tile: Tile) -> list[npt.NDArray[np.uint8]]:
    """RGB pictures of a tile's images, in the order rgb, depth, parts; one empty panel where there is none."""
    panels = []
    if "rgb" in tile.images:
        panels.append(np.asarray(tile.images["rgb"], np.uint8))
    if "depth" in tile.images:
        depth = tile.images["depth"]
        panels.append(coloured_depth(depth, depth > 0 if tile.person is None else tile.person))
    if "parts" in tile.images:
        panels.append(part_palette(max(tile.num_parts, int(tile.images["parts"].max()) + 1))[tile.images["parts"]])
    return panels or [np.full((tile.size_px[1], tile.size_px[0], 3), _EMPTY, np.uint8)]


def _rows(section: Section) -> tuple[int, int]:
    """Tiles in a row of a section, and the width of one."""
    most = max((len(_panels(tile)) for tile in section.tiles), default=1)
    width = most * (PANEL_PX + GAP_PX) + 2 * GAP_PX
    return max(1, (SHEET_PX + 2 * GAP_PX) // width), width


def _placed(sections: Sequence[Section]) -> tuple[list[tuple[int, int, Tile, list[npt.NDArray[np.uint8]]]], int]:
    """(left, top, tile, panels) of every tile, and the height of the sheet."""
    placed = []
    top = LEGEND_PX
    for section in sections:
        top += HEADING_PX
        columns, width = _rows(section)
        for number, tile in enumerate(section.tiles):
            row, column = divmod(number, columns)
            place = MARGIN_PX + column * width, top + row * (PANEL_PX + CAPTION_PX)
            placed.append((*place, tile, _panels(tile)))
        top += -(-len(section.tiles) // columns) * (PANEL_PX + CAPTION_PX)
    return placed, top + MARGIN_PX


def _headings(axes: Any, sections: Sequence[Section]) -> None:
    top = LEGEND_PX
    for section in sections:
        _write(axes, MARGIN_PX, top + HEADING_PX - 14, section.heading, 13, _INK, weight="bold")
        columns, _ = _rows(section)
        top += HEADING_PX + -(-len(section.tiles) // columns) * (PANEL_PX + CAPTION_PX)


def _legend(axes: Any, modalities: set[str]) -> None:
    x: float = MARGIN_PX
    for colour, name in ((LEFT, "left"), (RIGHT, "right"), (MIDDLE, "middle")):
        axes.plot([x, x + 26], [24, 24], color=colour, linewidth=3, solid_capstyle="round")
        _write(axes, x + 34, 28, name, 9.5, _INK)
        x += 56 + 8 * len(name)
    axes.scatter([x + 6], [24], s=16, facecolors="none", edgecolors=_INK, linewidths=1)
    _write(axes, x + 18, 28, "occluded joint", 9.5, _INK)
    x += 150
    if "depth" in modalities:
        ramp = np.linspace(1, 0, 90)[None].repeat(12, axis=0)
        axes.imshow(_viridis(ramp), extent=(x, x + 90, 30, 18), interpolation="nearest", zorder=2)
        _write(axes, x + 98, 28, "person near to far; grey: background; black: no reading", 9.5, _INK)
        x += 480
    if "parts" in modalities:
        _write(axes, x, 28, "parts: one colour each", 9.5, _INK)


def _fitted(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(H, W, 3) -> (PANEL_PX, PANEL_PX, 3), its longer side filling the panel, the rest empty."""
    from PIL import Image

    scale = PANEL_PX / max(image.shape[:2])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
    small = np.asarray(Image.fromarray(image).resize(size, how))
    panel = np.full((PANEL_PX, PANEL_PX, 3), _EMPTY, np.uint8)
    panel[: size[1], : size[0]] = small
    return panel


def _panel_joints(tile: Tile) -> npt.NDArray[np.float64]:
    """(17, 2) joints in panel px: of the image, or from the front where only millimetres are known."""
    joints = np.asarray(tile.joints_px, np.float64)
    if np.isfinite(joints).any():
        return np.asarray((joints + 0.5) * (PANEL_PX / max(tile.size_px)) - 0.5)
    front = np.asarray(tile.joints_cam_mm, np.float64)[:, :2]
    if not np.isfinite(front).any():
        return joints
    low, high = np.nanmin(front, axis=0), np.nanmax(front, axis=0)
    return np.asarray((front - (low + high) / 2) * (0.8 * PANEL_PX / max((high - low).max(), 1.0)) + PANEL_PX / 2)


def _overlay(axes: Any, joints: npt.NDArray[np.float64], visible: npt.NDArray[Any], left: int, top: int) -> None:
    """The skeleton of one panel, cut at its borders: white below, so that it shows on any image."""
    from matplotlib.collections import LineCollection
    from matplotlib.patches import Rectangle

    frame = Rectangle((left - 0.5, top - 0.5), PANEL_PX, PANEL_PX, transform=axes.transData)
    points = joints + np.array([left, top])
    known = np.isfinite(points).all(axis=1)
    bones = _links(known)
    lines = [points[[child, parent]] for child, parent in bones]
    colours = [_side_colour(child) for child, _ in bones]
    for width, colour in ((2.6, ["#ffffffc0"] * len(lines)), (1.4, colours)):
        axes.add_collection(LineCollection(lines, colors=colour, linewidths=width, capstyle="round", clip_path=frame))
    seen = known & (np.asarray(visible) != 0)
    for chosen, face in ((seen, "white"), (known & ~seen, "none")):
        dots = axes.scatter(*points[chosen].T, s=6, facecolors=face, edgecolors=_INK, linewidths=0.6, zorder=3)
        dots.set_clip_path(frame)


def _links(known: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(joint, ancestor) pairs to draw: of every known joint the next ancestor that is known."""
    links = []
    for joint in np.flatnonzero(known).tolist():
        ancestor = H36M17.parents[joint]
        while ancestor >= 0 and not known[ancestor]:
            ancestor = H36M17.parents[ancestor]
        if ancestor >= 0:
            links.append((joint, ancestor))
    return links


def _side_colour(joint: int) -> str:
    return LEFT if joint in _LEFT else RIGHT if joint in _RIGHT else MIDDLE


def _write(axes: Any, x: float, y: float, text: str, size: float, colour: str, weight: str = "normal") -> None:
    axes.text(x, y, text, fontsize=size * 0.72 * 1.25, color=colour, weight=weight, parse_math=False)


def _shortened(text: str, most: float) -> str:
    """Text of at most ``most`` characters: the middle goes, since both ends of a key tell samples apart."""
    if len(text) <= most:
        return text
    half = int(most - 3) // 2
    return f"{text[:half]}...{text[-half:]}"


def coloured_depth(depth_mm: npt.NDArray[Any], person: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """(H, W) mm -> (H, W, 3): the person near (yellow) to far (violet), other readings grey, none all but black."""
    depth = np.asarray(depth_mm, np.float64)
    picture = np.empty((*depth.shape, 3), np.uint8)
    picture[:] = _NO_READING
    for mask, paint in ((depth > 0, _greys), (person & (depth > 0), _viridis)):
        if mask.any():
            low, high = np.percentile(depth[mask], (2, 98))
            picture[mask] = paint(np.clip((high - depth[mask]) / max(high - low, 1.0), 0, 1))
    return picture


def _viridis(share: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    from matplotlib import colormaps

    colours: npt.NDArray[np.uint8] = (colormaps["viridis"](share)[..., :3] * 255).round().astype(np.uint8)
    return colours


def _greys(share: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    return np.repeat((90 + 120 * share).round().astype(np.uint8)[..., None], 3, axis=-1)


def part_palette(number: int) -> npt.NDArray[np.uint8]:
    """(number, 3) colours of part ids: light grey for the background, then hues a golden angle apart in three tones."""
    import colorsys

    colours = [(_EMPTY / 255,) * 3]
    for part in range(1, number):
        tone = ((0.75, 0.9), (0.55, 0.75), (0.9, 0.6))[part % 3]
        colours.append(colorsys.hsv_to_rgb(part * 0.381966 % 1.0, *tone))
    return (np.array(colours) * 255).round().astype(np.uint8)
