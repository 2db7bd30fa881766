"""How fast scoring is."""

from __future__ import annotations

import time

import numpy as np
import pytest
from clock import best_s
from conftest import FiveRuns

from kt3d_bench.metrics import functional
from kt3d_bench.metrics.benchmarks import Benchmark
from kt3d_bench.metrics.evaluate import measure
from kt3d_bench.metrics.functional import mpjpe, pa_mpjpe, pck
from kt3d_bench.metrics.predictions import Predictions
from kt3d_bench.metrics.truth import Truth

POSES = 543_344
"""Test poses of Human3.6M seen by four cameras at full rate: the most that anybody scores."""
SUBSET = 4_000


@pytest.fixture(scope="module")
def poses() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    true = rng.normal(size=(POSES, 17, 3)).astype(np.float32) * 300 + np.array([0, 0, 4000], np.float32)
    return true + rng.normal(size=true.shape).astype(np.float32) * 60, true


def loop_pa(pred: np.ndarray, true: np.ndarray) -> np.ndarray:
    """One pose at a time, as most public code does it."""
    values = []
    for p, t in zip(pred.astype(np.float64), true.astype(np.float64), strict=True):
        p0, t0 = p - p.mean(axis=0), t - t.mean(axis=0)
        p_size, t_size = np.linalg.norm(p0), np.linalg.norm(t0)
        u, s, vt = np.linalg.svd((p0 / p_size).T @ (t0 / t_size))
        if np.linalg.det(u @ vt) < 0:
            u[:, -1] *= -1
            s[-1] *= -1
        aligned = s.sum() * t_size / p_size * p0 @ (u @ vt)
        values.append(np.linalg.norm(aligned - t0, axis=1).mean())
    return np.array(values)


def all_metrics(pred: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return mpjpe(pred, true, root=0), pa_mpjpe(pred, true), pck(pred, true, root=0)


def test_three_metrics_of_the_largest_test_set(
    figures: FiveRuns, poses: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processor time of one core, so that a busy machine does not decide; the clock's for all cores."""

    def one_core() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(functional, "_MANY", POSES + 1)
            all_metrics(*poses)

    def seconds() -> dict[str, float]:
        alone = best_s(1, warm=0, one=one_core)["one"]
        found = best_s(1, time.perf_counter, 0, one=one_core, all=lambda: all_metrics(*poses))
        return {"score-543k": alone, "score-543k-cores": found["all"] / found["one"]}

    one_core()
    assert min(figures(seconds)["score-543k"]) < 3.0


def test_pa_against_a_loop(figures: FiveRuns, poses: tuple[np.ndarray, np.ndarray]) -> None:
    pred, true = poses[0][:SUBSET], poses[1][:SUBSET]
    np.testing.assert_allclose(pa_mpjpe(pred, true), loop_pa(pred, true), rtol=0, atol=1e-9)

    def ratio() -> dict[str, float]:
        found = best_s(loop=lambda: loop_pa(pred, true), ours=lambda: pa_mpjpe(pred, true))
        return {"score-loop": found["loop"] / found["ours"]}

    assert min(figures(ratio)["score-loop"]) >= 6.0


def test_scoring_a_benchmark(figures: FiveRuns, poses: tuple[np.ndarray, np.ndarray]) -> None:
    """8,695 samples with all folds and intervals, as ``kt3d score`` does it."""
    count = 8_695
    pred, true = poses[0][:count], poses[1][:count]
    keys = np.array([f"s{i:06d}" for i in range(count)])
    words = np.array([f"c{i % 240}" for i in range(count)])
    truth = Truth(keys, true, np.full((count, 17), 3, np.uint8), words, words, words, "", "", "generated")
    toy = Benchmark(
        id="toy", version=1, title="", dataset="", split="", modality="rgb", headline=("mpjpe_mm", "pa_mpjpe_mm"),
        beside=("pa_mpjpe_rigid_mm", "pck_100"), root=0, reference="root-given", box_rule="joints", sees="",
    )  # fmt: skip

    def score() -> None:
        assert measure(Predictions(keys, pred), truth, toy).samples == count

    assert min(figures(lambda: {"score-board": best_s(1, score=score)["score"]})["score-board"]) < 1.5
