"""The method ``shafaei``: body parts of a depth image, and joints as a linear function of them (CRV 2016)."""

from __future__ import annotations

from collections.abc import Sequence

from kt3d_bench import MethodPlugin, hookimpl


@hookimpl
def kt3d_methods() -> Sequence[MethodPlugin]:
    return (
        MethodPlugin(
            name="shafaei",
            summary="Depth images: a network names each pixel's body part, and joints follow linearly from the parts",
            load="kt3d_shafaei.method:Shafaei",
            presets=("paper", "laptop", "tiny"),
            supervision=("none", "full-3d", "full"),
            defaults={"target": "ubc3v", "source": "ubc3v"},
        ),
    )
