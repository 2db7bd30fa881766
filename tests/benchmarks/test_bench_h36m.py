"""Preparing videos against the bare work on the same file: decode every frame, cut, shrink and encode the chosen."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from conftest import FiveRuns
from kt3d_h36m.samples import make_sample
from kt3d_h36m.video import frames_rgb

from kt3d_bench.data.format import encode_rgb
from kt3d_bench.data.writer import ShardWriter
from kt3d_bench.geometry.cameras import project
from kt3d_bench.geometry.crops import box_from_points
from kt3d_bench.records import Camera

SIDE, FRAMES, EVERY = 1000, 150, 5
LOAD: Mapping[str, Any] = {
    "name": "s01_act02_sub1_54138969", "subject": "S1", "action": "Directions", "clip": "c", "camera_id": "54138969",
}  # fmt: skip
CAMERA = Camera(
    np.array([[1145.0, 0, 512], [0, 1143, 515]]), (SIDE, SIDE), np.array([-0.2, 0.24, -0.0009, -0.0014, -0.005]), 1.0,
    np.eye(3), np.zeros(3),
)  # fmt: skip
JOINTS_MM = np.random.default_rng(1).uniform(-1, 1, (17, 3)) * [350, 850, 300] + [0, 0, 5000.0]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _moving(tmp_path_factory.mktemp("video") / "video.mp4", FRAMES)


def _moving(path: Path, frames: int) -> Path:
    """Write 1000 x 1000 px H.264 with something moving."""
    rng = np.random.default_rng(0)
    base = cv2.resize(
        rng.integers(0, 256, (60, 60, 3), np.uint8), (SIDE + 40, SIDE + 40), interpolation=cv2.INTER_CUBIC
    )
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=50, options={"preset": "veryfast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        for number in range(frames):
            at = 2 * number % 40
            frame = np.ascontiguousarray(base[at : at + SIDE, at : at + SIDE])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def _prepare(video: Path, shard: Path, frames: int = FRAMES) -> float:
    """Seconds of processor time."""
    cv2.setNumThreads(1)
    start = time.process_time()
    with ShardWriter(shard) as writer:
        writer.start_item("video")
        for number, image in frames_rgb(video, frames, EVERY, where=str(video), name="video"):
            sample = make_sample(LOAD, CAMERA, number, image, JOINTS_MM, None)
            writer.write(sample)  # type: ignore[arg-type]
    return time.process_time() - start


def _bare(video: Path) -> float:
    """The same pixels without any of our code around them, in seconds of processor time."""
    cv2.setNumThreads(1)
    x0, y0, x1, y1 = box_from_points(project(CAMERA, JOINTS_MM))
    side = int(np.ceil(max(x1 - x0, y1 - y0) * 1.5)) + 1
    left, top = max(0, int((x0 + x1 - side) / 2)), max(0, int((y0 + y1 - side) / 2))
    start = time.process_time()
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(stream)):
            if number % EVERY == 0:
                cut = frame.to_ndarray(format="rgb24", threads=1)[top : top + side, left : left + side]
                assert encode_rgb(cv2.resize(cut, (320, 320), interpolation=cv2.INTER_AREA))  # type: ignore[arg-type]
    return time.process_time() - start


def test_preparing_costs_little_more_than_the_bare_work(video: Path, tmp_path: Path, figures: FiveRuns) -> None:
    shard = tmp_path / "train-000000.tar"
    _prepare(video, shard)
    found = figures(lambda: {"prepare-h36m": _bare(video) / _prepare(video, shard)})
    assert statistics.median(found["prepare-h36m"]) > 0.6


def test_two_processes_do_not_hinder_each_other_and_memory_is_bounded(
    video: Path, tmp_path: Path, figures: FiveRuns
) -> None:
    """Processor time of a video alone and beside another; and the largest memory after a short and a long one."""
    shards = [tmp_path / f"train-{number:06d}.tar" for number in range(2)]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(_prepare, [video] * 2, shards))

        def beside() -> dict[str, float]:
            alone = pool.submit(_prepare, video, shards[0]).result()
            return {"prepare-h36m-beside": statistics.mean(pool.map(_prepare, [video] * 2, shards)) / alone}

        figures(beside)

    brief = _moving(tmp_path / "brief.mp4", FRAMES // 5)

    def more_mb() -> dict[str, float]:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            pool.submit(_prepare, brief, shards[0], FRAMES // 5).result()
            short = pool.submit(_peak_mb).result()
            pool.submit(_prepare, video, shards[0]).result()
            return {"prepare-h36m-memory": pool.submit(_peak_mb).result() - short}

    assert max(figures(more_mb)["prepare-h36m-memory"]) < 40


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
