"""Datasets, methods and one harness for 3D human pose estimation across domains: what a plugin author imports."""

from kt3d_bench.errors import ArtefactError, Kt3dError, MissingDataError, PluginError, RawDataError, UsageError
from kt3d_bench.hookspecs import DatasetPlugin, MethodPlugin, Option, Recipe, RecipeRow, hookimpl
from kt3d_bench.records import Camera, Sample, Skipped, WorkItem

__version__ = "0.1.0"

__all__ = [
    "ArtefactError",
    "Camera",
    "DatasetPlugin",
    "Kt3dError",
    "MethodPlugin",
    "MissingDataError",
    "Option",
    "PluginError",
    "RawDataError",
    "Recipe",
    "RecipeRow",
    "Sample",
    "Skipped",
    "UsageError",
    "WorkItem",
    "__version__",
    "hookimpl",
]
