"""The method ``volumetric``: stacked hourglasses whose heat maps grow in depth (Pavlakos et al., CVPR 2017)."""

from __future__ import annotations

from collections.abc import Sequence

from kt3d_bench import MethodPlugin, hookimpl


@hookimpl
def kt3d_methods() -> Sequence[MethodPlugin]:
    return (
        MethodPlugin(
            name="volumetric",
            summary="One RGB image, and stacked hourglasses whose heat maps of each joint grow in depth",
            load="kt3d_volumetric.method:Volumetric",
            presets=("paper", "laptop", "tiny"),
            supervision=("partial-3d", "partial", "full-3d", "full"),
            defaults={"target": "h36m"},
            settings_rule="test",
        ),
    )
