"""The stand-in's HDF5 files, written block by block, and their compression; bytes depend on the content alone."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_itop.standin_sensor import HEIGHT_PX, METRES_PER_PX, MIDDLE_PX, WIDTH_PX

_IMAGE = (HEIGHT_PX, WIDTH_PX)
_FIELDS: dict[str, dict[str, tuple[tuple[int, ...], str]]] = {
    "depth_map": {"data": (_IMAGE, "<f2"), "id": ((), "S8")},
    "point_cloud": {"data": ((HEIGHT_PX * WIDTH_PX, 3), "<f2"), "id": ((), "S8")},
    "labels": {
        "id": ((), "S8"),
        "image_coordinates": ((15, 2), "<i2"),
        "is_valid": ((), "u1"),
        "real_world_coordinates": ((15, 3), "<f2"),
        "segmentation": (_IMAGE, "i1"),
        "visible_joints": ((15,), "<i2"),
    },
}
"""File -> dataset -> shape of one frame, and type."""
_COPY_BYTES = 1 << 20


class ViewFiles:
    """The open, unpacked files of one view and split."""

    def __init__(self, folder: Path, view: str, split: str, frames: int, *, point_cloud: bool) -> None:
        import h5py

        kinds = ["depth_map", "labels", *(["point_cloud"] if point_cloud else [])]
        self._files = {}
        self._filled = 0
        for kind in kinds:
            path = folder / f"ITOP_{view}_{split}_{kind}.h5"
            file = self._files[kind] = h5py.File(path, "w", libver=("earliest", "v108"))
            for name, (shape, dtype) in _FIELDS[kind].items():
                file.create_dataset(name, (frames, *shape), dtype, track_times=False)

    def append(self, rows: Mapping[str, npt.NDArray[Any]]) -> None:
        """Append frames, given as arrays of equal length by dataset name."""
        stop = self._filled + len(rows["id"])
        for kind, file in self._files.items():
            for name in _FIELDS[kind]:
                values = point_cloud(rows["data"]) if (kind, name) == ("point_cloud", "data") else rows[name]
                file[name][self._filled : stop] = values
        self._filled = stop

    def close(self) -> None:
        for file in self._files.values():
            file.close()


def point_cloud(depth_m: npt.NDArray[np.float16]) -> npt.NDArray[np.float16]:
    """Return (n, H * W, 3) x, y, z in metres of depth (n, H, W) in metres; zero where there is no reading."""
    z = depth_m.astype(np.float32)
    v, u = np.mgrid[:HEIGHT_PX, :WIDTH_PX].astype(np.float32)
    cloud = np.stack([(u - MIDDLE_PX[0]) * METRES_PER_PX * z, (MIDDLE_PX[1] - v) * METRES_PER_PX * z, z], axis=-1)
    return cloud.reshape(len(z), -1, 3).astype(np.float16)


def compress(path: Path, out: Path) -> None:
    """Compress ``path`` to ``out``, a gzip file without name or time, and remove ``path``."""
    with (
        path.open("rb") as source,
        out.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as target,
    ):
        shutil.copyfileobj(source, target, _COPY_BYTES)
    path.unlink()
