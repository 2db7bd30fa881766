"""The metrics that plugins offer: their records as ``functional.Metric``, and what their functions must keep to."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import PluginError
from kt3d_bench.metrics.functional import METRICS, JointInput, Metric
from kt3d_bench.plugins import registry
from kt3d_bench.plugins.hookspecs import MetricPlugin


def offered_metrics() -> Mapping[str, Metric]:
    """Return the metrics of all plugins by name. Raise ``PluginError`` for one that has the name of one of ours."""
    found = {name: _metric(plugin) for name, plugin in registry.metrics().items()}
    for name in found:
        if name in METRICS.own:
            raise PluginError(f"the metric '{name}' exists already", where="kt3d_metrics", hint="rename it")
    return found


def _metric(plugin: MetricPlugin) -> Metric:
    def values(given: JointInput) -> npt.NDArray[np.float64]:
        found = registry.load(plugin.load)(given)
        if not isinstance(found, np.ndarray) or found.dtype.kind != "f" or found.shape != given.mask.shape:
            got = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
            raise PluginError(
                f"returned {got}, expected an array of floats of shape {given.mask.shape}",
                where=f"{plugin.load} of the metric '{plugin.name}'",
                hint="return one value per sample and joint",
            )
        return np.where(given.mask, found, np.nan)

    return Metric(
        name=plugin.name,
        title=plugin.title,
        unit=plugin.unit,
        better="lower" if plugin.better == "lower" else "higher",
        alignment="none",
        joint_values=values,
        min_joints=1,
        about=plugin.about,
        paper=plugin.paper,
    )
