"""The method ``knowledge-transfer``, its row without adaptation ``source-only``, and recipes of the paper's tables."""

from __future__ import annotations

from collections.abc import Sequence

from kt3d_bench import MethodPlugin, Recipe, hookimpl

_PRESETS = ("paper", "small", "laptop", "tiny")
_DEFAULTS = {"target": "h36m", "source": "ubc3v", "pretrain": "mpii"}


@hookimpl
def kt3d_methods() -> Sequence[MethodPlugin]:
    return (
        MethodPlugin(
            name="knowledge-transfer",
            summary="Adapts a pose network to unlabelled images by silhouettes and poses learned on synthetic data",
            load="kt3d_knowledge_transfer.method:KnowledgeTransfer",
            presets=_PRESETS,
            defaults=_DEFAULTS,
            settings_rule="validation",
        ),
        MethodPlugin(
            name="source-only",
            summary="The same networks without adaptation: 2D lifted by a prior of poses, or the depth network",
            load="kt3d_knowledge_transfer.method:SourceOnly",
            supervision=("none",),
            presets=_PRESETS,
            defaults=_DEFAULTS,
            settings_rule="validation",
        ),
    )


@hookimpl
def kt3d_recipes() -> Sequence[Recipe]:
    from kt3d_knowledge_transfer.recipes import ALL

    return ALL
