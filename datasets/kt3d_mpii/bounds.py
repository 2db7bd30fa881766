"""Whether annotations are of these images, as far as image sizes show it, and whether joints lie where the rest of the
annotation puts the person. Shapes: J annotated joints of one person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kt3d_bench.errors import RawDataError
from kt3d_bench.rawfiles import jpeg_size
from kt3d_mpii.annotations import JOINTS, AnnotatedImage
from kt3d_mpii.layout import ARCHIVES

IMAGES = 256
"""Images looked at, evenly spread."""
BEYOND = 0.02
"""Share of an image's longer side that a joint may lie beyond its border: annotators mark what they see, and a click
misses by a few pixels. Neck and head are left out, since the release derives them from the head's box."""
MOST_OUTSIDE = 0.05
"""Share of joints outside above which annotations are of other images: it is 0 on a stand-in and 72 % with coordinates
twice as large. Images of nearly one size that were exchanged among themselves pass."""
FEWEST = 100
"""Joints below which a share says nothing."""
MOST_ASTRAY = {"head": 0.25, "body": 0.1}
"""Share of people whose head joints lie outside their head's rectangle and half its size around it, or, without one,
whose joints are centred further than a quarter of their height from their rough centre, above which joints were changed
alone: the release derives neck and head top from the rectangle. On a stand-in, with people in the middle of images, it
is 5 and 0 %; 62 and 24 % with mirrored x, 99 and 98 % with halves, 94 and 34 % with x and y exchanged."""
FEWEST_PEOPLE = 20
_HEAD = [JOINTS.index("upper_neck"), JOINTS.index("head_top")]
_MARKED = [number for number, name in enumerate(JOINTS) if name not in ("upper_neck", "head_top")]
_LEAST_JOINTS, _LEAST_EXTENT_PX = 4, 3.0


def check_bounds(folder: Path, images: Sequence[AnnotatedImage], where: Path) -> None:
    """Raise ``RawDataError`` when too many joints lie outside their images, or persons are smaller than 3 px.

    Images that are missing or damaged are left out: ``convert`` reports them.
    """
    joints = outside = people = dots = 0
    for i in np.unique(np.linspace(0, len(images) - 1, min(IMAGES, len(images))).round().astype(int)):
        try:
            size = np.array(jpeg_size(folder / images[i].name, ""))
        except RawDataError:
            continue
        for _, points in images[i].persons:
            places = np.array([point[:2] for number in _MARKED if (point := points[number]) is not None])
            if len(places) < _LEAST_JOINTS:
                continue
            slack = BEYOND * size.max()
            joints += len(places)
            outside += int(((places < -slack) | (places > size - 1 + slack)).any(axis=1).sum())
            people, dots = people + 1, dots + int(np.ptp(places, axis=0).max() < _LEAST_EXTENT_PX)
    hint = f"use the images and the annotations of one release: unpack {ARCHIVES['images']} and the annotations again"
    if joints >= FEWEST and outside > MOST_OUTSIDE * joints:
        what = f"{100 * outside / joints:.0f} % of {joints} joints lie outside their images: these are other images"
        raise RawDataError(f"{what}, or resized ones", where=where, hint=hint)
    if joints >= FEWEST and dots > people / 2:
        what = f"{dots} of {people} persons are smaller than {_LEAST_EXTENT_PX:g} px: coordinates are no pixels"
        raise RawDataError(what, where=where, hint=hint)


def check_places(images: Sequence[AnnotatedImage], where: Path) -> None:
    """Raise ``RawDataError`` when too many people's joints lie elsewhere than their head's rectangle or rough centre:
    mirrored, exchanged or scaled coordinates."""
    people, astray = Counter[str](), Counter[str]()
    for image in images:
        for (_, points), place in zip(image.persons, image.places, strict=False):
            if place is None:
                continue
            kind, left, top, right, bottom = place
            chosen = _HEAD if kind == "head" else range(len(JOINTS))
            known = np.array([point[:2] for joint in chosen if (point := points[joint]) is not None])
            if len(known) >= (len(_HEAD) if kind == "head" else _LEAST_JOINTS):
                x, y = (known.min(axis=0) + known.max(axis=0)) / 2
                people[kind] += 1
                astray[kind] += not (left <= x <= right and top <= y <= bottom)
    for kind, most in MOST_ASTRAY.items():
        if people[kind] >= FEWEST_PEOPLE and astray[kind] > most * people[kind]:
            beside = "their own head's rectangle" if kind == "head" else "their own rough centre"
            what = f"the joints of {astray[kind]} of {people[kind]} people lie beside {beside}"
            hint = f"coordinates were mirrored, exchanged or scaled: unpack {ARCHIVES['annotations']} again"
            raise RawDataError(what, where=where, hint=hint)
