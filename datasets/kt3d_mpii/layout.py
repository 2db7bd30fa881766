"""The official download: ``mpii_human_pose_v1_u12_2/mpii_human_pose_v1_u12_1.mat`` and ``images/*.jpg``.

The annotations may stay in their .zip, or be the JSON files of HRNet. The images must be unpacked: a .tar.gz of 12 GB
can only be read from its beginning.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import MissingDataError, RawDataError
from kt3d_bench.rawfiles import any_case, contents, find, near, read_jpeg

MAT_FILE = "mpii_human_pose_v1_u12_1.mat"
MAT_FOLDER = "mpii_human_pose_v1_u12_2"
ARCHIVES = {"images": "mpii_human_pose_v1.tar.gz", "annotations": "mpii_human_pose_v1_u12_2.zip"}
SITE = "http://human-pose.mpi-inf.mpg.de"
_PACKED_IMAGES = (ARCHIVES["images"], "mpii_human_pose_v1.tar", "images.tar.gz", "images.tar", "images.zip")
"""The official name, and those under which others packed the images again."""
_IMAGE = re.compile(r"[A-Za-z0-9_\-]+\.jpe?g", re.IGNORECASE)


def find_annotations(raw: Path) -> Sequence[Path]:
    """Return the .mat file under ``raw``, else the .zip with it, else HRNet's JSON files.

    Raises ``RawDataError`` saying what is there instead, ``MissingDataError`` when nothing of MPII's is.
    """
    places = (raw / MAT_FOLDER / MAT_FILE, *find(raw, MAT_FILE, f"*/{MAT_FOLDER}/{MAT_FILE}", ARCHIVES["annotations"]))
    for path in places:
        if path.is_file():
            return [path]
    for folder, prefix, valid in ((raw / "annot", "", "valid"), (raw / "annotations", "mpii_", "val")):
        if (both := any_case(any_case(folder) / f"{prefix}trainval.json")).is_file():
            return [both]
        parts = [any_case(any_case(folder) / f"{prefix}{name}.json") for name in ("train", valid)]
        if parts[0].is_file():
            return [path for path in parts if path.is_file()]
    if (coco := find_coco(raw)) is not None:
        raise RawDataError(
            "has COCO's structure (Moon et al.), which is not read",
            where=coco,
            hint=f"put {ARCHIVES['annotations']} beside the images, from {SITE}",
        )
    raise _absent(raw, f"{MAT_FOLDER}/{MAT_FILE}", "annotations")


def find_coco(raw: Path) -> Path | None:
    """Return Moon et al.'s ``annotations/train.json``, if it is there."""
    path = raw / "annotations" / "train.json"
    return path if path.is_file() else None


def find_images(raw: Path) -> Path:
    """Return the folder of images under ``raw``.

    Raises ``RawDataError`` saying what is there instead, ``MissingDataError`` when nothing of MPII's is.
    """
    for folder in find(raw, "images"):
        if folder.is_dir():
            if not any(_IMAGE.fullmatch(path.name) for path in folder.iterdir()):
                kind = RawDataError if _has_traces(raw) else MissingDataError
                raise kind("holds no .jpg images", where=folder, hint=f"unpack {ARCHIVES['images']} again")
            return folder
    for packed in find(raw, *_PACKED_IMAGES):
        if packed.is_file():
            command = f"unzip {packed.name}" if packed.suffix.lower() == ".zip" else f"tar -xf {packed.name}"
            raise RawDataError(
                "is still packed, expected the folder images",
                where=packed,
                hint=f"unpack it first, because images are read in random order: cd {packed.parent} && {command}",
            )
    raise _absent(raw, "images", "images")


def _has_traces(raw: Path) -> bool:
    """Return whether anything of the download is there: a file or folder of its name, or an official image name."""
    patterns = ("*mpii*", "*/*mpii*", "annot/*.json", "images/?????????.jpg")
    return any(True for pattern in patterns for _ in raw.glob(pattern))


def _absent(raw: Path, wanted: str, archive: str) -> RawDataError:
    if not raw.is_dir():
        return RawDataError(
            f"is not a folder, expected one that holds {wanted}",
            where=raw,
            hint="point --raw at the MPII download, or make a stand-in with `kt3d generate mpii`",
        )
    kind = RawDataError if _has_traces(raw) else MissingDataError
    return kind(
        f"holds no {wanted}, found {contents(raw)}{near(raw, PurePosixPath(wanted).name, ARCHIVES[archive])}",
        where=raw,
        hint=f"{'unpack' if archive == 'images' else 'put'} {ARCHIVES[archive]} here, from {SITE}",
    )


def read_image(folder: Path, name: str) -> npt.NDArray[np.uint8]:
    """Read an image as (H, W, 3) RGB, as stored: orientation tags are ignored, as the annotation tool did.

    Raises ``RawDataError`` for a name that is no plain .jpg file name, a missing file and a damaged one.
    """
    if not _IMAGE.fullmatch(name):
        raise RawDataError(f"the annotation names the image {name!r}, expected a .jpg file name", where=folder,
                           hint=f"unpack {ARCHIVES['annotations']} again")  # fmt: skip
    return read_jpeg(any_case(folder / name), f"unpack {ARCHIVES['images']} again")
