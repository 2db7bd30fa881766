"""Checks of one sample's images: that they decode, and that they show the person whom the labels describe.

Depth and parts show where the person is (depth by the manifest's foreground rule); each joint is looked up in them.
Shapes: H and W image rows and columns, J joints (17).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.data.checks.findings import Check, Measured, ranged
from kt3d_bench.data.format import FIELDS, IMAGES, decode
from kt3d_bench.data.index import LABEL_ARRAYS, Labels
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.errors import ArtefactError
from kt3d_bench.geometry.foreground import RULES, person_depth
from kt3d_bench.skeletons import H36M17

Image = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]

DECODE = Check("images", "every image decodes and has the crop's size", "none", "damaged images")
INDEX = Check("index", "index and tar hold the same labels", "none", "differing labels")
CONTENT = Check("content", "RGB and depth images show something", "none", "empty images")
NO_PARTS = Check("content of parts", "part masks show somebody", "none", "empty masks", "note")
PART_IDS = Check("part ids", "part ids are below the manifest's num_parts", "none", "ids too large")
SILHOUETTE = Check("silhouette", "joints lie on the person", "a third of the joints beside it", "%")
SURFACE = Check("surface", "joints lie just behind the measured surface", "-75 to 300 mm, in the lower quartile", "mm")
STRAY = Check("stray joints", "every joint lies on the person", "5 % of the crop's side", "%", "note")
BURIED = Check("floating joints", "no joint lies in front of the measured surface", "150 mm", "mm", "note")
IMAGE_CHECKS = (DECODE, INDEX, CONTENT, NO_PARTS, PART_IDS, SILHOUETTE, SURFACE, STRAY, BURIED)

BESIDE = 0.05
"""A joint lies beside the person when it is further from the person's pixels than this share of the crop's side, about
the length of a hand or foot that the mask lost to noise."""
MOST_BESIDE = 1 / 3
"""In real recordings one or two of four limbs are labelled wrongly or missing from the mask. With more, image and
labels do not belong together."""
SURFACE_MM = (-75.0, 300.0)
"""In any posture, the joints nearest to the surface lie within half a trunk of it; others are hidden behind limbs."""
FLOATING_MM = 150.0
EMPTY_STEP = 2.0
"""Standard deviation (grey levels) below which an RGB image is blank."""


@dataclass(frozen=True)
class Reading:
    """One check on one sample."""

    check: Check
    value: float
    excess: float
    sentence: str


def readings(shards: ShardSet, i: int) -> list[Reading]:
    """Run every check on the images of sample ``i``. Corrupt images are a reading, never an exception."""
    images: dict[str, Image] = {}
    damaged: list[str] = []
    for name in IMAGES:
        if name in shards.fields:
            try:
                images[name] = shards.image(i, name)
            except ArtefactError as error:
                damaged.append(error.what.partition(": ")[2] or error.what)
    labels = shards.labels.take([i])
    found = [_index(shards, i, labels)]
    if images or damaged:
        found.append(_counted(DECODE, len(damaged), "; ".join(damaged)))
    if {"rgb", "depth_mm"} & set(images):
        found.append(_content(images))
    if "parts" in images:
        found.append(_counted(NO_PARTS, int(not images["parts"].any()), "the part mask is empty"))
        found.append(_part_ids(images["parts"], shards.num_parts))
    return found + positions(images, labels, shards.manifest.foreground)


def _counted(check: Check, number: int, sentence: str) -> Reading:
    return Reading(check, number, 1.0 + number if number else 0.0, sentence)


def _index(shards: ShardSet, i: int, indexed: Labels) -> Reading:
    key = str(shards.keys[i])
    try:
        stored = Labels.of([decode(key, {FIELDS["labels"].extension: shards.read(i, "labels")})])
    except (ArtefactError, ValueError) as error:
        return _counted(INDEX, 1, f"the labels in the tar cannot be read ({error})")
    differing = [name for name in LABEL_ARRAYS if not _equal(getattr(stored, name), getattr(indexed, name))]
    return _counted(INDEX, len(differing), f"the index has other {', '.join(differing)} than the tar")


def _equal(first: Image, second: Image) -> bool:
    return np.array_equal(first, second, equal_nan=first.dtype.kind == "f")


def _content(images: Mapping[str, Image]) -> Reading:
    empty = ["rgb"] if "rgb" in images and images["rgb"].std() < EMPTY_STEP else []
    empty += ["depth_mm"] if "depth_mm" in images and not images["depth_mm"].any() else []
    return _counted(CONTENT, len(empty), f"{', '.join(empty)} shows nothing")


def _part_ids(parts: Image, num_parts: int) -> Reading:
    largest = int(parts.max())
    too_large = len(np.unique(parts[parts >= num_parts])) if num_parts < 256 else 0
    sentence = f"part id {largest}, but the manifest counts {num_parts} classes with the background"
    return _counted(PART_IDS, too_large, sentence)


def positions(images: Mapping[str, Image], labels: Labels, foreground: str) -> list[Reading]:
    """Compare the joints of one sample (``labels`` of length 1) with its depth and parts; empty without either, or
    without any pixel of the person."""
    known = "depth_mm" in images and foreground in RULES
    depth = person_depth(images["depth_mm"], foreground) if known else None
    mask = (images["parts"] > 0) if "parts" in images and images["parts"].any() else None
    if mask is None and depth is not None and depth.any():
        mask = depth > 0
    if mask is None:
        return []
    points = labels.joints_px[0].astype(np.float64)
    inside = _inside(points, mask)
    if not inside.any():
        return []
    found = _beside(points, inside, mask)
    if depth is not None:
        found += _behind(points, inside & (labels.visible[0] != 0), labels.joints_cam_mm[0, :, 2], depth)
    return found


def share_beside(points: FloatArray, mask: npt.NDArray[np.bool_]) -> float | None:
    """Return the share of the joints (17, 2) px inside the image that lie beside the person in ``mask`` (H, W): all of
    them where it is empty; ``None`` without a joint inside."""
    places = np.rint(points[_inside(points, mask)]).astype(int)
    if not len(places):
        return None
    reach = BESIDE * max(mask.shape)
    around, disc = int(reach), _disc(reach)
    beside = 0
    for x, y in places[~mask[places[:, 1], places[:, 0]]].tolist():  # most joints lie on the person itself
        left, top = max(around - x, 0), max(around - y, 0)
        near = mask[max(y - around, 0) : y + around + 1, max(x - around, 0) : x + around + 1]
        beside += not (near & disc[top : top + near.shape[0], left : left + near.shape[1]]).any()
    return beside / len(places)


@lru_cache(maxsize=512)
def _disc(radius: float) -> npt.NDArray[np.bool_]:
    """Return the pixels within ``radius`` of the middle one."""
    at = np.arange(-int(radius), int(radius) + 1)
    disc: npt.NDArray[np.bool_] = at[:, None] ** 2 + at**2 <= radius**2
    return disc


def _inside(points: FloatArray, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    height, width = mask.shape
    with np.errstate(invalid="ignore"):
        inside: npt.NDArray[np.bool_] = (
            (points >= -0.5).all(axis=1) & (points[:, 0] < width - 0.5) & (points[:, 1] < height - 0.5)
        )
    return inside


def _off(points: FloatArray, inside: npt.NDArray[np.bool_], mask: npt.NDArray[np.bool_]) -> FloatArray:
    """Return how far the joints ``inside`` lie from the person, as a share of the image's longer side."""
    import cv2

    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    x, y = np.rint(points[inside]).astype(int).T
    return np.asarray(distance[y, x] / max(mask.shape), np.float64)


