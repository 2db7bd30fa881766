"""The official person boxes: MATLAB v7.3 files of one mask per frame, ones inside the box."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import RawDataError
from kt3d_bench.geometry.crops import box_from_mask
from kt3d_bench.rawfiles import own_dataset, reading

_LARGEST_SIDE_PX = 4096
_HINT = "unpack or download the Segments_mat_gt_bb archive again"


def read_boxes(path: Path, frames: Sequence[int], *, where: str) -> npt.NDArray[np.float64]:
    """Read (len(``frames``), 4) x0, y0, x1, y1 px: centres of the first and last pixels inside; NaN for an empty mask.

    Dataset ``Masks`` holds n object references, each to a mask stored width x height. Raises ``RawDataError`` naming
    ``where`` when that is not what is there, a frame is missing, or data lies in another file.
    """
    import h5py

    boxes = np.full((len(frames), 4), np.nan)
    with reading(where, _HINT), h5py.File(path, "r") as file:
        references = own_dataset(file, "Masks", where, _HINT)
        needed = max(frames, default=0) + 1
        if references.dtype != h5py.ref_dtype or references.size < needed:
            raise RawDataError(
                f"Masks is {references.dtype} {references.shape}, expected references to at least {needed} masks",
                where=where,
                hint=_HINT,
            )
        masks = references[()].ravel()
        for box, frame in zip(boxes, frames, strict=True):
            mask = own_dataset(file, masks[frame], where, _HINT)
            if mask.ndim != 2 or max(mask.shape) > _LARGEST_SIDE_PX or mask.dtype.kind not in "buif":
                raise RawDataError(
                    f"the mask of frame {frame} is {mask.dtype} {mask.shape}, expected one value per pixel",
                    where=where,
                    hint=_HINT,
                )
            inside = np.asarray(mask[()]).T > 0
            if inside.any():
                box[:] = box_from_mask(inside)
    return boxes
