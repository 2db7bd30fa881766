"""What ``kt3d inspect`` says about a raw folder: which layout, how much of it, what is missing and where to get it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kt3d_bench.errors import RawDataError
from kt3d_mpii.derived import annotated, find_coco
from kt3d_mpii.layout import ARCHIVES, SITE, AnnotatedImage, find_images


def describe(raw: Path) -> Sequence[str]:
    """The layout, the images and persons that the annotations name, and how many of the images are there."""
    lines: list[str] = []
    images: Sequence[AnnotatedImage] = ()
    try:
        source, images = annotated(raw)
        lines.append(f"Layout: {_layout(source)}.")
        persons = [person for image in images for person in image.persons]
        usable = sum(bool(np.isfinite(person.joints_px).any()) for person in persons)
        lines.append(
            f"{source.name}: {len(images)} training images, {len(persons)} persons, {usable} of them with joints."
        )
    except RawDataError as error:
        lines.append(f"No annotations: {error.message}.")
    try:
        folder = find_images(raw)
        present = {path.name for path in folder.iterdir()}
        lines.append(f"{len(present)} files in {folder}.")
        missing = [image.name for image in images if image.persons and image.name not in present]
        if missing:
            lines.append(
                f"{len(missing)} annotated training images are missing, such as {missing[0]}: unpack "
                f"{ARCHIVES['images']} again, from {SITE}."
            )
    except RawDataError as error:
        lines.append(f"No images: {error.message}.")
    if (coco := find_coco(raw)) is not None:
        lines.append(f"Not read: {coco} has COCO's structure (Moon et al.).")
    return lines


def _layout(source: Path) -> str:
    if source.suffix == ".json":
        return "JSON annotations as HRNet and Integral Pose have them, beside the images"
    packed = ", its annotations in the .zip, read in place" if source.suffix == ".zip" else ", unpacked"
    return f"the official download{packed}"
