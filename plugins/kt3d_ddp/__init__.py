"""The method ``ddp``: a network weighs prototype poses (Marin-Jimenez et al., 2018)."""

from __future__ import annotations

from collections.abc import Sequence

from kt3d_bench import MethodPlugin, hookimpl


@hookimpl
def kt3d_methods() -> Sequence[MethodPlugin]:
    return (
        MethodPlugin(
            name="ddp",
            summary="Depth images: a network weighs prototype poses, and their weighted sum is the pose",
            load="kt3d_ddp.method:DeepDepthPose",
            presets=("paper", "laptop", "tiny"),
            supervision=("full-3d", "full"),
            defaults={"target": "itop-front"},
        ),
    )
