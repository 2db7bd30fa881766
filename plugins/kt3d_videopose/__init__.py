"""The method ``videopose``: clips of 2D poses lifted by convolutions over time (Pavllo et al., CVPR 2019)."""

from __future__ import annotations

from collections.abc import Sequence

from kt3d_bench import MethodPlugin, hookimpl


@hookimpl
def kt3d_methods() -> Sequence[MethodPlugin]:
    return (
        MethodPlugin(
            name="videopose",
            summary="Clips of 2D joints, lifted by convolutions over time; unlabelled clips teach by projecting back",
            load="kt3d_videopose.method:VideoPose",
            presets=("paper", "laptop", "tiny"),
            supervision=("none", "partial-3d", "partial", "full-3d", "full"),
            defaults={"target": "h36m", "source": "ubc3v", "pretrain": "mpii"},
        ),
    )
