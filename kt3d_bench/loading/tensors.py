"""Samples as tensors, one at a time and not augmented: the values that ``loading.loader`` gives in batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from kt3d_bench.data.reader import ShardSet
from kt3d_bench.loading.assembly import WarpedHere
from kt3d_bench.loading.augment import Draws, place
from kt3d_bench.loading.batches import LabelledBatch
from kt3d_bench.loading.finish import Crops, finish, from_shrunk
from kt3d_bench.loading.images import crop_boxes, one_thread_each, shrunk, shrunk_sizes, stored


class TensorView(torch.utils.data.Dataset[dict[str, Any]]):
    """What ``Dataset.torch`` returns; its docstring says what a sample's dict holds."""

    def __init__(
        self, shards: ShardSet, places: npt.NDArray[np.int64], input_px: int, modalities: tuple[str, ...]
    ) -> None:
        self._shards, self._places = shards, places
        self._input_px, self._modalities = input_px, modalities

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, i: int) -> dict[str, Any]:
        if not -len(self) <= i < len(self):
            raise IndexError(f"sample {i} of {len(self)}")
        if get_worker_info() is not None:
            one_thread_each()
        at = int(self._places[i])
        batch = self._batch(at)
        tensors: dict[str, Tensor] = {
            **batch.images,
            "joints_px": batch.joints_px,
            "joints_cam_mm": batch.joints_cam_mm,
            "joints_root_mm": batch.joints_root_mm,
            "mask_2d": batch.mask_2d,
            "mask_3d": batch.mask_3d,
            "intrinsics_px": batch.cameras.intrinsics_px,
            "distortion": batch.cameras.distortion,
            **({"surface_mm": batch.surface_mm} if "depth" in self._modalities else {}),
        }
        return {"key": str(self._shards.keys[at]), **{name: tensor[0] for name, tensor in tensors.items()}}

    def _batch(self, at: int) -> LabelledBatch:
        """The sample as a batch of one."""
        labels, manifest = self._shards.labels, self._shards.manifest
        one = slice(at, at + 1)
        size_px = labels.size_px[one]
        size = shrunk_sizes(size_px, manifest.crop.margin, self._input_px)
        draws = Draws.none(1)
        placement = place(draws, crop_boxes(size_px, manifest.crop.margin), self._input_px)
        affine = from_shrunk(placement.affine_px, size / size_px)
        warped = WarpedHere(self._modalities, affine, draws.colour, self._input_px)
        images = stored(self._shards, at, self._modalities)
        warped.take(0, shrunk(images, manifest.foreground, size[0].tolist()))
        crops = Crops.stored(self._shards, one, labelled=True)
        batch = finish(warped, crops, placement, grant=None, part_mirror=None, device=torch.device("cpu"))
        assert isinstance(batch, LabelledBatch)
        return batch
