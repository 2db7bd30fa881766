"""MPII's images and annotation file -> samples: person crops with 2D joints in the common order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import RawDataError, UsageError
from kt3d_bench.geometry.crops import box_from_points, crop_person
from kt3d_bench.records import Camera, Sample, Skipped, WorkItem
from kt3d_mpii.derived import annotated
from kt3d_mpii.describe import describe
from kt3d_mpii.joints import JOINTS, MAPPING
from kt3d_mpii.layout import AnnotatedImage, find_images, read_image

__all__ = ["convert", "describe", "plan"]

IMAGES_PER_ITEM = 100
FOCAL_OVER_LONGEST_SIDE = 1.2
"""MPII publishes no cameras: a sample's camera is a pinhole of this focal length (45 degrees across the longer side)
at the image's centre, so that crops and warps have one. Nothing metric follows from it."""
MIN_JOINTS = 4
"""Persons with fewer annotated joints of the common 17 are skipped."""
_LARGEST_EXTENT = 3
_Point = tuple[float, float, int] | None


def plan(raw: Path, split: str, options: Mapping[str, Any]) -> Sequence[WorkItem]:
    """One item per 100 training images that show anybody; the annotation travels in the payload.

    Raises ``MissingDataError`` when the folder is not MPII's, ``RawDataError`` when a part of it is missing or the
    annotation file is damaged, ``UsageError`` for an unknown split.
    """
    if split != "train":
        raise UsageError(f"MPII has no split '{split}'", hint="choose 'train': the test joints are withheld")
    images = find_images(raw)
    annotations, found = annotated(raw)
    shown = [image for image in found if image.persons]
    if not shown:
        raise RawDataError("annotates no training images", where=annotations, hint="unpack the annotations again")
    stems = Counter(Path(image.name).stem for image in shown)
    repeated = [stem for stem, count in stems.items() if count > 1]
    if repeated:
        raise RawDataError(f"annotates the image {repeated[0]} more than once", where=annotations,
                           hint="unpack the annotations again")  # fmt: skip
    items = []
    for start in range(0, len(shown), IMAGES_PER_ITEM):
        block = shown[start : start + IMAGES_PER_ITEM]
        payload = {"images": str(images), "annotations": tuple(_plain(image) for image in block)}
        count = sum(_usable(_joints(points)) for image in payload["annotations"] for _, points in image[-1])
        items.append(WorkItem(name=f"train_{start:06d}", expected_samples=count, payload=payload))
    return items


def convert(item: WorkItem) -> Iterator[Sample | Skipped]:
    """The samples of one item, image by image, person by person; what cannot be used comes as ``Skipped``."""
    folder = Path(item.payload["images"])
    for name, action, video, second, persons in item.payload["annotations"]:
        image: npt.NDArray[np.uint8] | RawDataError | None = None
        stem = Path(name).stem
        for index, points in persons:
            key = f"{stem}_p{index + 1}"
            joints_px = _joints(points)
            if not _usable(joints_px):
                yield Skipped(key, f"fewer than {MIN_JOINTS} joints annotated, or all in one place")
                continue
            if image is None:
                image = _image(folder, name)
            if isinstance(image, RawDataError):
                yield Skipped.damaged(key, image)
                continue
            reason = _absurd(joints_px, image)
            if reason is not None:
                yield Skipped(key, reason)
                continue
            sequence = stem if video is None else f"video_{video:04d}"
            yield _sample(image, key, joints_px, _visible(points), action=action, sequence=sequence, frame=second)


def _plain(image: AnnotatedImage) -> tuple[Any, ...]:
    persons = tuple(
        (
            person.index,
            tuple(
                (float(x), float(y), int(seen)) if np.isfinite(x) else None
                for (x, y), seen in zip(person.joints_px, person.visible, strict=True)
            ),
        )
        for person in image.persons
    )
    return image.name, image.action, image.video, image.second, persons


def _joints(points: Sequence[_Point]) -> npt.NDArray[np.float64]:
    """(17, 2) px of the full image, common order; NaN = absent or not annotated."""
    source = np.full((len(JOINTS), 2), np.nan)
    for joint, point in enumerate(points):
        if point is not None:
            source[joint] = point[:2]
    return MAPPING.apply(source)


def _visible(points: Sequence[_Point]) -> npt.NDArray[np.int8]:
    """(17,) visibility in the common order; every mapped joint has one source."""
    flags = {name: point[2] for name, point in zip(JOINTS, points, strict=True) if point is not None}
    return np.array([flags.get(entry.sources[0], -1) if entry.sources else -1 for entry in MAPPING.table], np.int8)


def _usable(joints_px: npt.NDArray[np.float64]) -> bool:
    known = joints_px[np.isfinite(joints_px).all(axis=1)]
    return len(known) >= MIN_JOINTS and bool(np.ptp(known, axis=0).max() >= 1.0)


def _absurd(joints_px: npt.NDArray[np.float64], image: npt.NDArray[np.uint8]) -> str | None:
    """Why these (17, 2) joints are nobody's in this image; NaN = absent."""
    size = np.array(image.shape[1::-1])
    known = joints_px[np.isfinite(joints_px).all(axis=1)]
    if not ((known > -0.5) & (known < size - 0.5)).all(axis=1).any():
        return "all joints lie outside the image"
    if (np.ptp(known, axis=0) > _LARGEST_EXTENT * size).any():
        return f"the joints are more than {_LARGEST_EXTENT} times as far apart as the image is large"
    return None


def _image(folder: Path, name: str) -> npt.NDArray[np.uint8] | RawDataError:
    """The image, or why it cannot be used."""
    try:
        return read_image(folder, name)
    except RawDataError as error:
        return error


def _sample(
    image: npt.NDArray[np.uint8],
    key: str,
    joints_px: npt.NDArray[np.float64],
    visible: npt.NDArray[np.int8],
    *,
    action: str,
    sequence: str,
    frame: int,
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
        action=action,
        camera_id="",
        sequence=sequence,
        frame=frame,
        rgb=crop.rgb,
    )
