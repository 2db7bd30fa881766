"""The method ``v2v``: from occupied voxels to a heat map of voxels per joint (Moon et al., CVPR 2018)."""

from __future__ import annotations

from collections.abc import Sequence

from kt3d_bench import MethodPlugin, hookimpl


@hookimpl
def kt3d_methods() -> Sequence[MethodPlugin]:
    return (
        MethodPlugin(
            name="v2v",
            summary="Depth images as a grid of occupied voxels, and one heat map of voxels per joint",
            load="kt3d_v2v.method:V2V",
            presets=("paper", "laptop", "tiny"),
            supervision=("partial-3d", "partial", "full-3d", "full"),
            defaults={"target": "itop-front"},
        ),
    )
