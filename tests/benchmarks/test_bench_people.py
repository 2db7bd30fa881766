"""Rendering generated people on a CPU, against the dense path and against what it was before, in one run."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from people import people_reference as reference
from pytest_benchmark.fixture import BenchmarkFixture

from kt3d_bench.people import (
    Figures,
    pose,
    render,
    render_crops,
    sample_background,
    sample_bodies,
    sample_clip,
    sample_style,
    shade,
)
from kt3d_bench.people.render import render_dense
from kt3d_bench.records import Camera

COUNT = 8
MARGIN = 3.0
"""Least gain that passes; quiet machines show more than five."""
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
    before = _best_s(lambda: reference.render(figures, cameras))
    benchmark.extra_info["times as fast as dense, 128 px"] = dense / sparse
    benchmark.extra_info["times as fast as before, 128 px"] = before / sparse
    benchmark.extra_info["figures per second of one core, 128 px"] = COUNT / sparse
    benchmark.pedantic(lambda: render_crops(figures, cameras, (128, 128)), rounds=2)
    assert MARGIN * sparse < before < dense


def test_full_frames(benchmark: BenchmarkFixture) -> None:
    """400 px frames with a person of about 320 px, as the Human3.6M stand-in of the demo draws them."""
    figures, cameras = _figures(), [_camera(400)] * COUNT
    benchmark.extra_info["figures per second of one core, 400 px"] = COUNT / _best_s(lambda: render(figures, cameras))
    benchmark.pedantic(lambda: render(figures, cameras), rounds=2)
    assert (render(figures[0], cameras[:1])[0].part > 0).mean() > 0.03


def test_256_px_with_colours(benchmark: BenchmarkFixture) -> None:
    """Depth, parts and RGB of one person, one core, against what it was before its loops were compiled and fused:
    torch's operations pair by pair, then NumPy's array by array. By turns: other work may share the machine."""
    figures, cameras = _figures(), [_camera(256)] * COUNT
    rng = np.random.default_rng(0)
    style, background = sample_style(rng), sample_background(rng, (256, 256), "room")

    def before() -> None:
        for image in reference.render(figures, cameras):
            reference.shade(image, style, background, rng)
            assert image.depth_mm.shape == image.part.shape

    def whole() -> None:
        for image in render(figures, cameras):
            shade(image, style, background, rng)
            assert image.depth_mm.shape == image.part.shape

    calls = {
        "before": before,
        "whole": whole,
        "rasteriser before": lambda: reference.render(figures, cameras),
        "rasteriser": lambda: render(figures, cameras),
    }
    taken: dict[str, float] = {}
    for _ in range(3):
        for name, call in calls.items():
            taken[name] = min(_best_s(call), taken.get(name, np.inf))
    ratio, alone = taken["before"] / taken["whole"], taken["rasteriser before"] / taken["rasteriser"]
    benchmark.extra_info["times as fast as before, with colours, 256 px"] = ratio
    benchmark.extra_info["rasteriser alone: times as fast as before, 256 px"] = alone
    benchmark.extra_info["figures with colours per second of one core, 256 px"] = COUNT / taken["whole"]
    benchmark.pedantic(whole, rounds=2)
    assert min(ratio, alone) > MARGIN
