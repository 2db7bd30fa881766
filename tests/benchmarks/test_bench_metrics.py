"""How fast scoring is. Run on its own: pytest tests/benchmarks"""

from __future__ import annotations

import time

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

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
    benchmark: BenchmarkFixture, poses: tuple[np.ndarray, np.ndarray]
) -> None:
    """Processor time counts, so that a busy machine does not decide."""

    def measured() -> float:
        start = time.process_time()
        all_metrics(*poses)
        return time.process_time() - start

    seconds = benchmark.pedantic(measured, rounds=1, iterations=1, warmup_rounds=0)
    benchmark.extra_info["processor seconds for 543,344 poses"] = seconds
    assert seconds < 3.0


def test_pa_against_a_loop(benchmark: BenchmarkFixture, poses: tuple[np.ndarray, np.ndarray]) -> None:
    pred, true = poses[0][:SUBSET], poses[1][:SUBSET]
    start = time.process_time()
    expected = loop_pa(pred, true)
    loop_s = time.process_time() - start
    ours: list[float] = []

    def measured() -> np.ndarray:
        start = time.process_time()
        values = pa_mpjpe(pred, true)
        ours.append(time.process_time() - start)
        return values

    values = benchmark.pedantic(measured, rounds=5, iterations=1, warmup_rounds=1)
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-9)
    benchmark.extra_info["times as fast as a loop"] = loop_s / min(ours)
    assert loop_s / min(ours) >= 6.0


def test_scoring_a_benchmark(benchmark: BenchmarkFixture, poses: tuple[np.ndarray, np.ndarray]) -> None:
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
    found = benchmark.pedantic(lambda: measure(Predictions(keys, pred), truth, toy), rounds=3, iterations=1)
    assert found.samples == count
    assert benchmark.stats.stats.min < 1.5
