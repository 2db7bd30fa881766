"""The method ``zhou``: 2D labels of one domain, 3D labels of another, and bones (Zhou et al., ICCV 2017)."""

from __future__ import annotations

from collections.abc import Sequence

from kt3d_bench import MethodPlugin, hookimpl


@hookimpl
def kt3d_methods() -> Sequence[MethodPlugin]:
    return (
        MethodPlugin(
            name="zhou",
            summary="2D labels of real images, 3D labels of synthetic ones, and bones whose lengths must agree",
            load="kt3d_zhou.method:Zhou",
            presets=("paper", "laptop", "tiny"),
            defaults={"target": "h36m", "source": "ubc3v", "pretrain": "mpii"},
        ),
    )
