"""2D joints for methods that lift them: found in every image once, or stored beside shards.

Shapes: N samples, J joints, in px of the stored crops. A method finds them in px of its input, which shows the same
person, unaugmented.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.data.detections import read_detections
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.progress import Reporter

if TYPE_CHECKING:
    from torch import Tensor

    from kt3d_bench.loading.batches import UnlabelledBatch
    from kt3d_bench.method import Method

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BATCH_SIZE = 64


@dataclass(frozen=True, eq=False)
class Look:
    """A batch of images, and where its inputs lie in the stored crops: px of a crop times ``scale`` plus ``offset`` are
    px of the input."""

    rows: IntArray
    """(B,) numbers of the samples."""
    batch: UnlabelledBatch
    scale: FloatArray
    """(B, 1, 1)"""
    offset: FloatArray
    """(B, 1, 2)"""

    def in_crops(self, joints_px: Tensor) -> FloatArray:
        """(B, J, 2) px of the input -> px of the stored crops."""
        found: FloatArray = (joints_px.detach().cpu().double().numpy() - self.offset) / self.scale
        return found


def looks(
    samples: ShardSet,
    reads: Sequence[str],
    input_px: int,
    device: str,
    report: Reporter,
    *,
    only: IntArray | None = None,
) -> Iterator[Look]:
    """Yield every image once, or those of ``only`` (ascending numbers of samples), in batches."""
    from kt3d_bench.loading.loader import Loader

    loader = Loader(samples, reads, batch_size=BATCH_SIZE, input_px=input_px, labelled=False, device=device, only=only)
    report.start(f"detect {samples.split}", loader.batches_per_epoch)
    done = 0
    try:
        for number, (rows, batch) in enumerate(loader.ordered(), 1):
            yield Look(rows, batch, *_crop_to_input(batch, samples.labels.intrinsics_px[rows]))
            done += len(rows)
            report.advance(number, samples=done)
    finally:
        loader.close()
    report.finish()


def joints_for(
    method: Method, name: str, samples: ShardSet, device: str, report: Reporter, *, only: IntArray | None = None
) -> npt.NDArray[np.float32]:
    """Return the (N, J, 2) joints that ``Method.detections`` or ``Stage.detections`` call ``name``; where the method
    finds them itself and there is an ``only``, those of other samples are NaN.

    Raises ``ArtefactError`` where no file has them. Whether they may be used is decided before
    (``external.require_hidden``).
    """
    import torch

    from kt3d_bench.method import OWN

    if name != OWN:
        return read_detections(samples, name)[0]
    joints = np.full((len(samples), 17, 2), np.nan, np.float32)
    with torch.no_grad():
        for look in looks(samples, method.reads, method.input_px, device, report, only=only):
            joints[look.rows] = look.in_crops(method.find_joints(look.batch))
    return joints


def _crop_to_input(batch: UnlabelledBatch, intrinsics_px: npt.NDArray[Any]) -> tuple[FloatArray, FloatArray]:
    """Return scale and offset from px of stored crops, whose cameras have ``intrinsics_px`` (B, 2, 3), to px of the
    unaugmented input: both cameras are of the same person, and only the pixels differ."""
    seen = batch.cameras.intrinsics_px.detach().cpu().double().numpy()
    scale = seen[:, :1, :1] / intrinsics_px[:, :1, :1]
    return scale, seen[:, None, :, 2] - scale * intrinsics_px[:, None, :, 2]
