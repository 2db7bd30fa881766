"""Shards and files that loaders are timed on, and a loader as other code bases have it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
import torch
from torch.utils.data import DataLoader, Dataset

from kt3d_bench.data.manifest import (
    Counts,
    CropRule,
    Manifest,
    Shard,
    Split,
    labels_digest,
    sample_list_digest,
    write_manifest,
)
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.data.writer import ShardWriter
from kt3d_bench.loading.augment import Augmentation, place
from kt3d_bench.records import Camera, Sample

CROP_PX = 320
FRAME_PX = 1000
INPUT_PX = 256


def picture(rng: np.random.Generator, side_px: int) -> npt.NDArray[np.uint8]:
    """Soft shapes with a little grain, which JPEG compresses about as it does a photograph."""
    soft = cv2.resize(rng.integers(0, 256, (side_px // 14, side_px // 14, 3), np.uint8), (side_px, side_px),
                      interpolation=cv2.INTER_CUBIC)  # fmt: skip
    grain = rng.integers(-4, 5, soft.shape, np.int16)
    return np.clip(soft + grain, 0, 255).astype(np.uint8)


def surface(rng: np.random.Generator, side_px: int) -> npt.NDArray[np.uint16]:
    """A blob at about 3 m with a relief of its own, 0 elsewhere."""
    relief = cv2.resize(rng.uniform(2700, 3300, (12, 12)).astype(np.float32), (side_px, side_px))
    rows, columns = np.mgrid[:side_px, :side_px] / side_px - 0.5
    return np.where(4 * columns**2 + rows**2 < 0.16, np.rint(relief), 0).astype(np.uint16)


def make_shards(
    folder: Path, count: int, modalities: tuple[str, ...] = ("rgb",), *, crop_px: int = CROP_PX
) -> ShardSet:
    """``count`` square crops in one shard."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    images = [(picture(rng, crop_px), surface(rng, crop_px)) for _ in range(min(count, 64))]
    with ShardWriter(folder / "train-000000.tar") as writer:
        for number in range(count):
            rgb, depth = images[number % len(images)]
            writer.write(
                Sample(
                    key=f"s{number:05d}",
                    camera=Camera.pinhole((1000, 1000), (crop_px / 2 - 0.5, crop_px / 2 - 0.5), (crop_px, crop_px)),
                    joints_px=rng.uniform(60, 260, (17, 2)),
                    joints_cam_mm=rng.uniform(-500, 500, (17, 3)) + np.array([0, 0, 4000]),
                    visible=np.ones(17),
                    quality=np.full(17, 3),
                    box_px=[53, 53, 266, 266],
                    subject="S1",
                    action="",
                    camera_id="",
                    sequence="q",
                    frame=number,
                    rgb=rgb if "rgb" in modalities else None,
                    depth_mm=depth if "depth" in modalities else None,
                )
            )
    index = writer.index
    assert index is not None
    split = Split(
        samples=count,
        shards=(Shard(name=writer.path.name, sha256=index.tar_sha256, size=index.tar_size, samples=count),),
        counts=Counts(subject={}, action={}, camera={}),
        modalities=modalities,
        sample_list_digest=sample_list_digest(index.keys),
        labels_digest=labels_digest(index.keys, index.labels),
        skipped=(),
    )
    manifest = Manifest(
        format_version=1,
        dataset="pictures",
        origin="generated",
        generator_version=1,
        splits={"train": split},
        num_parts=0,
        quality=(3,) * 17,
        box_rule="joints",
        crop=CropRule(margin=1.5, longest_px=CROP_PX),
        source_digests={},
        options={},
        licence="-",
        redistribution="-",
        citation="-",
        tool_version="0",
    )
    write_manifest(folder, manifest)
    return ShardSet.open(folder, "train")


def make_frames(folder: Path, count: int) -> list[str]:
    """JPEG files of whole 1000 x 1000 frames, as people extract them from videos."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    images = [picture(rng, FRAME_PX) for _ in range(min(count, 8))]
    paths = [str(folder / f"{number:05d}.jpg") for number in range(count)]
    for number, path in enumerate(paths):
        cv2.imwrite(path, images[number % len(images)], [cv2.IMWRITE_JPEG_QUALITY, 95])
    return paths


class _Files(Dataset[Any]):
    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return 1 << 30

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Read, warp, turn into normalised floats: what Integral-Pose's and mmpose's datasets do with a sample."""
        image = cv2.imread(self.paths[index % len(self.paths)], cv2.IMREAD_COLOR)
        assert image is not None
        draws = Augmentation().draw(0, np.zeros(1, np.int64), np.array([index]))
        affine = place(draws, np.array([[300.0, 250.0, 700.0, 750.0]]), INPUT_PX).affine_px[0]
        patch = cv2.warpAffine(image, affine, (INPUT_PX, INPUT_PX), flags=cv2.INTER_LINEAR)
        floats = patch[:, :, ::-1].transpose(2, 0, 1).astype(np.float32)
        floats = (floats - np.array([123.7, 116.3, 103.5], np.float32)[:, None, None]) / 58.0
        return torch.from_numpy(np.ascontiguousarray(floats)), torch.from_numpy(affine)


def _one_thread(_: int) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


READY = 4
"""Batches that torch's DataLoader keeps ready: two for each of two workers."""


class PerFile:
    """torch's DataLoader over files of whole frames."""

    def __init__(self, paths: list[str], workers: int) -> None:
        files = _Files(paths)
        self._batches = iter(
            DataLoader(
                files,
                batch_size=32,
                num_workers=workers,
                shuffle=False,
                worker_init_fn=_one_thread,
                multiprocessing_context="spawn",  # OpenCV's threads of this process do not live on in a fork
            )
        )
        next(self._batches)

    def rate(self, samples: int) -> float:
        """Samples per second; the batches that were ready before do not count. Then waits until the workers have
        made the next ones ready and rest: what is measured next must not share the cores with them."""
        for _ in range(READY):
            next(self._batches)
        batches = max(1, samples // 32)
        start = time.perf_counter()
        for _ in range(batches):
            next(self._batches)
        found = 32 * batches / (time.perf_counter() - start)
        time.sleep(1.5 * READY * 32 / found)
        return found


_HELD: list[ShardSet] = []


def hold(shards: ShardSet) -> None:
    """Give a worker process its shards."""
    _one_thread(0)
    _HELD[:] = [shards]


def bare_decode(task: tuple[str, int, int]) -> int:
    """Decode the stored bytes of some samples and throw the pixels away; returns how many."""
    field, start, stop = task
    (shards,) = _HELD
    decode = simplejpeg.decode_jpeg if field == "rgb" else _decode_png
    for index in range(start, stop):
        decode(shards.read(index, field))
    return stop - start


def _decode_png(data: bytes) -> Any:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
