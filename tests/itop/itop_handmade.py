"""ITOP files written by hand with h5py, as the format's description has them; nothing of the reader is used."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

SIDE_JOINTS_M = np.array(
    [
        [0.02, 0.52, 2.90], [0.01, 0.27, 2.97], [-0.17, 0.27, 2.98], [0.19, 0.27, 2.96], [-0.32, 0.07, 2.98],
        [0.38, 0.03, 2.99], [-0.42, -0.04, 2.80], [0.42, -0.08, 2.64], [0.00, 0.02, 2.98], [-0.12, -0.22, 3.01],
        [0.10, -0.22, 2.99], [-0.15, -0.73, 2.99], [0.11, -0.75, 3.02], [-0.15, -1.12, 3.11], [0.07, -1.14, 3.13],
    ]
)  # fmt: skip
"""Somebody 3 m in front of the side camera, metres, y up."""


def top_joints_m(side_m: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """What the top view's labels are, by the facts of the format."""
    x, y, z = np.moveaxis(np.asarray(side_m, np.float64), -1, 0)
    return np.stack([x, z - 2.85, 1.5 - y], axis=-1)


def scene(joints_m: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.int8]]:
    """A wall at 4 m and a disc of 12 px at every joint, 100 mm in front of it, with the joint's part id."""
    depth, parts = np.full((240, 320), 4.0), np.full((240, 320), -1, np.int8)
    rows, columns = np.mgrid[:240, :320]
    for joint, (x, y, z) in enumerate(joints_m):
        u, v = 160 + x / (0.0035 * z), 120 - y / (0.0035 * z)
        disc = (columns - u) ** 2 + (rows - v) ** 2 < 12**2
        depth[disc], parts[disc] = z - 0.1, joint
    return depth.astype(np.float16), parts


def frames(count: int, view: str = "side", *, person: int = 0, start: int = 50) -> dict[str, dict[str, Any]]:
    """Contents of both files: ``count`` valid frames of one person who walks 5 mm to the right each time."""
    side_m = SIDE_JOINTS_M + np.arange(count)[:, None, None] * [0.005, 0, 0]
    joints_m = side_m if view == "side" else top_joints_m(side_m)
    scenes = [scene(one) for one in joints_m]
    ids = np.array([f"{person:02d}_{start + number:05d}" for number in range(count)], "S8")
    return {
        "depth_map": {"data": np.stack([depth for depth, _ in scenes]), "id": ids},
        "labels": {
            "id": ids,
            "is_valid": np.ones(count, np.uint8),
            "visible_joints": np.ones((count, 15), np.int16),
            "image_coordinates": np.zeros((count, 15, 2), np.int16),
            "real_world_coordinates": joints_m.astype(np.float16),
            "segmentation": np.stack([parts for _, parts in scenes]),
        },
    }


def write(
    folder: Path,
    contents: dict[str, dict[str, Any]],
    *,
    view: str = "side",
    split: str = "test",
    packed: bool = False,
    **storage: Any,
) -> dict[str, Path]:
    """Write both files; ``storage`` goes to ``create_dataset`` of the images. Returns the paths by kind."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for kind, datasets in contents.items():
        path = folder / f"ITOP_{view}_{split}_{kind}.h5"
        with h5py.File(path, "w") as file:
            for name, values in datasets.items():
                more = storage if name in ("data", "segmentation") else {}
                file.create_dataset(name, data=values, **more)
        if packed:
            plain, path = path, path.with_name(path.name + ".gz")
            path.write_bytes(gzip.compress(plain.read_bytes(), 1, mtime=0))
            plain.unlink()
        paths[kind] = path
    return paths
