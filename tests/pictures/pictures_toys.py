"""A method without stages whose answers are known: it finds dots of one grey level per joint. And a detector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from kt3d_bench import MethodPlugin
from kt3d_bench.loading.batches import UnlabelledBatch
from kt3d_bench.method import OWN, Estimate, Method, Progress, Stage, StepResult
from kt3d_bench.skeletons import NUM_JOINTS

LEVELS = 40 + 12 * np.arange(NUM_JOINTS)
"""Grey level of each joint's dot."""
Z_ROOT_MM = 20.0 * np.arange(NUM_JOINTS)
DARK = 5
"""Grey level of the picture beside the dots."""
PLACES_PX = np.array([[40.0 + 40 * (joint % 5), 40.0 + 40 * (joint // 5)] for joint in range(NUM_JOINTS)])
"""Where ``dot_picture`` has them, on a picture of 240 x 200 px."""


def dot_picture(shift: tuple[int, int] = (0, 0), size_px: tuple[int, int] = (240, 200)) -> npt.NDArray[np.uint8]:
    """Return a picture (H, W, 3) with a dot for each joint at ``PLACES_PX`` + ``shift``, as far as they fit."""
    picture = np.full((size_px[1], size_px[0], 3), DARK, np.uint8)
    for (x, y), level in zip(PLACES_PX.astype(int) + shift, LEVELS, strict=True):
        picture[max(y - 8, 0) : max(y + 9, 0), max(x - 8, 0) : max(x + 9, 0)] = level
    return picture


@dataclass(frozen=True)
class Config:
    input_px: int = 128


class Dots(Method):
    """Joints are the centres of their dots, NaN without a dot; depths are always ``Z_ROOT_MM``."""

    Config: ClassVar[type[Any]] = Config
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tiny": {}}

    @property
    def input_px(self) -> int:
        return int(self.config.input_px)

    def stages(self) -> tuple[Stage, ...]:
        return ()

    def step(self, stage: Stage, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> StepResult:
        raise AssertionError("there is nothing to train")

    def predict(self, batch: UnlabelledBatch) -> Estimate:
        red = batch.images["rgb"][:, 0] * 255
        places = torch.stack(torch.meshgrid(*2 * (torch.arange(self.input_px),), indexing="xy"), -1).float()
        found = []
        highest, lowest = (sign * functional.max_pool2d(sign * red, 3, 1, 1) for sign in (1, -1))
        for level in LEVELS:
            inside = ((highest - level).abs() < 5) & ((lowest - level).abs() < 5)
            weight = inside.float()[..., None]
            found.append((places * weight).sum((1, 2)) / weight.sum((1, 2)))
        depths = torch.tensor(Z_ROOT_MM).float().expand(batch.size, -1)
        return Estimate(joints_px=torch.stack(found, 1), z_root_mm=depths)


def detector() -> Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float64]]:
    """Return a detector that finds one person, where the picture is not dark."""

    def found(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        rows, columns = np.nonzero(picture[..., 0] > 2 * DARK)
        if not len(rows):
            return np.zeros((0, 4))
        return np.array([[columns.min(), rows.min(), columns.max(), rows.max()]], np.float64)

    return found


DOTS = MethodPlugin("dots", "Finds dots", "pictures_toys:Dots", presets=("tiny",), detector="pictures_toys:detector")


class DotsFilm(Dots):
    """Finds dots in each frame of a clip of three, every second; depths grow by a metre per unit that the dots' rays
    move to the right from the first frame to the last."""

    @property
    def clip(self) -> tuple[int, int] | None:
        return (3, 2)

    @property
    def detections(self) -> str:
        return OWN

    def find_joints(self, batch: UnlabelledBatch) -> torch.Tensor:
        found = super().predict(batch).joints_px
        assert found is not None
        return found

    def predict(self, batch: UnlabelledBatch) -> Estimate:
        assert not batch.images
        assert batch.detections_px is not None
        matrix = batch.cameras.intrinsics_px
        rays = (batch.detections_px[..., 0] - matrix[:, :1, 2]) / matrix[:, :1, 0]
        first, _, last = rays.unflatten(0, (-1, 3)).unbind(1)
        depths = torch.tensor(Z_ROOT_MM).float() + 1000 * (last - first)
        return Estimate(joints_px=batch.detections_px[1::3], z_root_mm=depths)


FILM = MethodPlugin(
    "film", "Finds dots", "pictures_toys:DotsFilm", presets=("tiny",), detector="pictures_toys:detector"
)
