"""MPII's images and annotation file -> samples: person crops with 2D joints in the common order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import RawDataError
from kt3d_bench.geometry.crops import box_from_points, crop_person
from kt3d_bench.records import Camera, Sample, Skipped, WorkItem
from kt3d_mpii.annotations import JOINTS, MAPPING, AnnotatedImage, Points, read_annotations
from kt3d_mpii.bounds import check_bounds, check_places
from kt3d_mpii.layout import ARCHIVES, SITE, find_annotations, find_coco, find_images, read_image

IMAGES_PER_ITEM = 100
FOCAL_OVER_LONGEST_SIDE = 1.2
"""MPII publishes no cameras: a sample's camera is a pinhole of this focal length (45 degrees across the longer side)
at the image's centre, so that crops and warps have one. Nothing metric follows from it."""
MIN_JOINTS = 4  # Persons with fewer annotated joints of the common 17 are skipped
_LARGEST_EXTENT = 3


def plan(raw: Path, split: str, options: Mapping[str, Any]) -> Sequence[WorkItem]:
    """Return one item per 100 training images that show anybody; the annotation travels in the payload.

    Raises ``MissingDataError`` when the folder is not MPII's, ``RawDataError`` when a part of it is missing, the
    annotation file is damaged or it is of other images.
    """
    images = find_images(raw)
    annotations = find_annotations(raw)
    shown = [image for image in read_annotations(annotations) if image.persons]
    if not shown:
        raise RawDataError("annotates no training images", where=annotations[0], hint="unpack the annotations again")
    stem, count = Counter(Path(image.name).stem for image in shown).most_common(1)[0]
    if count > 1:
        raise RawDataError(f"annotates the image {stem} more than once", where=annotations[0],
                           hint="unpack the annotations again")  # fmt: skip
    check_bounds(images, shown, annotations[0])
    check_places(shown, annotations[0])
    items = []
    for start in range(0, len(shown), IMAGES_PER_ITEM):
        block = shown[start : start + IMAGES_PER_ITEM]
        expected = sum(_usable(_joints(points)) for image in block for _, points in image.persons)
        payload = {"images": str(images), "annotations": tuple(tuple(image)[:-1] for image in block)}
        items.append(WorkItem(f"train_{start:06d}", expected, payload))
    return items


def convert(item: WorkItem) -> Iterator[Sample | Skipped]:
    """Yield the samples of one item, image by image, person by person; what cannot be used comes as ``Skipped``."""
    for fields in item.payload["annotations"]:
        yield from _people(Path(item.payload["images"]), AnnotatedImage(*fields))


def _people(folder: Path, annotated: AnnotatedImage) -> Iterator[Sample | Skipped]:
    image: npt.NDArray[np.uint8] | RawDataError | None = None
    stem = Path(annotated.name).stem
    first: dict[Points, int] = {}
    for index, points in annotated.persons:
        key, joints_px = f"{stem}_p{index + 1}", _joints(points)
        if first.setdefault(points, index) != index and _usable(joints_px):
            yield Skipped(key, "has the same joints as another person of the image")
            continue
        if not _usable(joints_px):
            yield Skipped(key, f"fewer than {MIN_JOINTS} joints annotated, or all in one place")
            continue
        if image is None:
            try:
                image = read_image(folder, annotated.name)
            except RawDataError as error:
                image = error
        if isinstance(image, RawDataError):
            yield Skipped.damaged(key, image)
        elif (reason := _implausible(joints_px, image)) is not None:
            yield Skipped(key, reason)
        else:
            yield _sample(annotated, key, image, joints_px, _visible(points))


def _joints(points: Points) -> npt.NDArray[np.float64]:
    """Return (17, 2) px of the full image, common order; NaN = absent or not annotated."""
    source = np.full((len(JOINTS), 2), np.nan)
    for joint, point in enumerate(points):
        if point is not None:
            source[joint] = point[:2]
    return MAPPING.apply(source)


def _visible(points: Points) -> npt.NDArray[np.int8]:
    """Return (17,) visibility in the common order; every mapped joint has one source."""
    flags = {name: point[2] for name, point in zip(JOINTS, points, strict=True) if point is not None}
    return np.array([flags.get(entry.sources[0], -1) if entry.sources else -1 for entry in MAPPING.table], np.int8)


def _usable(joints_px: npt.NDArray[np.float64]) -> bool:
    known = joints_px[np.isfinite(joints_px).all(axis=1)]
    return len(known) >= MIN_JOINTS and bool(np.ptp(known, axis=0).max() >= 1.0)


def _implausible(joints_px: npt.NDArray[np.float64], image: npt.NDArray[np.uint8]) -> str | None:
    """Return why these (17, 2) joints cannot be anybody's in this image; NaN = absent."""
    size = np.array(image.shape[1::-1])
    known = joints_px[np.isfinite(joints_px).all(axis=1)]
    if not ((known > -0.5) & (known < size - 0.5)).all(axis=1).any():
        return "all joints lie outside the image"
    if (np.ptp(known, axis=0) > _LARGEST_EXTENT * size).any():
        return f"the joints are spread over more than {_LARGEST_EXTENT} times the image's size"
    return None


def _sample(
    annotated: AnnotatedImage,
    key: str,
    image: npt.NDArray[np.uint8],
    joints_px: npt.NDArray[np.float64],
    visible: npt.NDArray[np.int8],
) -> Sample:
    height, width = image.shape[:2]
    focal_px = FOCAL_OVER_LONGEST_SIDE * max(width, height)
    camera = Camera.pinhole((focal_px, focal_px), ((width - 1) / 2, (height - 1) / 2), (width, height))
    box_px = box_from_points(joints_px)
    crop = crop_person(camera, box_px, rgb=image)
    return Sample(
        key=key,
        camera=crop.camera,
        joints_px=crop.to_crop(joints_px).astype(np.float32),
        joints_cam_mm=None,
        visible=visible,
        quality=MAPPING.quality,
        box_px=crop.to_crop(box_px.reshape(2, 2)).ravel().astype(np.float32),
        subject="",
        action=annotated.action,
        camera_id="",
        sequence=Path(annotated.name).stem if annotated.video is None else f"video_{annotated.video:04d}",
        frame=annotated.second,
        rgb=crop.rgb,
    )


def describe(raw: Path) -> Sequence[str]:
    """Return sentences for ``kt3d inspect``: the layout, what the annotations name and how much of it is there."""
    lines: list[str] = []
    images: Sequence[AnnotatedImage] = ()
    try:
        source = find_annotations(raw)
        images = read_annotations(source)
        persons = [points for image in images for _, points in image.persons]
        usable = sum(any(points) for points in persons)
        lines.append(f"Layout: {_LAYOUTS[source[0].suffix.lower()]}.")
        lines.append(
            f"{source[0].name}: {len(images)} training images, {len(persons)} persons, {usable} of them with joints."
        )
    except RawDataError as error:
        lines.append(f"No annotations: {error.message}.")
    try:
        folder = find_images(raw)
        present = {path.name.casefold() for path in folder.iterdir()}
        lines.append(f"{len(present)} files in {folder}.")
        missing = [image.name for image in images if image.persons and image.name.casefold() not in present]
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


_LAYOUTS = {
    ".mat": "the official download, unpacked",
    ".zip": "the official download, with its annotations read from the .zip",
    ".json": "JSON annotations of HRNet and Integral Pose beside the images",
}
