"""The side index of one shard: keys, member offsets, labels as arrays, and what the shard was made from.

It lies beside ``<split>-%06d.tar`` as ``<split>-%06d.index.npz``: an uncompressed zip of plain arrays with fixed time
stamps, so that equal content gives equal bytes. Random access, scoring, resume and the loader read it instead of
parsing JSON. Shapes: N samples, J joints (17).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import numpy.typing as npt

from kt3d_bench.budgets import read_whole
from kt3d_bench.data.format import FIELDS, FORMAT_VERSION
from kt3d_bench.errors import ArtefactError
from kt3d_bench.files import CORRUPT, npz_bytes, unreadable
from kt3d_bench.records import Sample, Skipped
from kt3d_bench.skeletons import NUM_JOINTS

Array = npt.NDArray[Any]
_MAX_BYTES = 256 << 20
AGAIN = "run the same kt3d prepare command again"


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels and cameras of N samples as arrays. See ``records.Sample`` and ``records.Camera`` for meanings."""

    joints_px: npt.NDArray[np.float32]
    """(N, 17, 2) px in the stored crop; NaN = not annotated."""
    joints_cam_mm: npt.NDArray[np.float32]
    """(N, 17, 3) mm, camera frame; NaN = absent, everywhere in 2D-only datasets."""
    visible: npt.NDArray[np.int8]
    """(N, 17) 1 visible, 0 occluded, -1 not known."""
    quality: npt.NDArray[np.uint8]
    """(N, 17) ``skeletons.Quality`` codes."""
    box_px: npt.NDArray[np.float32]
    """(N, 4) x0, y0, x1, y1 of the person's box, px in the stored crop."""
    intrinsics_px: npt.NDArray[np.float64]
    """(N, 2, 3) of the stored crop."""
    distortion: npt.NDArray[np.float64]
    """(N, 5) k1, k2, p1, p2, k3."""
    size_px: npt.NDArray[np.int32]
    """(N, 2) width, height of the stored crop."""
    rotation: npt.NDArray[np.float64]
    """(N, 3, 3) world -> camera."""
    position_world_mm: npt.NDArray[np.float64]
    """(N, 3) camera centre."""
    subject: npt.NDArray[np.str_]
    action: npt.NDArray[np.str_]
    camera_id: npt.NDArray[np.str_]
    sequence: npt.NDArray[np.str_]
    frame: npt.NDArray[np.int64]
    """(N,) each, as are the four names above."""

    def __len__(self) -> int:
        return len(self.frame)

    def take(self, indices: npt.ArrayLike) -> Labels:
        """Return the samples at ``indices`` (or where a bool mask is true), in that order."""
        chosen = np.asarray(indices)
        return Labels(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})

    @classmethod
    def concatenate(cls, parts: Sequence[Labels]) -> Labels:
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Labels:
        """Collect the labels of samples as arrays."""
        return cls.of_rows([label_row(sample) for sample in samples])

    @classmethod
    def of_rows(cls, rows: Sequence[LabelRow]) -> Labels:
        """Collect the labels of samples, of which no more than these is kept, as arrays."""
        columns = zip(*rows, strict=True) if rows else ((),) * len(LABEL_ARRAYS)
        return cls(
            **{
                name: np.array(values, dtype).reshape(len(rows), *shape)
                for (name, (dtype, shape)), values in zip(LABEL_ARRAYS.items(), columns, strict=True)
            }
        )


_SHAPES: Mapping[str, tuple[int, ...]] = {
    "joints_px": (NUM_JOINTS, 2), "joints_cam_mm": (NUM_JOINTS, 3), "visible": (NUM_JOINTS,), "quality": (NUM_JOINTS,),
    "box_px": (4,), "intrinsics_px": (2, 3), "distortion": (5,), "size_px": (2,), "rotation": (3, 3),
    "position_world_mm": (3,),
}  # fmt: skip
LABEL_ARRAYS: Mapping[str, tuple[Any, tuple[int, ...]]] = {
    name: (get_args(get_args(kind)[1])[0], _SHAPES.get(name, ())) for name, kind in get_type_hints(Labels).items()
}
"""Name -> dtype and shape of one sample's entry."""
_FROM_CAMERA = ("intrinsics_px", "distortion", "size_px", "rotation", "position_world_mm")
_ABSENT = np.full((NUM_JOINTS, 3), np.nan, np.float32)
LabelRow = tuple[Any, ...]
"""Labels and camera of one sample, in the order of ``LABEL_ARRAYS``."""


def label_row(sample: Sample) -> LabelRow:
    """Return the labels and the camera of a sample."""
    found = (getattr(sample.camera if name in _FROM_CAMERA else sample, name) for name in LABEL_ARRAYS)
    return tuple(_ABSENT if value is None else value for value in found)


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """Everything known about one tar without opening it."""

    configuration: str
    """Digest of what the shard was made from: equal digests mean equal bytes."""
    tar_sha256: str
    tar_size: int
    """Bytes."""
    keys: npt.NDArray[np.str_]
    """(N,)"""
    offsets: Mapping[str, npt.NDArray[np.int64]]
    """Field -> (N,) byte offset of the member's data in the tar. Only the fields that the samples have."""
    sizes: Mapping[str, npt.NDArray[np.int64]]
    """Field -> (N,) bytes of the member."""
    tangential_factor: float
    """Of every camera in the shard."""
    labels: Labels
    items: tuple[str, ...]
    """Names of the work items of this shard."""
    item_of: npt.NDArray[np.int64]
    """(N,) index into ``items``."""
    skipped: tuple[Skipped, ...]

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def fields(self) -> tuple[str, ...]:
        return tuple(self.offsets)


