"""The method ``simcc-3d``: each joint as three classifications, along x, y and z (Li et al., ECCV 2022; RTMW3D)."""

from __future__ import annotations

from collections.abc import Sequence

from kt3d_bench import MethodPlugin, hookimpl


@hookimpl
def kt3d_methods() -> Sequence[MethodPlugin]:
    return (
        MethodPlugin(
            name="simcc-3d",
            summary="One RGB image, and each joint as three classifications: along x, y and depth",
            load="kt3d_simcc.method:SimCC3D",
            presets=("paper", "laptop", "tiny"),
            supervision=("partial-3d", "partial", "full-3d", "full"),
            defaults={"target": "h36m", "pretrain": "mpii"},
        ),
    )
