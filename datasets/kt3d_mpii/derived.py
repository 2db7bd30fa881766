"""The JSON annotations that many people have instead of the .mat file: ``annot/{trainval,train,valid}.json``.

A list of ``{"image", "center", "scale", "joints": 16 x 2, "joints_vis": 16}`` as distributed with HRNet and Integral
Pose (also ``annotations/mpii_*.json``). Coordinates are 1-based. A flag of 1 means "labelled", not "visible", so
visibility is not known.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kt3d_bench.errors import RawDataError
from kt3d_mpii.layout import ARCHIVES, SITE, AnnotatedImage, Person, find_annotations, read_annotations

_JOINTS = 16
_FILE_LIMIT = 256 << 20


def annotated(raw: Path) -> tuple[Path, Sequence[AnnotatedImage]]:
    """The annotation file and what it holds: the official one where it is there, else the derived ones.

    Raises ``RawDataError`` for a file that is damaged, and where there is none that is read.
    """
    try:
        official = find_annotations(raw)
    except RawDataError:
        derived = find_json(raw)
        if derived:
            return derived[0], read_json(derived)
        if (coco := find_coco(raw)) is not None:
            raise RawDataError(
                "has COCO's structure (Moon et al.), which is not read",
                where=coco,
                hint=f"put {ARCHIVES['annotations']} beside the images, from {SITE}",
            ) from None
        raise
    return official, read_annotations(official)


def find_coco(raw: Path) -> Path | None:
    """Moon et al.'s ``annotations/train.json``."""
    path = raw / "annotations" / "train.json"
    return path if path.is_file() else None


def find_json(raw: Path) -> Sequence[Path]:
    """``trainval`` where it is there, else ``train`` and ``valid``; empty when there is none of them."""
    for folder, prefix, valid in ((raw / "annot", "", "valid"), (raw / "annotations", "mpii_", "val")):
        if (folder / f"{prefix}trainval.json").is_file():
            return [folder / f"{prefix}trainval.json"]
        parts = [folder / f"{prefix}{name}.json" for name in ("train", valid)]
        if parts[0].is_file():
            return [path for path in parts if path.is_file()]
    return []


def read_json(paths: Sequence[Path]) -> Sequence[AnnotatedImage]:
    """The images by name, persons in the files' order. Raises ``RawDataError`` for anything else than that format."""
    persons: dict[str, list[Person]] = {}
    for path in paths:
        for number, entry in enumerate(_entries(path)):
            try:
                name, person = _person(entry, persons)
            except (KeyError, TypeError, ValueError) as error:
                raise RawDataError(
                    f"entry {number} is not an image with 16 joints ({type(error).__name__}: {error})",
                    where=path,
                    hint="download the annotations again, or use the official .mat file",
                ) from error
            persons.setdefault(name, []).append(person)
    return [AnnotatedImage(name, "", None, 0, tuple(found)) for name, found in sorted(persons.items())]


def _entries(path: Path) -> list[Any]:
    hint = "download the annotations again, or use the official .mat file"
    try:
        if path.stat().st_size > _FILE_LIMIT:
            raise RawDataError("is larger than 256 MiB, no such file is", where=path, hint=hint)
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise RawDataError(f"cannot be read ({error})", where=path, hint=hint) from error
    if not isinstance(content, list):
        raise RawDataError(f"holds a {type(content).__name__}, expected a list", where=path, hint=hint)
    return content


def _person(entry: Any, persons: dict[str, list[Person]]) -> tuple[str, Person]:
    name = entry["image"]
    if not isinstance(name, str):
        raise TypeError(f"image is {name!r}")
    joints = np.array(entry["joints"], np.float64)
    labelled = np.array(entry["joints_vis"], np.float64)
    if joints.shape != (_JOINTS, 2) or labelled.shape != (_JOINTS,):
        raise ValueError(f"joints {joints.shape}, joints_vis {labelled.shape}")
    known = (labelled > 0) & np.isfinite(joints).all(axis=1)
    joints_px = np.where(known[:, None], joints - 1.0, np.nan)
    return name, Person(len(persons.get(name, ())), joints_px, np.full(_JOINTS, -1, np.int8))
