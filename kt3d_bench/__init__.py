"""kt3d_bench: datasets, methods and one benchmark harness for 3D human pose estimation across domains.

Everything the command line does is a function here. Names are imported when they are first used, so that
``import kt3d_bench`` is fast and loads nothing heavy.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kt3d_bench.costs.estimate import estimate as estimate
    from kt3d_bench.data.prepare import prepare as prepare
    from kt3d_bench.data.validate import validate as validate
    from kt3d_bench.drawing import plot as plot
    from kt3d_bench.errors import ArtefactError as ArtefactError
    from kt3d_bench.errors import Kt3dError as Kt3dError
    from kt3d_bench.errors import MissingDataError as MissingDataError
    from kt3d_bench.errors import PluginError as PluginError
    from kt3d_bench.errors import RawDataError as RawDataError
    from kt3d_bench.errors import UsageError as UsageError
    from kt3d_bench.generation import generate as generate
    from kt3d_bench.inspection import inspect as inspect
    from kt3d_bench.leaderboard.publish import build_boards as build_boards
    from kt3d_bench.leaderboard.publish import check_boards as check_boards
    from kt3d_bench.leaderboard.publish import rescore as rescore
    from kt3d_bench.leaderboard.publish import submit as submit
    from kt3d_bench.loading.dataset import Dataset as Dataset
    from kt3d_bench.loading.dataset import load as load
    from kt3d_bench.loading.dataset import webdataset as webdataset
    from kt3d_bench.metrics.evaluate import evaluate as evaluate
    from kt3d_bench.metrics.functional import auc as auc
    from kt3d_bench.metrics.functional import mpjpe as mpjpe
    from kt3d_bench.metrics.functional import n_mpjpe as n_mpjpe
    from kt3d_bench.metrics.functional import pa_mpjpe as pa_mpjpe
    from kt3d_bench.metrics.functional import pck as pck
    from kt3d_bench.plugins.hookspecs import DatasetPlugin as DatasetPlugin
    from kt3d_bench.plugins.hookspecs import MethodPlugin as MethodPlugin
    from kt3d_bench.plugins.hookspecs import Option as Option
    from kt3d_bench.plugins.hookspecs import Recipe as Recipe
    from kt3d_bench.plugins.hookspecs import RecipeClaim as RecipeClaim
    from kt3d_bench.plugins.hookspecs import RecipePicture as RecipePicture
    from kt3d_bench.plugins.hookspecs import RecipeRow as RecipeRow
    from kt3d_bench.plugins.hookspecs import hookimpl as hookimpl
    from kt3d_bench.plugins.registry import benchmarks as benchmarks
    from kt3d_bench.plugins.registry import card as card
    from kt3d_bench.plugins.registry import datasets as datasets
    from kt3d_bench.plugins.registry import methods as methods
    from kt3d_bench.plugins.registry import published as published
    from kt3d_bench.plugins.registry import recipes as recipes
    from kt3d_bench.recipes.reproduce import reproduce as reproduce
    from kt3d_bench.records import Camera as Camera
    from kt3d_bench.records import Sample as Sample
    from kt3d_bench.records import Skipped as Skipped
    from kt3d_bench.records import WorkItem as WorkItem
    from kt3d_bench.report.build import write_report as write_report
    from kt3d_bench.scaffold import new_plugin as new_plugin
    from kt3d_bench.scoring import score as score
    from kt3d_bench.scoring import score_as as score_as
    from kt3d_bench.testing.contract import check_plugin as check_plugin
    from kt3d_bench.training.runs import Run as Run
    from kt3d_bench.training.runs import load_run as load_run
    from kt3d_bench.training.runs import train as train

__version__ = "0.1.0"

_HOMES = {
    "costs.estimate": ("estimate",),
    "data.prepare": ("prepare",),
    "data.validate": ("validate",),
    "drawing": ("plot",),
    "errors": ("ArtefactError", "Kt3dError", "MissingDataError", "PluginError", "RawDataError", "UsageError"),
    "generation": ("generate",),
    "inspection": ("inspect",),
    "leaderboard.publish": ("build_boards", "check_boards", "rescore", "submit"),
    "loading.dataset": ("Dataset", "load", "webdataset"),
    "metrics.evaluate": ("evaluate",),
    "metrics.functional": ("auc", "mpjpe", "n_mpjpe", "pa_mpjpe", "pck"),
    "plugins.hookspecs": (
        "DatasetPlugin",
        "MethodPlugin",
        "Option",
        "Recipe",
        "RecipeClaim",
        "RecipePicture",
        "RecipeRow",
        "hookimpl",
    ),
    "plugins.registry": ("benchmarks", "card", "datasets", "methods", "published", "recipes"),
    "recipes.reproduce": ("reproduce",),
    "records": ("Camera", "Sample", "Skipped", "WorkItem"),
    "report.build": ("write_report",),
    "scaffold": ("new_plugin",),
    "scoring": ("score", "score_as"),
    "testing.contract": ("check_plugin",),
    "training.runs": ("Run", "load_run", "train"),
}
"""Module below ``kt3d_bench`` -> the public names it defines."""

__all__ = [
    "__version__",
    *(name for names in _HOMES.values() for name in names),
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    for home, names in _HOMES.items():
        if name in names:
            found: object = getattr(importlib.import_module(f"{__name__}.{home}"), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
