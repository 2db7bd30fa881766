"""Draw images and skeletons with matplotlib: on the caller's axes, or into PNG files of our own.

matplotlib's backend is never changed: files are written without pyplot.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import UsageError
from kt3d_bench.geometry.cameras import project
from kt3d_bench.records import Sample
from kt3d_bench.skeletons import H36M17

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEFT, RIGHT, MIDDLE = "#1f77b4", "#d62728", "#444444"
TRUE = (LEFT, RIGHT, MIDDLE)
PREDICTED = ("#17becf", "#ff7f0e", "#999999")
"""Colours of left, right and middle limbs."""
_LEFT = {left for _, left in H36M17.mirror_pairs}
_RIGHT = {right for right, _ in H36M17.mirror_pairs}
_INK, _PAPER, _EMPTY = "#222222", 255, 238
_NO_READING = (24, 24, 32)


def plot(sample: Sample, joints_cam_mm: npt.ArrayLike | None = None, ax: Axes | None = None) -> Axes:
    """Draw a sample and, where given, a prediction for it.

    On 2D axes: the RGB image, else the depth image, with the true skeleton over it (solid; left limbs blue, right limbs
    red) and the projection of ``joints_cam_mm`` (dashed; left cyan, right orange). On 3D axes: both skeletons in the
    camera's frame, in mm, seen from the camera. Joints that are NaN are not drawn.

    ``joints_cam_mm`` is (17, 3), mm, camera frame: one pose of a prediction. Without ``ax``, pyplot makes a figure: 2D
    where the sample has an image, else 3D. Returns the axes; ``ax.legend()`` names the two skeletons. Raises
    ``UsageError`` for a pose of another shape.
    """
    predicted = None if joints_cam_mm is None else np.asarray(joints_cam_mm, np.float64)
    if predicted is not None and predicted.shape != (len(H36M17), 3):
        raise UsageError(
            f"joints_cam_mm has the shape {predicted.shape}, expected (17, 3)",
            hint="pass one pose, such as predictions[0]",
        )
    image = sample.rgb if sample.rgb is not None else sample.depth_mm
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.figure().add_subplot(projection=None if image is not None else "3d")
    flat = ax.name != "3d"
    if flat:
        _image(ax, image, sample.camera.size_px)
    elif not ax.has_data():
        _look_from_camera(ax)
    if flat:
        skeleton(ax, sample.joints_px, label="true")
    elif sample.joints_cam_mm is not None:
        skeleton(ax, sample.joints_cam_mm, label="true")
    if predicted is not None:
        joints = project(sample.camera, predicted) if flat else predicted
        skeleton(ax, joints, colours=PREDICTED, linestyle="--", label="predicted")
    if not flat:
        ax.set_aspect("equal")
    return ax


def skeleton(
    axes: Axes,
    joints: npt.NDArray[Any],
    *,
    colours: tuple[str, str, str] = TRUE,
    occluded: npt.NDArray[np.bool_] | None = None,
    label: str | None = None,
    **style: Any,
) -> None:
    """Draw the bones and joints of a pose, (17, 2) on 2D axes or (17, 3) on 3D ones.

    Joints that are NaN are bridged: each known joint is linked to its next known ancestor. ``occluded`` joints are
    hollow; ``style`` goes to all lines and markers.
    """
    from matplotlib.patheffects import withStroke

    joints = np.asarray(joints, np.float64)
    known = np.isfinite(joints).all(axis=-1)
    gap = np.full((1, joints.shape[-1]), np.nan)
    bones: dict[str, list[npt.NDArray[Any]]] = {}
    for joint in np.flatnonzero(known).tolist():
        ancestor = H36M17.parents[joint]
        while ancestor >= 0 and not known[ancestor]:
            ancestor = H36M17.parents[ancestor]
        if ancestor >= 0:
            colour = colours[0 if joint in _LEFT else 1 if joint in _RIGHT else 2]
            bones.setdefault(colour, []).extend((joints[[joint, ancestor]], gap))
    halo = [withStroke(linewidth=2.8, foreground="#ffffffc0")]
    more = {"linewidth": 1.5, "solid_capstyle": "round", "dash_capstyle": "round", **style}
    for colour, ends in bones.items():
        axes.plot(*np.concatenate(ends).T, color=colour, label=label, path_effects=halo, **more)
        label = None
    hollow = np.zeros(len(known), bool) if occluded is None else occluded
    dots = {**style, "linestyle": "none", "marker": "o", "markersize": 2.4, "markeredgewidth": 0.6}
    for chosen, face in ((known & ~hollow, "white"), (known & hollow, "none")):
        axes.plot(*joints[chosen].T, markeredgecolor=_INK, markerfacecolor=face, zorder=3, **dots)


def _image(axes: Axes, image: npt.NDArray[Any] | None, size_px: tuple[int, int]) -> None:
    """Show (H, W, 3) RGB or (H, W) depth in mm, near yellow and far violet; ``None`` = only the frame of the image."""
    if image is None:
        axes.set_aspect("equal")
    elif image.ndim == 2:
        read = image[image > 0]
        near, far = np.percentile(read, (2, 98)) if len(read) else (0.0, 1.0)
        axes.imshow(np.ma.masked_equal(image, 0), cmap="viridis_r", vmin=near, vmax=far)
    else:
        axes.imshow(image)
    axes.set_xlim(-0.5, size_px[0] - 0.5)
    axes.set_ylim(size_px[1] - 0.5, -0.5)


def _look_from_camera(axes: Any) -> None:
    """Turn 3D axes so that the camera's x points right and its y down, from a little above and aside."""
    axes.view_init(elev=-15, azim=-160, roll=180, vertical_axis="y")
    axes.set(xlabel="x, right (mm)", ylabel="y, down (mm)", zlabel="z, away (mm)")
    axes.locator_params(nbins=5)


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of that size in inches, of which pyplot knows nothing."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def save(figure: Figure, path: Path, *, dpi: int) -> Path:
    """Write a PNG and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)
    return path


def comparison(path: Path, samples: Sequence[Sample], columns: Sequence[tuple[str, npt.NDArray[Any] | None]]) -> Path:
    """Write a PNG with one row per sample and one column per set of poses; returns ``path``.

    A column is a title and (len(samples), 17, 3) joints, mm, camera frame; ``None`` = the image alone. Each pose is
    drawn over the image and, below it, from the side: depth to the right, up to the top, relative to the hip. So what
    the image cannot show is seen. Left limbs are blue, right limbs red.
    """
    figure = new_figure(1.9 * len(columns), 4.1 * len(samples))
    grid = figure.subplots(2 * len(samples), len(columns), squeeze=False, height_ratios=[3, 2] * len(samples))
    for axes in grid.flat:
        axes.set_axis_off()
    for row, sample in enumerate(samples):
        for column, (title, poses) in enumerate(columns):
            top, side = grid[2 * row, column], grid[2 * row + 1, column]
            _image(top, sample.rgb if sample.rgb is not None else sample.depth_mm, sample.camera.size_px)
            if row == 0:
                top.set_title(title, fontsize=7, wrap=True)
            if poses is not None:
                joints = np.asarray(poses[row], np.float64)
                skeleton(top, project(sample.camera, joints))
                relative = joints - joints[H36M17.root]
                side.axvline(0, color="0.9", linewidth=0.5, zorder=0)
                skeleton(side, np.stack([relative[:, 2], -relative[:, 1]], axis=-1))
                side.set(xlim=(-1000, 1000), ylim=(-1100, 900), aspect="equal")
    figure.tight_layout(pad=0.4)
    return save(figure, path, dpi=110)


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
    """Whether the caption reports an error."""
    problems: tuple[str, ...] = ()
    """Images that cannot be read, one sentence each."""


PANEL_PX, GAP_PX, CAPTION_PX, HEADING_PX, LEGEND_PX, MARGIN_PX = 240, 6, 44, 40, 44, 16
SHEET_PX = 2016
"""Width that a sheet's rows fill: seven panels, or four pairs."""
_LEGEND_WIDTH_PX = 1230


