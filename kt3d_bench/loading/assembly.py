"""How the decoded images of a batch become the network's input: one warp each, on the device that trains.

On a CPU every image is warped by OpenCV in the thread that decoded it, while the network trains. For any other device
the stored 8- and 16-bit pixels are gathered in one page-locked buffer per modality and cross over as they are; the
device makes them numbers and warps the whole batch at once. Both do the same to within one grey level of RGB, and
exactly but for ties for depth, part ids and foreground.

Shapes: B samples of a batch, H and W rows and columns, S side of the network's square input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kt3d_bench.loading.augment import warp
from kt3d_bench.loading.images import Decoded

_STORED: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
    "rgb": (np.uint8, (3,)),
    "depth": (np.uint16, ()),
    "parts": (np.uint8, ()),
    "foreground": (np.uint8, ()),
}
"""Modality -> dtype and channel axis of decoded images."""


class WarpedHere:
    """A batch whose images are warped on the CPU as they come in; ``take`` may be called from any thread.

    ``affine_px`` (B, 2, 3) maps px of the decoded images to px of the input.
    """

    def __init__(self, modalities: Sequence[str], affine_px: npt.NDArray[np.float64], input_px: int) -> None:
        self._affine_px, self._input_px = affine_px, input_px
        self.surfaces_mm = np.full(len(affine_px), np.nan)
        """(B,) of the samples taken so far."""
        self._images: dict[str, npt.NDArray[Any]] = {
            name: np.empty((len(affine_px), input_px, input_px, *((4,) if name == "rgb" else ())), _STORED[name][0])
            for name in modalities
        }

    def take(self, row: int, decoded: Decoded) -> None:
        """Warp the images of one sample into its place."""
        import cv2

        self.surfaces_mm[row] = decoded.surface_mm
        for name, target in self._images.items():
            image = decoded.images[name]
            how = cv2.INTER_NEAREST
            if name == "rgb":
                # OpenCV warps four channels in less than half the time of three.
                image, how = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA), cv2.INTER_LINEAR
            cv2.warpAffine(image, self._affine_px[row], (self._input_px, self._input_px), dst=target[row], flags=how)

    def images(self) -> dict[str, Tensor]:
        """Modality -> (B, C, S, S) float32, in the units that are stored."""
        found: dict[str, Tensor] = {}
        for name, image in self._images.items():
            if name == "rgb":
                pixels = torch.from_numpy(image)[..., :3].permute(0, 3, 1, 2)
                found[name] = pixels.to(torch.float32, memory_format=torch.contiguous_format)
            else:
                found[name] = torch.from_numpy(image.astype(np.float32))[:, None]
        return found


class WarpedThere:
    """A batch that is warped on ``device``; otherwise as ``WarpedHere``. ``sizes_px`` (B, 2) are the widths and heights
    of the decoded images."""

    def __init__(
        self,
        modalities: Sequence[str],
        affine_px: npt.NDArray[np.float64],
        input_px: int,
        sizes_px: npt.NDArray[np.int64],
        device: torch.device,
    ) -> None:
        self._affine_px, self._input_px, self._device = affine_px, input_px, device
        self.surfaces_mm = np.full(len(affine_px), np.nan)
        columns, rows = (int(side) for side in sizes_px.max(axis=0))
        shape = (len(affine_px), rows, columns)
        self._buffers = {
            name: torch.empty(
                (*shape, *_STORED[name][1]),
                dtype=torch.int16 if _STORED[name][0] is np.uint16 else torch.uint8,
                pin_memory=device.type == "cuda",
            )
            for name in modalities
        }
        self._arrays = {name: buffer.numpy().view(_STORED[name][0]) for name, buffer in self._buffers.items()}

    def take(self, row: int, decoded: Decoded) -> None:
        """Lay the images of one sample into its place, zeros to the right and below."""
        self.surfaces_mm[row] = decoded.surface_mm
        for name, array in self._arrays.items():
            image, target = decoded.images[name], array[row]
            rows, columns = image.shape[:2]
            target[:rows, :columns] = image
            target[rows:] = 0
            target[:rows, columns:] = 0

    def images(self) -> dict[str, Tensor]:
        """Modality -> (B, C, S, S) float32 on the device, in the units that are stored."""
        found: dict[str, Tensor] = {}
        for name, buffer in self._buffers.items():
            there = buffer.to(self._device, non_blocking=True)
            if name == "rgb":
                pixels = there.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
            else:
                pixels = there[:, None].to(torch.int32).bitwise_and_(0xFFFF).float()
            found[name] = warp(pixels, self._affine_px, self._input_px, nearest=name != "rgb")
        return found


Assembly = WarpedHere | WarpedThere


def assembly(
    modalities: Sequence[str],
    affine_px: npt.NDArray[np.float64],
    input_px: int,
    sizes_px: npt.NDArray[np.int64],
    device: torch.device,
) -> Assembly:
    """Where a batch's images are to be warped."""
    if device.type == "cpu":
        return WarpedHere(modalities, affine_px, input_px)
    return WarpedThere(modalities, affine_px, input_px, sizes_px, device)
