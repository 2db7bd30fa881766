"""A method's prediction as a module of tensors alone."""

from __future__ import annotations

from torch import Tensor, nn

from kt3d_bench.loading.batches import CameraBatch, UnlabelledBatch
from kt3d_bench.method import Method

OUTPUTS = ("joints_px", "z_root_mm", "joints_root_mm", "root_z_mm")


class Graph(nn.Module):
    """``method.predict`` from tensors, in the order of ``inputs``, to those fields of ``Estimate`` that it fills.

    ``inputs`` are names of images, "surface_mm" for depth images, and "intrinsics_px" for a method that reads cameras.
    Values of cameras that are not given are NaN.
    """

    def __init__(self, method: Method, inputs: tuple[str, ...]) -> None:
        super().__init__()
        self.method, self.inputs = method, inputs

    def answer(self, *tensors: Tensor) -> dict[str, Tensor]:
        """Return the outputs by name."""
        images = dict(zip(self.inputs, tensors, strict=True))
        nothing = tensors[0].flatten(1)[:, :1].float() * float("nan")
        surface_mm = images.pop("surface_mm", nothing[:, 0])
        intrinsics = images.pop("intrinsics_px", nothing[:, :, None].expand(-1, 2, 3))
        cameras = CameraBatch(intrinsics, nothing.expand(-1, 5), 1.0)
        estimate = self.method.predict(UnlabelledBatch(images, cameras, surface_mm))
        return {name: value.float() for name in OUTPUTS if (value := getattr(estimate, name)) is not None}

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.answer(*tensors).values())