def contact_sheet(path: Path, sections: Sequence[tuple[str, Sequence[Tile]]]) -> Path:
    """Write a PNG of (heading, tiles): each image of a sample in a panel of its own, the projected skeleton over it.

    Depth is coloured near (yellow) to far (violet) on the person, grey off the person, black without a reading; parts
    have one colour each. Left limbs are blue, right limbs red, occluded joints hollow.
    """
    placed: list[tuple[int, int, Tile, list[npt.NDArray[np.uint8]]]] = []
    headings: list[tuple[int, str]] = []
    top, right = LEGEND_PX, _LEGEND_WIDTH_PX
    for heading, tiles in sections:
        panels = [_panels(tile) for tile in tiles]
        width = max(map(len, panels), default=1) * (PANEL_PX + GAP_PX) + 2 * GAP_PX
        columns = max(1, (SHEET_PX + 2 * GAP_PX) // width)
        headings.append((top + HEADING_PX - 14, heading))
        top += HEADING_PX
        for number, (tile, images) in enumerate(zip(tiles, panels, strict=True)):
            row, column = divmod(number, columns)
            left = MARGIN_PX + column * width
            placed.append((left, top + row * (PANEL_PX + CAPTION_PX), tile, images))
            right = max(right, left + len(images) * (PANEL_PX + GAP_PX))
        top += -(-len(panels) // columns) * (PANEL_PX + CAPTION_PX)
    width, height = right + MARGIN_PX, top + MARGIN_PX
    figure = new_figure(width / 100, height / 100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for left, top, tile, images in placed:
        for number, image in enumerate(images):
            _panel(axes, image, tile, left + number * (PANEL_PX + GAP_PX), top)
        room = len(images) * (PANEL_PX + GAP_PX)
        _write(axes, left, top + PANEL_PX + 14, _shortened(tile.title, room / 7), 9.5, _INK, weight="bold")
        colour = RIGHT if tile.alarming else "#555555"
        _write(axes, left, top + PANEL_PX + 29, _shortened(tile.caption, room / 6.2), 9, colour)
    for top, heading in headings:
        _write(axes, MARGIN_PX, top, heading, 13, _INK, weight="bold")
    _legend(axes, {name for _, tiles in sections for tile in tiles for name in tile.images})
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), aspect="auto")
    return save(figure, path, dpi=100)


def _panels(tile: Tile) -> list[npt.NDArray[np.uint8]]:
    """RGB pictures of a tile's images, in the order rgb, depth, parts, foreground; one empty panel without any."""
    panels = []
    if "rgb" in tile.images:
        panels.append(np.asarray(tile.images["rgb"], np.uint8))
    if "depth" in tile.images:
        depth = tile.images["depth"]
        panels.append(coloured_depth(depth, depth > 0 if tile.person is None else tile.person))
    if "parts" in tile.images:
        panels.append(part_palette(max(tile.num_parts, int(tile.images["parts"].max()) + 1))[tile.images["parts"]])
    if "foreground" in tile.images:
        panels.append(np.repeat(tile.images["foreground"][..., None], 3, axis=-1))
    return panels or [np.full((tile.size_px[1], tile.size_px[0], 3), _EMPTY, np.uint8)]


def _panel(axes: Axes, image: npt.NDArray[np.uint8], tile: Tile, left: int, top: int) -> None:
    """One image, enlarged or reduced to fill a panel, and the skeleton, cut at the panel's borders."""
    from matplotlib.patches import Rectangle

    frame = Rectangle((left - 0.5, top - 0.5), PANEL_PX, PANEL_PX, facecolor=(_EMPTY / 255,) * 3, zorder=0)
    axes.add_patch(frame)
    scale = PANEL_PX / max(image.shape[:2])
    end = left - 0.5 + scale * image.shape[1], top - 0.5 + scale * image.shape[0]
    axes.imshow(image, extent=(left - 0.5, end[0], end[1], top - 0.5), zorder=1)
    joints = _panel_joints(tile) + np.array([left, top])
    skeleton(axes, joints, occluded=np.asarray(tile.visible) == 0, clip_path=frame)


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


def _legend(axes: Axes, modalities: set[str]) -> None:
    x: float = MARGIN_PX
    for colour, name in zip(TRUE, ("left", "right", "middle"), strict=True):
        axes.plot([x, x + 26], [24, 24], color=colour, linewidth=3, solid_capstyle="round")
        _write(axes, x + 34, 28, name, 9.5, _INK)
        x += 56 + 8 * len(name)
    axes.plot(x + 6, 24, marker="o", markersize=4, markerfacecolor="none", markeredgecolor=_INK)
    _write(axes, x + 18, 28, "occluded joint", 9.5, _INK)
    x += 150
    if "depth" in modalities:
        ramp = _viridis(np.linspace(1, 0, 90)[None].repeat(12, axis=0))
        axes.imshow(ramp, extent=(x, x + 90, 30, 18), interpolation="nearest", zorder=2)
        _write(axes, x + 98, 28, "person near to far; grey: background; black: no reading", 9.5, _INK)
        x += 480
    if "parts" in modalities:
        _write(axes, x, 28, "parts: one colour each", 9.5, _INK)
        x += 170
    if "foreground" in modalities:
        _write(axes, x, 28, "white: foreground", 9.5, _INK)


def _write(axes: Axes, x: float, y: float, text: str, size: float, colour: str, weight: str = "normal") -> None:
    axes.text(x, y, text, fontsize=0.9 * size, color=colour, weight=weight, parse_math=False)


def _shortened(text: str, most: float) -> str:
    """Text of at most ``most`` characters: the middle goes, since both ends of a key tell samples apart."""
    if len(text) <= most:
        return text
    half = int(most - 3) // 2
    return f"{text[:half]}...{text[-half:]}"


def coloured_depth(depth_mm: npt.NDArray[Any], person: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """(H, W) mm -> (H, W, 3): the person near (yellow) to far (violet), other readings grey, no reading black."""
    picture = np.empty((*depth_mm.shape, 3), np.uint8)
    picture[:] = _NO_READING
    for mask, paint in ((depth_mm > 0, _greys), (person & (depth_mm > 0), _viridis)):
        picture[mask] = paint(nearness(depth_mm[mask]))
    return picture


def nearness(depth_mm: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """(K,) readings in mm -> (K,) 0 = far, 1 = near; a fiftieth at either end shares the end's value."""
    if not len(depth_mm):
        return np.zeros(0)
    near, far = np.percentile(depth_mm, (2, 98))
    return np.asarray(np.clip((far - depth_mm.astype(np.float64)) / max(far - near, 1.0), 0, 1))


def _viridis(share: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    from matplotlib import colormaps

    colours: npt.NDArray[np.uint8] = (colormaps["viridis"](share)[..., :3] * 255).round().astype(np.uint8)
    return colours


def _greys(share: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    return np.repeat((90 + 120 * share).round().astype(np.uint8)[..., None], 3, axis=-1)


def part_palette(number: int) -> npt.NDArray[np.uint8]:
    """(number, 3) colours of part ids: light grey for the background, then hues a golden angle apart in three tones."""
    colours = [(_EMPTY / 255,) * 3]
    for part in range(1, number):
        tone = ((0.75, 0.9), (0.55, 0.75), (0.9, 0.6))[part % 3]
        colours.append(colorsys.hsv_to_rgb(part * 0.381966 % 1.0, *tone))
    return (np.array(colours) * 255).round().astype(np.uint8)
