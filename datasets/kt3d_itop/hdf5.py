"""The HDF5 side: files opened with every dataset checked before a value is read, ids decoded, rows read in slabs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import RawDataError
from kt3d_bench.rawfiles import begins_with, own_dataset, reading
from kt3d_itop.unpack import SIGNATURE, plain_file

WIDTH_PX, HEIGHT_PX = 320, 240
_DATASETS: dict[str, dict[str, tuple[str, tuple[int, ...] | None]]] = {
    "depth_map": {"data": ("float16", (HEIGHT_PX, WIDTH_PX)), "id": ("id", None)},
    "labels": {
        "id": ("id", None),
        "is_valid": ("whole numbers", ()),
        "visible_joints": ("whole numbers", (15,)),
        "real_world_coordinates": ("float16", (15, 3)),
        "segmentation": ("int8", (HEIGHT_PX, WIDTH_PX)),
    },
}
"""File kind -> dataset -> (type, shape of one frame)."""
_MOST_FRAMES = 200_000  # The largest official file has 39 795: a small file can declare any number
_LARGEST_CHUNK_BYTES = 512 << 20
_LONGEST_ID = 64
_ID = re.compile(r"(\d{2})_(\d{5})")
_AGAIN = "download the file again, or unpack it again"


@dataclass(frozen=True, eq=False)
class Opened:
    """One official file, its datasets checked."""

    source: Path  # The file as the user has it, perhaps packed; errors name it
    datasets: dict[str, Any]

    @property
    def frames(self) -> int:
        return int(self.datasets["id"].shape[0])

    @property
    def chunk_rows(self) -> int:
        """Frames that must be read together: the images' chunks span as many."""
        return max((one.chunks[0] for one in self.datasets.values() if one.chunks and one.ndim == 3), default=1)

    def read(self, name: str, first: int, stop: int) -> npt.NDArray[Any]:
        """Read rows ``first`` up to ``stop`` of a dataset. Raises ``RawDataError`` when they are damaged."""
        with reading(self.source, _AGAIN):
            values: npt.NDArray[Any] = self.datasets[name][first:stop]
        return values


@contextmanager
def opened(source: Path, kind: str) -> Iterator[Opened]:
    """Yield the official file of that kind ("depth_map" or "labels"), unpacked first where needed.

    Raises ``RawDataError`` when it is damaged, cut short, or its datasets are not those of the format.
    """
    import h5py

    path = plain_file(source)
    with reading(source, _AGAIN):
        if not begins_with(path, SIGNATURE) and not h5py.is_hdf5(path):
            raise RawDataError("holds no HDF5 file", where=source, hint=_AGAIN)
        with h5py.File(path, "r") as file:
            cache_bytes = _check(file, source, kind)
        file = h5py.File(path, "r", rdcc_nbytes=cache_bytes, rdcc_nslots=20011)
    with file:
        yield Opened(source, {name: file[name] for name in _DATASETS[kind]})


def _check(file: Any, source: Path, kind: str) -> int:
    """Check every dataset; return the bytes that one layer of the images' chunks needs, so that none is unpacked
    twice."""
    datasets = {name: _dataset(file, source, name, *spec) for name, spec in _DATASETS[kind].items()}
    lengths = {name: one.shape[0] for name, one in datasets.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise RawDataError(f"its datasets hold different numbers of frames: {listed}", where=source, hint=_AGAIN)
    images = [one for one in datasets.values() if one.chunks and one.ndim == 3]
    layers = [one.chunks[0] * HEIGHT_PX * WIDTH_PX * one.dtype.itemsize * 5 // 4 for one in images]
    return int(min(max([1 << 20, *layers]), 256 << 20))


def _dataset(file: Any, source: Path, name: str, kind: str, frame_shape: tuple[int, ...] | None) -> Any:
    dataset = own_dataset(file, name, source, _AGAIN, most_chunk_bytes=_LARGEST_CHUNK_BYTES)
    shape_fits = dataset.ndim >= 1 and (frame_shape is None or dataset.shape[1:] == frame_shape)
    if not shape_fits or not _type_fits(dataset, kind):
        expected = "byte strings (n,)" if kind == "id" else f"{kind} {('n', *(frame_shape or ()))}".replace("'", "")
        raise RawDataError(
            f"'{name}' is {dataset.dtype} {dataset.shape}, expected {expected}",
            where=source,
            hint="use the official file; other exports of the dataset are not read",
        )
    if dataset.shape[0] > _MOST_FRAMES:
        raise RawDataError(
            f"'{name}' declares {dataset.shape[0]} frames, at most {_MOST_FRAMES} are possible",
            where=source,
            hint=_AGAIN,
        )
    return dataset


def _type_fits(dataset: Any, kind: str) -> bool:
    import h5py

    dtype = dataset.dtype
    if kind == "id":
        if dtype.kind == "S" or h5py.check_string_dtype(dtype) is not None:
            return bool(dataset.ndim == 1)
        return dataset.ndim == 2 and dtype == np.uint8 and bool(dataset.shape[1] <= _LONGEST_ID)
    if kind == "whole numbers":
        return bool(dtype.kind in "iub")
    return bool(dtype.newbyteorder("=") == np.dtype(kind))


def read_ids(file: Opened) -> list[str]:
    """Return the frame ids, ``PP_FFFFF``: two digits of the person, five of the frame.

    Raises ``RawDataError`` for the first that is none, and for the first that comes twice.
    """
    found: list[str] = []
    seen: dict[str, int] = {}
    for first in range(0, file.frames, 4096):
        for value in file.read("id", first, first + 4096):
            text = _text(value)
            row = len(found)
            if not _ID.fullmatch(text):
                raise RawDataError(f"id {row} is {text[:40]!r}, expected PP_FFFFF like '00_00053'", where=file.source,
                                   hint=_AGAIN)  # fmt: skip
            if text in seen:
                raise RawDataError(f"ids {seen[text]} and {row} are both '{text}'", where=file.source, hint=_AGAIN)
            seen[text] = row
            found.append(text)
    return found


def _text(value: Any) -> str:
    """Return one id, stored as bytes, as text or as an array of codes; padding cut off."""
    if isinstance(value, np.ndarray):
        value = value.tobytes()
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return str(value).rstrip("\0 ")


def split_id(text: str) -> tuple[str, int]:
    """Split ``"00_00053"`` into person ``"00"`` and frame 53."""
    person, frame = text.split("_")
    return person, int(frame)


def check_same_ids(depth: Opened, labels: Opened, depth_ids: Sequence[str], label_ids: Sequence[str]) -> None:
    """Raise ``RawDataError`` with the first place where the ids of the two files differ."""
    partner, what = labels.source.name, None
    differing = (row for row, (one, other) in enumerate(zip(depth_ids, label_ids, strict=False)) if one != other)
    if (row := next(differing, None)) is not None:
        what = (
            f"the ids differ from those of {partner}: number {row} is {depth_ids[row]} here and {label_ids[row]} there"
        )
    elif len(depth_ids) != len(label_ids):
        what = f"holds {len(depth_ids)} frames, but {partner} {len(label_ids)}"
    if what is not None:
        hint = "both files must be of one view and one split: download them again"
        raise RawDataError(what, where=depth.source, hint=hint)
