"""Random access to shards through their side indexes, without torch or WebDataset: 2 us per member instead of 50.

A tar that was truncated between two members reads as a shorter tar without an error; therefore index, manifest and tar
must agree before anything is read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.data.format import FIELDS, decode, decode_image, holds
from kt3d_bench.data.index import AGAIN, Labels, ShardIndex, index_path, read_index
from kt3d_bench.data.manifest import Manifest, Shard, labels_digest, read_manifest, sample_list_digest
from kt3d_bench.data.remote import Mirror, local_folder
from kt3d_bench.errors import ArtefactError, UsageError, did_you_mean
from kt3d_bench.files import file_sha256
from kt3d_bench.records import Camera, Sample

_AGAIN = f"{AGAIN}; it keeps complete shards"
_DELETE = f"delete this file and {AGAIN}"


class _Files:
    """Read-only files of one split, opened when first read. Threads and forked processes may share it; pickling keeps
    the paths and drops the descriptors. A missing file of a mirror is downloaded first."""

    def __init__(self, folder: Path, shards: Sequence[Shard]) -> None:
        self.paths = tuple(folder / shard.name for shard in shards)
        self.mirror = Mirror.of(folder)
        self.shards = tuple(shards)
        self._descriptors: dict[int, int] = {}

    def read(self, number: int, offset: int, size: int) -> bytes:
        descriptor = self._descriptors.get(number)
        if descriptor is None:
            if self.mirror is not None:
                self.mirror.fetch_tar(self.shards[number])
            opened = os.open(self.paths[number], os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            descriptor = self._descriptors.setdefault(number, opened)
            if descriptor != opened:
                os.close(opened)
        return os.pread(descriptor, size, offset)

    def __getstate__(self) -> tuple[tuple[Path, ...], Mirror | None, tuple[Shard, ...]]:
        return self.paths, self.mirror, self.shards

    def __setstate__(self, state: tuple[tuple[Path, ...], Mirror | None, tuple[Shard, ...]]) -> None:
        self.paths, self.mirror, self.shards = state
        self._descriptors = {}

    def __del__(self) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)


@dataclass(frozen=True, eq=False)
class Masks:
    """Silhouettes that do not lie in the shards (``data.detections``)."""

    path: Path
    """Of their file."""
    png: Mapping[str, bytes]
    """Key of a sample -> (H, W) uint8 PNG of the size of its crop, 0 = not the person."""


@dataclass(frozen=True, eq=False)
class ShardSet:
    """One split of a prepared dataset, or a selection of its samples. Picklable; threads may share it.

    ``loading.dataset.Dataset`` is the public view of it. Shapes: N samples.
    """

    folder: Path
    split: str
    manifest: Manifest
    keys: npt.NDArray[np.str_]
    """(N,)"""
    labels: Labels
    modalities: tuple[str, ...]
    """Of "rgb", "depth", "parts", "foreground"."""
    tangential_factor: float
    """Of every camera; see ``records.Camera``."""
    shard_of: npt.NDArray[np.int64]
    """(N,) index into the split's shards."""
    offsets: npt.NDArray[np.int64]
    """(N, F) byte offsets of the members, in the order of ``fields``."""
    sizes: npt.NDArray[np.int64]
    """(N, F) bytes of the members."""
    fields: tuple[str, ...]
    """Names of ``format.FIELDS`` that the samples have."""
    _files: _Files
    masks: Masks | None = None
    """In the place of the field "foreground"; ``None`` = as stored."""
    external: str = ""
    """Digests of what stands in the place of stored fields and labels, "" = nothing does."""

    @classmethod
    def open(cls, folder: Path | str, split: str, *, verify: bool = False) -> ShardSet:
        """Open a split of a folder or of a URL (``https://``, ``http://``, ``s3://``, ``file://``; see ``remote``).

        Checks the sizes of all tars; ``verify=True`` also compares their SHA-256. Tars behind a URL are downloaded, and
        always compared, when they are first read, or by ``fetch``. Raises ``ArtefactError`` when shards are missing,
        truncated, changed or do not fit their index or manifest, and ``UsageError`` for an unknown split.
        """
        folder = local_folder(folder)
        mirror = Mirror.of(folder)
        manifest = read_manifest(folder)
        if split not in manifest.splits:
            raise UsageError(f"there is no split '{split}'", where=folder, hint=did_you_mean(split, manifest.splits))
        entry = manifest.splits[split]
        paths = [folder / shard.name for shard in entry.shards]
        fetched = mirror.fetch_indexes(entry.shards) if mirror is not None else 0
        if mirror is not None and verify:
            mirror.fetch(entry.shards)
        mirrored = mirror is not None
        indexes = [checked_index(*of, verify, mirrored=mirrored) for of in zip(paths, entry.shards, strict=True)]
        for path, index in zip(paths, indexes, strict=True):
            if (index.fields, index.tangential_factor) != (indexes[0].fields, indexes[0].tangential_factor):
                raise ArtefactError("the shard holds other fields than the first", where=path, hint=_AGAIN)
        shards = cls.of(folder, split, manifest, list(zip(entry.shards, indexes, strict=True)))
        if len(shards) != entry.samples or shards.sample_list_digest != entry.sample_list_digest:
            what = "the indexes do not hold the samples that the manifest lists"
            raise ArtefactError(what, where=folder, hint=_AGAIN)
        if mirror is not None and fetched and shards.labels_digest != entry.labels_digest:
            raise mirror.forget_indexes(entry.shards)
        return shards

    @classmethod
    def of(cls, folder: Path, split: str, manifest: Manifest, shards: Sequence[tuple[Shard, ShardIndex]]) -> ShardSet:
        """Combine some shards of a split (at least one) with their indexes, unchecked; all hold the same fields."""
        indexes = [index for _, index in shards]
        fields = indexes[0].fields
        return cls(
            folder=folder,
            split=split,
            manifest=manifest,
            keys=np.concatenate([index.keys for index in indexes]),
            labels=Labels.concatenate([index.labels for index in indexes]),
            modalities=tuple(FIELDS[name].modality for name in fields if FIELDS[name].modality),
            tangential_factor=indexes[0].tangential_factor,
            shard_of=np.repeat(np.arange(len(indexes)), [len(index) for index in indexes]),
            offsets=np.concatenate([np.stack([index.offsets[name] for name in fields], 1) for index in indexes]),
            sizes=np.concatenate([np.stack([index.sizes[name] for name in fields], 1) for index in indexes]),
            fields=fields,
            _files=_Files(folder, [shard for shard, _ in shards]),
        )

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The tars, which ``shard_of`` indexes."""
        return self._files.paths

    @property
    def url(self) -> str | None:
        """URL that the shards are downloaded from; ``None`` for those of a folder."""
        return None if self._files.mirror is None else self._files.mirror.url

    def fetch(self, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Download every tar that these samples lie in; ``progress(done, total)`` in bytes.

        Does nothing for shards of a folder. Raises ``ArtefactError`` as ``remote.Mirror.fetch``.
        """
        if self._files.mirror is not None:
            self._files.mirror.fetch([self._files.shards[number] for number in np.unique(self.shard_of)], progress)

    def take(self, indices: npt.ArrayLike) -> ShardSet:
        """Return the samples at ``indices`` (or where a bool mask is true), in that order; shares the open files."""
        chosen = np.asarray(indices)
        return replace(
            self,
            keys=self.keys[chosen],
            labels=self.labels.take(chosen),
            shard_of=self.shard_of[chosen],
            offsets=self.offsets[chosen],
            sizes=self.sizes[chosen],
        )

    def require(self, modalities: Iterable[str]) -> None:
        """Raise ``UsageError`` for the first of ``modalities`` that the samples lack."""
        for name in modalities:
            if not holds(self.modalities, [name]):
                what = f"split '{self.split}' holds no '{name}' images, only {', '.join(self.modalities) or 'poses'}"
                hint = (
                    f"prepare {self.manifest.dataset} from a download with images (into another --out, or with "
                    "--overwrite), or use these shards as the source of a method that learns from poses"
                )
                raise UsageError(what, where=self.folder, hint="choose data that has them" if self.modalities else hint)

    @property
    def origin(self) -> str:
        """ "official" or "generated"."""
        return self.manifest.origin

    @property
    def num_parts(self) -> int:
        return self.manifest.num_parts

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest."""
        return self.manifest.digest

    @cached_property
    def sample_list_digest(self) -> str:
        """SHA-256 of the keys, whatever their order."""
        return sample_list_digest(self.keys)

    @cached_property
    def labels_digest(self) -> str:
        """SHA-256 of keys, labels and cameras, whatever their order."""
        return labels_digest(self.keys, self.labels)

    def read(self, i: int, field: str) -> bytes:
        """Return the stored bytes of one field ("rgb", "depth_mm", "parts", "foreground", "labels") of sample ``i``."""
        if field == "foreground" and self.masks is not None:
            return self.masks.png[str(self.keys[i])]
        if field not in self.fields:
            raise UsageError(f"the shards hold no '{field}'", where=self.folder, hint=did_you_mean(field, self.fields))
        column = self.fields.index(field)
        number, size = int(self.shard_of[i]), int(self.sizes[i, column])
        try:
            data = self._files.read(number, int(self.offsets[i, column]), size)
        except OSError as error:
            raise self._damaged(i, f"the shard cannot be read ({error})") from error
        if len(data) != size:
            raise self._damaged(i, f"{field} is truncated: {len(data)} of {size} bytes")
        return data

    def image(self, i: int, field: str, into: npt.NDArray[np.uint8] | None = None) -> npt.NDArray[Any]:
        """Decode an image of sample ``i``: "rgb" (H, W, 3) uint8, "depth_mm" (H, W) uint16, "parts" or "foreground"
        (H, W) uint8. ``into``: see ``format.decode_image``."""
        data = self.read(i, field)
        try:
            image = decode_image(field, data, into)
        except ValueError as error:
            raise self._damaged(i, f"{field} cannot be decoded ({error})", field) from error
        width, height = self.labels.size_px[i]
        if image.shape[:2] != (height, width):
            what = f"{field} is {image.shape[1]} x {image.shape[0]} px, not {width} x {height}"
            raise self._damaged(i, what, field)
        return image

    def camera(self, i: int) -> Camera:
        """Return the camera of the stored crop of sample ``i``."""
        labels = self.labels
        inside = labels.intrinsics_px[i], labels.size_px[i], labels.distortion[i], self.tangential_factor
        return Camera(*inside, labels.rotation[i], labels.position_world_mm[i])

    def sample(self, i: int) -> Sample:
        """Decode the whole of sample ``i`` from the tar's own members."""
        key = str(self.keys[i])
        try:
            return decode(key, {FIELDS[name].extension: self.read(i, name) for name in self.fields})
        except ValueError as error:
            raise self._damaged(i, str(error)) from error

    def samples(self) -> Iterator[Sample]:
        """Iterate over all samples, in order."""
        return (self.sample(i) for i in range(len(self)))

    def _damaged(self, i: int, what: str, field: str = "") -> ArtefactError:
        if field == "foreground" and self.masks is not None:
            hint = "delete this file and run the same kt3d detect command again"
            return ArtefactError(f"sample {self.keys[i]}: {what}", where=self.masks.path, hint=hint)
        path = self._files.paths[int(self.shard_of[i])]
        return ArtefactError(f"sample {self.keys[i]}: {what}", where=path, hint=_DELETE)


def checked_index(path: Path, shard: Shard, verify: bool = False, *, mirrored: bool = False) -> ShardIndex:
    """Return the index of the tar at ``path``; its size must be the manifest's and with ``verify`` its SHA-256 too.

    A ``mirrored`` tar may be absent. Raises ``ArtefactError``."""
    try:
        size = shard.size if mirrored and not path.exists() else path.stat().st_size
    except OSError as error:
        raise ArtefactError("the shard is missing", where=path, hint=_AGAIN) from error
    if size != shard.size:
        what = "is truncated" if size < shard.size else "is too long"
        raise ArtefactError(f"the shard {what}: {size} bytes, not {shard.size}", where=path, hint=_AGAIN)
    index = read_index(index_path(path))
    if (index.tar_sha256, index.tar_size, len(index)) != (shard.sha256, shard.size, shard.samples):
        raise ArtefactError("the index does not belong to this shard", where=index_path(path), hint=_DELETE)
    if verify and file_sha256(path) != shard.sha256:
        raise ArtefactError("the shard was changed: its SHA-256 is not the manifest's", where=path, hint=_DELETE)
    return index
