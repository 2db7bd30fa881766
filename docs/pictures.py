"""Draw the pictures of the README and the front page, from generated people alone.

python docs/pictures.py strip UBC3V_SHARDS RUN H36M_SHARDS: left, what is learned from, depth and body parts of a
generated person; right, a test image and the pose that RUN, trained without labels of its domain, predicted for it, in
the image and turned. python docs/pictures.py card SHARDS: the small picture of a dataset's card.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.patches import ConnectionPatch
from PIL import Image

import kt3d_bench as kt
from kt3d_bench.data.manifest import read_manifest
from kt3d_bench.drawing import PREDICTED, coloured_depth, new_figure, part_palette, save, skeleton
from kt3d_bench.geometry.cameras import project
from kt3d_bench.leaderboard.site.about import PICTURE, STRIP
from kt3d_bench.metrics.predictions import read_predictions

OUT = Path(__file__).parent.parent / "kt3d_bench" / "leaderboard" / "site" / "assets" / STRIP
CARD_PX = 192
SOURCE = 9
"""Place of the synthetic sample that is shown."""


def strip(source: Path, run: Path, shards: Path) -> Path:
    """Draw the strip. Refuses (``SystemExit``) anything but generated people."""
    people, test = kt.load("ubc3v", "train", shards=source), kt.load("h36m", "test", shards=shards)
    _require_generated(source, shards)
    person = people[SOURCE]
    found = read_predictions(next((run / "predictions").glob("*.npz")))
    if tuple(found.keys) != tuple(test.keys):
        raise SystemExit(f"{run} did not predict {shards}")
    place = _typical(found.joints_cam_mm, test.joints_cam_mm)
    sample, pose = test[place], found.joints_cam_mm[place]
    figure = new_figure(12, 2.75)
    axes = [figure.add_axes((0.01 + 0.2 * at, 0.02, 0.18, 0.86)) for at in range(4)]
    depth, parts = person.depth_mm, person.parts
    axes[0].imshow(coloured_depth(depth, depth > 0))
    axes[1].imshow(part_palette(int(parts.max()) + 1)[parts])
    axes[2].imshow(sample.rgb)
    axes[3].imshow(sample.rgb)
    skeleton(axes[3], project(sample.camera, pose.astype(np.float64)), colours=PREDICTED, linewidth=2.5)
    turned = figure.add_axes((0.80, 0.0, 0.2, 0.9), projection="3d")
    skeleton(turned, pose - pose[0], colours=PREDICTED, linewidth=2.5)
    turned.view_init(elev=-12, azim=-120, roll=180, vertical_axis="y")
    turned.set_aspect("equal")
    titles = ("synthetic depth", "its body parts", "a test image, no labels", "the pose found in it", "turned")
    for one, title in zip((*axes, turned), titles, strict=True):
        one.set_axis_off()
        figure.text(one.get_position().x0 + one.get_position().width / 2, 0.91, title, ha="center", fontsize=11)
    for first, second in ((1, 2), (2, 3)):
        figure.add_artist(
            ConnectionPatch((1.02, 0.5), (-0.02, 0.5), "axes fraction", "axes fraction",
                            axesA=axes[first], axesB=axes[second], arrowstyle="-|>", linewidth=1.5)
        )  # fmt: skip
    figure.patch.set_facecolor("white")
    return _smaller(save(figure, OUT, dpi=100))


def card(shards: Path) -> Path:
    """Draw the middle sample of the first split of ``shards`` beside its dataset's card."""
    _require_generated(shards)
    manifest = read_manifest(shards)
    people = kt.load(manifest.dataset, min(manifest.splits), shards=shards)
    sample = people[len(people) // 2]
    image = sample.rgb if sample.rgb is not None else coloured_depth(sample.depth_mm, sample.depth_mm > 0)
    out = kt.datasets()[manifest.dataset].folder / PICTURE
    Image.fromarray(image).resize((CARD_PX, CARD_PX)).save(out)
    return _smaller(out)


def _require_generated(*folders: Path) -> None:
    if {read_manifest(folder).origin for folder in folders} != {"generated"}:
        raise SystemExit("only generated people may be shown")


def _smaller(path: Path) -> Path:
    """Write the picture again with 256 colours."""
    Image.open(path).convert("RGB").quantize(256, kmeans=4, dither=Image.Dither.NONE).save(path, optimize=True)
    return path


def _typical(found_mm: npt.NDArray[np.float32], true_mm: npt.NDArray[np.float32]) -> int:
    """Of the tenth of the samples (N, 17, 3) whose error is nearest to the median, the one that reaches widest."""
    errors = kt.mpjpe(found_mm, true_mm, root=0)
    near = np.argsort(np.abs(errors - np.median(errors)))[: len(errors) // 10]
    return int(near[np.argmax(np.ptp(true_mm[near, :, 0], axis=1))])


if __name__ == "__main__":
    print({"strip": strip, "card": card}[sys.argv[1]](*map(Path, sys.argv[2:])))
