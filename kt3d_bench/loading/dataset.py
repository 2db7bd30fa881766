"""Prepared samples from Python: a map-style dataset over shards, as records, as tensors, or as a WebDataset pipeline.

Nothing here imports torch until ``Dataset.torch`` or ``webdataset`` is called. Shapes: N samples, J joints (17).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from kt3d_bench.data.format import decode
from kt3d_bench.data.index import Labels
from kt3d_bench.data.manifest import MANIFEST
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.data.remote import local_folder
from kt3d_bench.errors import ArtefactError, UsageError, did_you_mean
from kt3d_bench.files import default_data_root
from kt3d_bench.plugins import registry
from kt3d_bench.records import Sample

if TYPE_CHECKING:
    from kt3d_bench.loading.tensors import TensorView

IntArray = npt.NDArray[np.int64]
SELECTABLE = ("subject", "action", "camera_id", "sequence", "frame")
"""Labels that ``Dataset.select`` compares."""


def load(name: str, split: str, *, data: Path | str | None = None, shards: Path | str | None = None) -> Dataset:
    """Open one split of a prepared dataset as a map-style dataset; images are read when a sample is asked for.

    It has every sample that is stored. Where a benchmark scores some of them (``Benchmark.frames_every``), the others
    are their neighbours in time: ``data[kt3d_bench.benchmarks()[ID].scored(data.labels.frame)]`` is what it scores.

    ``data``: the data root, whose folder ``shards/<name>`` is opened (default ``$KT3D_DATA``, else ``kt3d-data``).
    ``shards``: instead, the shards themselves: a folder, or a URL (``https://``, ``http://``, ``s3://``, ``file://``)
    whose shards are downloaded to the cache when they are first read.

    Raises ``UsageError`` for an unknown dataset or split and for shards of another dataset; ``ArtefactError`` for
    shards that are missing (with the command that prepares them), truncated or changed.
    """
    if data is not None and shards is not None:
        raise UsageError("both data and shards were given", hint="give the data root or the shards, not both")
    folder = Path(data or default_data_root()) / "shards" / name if shards is None else local_folder(shards)
    if not (folder / MANIFEST).is_file():
        registry.dataset(name)
    opened = ShardSet.open(folder, split)
    if opened.manifest.dataset != name:
        raise UsageError(f"these are shards of {opened.manifest.dataset}, not of {name}", where=folder)
    return Dataset(opened)


def webdataset(name: str, split: str, *, data: Path | str | None = None, shards: Path | str | None = None) -> Any:
    """Return the samples of ``load`` as a ``webdataset.DataPipeline`` that reads the tars from front to back.

    It yields the same ``Sample`` records with the same values, in the same order; the workers of a ``DataLoader``
    share the shards among them. Compose it as usual: ``.compose(wds.shuffle(1000), wds.map(...))``. Shards behind a
    URL are downloaded first. Raises what ``load`` raises, and ``ArtefactError`` for a sample that cannot be decoded.
    """
    import webdataset as wds

    opened = load(name, split, data=data, shards=shards).shards
    opened.fetch()
    return wds.DataPipeline(
        wds.SimpleShardList([str(path.absolute()) for path in opened.paths]),
        wds.split_by_worker,
        wds.tarfile_to_samples(),
        wds.map(_decoded),
    )


def _decoded(members: Mapping[str, Any]) -> Sample:
    try:
        return decode(members["__key__"], members)
    except ValueError as error:
        raise ArtefactError(
            str(error), where=members["__url__"], hint="delete this file and run the same kt3d prepare command again"
        ) from error


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """The samples of one split, or a selection of them: ``len(d)``, ``d[i]``, iteration, ``d[10:20]``.

    A selection shares files and labels with what it was taken from. Picklable; files are opened in each process when
    it first reads them, so that the workers of a ``DataLoader`` may be forked or spawned.
    """

    _whole: ShardSet
    _chosen: IntArray | None = None
    """(N,) places of the samples in ``_whole``; ``None`` = all."""

    def __len__(self) -> int:
        return len(self._whole) if self._chosen is None else len(self._chosen)

    @overload
    def __getitem__(self, which: int) -> Sample: ...
    @overload
    def __getitem__(self, which: slice | Sequence[int] | npt.NDArray[Any]) -> Dataset: ...
    def __getitem__(self, which: int | slice | Sequence[int] | npt.NDArray[Any]) -> Sample | Dataset:
        """Return sample ``which`` (images decoded), or the dataset of a slice, of indices, or where a mask is true.

        Raises ``ArtefactError`` for a sample that cannot be read, and ``IndexError`` beyond the end.
        """
        if isinstance(which, int | np.integer):
            return self._whole.sample(self.place(int(which)))
        return Dataset(self._whole, self._places[which])

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        images = ", ".join(self.modalities) or "no images"
        return f"<Dataset {self.name} {self.split}: {len(self)} samples, {images}, {self._whole.origin}>"

    def place(self, i: int) -> int:
        """Return the place of sample ``i`` in the whole split; negative ``i`` count from the end."""
        if not -len(self) <= i < len(self):
            raise IndexError(f"sample {i} of {len(self)}")
        return int(self._places[i])

    @cached_property
    def _places(self) -> IntArray:
        return np.arange(len(self._whole), dtype=np.int64) if self._chosen is None else self._chosen

    @property
    def name(self) -> str:
        """The dataset's name."""
        return self._whole.manifest.dataset

    @property
    def split(self) -> str:
        return self._whole.split

    @property
    def modalities(self) -> tuple[str, ...]:
        """Images that every sample has: of "rgb", "depth", "parts", "foreground"."""
        return self._whole.modalities

    @cached_property
    def shards(self) -> ShardSet:
        """The samples for code that reads parts of them: stored bytes, single images, cameras, digests."""
        return self._whole if self._chosen is None else self._whole.take(self._chosen)

    @property
    def keys(self) -> npt.NDArray[np.str_]:
        """(N,) names of the samples, unique in the dataset."""
        return self._whole.keys if self._chosen is None else self._whole.keys[self._chosen]

    @cached_property
    def labels(self) -> Labels:
        """Labels and cameras of all samples as arrays (``labels.subject``, ``labels.intrinsics_px``, ...), read
        without opening a tar."""
        return self._whole.labels if self._chosen is None else self._whole.labels.take(self._chosen)

    @property
    def joints_cam_mm(self) -> npt.NDArray[np.float32]:
        """(N, 17, 3) mm, camera frame; NaN = absent."""
        return self.labels.joints_cam_mm

    @property
    def joints_px(self) -> npt.NDArray[np.float32]:
        """(N, 17, 2) px in the stored images; NaN = not annotated."""
        return self.labels.joints_px

    def select(self, **wanted: Any) -> Dataset:
        """Return the samples whose labels have the wanted values, in order and without copying anything.

        ``subject``, ``action``, ``camera_id``, ``sequence`` and ``frame`` may be given, each as one value or several:
        ``test.select(subject=["S9", "S11"], action="Walking")``. Raises ``UsageError`` for another name, and for a
        value that no sample has.
        """
        kept = np.ones(len(self), bool)
        for label, values in wanted.items():
            if label not in SELECTABLE:
                raise UsageError(f"samples are not selected by '{label}'", hint=did_you_mean(label, SELECTABLE))
            column = getattr(self._whole.labels, label)[self._places]
            several = [values] if isinstance(values, str | int | np.generic) else list(values)
            for value in several:
                if not (column == value).any():
                    hint = did_you_mean(str(value), map(str, np.unique(column))) if label != "frame" else None
                    raise UsageError(f"no sample has {label} {value!r}", where=str(self), hint=hint)
            kept &= np.isin(column, np.array(several))
        return Dataset(self._whole, self._places[kept])

    def torch(self, input_px: int = 256, *, modalities: Sequence[str] | None = None) -> TensorView:
        """Return the samples as a map-style torch dataset of dicts of tensors, for ``torch.utils.data.DataLoader``.

        Images are cut to the square that methods of this project see and resized to ``input_px``; joints and camera
        follow. ``modalities``: images to read (default: all that are there; ``()`` = none). S is ``input_px``:

        ``key`` str; ``rgb`` (3, S, S) float32 0..1; ``depth`` (1, S, S) float32 mm, 0 = no reading, and ``surface_mm``
        () float32 its typical depth; ``parts`` (S, S) int64, 0 = background; ``foreground`` (1, S, S) float32, 1 = the
        person (of parts or depth where it is not stored); ``joints_px`` (17, 2) float32 px of the
        resized image; ``joints_cam_mm`` (17, 3) float32, camera frame; ``joints_root_mm`` (17, 3) float32 relative to
        joint 0; ``mask_2d``, ``mask_3d`` (17,) bool, annotated joints (the others are NaN); ``intrinsics_px`` (2, 3),
        ``distortion`` (5,) float32 of the resized image.

        Raises ``UsageError`` for images that the samples lack.
        """
        from kt3d_bench.loading.tensors import TensorView

        self._whole.require(modalities or ())
        wanted = self.modalities if modalities is None else tuple(modalities)
        return TensorView(self._whole, self._places, input_px, wanted)