_SKIPPED = tuple(field.name for field in fields(Skipped))


def index_path(tar: Path) -> Path:
    """``<split>-000000.tar`` -> ``<split>-000000.index.npz``."""
    return tar.with_suffix(".index.npz")


def encode_index(index: ShardIndex) -> bytes:
    """Return the file's bytes, which depend on the content alone."""
    arrays: dict[str, Array] = {
        "format_version": np.array(FORMAT_VERSION),
        "configuration": np.array(index.configuration),
        "tar_sha256": np.array(index.tar_sha256),
        "tar_size": np.array(index.tar_size),
        "tangential_factor": np.array(index.tangential_factor),
        "keys": index.keys,
        "fields": np.array(index.fields, np.str_),
        "items": np.array(index.items, np.str_),
        "item_of": index.item_of,
        **{f"skipped_{name}": np.array([getattr(one, name) for one in index.skipped], np.str_) for name in _SKIPPED},
        **{f"offset.{name}": offsets for name, offsets in index.offsets.items()},
        **{f"size.{name}": sizes for name, sizes in index.sizes.items()},
        **{f"label.{name}": getattr(index.labels, name) for name in LABEL_ARRAYS},
    }
    return npz_bytes(arrays)


def read_index(path: Path) -> ShardIndex:
    """Read and check a side index. Raises ``ArtefactError`` when it is missing, corrupt or of another version."""
    try:
        arrays = _read_arrays(read_whole(path, _MAX_BYTES))
        version = int(arrays["format_version"])
        if version != FORMAT_VERSION:
            hint = "prepare the shards again with this version (kt3d prepare ... --overwrite)"
            what = f"the index has format version {version}, this kt3d reads {FORMAT_VERSION}"
            raise ArtefactError(what, where=path, hint=hint)
        return _build(arrays)
    except FileNotFoundError as error:
        raise ArtefactError("the index of this shard is missing", where=path, hint=AGAIN) from error
    except CORRUPT as error:
        raise unreadable(error, path) or ArtefactError(
            f"the index is corrupt ({error})", where=path, hint=AGAIN
        ) from error


def _read_arrays(data: bytes) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > len(data):
                raise ValueError(f"{entry.filename} is not stored plainly")
            arrays[entry.filename.removesuffix(".npy")] = _read_array(archive.read(entry))
    return arrays


def _read_array(data: bytes) -> Array:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"an array has npy version {version}")
    try:
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    except Exception as error:  # NumPy's parser lets errors of Python's tokenizer and compiler through.
        raise ValueError(f"the header of an array is corrupt ({type(error).__name__})") from error
    if fortran or dtype.hasobject or dtype.fields is not None or not dtype.isnative:
        raise ValueError("an array is not plain")
    expected = dtype.itemsize * int(np.prod(shape, dtype=object)) if shape else dtype.itemsize
    if min(shape, default=0) < 0 or len(data) - stream.tell() != expected:
        raise ValueError("an array is truncated or too long")
    if not expected:
        return np.zeros(shape, dtype)
    if dtype.kind == "U":
        codes = np.frombuffer(data, np.uint32, offset=stream.tell())
        if ((codes > 0x10FFFF) | (codes - 0xD800 < 0x800)).any():
            raise ValueError("a text holds a character that Unicode does not have")
    return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape)


def _build(arrays: Mapping[str, Array]) -> ShardIndex:
    keys, names = arrays["keys"], [str(name) for name in arrays["fields"]]
    count = len(keys)
    labels = Labels(**{name: arrays[f"label.{name}"] for name in LABEL_ARRAYS})
    expected: dict[str, tuple[Any, tuple[int, ...]]] = {
        "keys": (np.str_, ()),
        "item_of": (np.int64, ()),
        **{f"label.{name}": kind for name, kind in LABEL_ARRAYS.items()},
        **{f"{what}.{name}": (np.int64, ()) for name in names for what in ("offset", "size")},
    }
    for name, (dtype, shape) in expected.items():
        found = arrays[name]
        if found.shape != (count, *shape) or found.dtype.kind != np.dtype(dtype).kind:
            raise ValueError(f"{name} is {found.dtype} {found.shape}")
        if dtype is not np.str_ and found.dtype != dtype:
            raise ValueError(f"{name} is {found.dtype}")
    unknown = [name for name in names if name not in FIELDS]
    if unknown or "labels" not in names:
        raise ValueError(f"unexpected fields {names}")
    item_of, items = arrays["item_of"], tuple(str(name) for name in arrays["items"])
    if count and not (item_of.min() >= 0 and item_of.max() < len(items)):
        raise ValueError("item_of points outside items")
    tar_size = int(arrays["tar_size"])
    for name in names:
        offsets, sizes = arrays[f"offset.{name}"], arrays[f"size.{name}"]
        if count and (offsets.min() < 0 or sizes.min() < 0 or (offsets > tar_size - sizes).any()):
            raise ValueError(f"members of {name} lie outside the tar")
    skipped = zip(*(arrays[f"skipped_{name}"] for name in _SKIPPED), strict=True)
    return ShardIndex(
        configuration=str(arrays["configuration"]),
        tar_sha256=str(arrays["tar_sha256"]),
        tar_size=tar_size,
        keys=keys,
        offsets={name: arrays[f"offset.{name}"] for name in names},
        sizes={name: arrays[f"size.{name}"] for name in names},
        tangential_factor=float(arrays["tangential_factor"]),
        labels=labels,
        items=items,
        item_of=item_of,
        skipped=tuple(Skipped(*map(str, one)) for one in skipped),
    )
