"""Frames kept as single JPEG files, as derived layouts have them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import RawDataError
from kt3d_bench.records import Camera, Sample, Skipped
from kt3d_h36m.samples import fit_size, make_sample

_LARGEST_SIDE_PX = 4096
_LARGEST_BYTES = 64 << 20
_MEND = "unpack the images again"


def still_samples(
    load: Mapping[str, Any], camera: Camera, joints_cam_mm: Mapping[int, npt.NDArray[np.float64]], image_name: str
) -> Iterator[Sample | Skipped]:
    """The samples of one folder of images; those that are missing or damaged are skipped by name.

    ``load`` holds what ``make_sample`` needs and ``folder``; ``joints_cam_mm`` maps frame -> (17, 3), in order;
    ``image_name`` is a %-format of the image's number, the frame's plus 1. Raises ``RawDataError`` when an image was
    rescaled, or none of them is there.
    """
    folder = Path(load["folder"])
    paths = {frame: folder / (image_name % (frame + 1)) for frame in joints_cam_mm}
    if paths and not any(path.is_file() for path in paths.values()):
        first = next(iter(paths.values()))
        raise RawDataError(
            f"holds none of the {len(paths)} images wanted, such as {first.name}", where=folder, hint=_MEND
        )
    for frame, path in paths.items():
        if not path.is_file():
            yield Skipped(f"{load['name']}_{frame:06d}", "the image is missing", str(path))
            continue
        try:
            image = read_jpeg(path)
        except RawDataError as error:
            yield Skipped.damaged(f"{load['name']}_{frame:06d}", error)
            continue
        height, width = image.shape[:2]
        yield make_sample(load, fit_size(camera, (width, height), str(path)), frame, image, joints_cam_mm[frame], None)


def read_jpeg(path: Path) -> npt.NDArray[np.uint8]:
    """(H, W, 3) RGB. Raises ``RawDataError`` for a file that is damaged or larger than any frame, undecoded."""
    import simplejpeg

    if path.stat().st_size > _LARGEST_BYTES:
        raise RawDataError("is larger than 64 MiB, no frame of this dataset is", where=path, hint=_MEND)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RawDataError(f"cannot be read ({error.strerror})", where=path, hint=_MEND) from error
    try:
        height, width = simplejpeg.decode_jpeg_header(content)[:2]
        if max(height, width) > _LARGEST_SIDE_PX:
            raise ValueError(f"{width} x {height} px")
        image: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(content, "RGB")
    except ValueError as error:
        raise RawDataError(f"cannot be decoded ({error})", where=path, hint=_MEND) from error
    return image
