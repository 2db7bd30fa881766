"""A metric's part of the contract: its function, what it returns, and which way is better."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kt3d_bench.metrics.functional import METRICS, JointInput, Metric, mean_over_joints
from kt3d_bench.plugins import registry
from kt3d_bench.plugins.hookspecs import MetricPlugin
from kt3d_bench.skeletons import NUM_JOINTS
from kt3d_bench.testing.findings import Checklist, require

_COUNT = 6
_APART_MM = 400.0


def check_metric(plugin: MetricPlugin, checks: Checklist) -> None:
    """Check the contract of a metric on random people: findings go to ``checks``."""
    if checks.check("its function can be loaded", lambda: registry.load(plugin.load)) is None:
        return
    metric = checks.check("its name is new", lambda: METRICS[plugin.name])
    if metric is None or checks.check("it gives one number per sample and joint", lambda: _values(metric)) is None:
        return
    checks.check("the same poses give the same numbers, and poses stay as they are", lambda: _repeats(metric))
    checks.check("joints that do not count change nothing", lambda: _ignores_others(metric))
    checks.check(f"with '{plugin.better}' as better, the truth is not worse than a guess", lambda: _direction(metric))


def _people(seed: int = 0) -> npt.NDArray[np.float64]:
    people: npt.NDArray[np.float64] = np.random.default_rng(seed).normal(0, 300, (_COUNT, NUM_JOINTS, 3))
    people[..., 2] += 4000
    return people


def _given(pred_mm: npt.NDArray[np.float64], true_mm: npt.NDArray[np.float64]) -> JointInput:
    return JointInput(pred_mm, true_mm, np.ones((_COUNT, NUM_JOINTS), bool), 0)


def _measured(metric: Metric, given: JointInput) -> npt.NDArray[np.float64]:
    return mean_over_joints(metric.joint_values(given), metric.mask(given))


def _values(metric: Metric) -> npt.NDArray[np.float64]:
    found = _measured(metric, _given(_people(1), _people()))
    require(np.isfinite(found).all(), "whole poses without a missing joint have no number", "return finite values")
    return found


def _repeats(metric: Metric) -> None:
    pred, true = _people(1), _people()
    first, second = (_measured(metric, _given(pred, true)) for _ in range(2))
    require(np.array_equal(first, second), "a second call gave other numbers", "draw no random numbers")
    untouched = np.array_equal(pred, _people(1)) and np.array_equal(true, _people())
    require(untouched, "it changed the poses that it was given", "work on a copy")


def _ignores_others(metric: Metric) -> None:
    pred, true = _people(1), _people()
    mask = np.ones((_COUNT, NUM_JOINTS), bool)
    mask[:, [3, 13]] = False
    before = _measured(metric, JointInput(pred, true, mask, 0))
    pred, true = pred.copy(), true.copy()
    pred[:, 3], true[:, 13] = np.nan, np.nan
    after = _measured(metric, JointInput(pred, true, mask, 0))
    same = np.allclose(before, after, equal_nan=False)
    require(same, "joints outside the mask changed the number", "use only joints whose mask is true")


def _direction(metric: Metric) -> None:
    true = _people()
    apart = np.random.default_rng(2).normal(0, _APART_MM, true.shape)
    perfect, guess = (float(_measured(metric, _given(pred, true)).mean()) for pred in (true.copy(), true + apart))
    sign = 1 if metric.better == "lower" else -1
    what = f"the truth gives {perfect:g}, poses {_APART_MM:g} mm beside it {guess:g}"
    require(sign * perfect <= sign * guess, what, "correct 'better', or the function")
