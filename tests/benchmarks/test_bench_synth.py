"""Generated people on a CPU against what was before: rendering in torch's operations, postures joint by joint."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from clock import best_s
from conftest import FiveRuns
from kt3d_ubc3v import stream
from synth import pose_reference
from synth import synth_reference as reference

from kt3d_bench.loading.images import one_thread_each
from kt3d_bench.records import Camera
from kt3d_bench.synth import (
    Figures,
    pose,
    poses,
    render,
    sample_background,
    sample_bodies,
    sample_clip,
    sample_style,
    shade,
)

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


def test_compiled_loops_beat_torch_s_operations(figures: FiveRuns) -> None:
    people, cameras = _figures(), [_camera(128)] * COUNT

    def gains() -> dict[str, float]:
        found = best_s(now=lambda: render(people, cameras), before=lambda: reference.render(people, cameras))
        return {"render-128": found["before"] / found["now"], "render-128-rate": COUNT / found["now"]}

    assert statistics.median(figures(gains)["render-128"]) > MARGIN


def test_256_px_with_colours(figures: FiveRuns) -> None:
    """Depth, parts and RGB of one person, one core, against what it was before its loops were compiled and fused:
    torch's operations pair by pair, then NumPy's array by array."""
    people, cameras = _figures(), [_camera(256)] * COUNT
    rng = np.random.default_rng(0)
    style, background = sample_style(rng), sample_background(rng, (256, 256), "room")

    def before() -> None:
        for image in reference.render(people, cameras):
            reference.shade(image, style, background, rng)
            assert image.depth_mm.shape == image.part.shape

    def now() -> None:
        for image in render(people, cameras):
            shade(image, style, background, rng)
            assert image.depth_mm.shape == image.part.shape

    def gains() -> dict[str, float]:
        found = best_s(before=before, now=now)
        return {"shade-256": found["before"] / found["now"], "shade-256-rate": COUNT / found["now"]}

    assert statistics.median(figures(gains)["shade-256"]) > MARGIN


def test_postures_and_the_samples_of_a_stream(figures: FiveRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    def postures() -> None:
        rng = np.random.default_rng(1)
        for number in range(40):
            sample_clip(rng, poses.ACTIVITIES[number % len(poses.ACTIVITIES)], 1, 25.0)

    one_thread_each()

    def samples() -> None:
        assert len(list(stream.samples(1, 0, 16, "cpu"))) == 16

    def before() -> None:
        with monkeypatch.context() as patched:
            patched.setattr("kt3d_bench.synth.body.forward_kinematics", pose_reference.forward_kinematics)
            patched.setattr(poses, "rotations_from_angles", pose_reference.rotations_from_angles)
            patched.setattr(poses, "entangled_frames", pose_reference.entangled_frames)
            postures()

    def gains() -> dict[str, float]:
        found = best_s(now=postures, before=before, samples=samples)
        return {"postures": found["before"] / found["now"], "stream-rate": 16 / found["samples"]}

    assert statistics.median(figures(gains)["postures"]) > MARGIN
