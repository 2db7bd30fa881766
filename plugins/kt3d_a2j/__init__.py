"""The method ``a2j``: anchors vote for the joints of a depth image (Xiong et al., ICCV 2019)."""

from __future__ import annotations

from collections.abc import Sequence

from kt3d_bench import MethodPlugin, hookimpl


@hookimpl
def kt3d_methods() -> Sequence[MethodPlugin]:
    return (
        MethodPlugin(
            name="a2j",
            summary="Depth images: every fourth pixel votes for the place and depth of every joint",
            load="kt3d_a2j.method:A2J",
            presets=("paper", "laptop", "tiny"),
            supervision=("partial-3d", "partial", "full-3d", "full"),
            defaults={"target": "itop-front"},
        ),
    )
