"""A 1080p video through ``kt3d predict blazepose --smooth --bvh``, one core: frames per second, and memory over time.

Rates are those of a video of ``SHORT`` frames, a process for each run. A slow test sees that memory does not grow, from
one third of ``FRAMES`` frames to the next, not in the 18,000 of ten minutes. Overlays, JSON, page and BVH are
written, as the command writes them.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from conftest import FiveRuns

from kt3d_bench.plugins import registry
from kt3d_bench.progress import Reporter
from kt3d_bench.records import Camera
from kt3d_bench.synth import Figures, pose, render, sample_bodies, sample_clip, sample_style, shade

WIDTH, HEIGHT, FRAMES, SHORT, RATE = 1920, 1080, 540, 80, 30
LEFT, TOP, SIDE = 400, 60, 960
"""Of the square that the person fills in the first frame; it moves a pixel per frame."""
AXES = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]])


def person() -> np.ndarray:
    """(960, 960, 3) a generated person on grey."""
    rng = np.random.default_rng(0)
    figure: Figures = pose(sample_bodies(rng, 1), sample_clip(rng, "stand", 1, 50))
    middle, focal = ((SIDE - 1) / 2,) * 2, (2.0 * SIDE,) * 2
    at = np.array([4200.0, 0.0, 950.0])
    camera = Camera.pinhole(focal, middle, (SIDE, SIDE), rotation=AXES, position_world_mm=at)
    return shade(render(figure, [camera])[0], sample_style(rng), np.full((SIDE, SIDE, 3), 120, np.uint8))


def write_video(path: Path, frames: int) -> Path:
    rng = np.random.default_rng(0)
    room = cv2.resize(rng.integers(60, 180, (27, 48, 3), np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    drawn = person()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(frames):
            frame, left = room.copy(), LEFT + number
            frame[TOP : TOP + SIDE, left : left + SIDE] = drawn
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@dataclass
class Memory(Reporter):
    """The process's resident memory each time that frames were predicted."""

    samples: list[tuple[int, float]] = field(default_factory=list)

    def advance(
        self, done: int, *, total: int | None = None, samples: int | None = None, values: Mapping[str, float] = {}
    ) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.samples.append((done, pages * 4096 / 2**20))


def predicted(video: Path, boxes: Path | str, out: Path) -> tuple[float, int, list[tuple[int, float]]]:
    """Return seconds of processor time, how many poses were found, and (frame, MB) over time."""
    import torch

    from kt3d_bench.pictures.predict import predict_images

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    memory, start = Memory(), time.process_time()
    found = predict_images("blazepose", video, boxes=boxes, out=out, smooth=True, bvh=True, device="cpu", report=memory)
    return time.process_time() - start, len(found), memory.samples


@pytest.fixture
def _weights_are_here() -> None:
    import kt3d_blazepose

    from kt3d_bench.weight_files import weights

    pytest.importorskip("ai_edge_litert")
    with registry.lent({"blazepose": kt3d_blazepose}):
        if not all(one.present for one in weights("blazepose")[:2]):
            pytest.skip("the weights are not here: kt3d weights")


def in_a_process(video: Path, boxes: str, out: Path, frames: int) -> tuple[float, int, list[tuple[int, float]]]:
    """Return what ``predicted`` does; boxes are found in each frame (``detect``) or are in a file (``given``)."""
    file = out.parent / "boxes.json"
    path = {str(frame): [[LEFT + frame, TOP, LEFT + frame + SIDE, TOP + SIDE]] for frame in range(frames)}
    file.write_text(json.dumps({video.name: path}))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(predicted, video, file if boxes == "given" else "detect", out).result()


@pytest.mark.usefixtures("_weights_are_here")
@pytest.mark.parametrize("boxes", ["detect", "given"])
def test_frames_per_second(tmp_path: Path, boxes: str, figures: FiveRuns) -> None:
    video = write_video(tmp_path / "clip.mp4", SHORT)

    def rate() -> dict[str, float]:
        seconds, poses, memory_mb = in_a_process(video, boxes, tmp_path / "out", SHORT)
        shutil.rmtree(tmp_path / "out")
        assert poses > 0.9 * SHORT
        found = {f"video-{boxes}": SHORT / seconds}
        return found if boxes == "detect" else found | {"video-memory": max(mb for _, mb in memory_mb)}

    figures(rate)


@pytest.mark.slow
@pytest.mark.usefixtures("_weights_are_here")
def test_memory_of_a_long_video(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mp4", FRAMES)
    _, poses, samples = in_a_process(video, "given", tmp_path / "out", FRAMES)
    frames, resident_mb = np.array(samples).T
    thirds = [
        resident_mb[(frames > start) & (frames <= start + FRAMES / 3)].mean() for start in (FRAMES / 3, 2 * FRAMES / 3)
    ]
    assert poses > 0.9 * FRAMES
    assert thirds[1] - thirds[0] < 30
