"""Baselines that any method must beat, ``mean-pose``, ``mean-pose-oracle`` and ``martinez``, a metric of bones,
and recipes that compare all methods."""

from __future__ import annotations

from collections.abc import Sequence

from kt3d_bench import MethodPlugin, MetricPlugin, Recipe, hookimpl

_PRESETS = ("paper", "small", "laptop", "tiny")


@hookimpl
def kt3d_methods() -> Sequence[MethodPlugin]:
    return (
        MethodPlugin(
            name="mean-pose",
            summary="The mean pose of the source for every image",
            load="kt3d_floor.mean_pose:MeanPose",
            presets=_PRESETS,
            supervision=("none",),
            defaults={"target": "h36m", "source": "ubc3v"},
        ),
        MethodPlugin(
            name="mean-pose-oracle",
            summary="The mean pose of the target's training labels for every image",
            load="kt3d_floor.mean_pose:MeanPoseOracle",
            presets=_PRESETS,
            supervision=("full",),
            defaults={"target": "h36m"},
        ),
        MethodPlugin(
            name="martinez",
            summary="A 2D network, lifted by a residual MLP that learned from source poses or from the target's labels",
            load="kt3d_floor.martinez:Martinez",
            presets=_PRESETS,
            supervision=("none", "partial-3d", "partial", "full-3d", "full"),
            defaults={"target": "h36m", "source": "ubc3v", "pretrain": "mpii"},
        ),
    )


@hookimpl
def kt3d_metrics() -> Sequence[MetricPlugin]:
    return (
        MetricPlugin(
            name="bone_length_mm",
            title="Bone length error",
            unit="mm",
            better="lower",
            load="kt3d_floor.bones:length_errors",
            about="mean difference between the lengths of predicted and true bones, each at its outer joint",
        ),
    )


@hookimpl
def kt3d_recipes() -> Sequence[Recipe]:
    from kt3d_floor.recipes import ALL

    return ALL
