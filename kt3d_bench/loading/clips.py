"""Clips: the frames around a sample, of the same person before the same camera in the same sequence.

Shapes: N samples of a split, B clips of a batch, T frames of a clip. In a batch the T frames of a clip follow one
another, so a tensor of it is (B T, ...): ``tensor.unflatten(0, (-1, T))`` is (B, T, ...).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kt3d_bench.data.index import Labels
from kt3d_bench.errors import UsageError
from kt3d_bench.loading.batches import Batch, CameraBatch, CameraPoses

IntArray = npt.NDArray[np.int64]
Clip = tuple[int, int]
"""Number of frames, odd, and from one of them to the next in frames of the recording: (27, 1)."""


def clip_frames(labels: Labels, chosen: IntArray, clip: Clip) -> IntArray:
    """Return the (N, T) samples that are the clips around each of N samples; rows not in ``chosen`` hold -1.

    The sample itself is in the middle. Its neighbours have exactly the frame numbers that the stride asks for, and lie
    in ``chosen`` too. One that is not there, before the beginning of the sequence, after its end or in a gap, is
    replaced by the next frame of the clip towards the middle, which repeats the first and last frame of a sequence.

    Raises ``UsageError`` for an impossible ``clip``, and where two samples are the same frame.
    """
    length, stride = clip
    if length < 1 or length % 2 == 0 or stride < 1:
        raise UsageError(f"a clip of {length} frames, every {stride}", hint="choose an odd number, and a stride from 1")
    tracks = (labels.sequence, labels.camera_id, labels.subject, labels.frame)
    keys = list(zip(*(column[chosen].tolist() for column in tracks), strict=True))
    place = dict(zip(keys, chosen.tolist(), strict=True))
    if len(place) < len(keys):
        raise UsageError("two samples are the same frame of a sequence", hint="use data with one sample for each frame")
    found = np.full((len(labels), length), -1, np.int64)
    half = length // 2
    found[chosen, half] = chosen
    for step in range(1, half + 1):
        for way in (-1, 1):
            at = [place.get((*track, frame + way * step * stride), -1) for *track, frame in keys]
            nearer = found[chosen, half + way * (step - 1)]
            found[chosen, half + way * step] = np.where(np.array(at, np.int64) >= 0, at, nearer)
    return found


def middle(batch: Batch, length: int) -> Batch:
    """Return the middle frames of a batch of clips of ``length`` frames: (B T, ...) -> (B, ...)."""
    return taken(batch, slice(length // 2, None, length))


def taken(batch: Batch, rows: slice) -> Batch:
    """Return some rows of a batch."""

    def chosen(value: Any) -> Any:
        if isinstance(value, Tensor | tuple):
            return value[rows]
        if isinstance(value, CameraBatch):
            return CameraBatch(value.intrinsics_px[rows], value.distortion[rows], value.tangential_factor)
        if isinstance(value, CameraPoses):
            return CameraPoses(value.rotation[rows], value.center_mm[rows])
        return {name: image[rows] for name, image in value.items()} if isinstance(value, dict) else value

    return type(batch)(**{field.name: chosen(getattr(batch, field.name)) for field in fields(batch)})


def joined(batches: Sequence[Batch]) -> Batch:
    """Return one batch of the rows of several of the same kind, before cameras of the same model."""

    def together(values: Sequence[Any]) -> Any:
        first = values[0]
        if isinstance(first, Tensor):
            return torch.cat(list(values))
        if isinstance(first, CameraBatch):
            intrinsics, distortion = (
                [getattr(one, name) for one in values] for name in ("intrinsics_px", "distortion")
            )
            return CameraBatch(torch.cat(intrinsics), torch.cat(distortion), first.tangential_factor)
        if isinstance(first, CameraPoses):
            return CameraPoses(
                torch.cat([one.rotation for one in values]), torch.cat([one.center_mm for one in values])
            )
        if isinstance(first, Mapping):
            return {name: torch.cat([one[name] for one in values]) for name in first}
        return sum(values, ()) if isinstance(first, tuple) else first

    return type(batches[0])(
        **{field.name: together([getattr(one, field.name) for one in batches]) for field in fields(batches[0])}
    )
