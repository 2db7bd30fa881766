"""The method ``dann``: source labels, and features that do not tell the domains apart (Ganin et al., JMLR 2016)."""

from __future__ import annotations

from collections.abc import Sequence

from kt3d_bench import MethodPlugin, hookimpl


@hookimpl
def kt3d_methods() -> Sequence[MethodPlugin]:
    return (
        MethodPlugin(
            name="dann",
            summary="Depth images: source labels, and features that hide from a classifier which domain they are of",
            load="kt3d_dann.method:Dann",
            presets=("paper", "laptop", "tiny"),
            supervision=("none",),
            defaults={"target": "itop-front", "source": "ubc3v"},
        ),
    )
