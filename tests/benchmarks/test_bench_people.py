"""Rendering generated people: the CPU path, which looks at few pixels, against the dense one, in one run."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from pytest_benchmark.fixture import BenchmarkFixture

from kt3d_bench.people import Figures, pose, render, render_crops, sample_bodies, sample_clip
from kt3d_bench.people.render import render_dense
from kt3d_bench.records import Camera

COUNT = 8
ROTATION = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]])


def _camera(side_px: int) -> Camera:
    focal_px = 2.0 * side_px
    return Camera.pinhole(
        (focal_px, focal_px),
        ((side_px - 1) / 2, (side_px - 1) / 2),
        (side_px, side_px),
        rotation=ROTATION,
        position_world_mm=np.array([4200.0, 0.0, 950.0]),
    )


def _figures() -> Figures:
    rng = np.random.default_rng(0)
    return Figures.concatenate(
        [
            pose(sample_bodies(rng, 1), sample_clip(rng, activity, 1, 50))
            for activity in ("stand", "walk", "sit", "reach")
        ]
        * (COUNT // 4)
    )


def _best_s(call: Callable[[], object]) -> float:
    call()
    times = []
    for _ in range(3):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def test_sparse_rendering_beats_dense(benchmark: BenchmarkFixture) -> None:
    figures, cameras = _figures(), [_camera(128)] * COUNT
    sparse = _best_s(lambda: render_crops(figures, cameras, (128, 128)))
    dense = _best_s(lambda: render_dense(figures, cameras))
    benchmark.extra_info["times as fast as dense, 128 px"] = dense / sparse
    benchmark.extra_info["figures per second of one core, 128 px"] = COUNT / sparse
    benchmark.pedantic(lambda: render_crops(figures, cameras, (128, 128)), rounds=2)
    assert sparse < dense


def test_full_frames(benchmark: BenchmarkFixture) -> None:
    """400 px frames with a person of about 320 px, as the Human3.6M stand-in of the demo draws them."""
    figures, cameras = _figures(), [_camera(400)] * COUNT
    benchmark.extra_info["figures per second of one core, 400 px"] = COUNT / _best_s(lambda: render(figures, cameras))
    benchmark.pedantic(lambda: render(figures, cameras), rounds=2)
    assert (render(figures[0], cameras[:1])[0].part > 0).mean() > 0.03
