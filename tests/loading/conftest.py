"""Small splits with exact geometry: each image shows a bright dot where a joint lies."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kt3d_bench.data.reader import ShardSet
from kt3d_bench.geometry.cameras import project
from kt3d_bench.records import Camera, Sample
from kt3d_bench.testing import tiny_sample, tiny_shards

LEFT_WRIST = 13
PARTS = (0, 2, 1, 3)
"""Part mirror of the test's own part set: background, left, right, middle."""

MakeShards = Callable[..., ShardSet]


def dot_image(width: int, height: int, center: np.ndarray, sigma: float) -> np.ndarray:
    """(H, W) 0..255, a Gaussian at ``center`` px."""
    rows, columns = np.mgrid[:height, :width]
    return 255 * np.exp(-((columns - center[0]) ** 2 + (rows - center[1]) ** 2) / (2 * sigma**2))


def make_sample(index: int, rng: np.random.Generator, modalities: Sequence[str], *, longest: int, flat: bool) -> Sample:
    size = (int(rng.integers(longest // 2, longest + 1)), longest)
    camera = Camera(
        np.array([[longest * 4.0, 0.3, size[0] / 2], [0.2, longest * 4.1, size[1] / 2]]),
        size,
        np.array([-0.2, 0.2, -0.01, 0.012, 0.01]),
        tangential_factor=1.0,
    )
    cam = rng.uniform(-1, 1, (17, 3)) * [180, 380, 200] + [rng.uniform(-30, 30), 20, 4000]
    px = project(camera, cam)
    dot = dot_image(*size, px[LEFT_WRIST], longest / 40)
    depth = np.where(dot > 60, 3000 + 10 * index, 0).astype(np.uint16)
    parts = np.zeros(size[::-1], np.uint8)
    parts[:, : size[0] // 2], parts[:, size[0] // 2 :] = 1, 2
    images = {"rgb": np.repeat(dot[..., None], 3, 2).astype(np.uint8), "depth_mm": depth, "parts": parts}
    return tiny_sample(
        f"s{index:03d}",
        modalities=(),
        camera=camera,
        joints_px=px,
        joints_cam_mm=None if flat else cam,
        box_px=[*px.min(0), *px.max(0)],
        subject=f"S{1 + index % 3}",
        action="sit" if index % 2 else "walk",
        sequence=f"q{index // 4}",
        frame=index,
        **{name: image for name, image in images.items() if name.removesuffix("_mm") in modalities},
    )


@pytest.fixture
def make_shards(tmp_path: Path) -> MakeShards:
    """``make(count, modalities, longest=, flat=, part_mirror=)`` writes a split and opens it."""

    def make(
        count: int = 12,
        modalities: Sequence[str] = ("rgb", "depth", "parts"),
        *,
        longest: int = 96,
        flat: bool = False,
        part_mirror: tuple[int, ...] | None = PARTS,
        tars: int = 1,
    ) -> ShardSet:
        rng = np.random.default_rng(5)
        samples = [make_sample(index, rng, modalities, longest=longest, flat=flat) for index in range(count)]
        parts: dict[str, Any] = {}
        if "parts" in modalities:
            parts = {"num_parts": len(PARTS), "part_mirror": part_mirror}
        folder = tmp_path / f"shards{len(list(tmp_path.iterdir()))}"
        return tiny_shards(folder, samples, dataset="dots", tars=tars, **parts)

    return make


@pytest.fixture
def written() -> list[Sample]:
    """The samples that ``make_shards()`` writes, before they are stored."""
    rng = np.random.default_rng(5)
    return [make_sample(index, rng, ("rgb", "depth", "parts"), longest=96, flat=False) for index in range(12)]


@pytest.fixture
def corrupt() -> Callable[[ShardSet], ShardSet]:
    """The same shards with every label replaced by nonsense; images and crop cameras are kept."""

    def corrupted(shards: ShardSet) -> ShardSet:
        rng = np.random.default_rng(0)
        labels = shards.labels
        nonsense = dataclasses.replace(
            labels,
            joints_px=rng.normal(size=labels.joints_px.shape).astype(np.float32),
            joints_cam_mm=rng.normal(size=labels.joints_cam_mm.shape).astype(np.float32),
            visible=1 - labels.visible,
            quality=3 - labels.quality,
            box_px=rng.normal(size=labels.box_px.shape).astype(np.float32),
            rotation=labels.rotation[:, ::-1],
            position_world_mm=labels.position_world_mm + 1e6,
            subject=labels.subject[::-1],
            action=np.full_like(labels.action, "x"),
            camera_id=np.full_like(labels.camera_id, "y"),
            sequence=labels.sequence[::-1],
            frame=labels.frame[::-1],
        )
        return dataclasses.replace(shards, labels=nonsense)

    return corrupted