def _beside(points: FloatArray, inside: npt.NDArray[np.bool_], mask: npt.NDArray[np.bool_]) -> list[Reading]:
    off = _off(points, inside, mask)
    joints = np.flatnonzero(inside)
    share = float((off > BESIDE).mean())
    worst = int(off.argmax())
    name = H36M17.joints[joints[worst]]
    return [
        Reading(
            SILHOUETTE,
            100 * share,
            share / MOST_BESIDE,
            f"{int((off > BESIDE).sum())} of {len(off)} joints lie beside the person: image and labels do not belong "
            "together",
        ),
        Reading(
            STRAY,
            100 * float(off[worst]),
            float(off[worst]) / BESIDE,
            f"{name} lies {off[worst] * max(mask.shape):.0f} px away from the person",
        ),
    ]


def _behind(
    points: FloatArray, candidates: npt.NDArray[np.bool_], joint_depth_mm: Image, depth_mm: Image
) -> list[Reading]:
    joints = np.flatnonzero(candidates & ~np.isnan(joint_depth_mm))
    if not len(joints):
        return []
    x, y = np.rint(points[joints]).astype(int).T
    surface = depth_mm[y, x].astype(np.float64)
    measured = surface > 0
    if measured.sum() < 3:
        return []
    joints, behind = joints[measured], (joint_depth_mm[joints] - surface)[measured]
    near = float(np.quantile(behind, 0.25))
    first = int(behind.argmin())
    floating = max(-float(behind[first]), 0.0)
    return [
        Reading(
            SURFACE,
            near,
            near / SURFACE_MM[int(near >= 0)],
            f"the joints nearest to the measured surface lie {abs(near):.0f} mm "
            f"{'in front of' if near < 0 else 'behind'} it: depth image and labels do not fit",
        ),
        Reading(
            BURIED,
            floating,
            floating / FLOATING_MM,
            f"{H36M17.joints[joints[first]]} lies {-behind[first]:.0f} mm in front of the measured surface",
        ),
    ]


def gather(numbers: Sequence[int], found: Sequence[Sequence[Reading]]) -> list[Measured]:
    """Group the readings of samples ``numbers`` by check."""
    columns = []
    pairs = [(number, reading) for number, several in zip(numbers, found, strict=True) for reading in several]
    for check in IMAGE_CHECKS:
        if rows := [pair for pair in pairs if pair[1].check is check]:
            at, alike = zip(*rows, strict=True)
            values, excesses, say = zip(*((one.value, one.excess, one.sentence) for one in alike), strict=True)
            columns.append(ranged(check, values, excesses, say.__getitem__, indices=at))
    return columns
