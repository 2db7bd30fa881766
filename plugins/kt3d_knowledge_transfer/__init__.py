"""The method ``knowledge-transfer``, its row without adaptation ``source-only``, and recipes for ``kt3d demo``."""

from __future__ import annotations

from collections.abc import Sequence

from kt3d_bench.hookspecs import MethodPlugin, Recipe, RecipeRow, hookimpl

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
            load="kt3d_knowledge_transfer.source_only:SourceOnly",
            supervision=("none",),
            defaults=_DEFAULTS,
        ),
    )


@hookimpl
def kt3d_recipes() -> Sequence[Recipe]:
    transfer, synthetic = "knowledge-transfer", "ubc3v"
    return (
        Recipe(
            name="demo",
            summary="The transfer to RGB images beside what it must beat, and the two synthetic branches",
            rows=(
                RecipeRow("mean-pose", target="h36m"),
                RecipeRow("lift-mlp", target="h36m"),
                RecipeRow("source-only", target="h36m"),
                RecipeRow("integral-pose", "full", target="h36m"),
                RecipeRow(transfer, "none", target="h36m"),
                RecipeRow(transfer, "partial", target="h36m"),
                RecipeRow(transfer, "full", target="h36m"),
                RecipeRow("mean-pose", target=synthetic),
                RecipeRow(transfer, "full", target=synthetic, settings={"branch": "depth"}),
                RecipeRow(transfer, "full", target=synthetic, settings={"branch": "mask"}),
            ),
        ),
        Recipe(
            name="depth-views",
            summary="The transfer to noisy depth images with a background, seen from the front and from above",
            rows=tuple(
                RecipeRow(method, supervision, target=target)
                for target in ("itop-front", "itop-top")
                for method, supervision in (
                    ("mean-pose", "none"),
                    ("source-only", "none"),
                    ("integral-pose", "full"),
                    (transfer, "none"),
                    (transfer, "partial"),
                    (transfer, "full"),
                )
            ),
        ),
    )
