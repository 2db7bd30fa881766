"""How the decoded images of a batch become the network's input: one warp each, on the device that trains.

On a CPU every image is warped by OpenCV, and becomes numbers, in the thread that decoded it, while the network trains.
The work on one image then stays in that core's cache and in the thread's own memory (``scratch``). For any other
device the stored 8- and 16-bit pixels are gathered in one page-locked buffer per modality and cross over as they are;
the device makes them numbers and warps the whole batch at once. Both do the same to within one grey level of RGB, and
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
from kt3d_bench.loading.scratch import scratch

_STORED: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
    "rgb": (np.uint8, (3,)),
    "depth": (np.uint16, ()),
    "parts": (np.uint8, ()),
    "foreground": (np.uint8, ()),
}
"""Modality -> dtype and channel axis of decoded images."""


class WarpedHere:
    """A batch whose images are warped on the CPU as they come in; ``take`` may be called from any thread.

    ``affine_px`` (B, 2, 3) maps px of the decoded images to px of the input, ``colour`` (B, 3) are gains.
    """

    def __init__(
        self,
        modalities: Sequence[str],
        affine_px: npt.NDArray[np.float64],
        colour: npt.NDArray[np.float64],
        input_px: int,
    ) -> None:
        self._affine_px, self._input_px = affine_px, input_px
        self.surfaces_mm = np.full(len(affine_px), np.nan)
        """(B,) of the samples taken so far."""
        gains = (colour / 255).astype(np.float32)
        self._levels = np.clip(gains[..., None] * np.arange(256, dtype=np.float32), 0, 1)
        """(B, 3, 256): what a stored grey level becomes."""
        place = (input_px, input_px)
        self._images: dict[str, npt.NDArray[Any]] = {
            name: np.empty((len(affine_px), 3, *place), np.float32)
            if name == "rgb"
            else np.empty((len(affine_px), *place), _STORED[name][0])
            for name in modalities
        }

    def room(self, row: int, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
        """Return memory that the stored RGB image of a row may be decoded in."""
        return scratch("stored", shape)

    def take(self, row: int, decoded: Decoded) -> None:
        """Warp the images of one sample into its place."""
        import cv2

        self.surfaces_mm[row] = decoded.surface_mm
        affine, size = self._affine_px[row], (self._input_px, self._input_px)
        for name, target in self._images.items():
            image = decoded.images[name]
            if name == "rgb":
                # OpenCV warps four channels in less than half the time of three.
                four = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA, dst=scratch("four", (*image.shape[:2], 4)))
                warped = cv2.warpAffine(four, affine, size, dst=scratch("warped", (*size, 4)), flags=cv2.INTER_LINEAR)
                channels = cv2.split(warped, list(scratch("channels", (4, *size))))
                for channel, levels, plane in zip(channels[:3], self._levels[row], target[row], strict=True):
                    cv2.LUT(channel, levels, dst=plane)
            else:
                cv2.warpAffine(image, affine, size, dst=target[row], flags=cv2.INTER_NEAREST)

    def images(self) -> dict[str, Tensor]:
        """Modality -> (B, C, S, S) float32: RGB in 0..1, all others in the units that are stored."""
        return {
            name: torch.from_numpy(image) if name == "rgb" else torch.from_numpy(image.astype(np.float32))[:, None]
            for name, image in self._images.items()
        }


class WarpedThere:
    """A batch that is warped on ``device``; otherwise as ``WarpedHere``. ``sizes_px`` (B, 2) are the widths and heights
    of the decoded images."""

    def __init__(
        self,
        modalities: Sequence[str],
        affine_px: npt.NDArray[np.float64],
        colour: npt.NDArray[np.float64],
        input_px: int,
        sizes_px: npt.NDArray[np.int64],
        device: torch.device,
    ) -> None:
        self._affine_px, self._colour, self._input_px, self._device = affine_px, colour, input_px, device
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

    def room(self, row: int, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
        """Return memory that the stored RGB image of a row may be decoded in: its own place, if it fills whole rows."""
        place: npt.NDArray[np.uint8] = self._arrays["rgb"][row, : shape[0]]
        return place if place.shape == shape else scratch("stored", shape)

    def take(self, row: int, decoded: Decoded) -> None:
        """Lay the images of one sample into its place, zeros to the right and below."""
        self.surfaces_mm[row] = decoded.surface_mm
        for name, array in self._arrays.items():
            image, target = decoded.images[name], array[row]
            rows, columns = image.shape[:2]
            if not np.may_share_memory(target, image):
                target[:rows, :columns] = image
            target[rows:] = 0
            target[:rows, columns:] = 0

    def images(self) -> dict[str, Tensor]:
        """Modality -> (B, C, S, S) float32 on the device, as ``WarpedHere.images``."""
        found: dict[str, Tensor] = {}
        for name, buffer in self._buffers.items():
            there = buffer.to(self._device, non_blocking=True)
            if name == "rgb":
                pixels = there.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
            else:
                pixels = there[:, None].to(torch.int32).bitwise_and_(0xFFFF).float()
            found[name] = warp(pixels, self._affine_px, self._input_px, nearest=name != "rgb")
        if "rgb" in found:
            gains = torch.from_numpy((self._colour / 255).astype(np.float32)).to(self._device)
            found["rgb"].mul_(gains[:, :, None, None]).clamp_(0, 1)
        return found


Assembly = WarpedHere | WarpedThere


def assembly(
    modalities: Sequence[str],
    affine_px: npt.NDArray[np.float64],
    colour: npt.NDArray[np.float64],
    input_px: int,
    sizes_px: npt.NDArray[np.int64],
    device: torch.device,
) -> Assembly:
    """Where a batch's images are to be warped."""
    if device.type == "cpu":
        return WarpedHere(modalities, affine_px, colour, input_px)
    return WarpedThere(modalities, affine_px, colour, input_px, sizes_px, device)
