"""The official person boxes: MATLAB v7.3 files of one mask per frame, ones inside the box."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import RawDataError
from kt3d_bench.geometry.crops import box_from_mask

_LARGEST_SIDE_PX = 4096
_MEND = "unpack or download the Segments_mat_gt_bb archive again"


def read_boxes(path: Path, frames: Sequence[int], *, where: str) -> npt.NDArray[np.float64]:
    """(len(``frames``), 4) x0, y0, x1, y1 px: centres of the first and last pixels inside; NaN for an empty mask.

    Dataset ``Masks`` holds n object references, each to a mask stored width x height. Raises ``RawDataError`` naming
    ``where`` when that is not what is there, a frame is missing, or data lies in another file.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if not isinstance(file.get("Masks", getlink=True), h5py.HardLink):
                raise RawDataError("holds no Masks of its own", where=where, hint=_MEND)
            references = _own(file["Masks"], where)
            if references.dtype != h5py.ref_dtype or references.size <= max(frames, default=0):
                raise RawDataError(
                    f"Masks is {references.dtype} {references.shape}, expected references to at least "
                    f"{max(frames, default=0) + 1} masks",
                    where=where,
                    hint=_MEND,
                )
            masks = references[()].ravel()
            return np.array([_box(_own(file[masks[frame]], where), frame, where) for frame in frames]).reshape(-1, 4)
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise RawDataError(f"cannot be read ({type(error).__name__}: {error})", where=where, hint=_MEND) from error


def _own(dataset: Any, where: str) -> Any:
    """The dataset, unless it is none or keeps its values in other files."""
    import h5py

    if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
        raise RawDataError("Masks does not hold data of its own", where=where, hint=_MEND)
    return dataset


def _box(mask: Any, frame: int, where: str) -> npt.NDArray[np.float64]:
    if mask.ndim != 2 or max(mask.shape) > _LARGEST_SIDE_PX or mask.dtype.kind not in "buif":
        raise RawDataError(
            f"the mask of frame {frame} is {mask.dtype} {mask.shape}, expected one value per pixel",
            where=where,
            hint=_MEND,
        )
    inside = np.asarray(mask[()]).T > 0
    return box_from_mask(inside) if inside.any() else np.full(4, np.nan)
