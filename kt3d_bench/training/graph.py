"""A method's prediction as a module of tensors alone."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from kt3d_bench.loading.batches import CameraBatch, UnlabelledBatch
from kt3d_bench.method import OWN, Method

OUTPUTS = ("joints_px", "z_root_mm", "joints_root_mm", "root_z_mm")


class Graph(nn.Module):
    """``method.predict`` from tensors, in the order of ``inputs``, to those fields of ``Estimate`` that it fills.

    ``inputs`` are names of images, "surface_mm" for depth images, "detections_px" for a method that lifts stored 2D
    joints, and "intrinsics_px" for one that reads cameras. Values of cameras that are not given are NaN. Tensors of a
    method of clips are (B, T, ...).
    """

    def __init__(self, method: Method, inputs: tuple[str, ...]) -> None:
        super().__init__()
        self.method, self.inputs = method, inputs

    def answer(self, *tensors: Tensor) -> dict[str, Tensor]:
        """Return the outputs by name."""
        if self.method.clip is not None:
            tensors = tuple(one.flatten(0, 1) for one in tensors)
        images = dict(zip(self.inputs, tensors, strict=True))
        nothing = tensors[0].flatten(1)[:, :1].float() * float("nan")
        detected = images.pop("detections_px", None)
        surface_mm = images.pop("surface_mm", nothing[:, 0])
        intrinsics = images.pop("intrinsics_px", nothing[:, :, None].expand(-1, 2, 3))
        cameras = CameraBatch(intrinsics, nothing.expand(-1, 5), 1.0)
        batch = UnlabelledBatch(images, cameras, surface_mm, detections_px=detected)
        if self.method.detections == OWN:
            batch = replace(batch, images={}, detections_px=self.method.find_joints(batch))
        estimate = self.method.predict(batch)
        return {name: value.float() for name in OUTPUTS if (value := getattr(estimate, name)) is not None}

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.answer(*tensors).values())
