"""Datasets, methods and one harness for 3D human pose estimation across domains: what a plugin author imports."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kt3d_bench.errors import ArtefactError, Kt3dError, MissingDataError, PluginError, RawDataError, UsageError
    from kt3d_bench.plugins.hookspecs import (
        DatasetPlugin,
        MethodPlugin,
        Option,
        Recipe,
        RecipeClaim,
        RecipePicture,
        RecipeRow,
        hookimpl,
    )
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
    "RecipeClaim",
    "RecipePicture",
    "RecipeRow",
    "Sample",
    "Skipped",
    "UsageError",
    "WorkItem",
    "__version__",
    "hookimpl",
]

_HOMES = ("errors", "plugins.hookspecs", "records")


def __getattr__(name: str) -> object:
    """The names above, imported when first asked for: the command line starts before NumPy does."""
    if name in __all__:
        from importlib import import_module

        for home in _HOMES:
            module = import_module(f"{__name__}.{home}")
            if name in vars(module):
                found: object = getattr(module, name)
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
