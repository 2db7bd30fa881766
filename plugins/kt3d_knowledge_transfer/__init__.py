"""The method ``knowledge-transfer``, its row without adaptation ``source-only``, and recipes of the paper's tables."""

from __future__ import annotations

from collections.abc import Sequence

from kt3d_bench import MethodPlugin, Recipe, hookimpl

_DEFAULTS = {"target": "h36m", "source": "ubc3v", "pretrain": "mpii"}


@hookimpl
def kt3d_methods() -> Sequence[MethodPlugin]:
    return (
        MethodPlugin(
            name="knowledge-transfer",
            summary="Adapts a pose network to unlabelled images through part masks learned on synthetic depth",
            load="kt3d_knowledge_transfer.method:KnowledgeTransfer",
            defaults=_DEFAULTS,
        ),
        MethodPlugin(
            name="source-only",
            summary="The same networks without adaptation: 2D lifted through generated masks, or the depth network",
            load="kt3d_knowledge_transfer.method:SourceOnly",
            supervision=("none",),
            defaults=_DEFAULTS,
        ),
    )


@hookimpl
def kt3d_recipes() -> Sequence[Recipe]:
    from kt3d_knowledge_transfer.recipes import ALL

    return ALL
