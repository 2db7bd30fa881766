"""The method ``integral-pose``: supervised integral regression (Sun et al., ECCV 2018)."""

from __future__ import annotations

from collections.abc import Sequence

from kt3d_bench import MethodPlugin, hookimpl
from kt3d_bench.supervision import LEVELS


@hookimpl
def kt3d_methods() -> Sequence[MethodPlugin]:
    return (
        MethodPlugin(
            name="integral-pose",
            summary="Supervised baseline: one volume per joint and its expected value, trained on the target's labels",
            load="kt3d_integral_pose.method:IntegralPose",
            presets=("paper", "small", "laptop", "tiny"),
            supervision=tuple(level for level in LEVELS if level != "none"),
            defaults={"target": "h36m", "pretrain": "mpii"},
        ),
    )
