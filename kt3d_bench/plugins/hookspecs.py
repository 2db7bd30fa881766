"""The hooks, and the records that plugins return from them. This file is the reference for plugin authors.

A plugin is a package registered under the entry-point group ``kt3d_bench``. Its top module defines functions marked
``@hookimpl`` whose names are the hooks below. Registering is cheap: records hold names and ``"module:object"``
strings, and nothing heavy (torch, scipy, cv2, h5py) is imported until it is used. Results of all plugins are collected
and sorted by name; installation order never matters, and a name registered twice stops the program.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pluggy

from kt3d_bench.schema import DIFFERENT, SOME, STRICT, Must, OneOf, Sha256, Text, Whole
from kt3d_bench.supervision import LEVELS, ROLES, SETTINGS_RULES

PROJECT = "kt3d_bench"
MODALITIES = ("rgb", "depth", "parts", "foreground")
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


def missing(reference: str) -> str | None:
    """Return why ``"module"`` or ``"module:object"`` cannot exist, as far as it shows without importing the module."""
    module, _, attribute = reference.partition(":")
    if module in sys.modules:
        there = not attribute or hasattr(sys.modules[module], attribute)
        return None if there else f"module {module} defines no {attribute}"
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError) as error:
        return str(error)
    return f"there is no module {module}" if spec is None else None


def _is_module(reference: str) -> bool:
    return bool(reference) and ":" not in reference and missing(reference) is None


def _is_object(reference: str) -> bool:
    return reference.count(":") == 1 and missing(reference) is None


def _is_object_or_empty(reference: str) -> bool:
    return not reference or _is_object(reference)


_PLAIN = (bool, int, float, str, type(None))


Name = Annotated[
    str, Must("a name of lower-case letters, digits, '-' and '_'", re.compile(r"[a-z0-9][a-z0-9_\-]{0,79}").fullmatch)
]
Word = Annotated[str, Must("letters, digits, '-' and '_'", re.compile(r"[A-Za-z0-9_\-]{1,80}").fullmatch)]
Module = Annotated[str, Must("the name of a module that exists", _is_module)]
Value = Annotated[Any, Must("a truth value, number, text or None", lambda one: isinstance(one, _PLAIN))]


@dataclass(frozen=True)
class Option:
    """One dataset-specific option of ``prepare``: its default decides its type; ``choices`` limits it."""

    __pydantic_config__ = STRICT
    default: Value
    help: str
    choices: tuple[Value, ...] = ()
    later: bool = False
    """It came after shards had been prepared: ``plan`` and manifest get it only where it differs from its default, so
    that those stay as they are."""


@dataclass(frozen=True)
class DatasetPlugin:
    """One dataset: what it offers, and where its code lies.

    ``folder`` holds ``card.yaml`` and may hold ``benchmarks.yaml`` and ``published.yaml``.

    ``convert`` names a module with
        ``plan(raw: Path, split: str, options: Mapping[str, Any]) -> Sequence[WorkItem]`` - finds the official layout
        under ``raw`` and lists the work in a fixed order that depends on the raw data alone. Raises ``RawDataError``
        with file and hint for another layout, ``MissingDataError`` when nothing of this split is there;
        ``convert(item: WorkItem) -> Iterator[Sample | Skipped]`` - runs in a worker process, in a fixed order.
        ``describe(raw: Path) -> Sequence[str]`` - sentences on what is present and what is missing, for ``inspect``.
        ``deferred(raw: Path, split: str) -> str | None`` - optional: a sentence on what ``plan`` must do first, such
        as unpacking gigabytes; ``inspect`` prints it instead of planning.
        ``recorded(item: WorkItem) -> Recorded | None`` - optional: the labels of every frame of the item's recording,
        where its samples are only some of them, so that ``prepare`` finds labels that are late; ``None`` = not known.

    ``generate`` may name a module with
        ``generate(out: Path, *, people: int, frames: int, seed: int, motion: Path | None, device: str, workers: int,
        progress: Callable[[int, int], None], ...) -> Mapping[str, int]`` - writes a licence-free stand-in in the
        official layout, the same for any number of worker processes, and returns the number of samples per split that
        ``prepare`` must find there. It grows beside ``out`` and leaves ``kt3d-generated.json`` in it
        (``standins.standin_folder``): an unfinished one is never mistaken for the data. ``motion`` is a BVH or
        AMC file or a folder of them, for ``synth.read_motions``.
        A generator of a dataset with a benchmark also takes ``held_out: str``: "test", or "validation" for other people
        in its test split, who only serve to choose settings; the training data is the same.
        ``VERSION: int`` - increased with every change of what is generated.
        ``DEMO: Mapping[str, Any]`` - ``people``, ``frames`` and other options of a stand-in that a laptop
        generates and trains on in minutes; ``kt3d demo`` uses it.
        ``SIZES: Mapping[str, Mapping[str, Any]]`` - optional: preset -> arguments of a stand-in for training at
        that size, where people x frames alone do not decide it.
        ``CHECK: Mapping[str, Any]`` - optional: what ``kt3d check`` changes in ``DEMO`` for the smallest
        stand-in that has every split; two people and two frames by default.

    ``stream`` may name a module that draws training samples on the fly, for ``kt3d train --source generated``:
        ``samples(seed: int, index: int, count: int, device: str) -> Iterator[Sample]`` - samples ``index`` up to
        ``index + count`` of an endless list that depends on ``seed`` alone, whatever ``device`` renders them; each is
        what ``convert`` would yield of a training sample.
        ``VERSION: int`` - increased with every change of the samples. ``EPOCH: int`` - samples that count as one epoch.

    ``names`` may name a module with
        ``sample_key(name: str) -> str | None`` - the key of the sample that another program's name stands for,
        so that ``kt3d submit`` reads its predictions; ``None`` for an unknown name.
    """

    __pydantic_config__ = STRICT
    name: Name
    title: str
    modalities: Annotated[tuple[Annotated[str, OneOf(MODALITIES)], ...], SOME, DIFFERENT]
    splits: Annotated[tuple[Word, ...], SOME, DIFFERENT]
    folder: Annotated[Path, Must("an existing folder", Path.is_dir)]
    convert: Module
    generate: Module | None = None
    names: Module | None = None
    stream: Module | None = None
    labels: Annotated[str, OneOf(("3d", "2d"))] = "3d"
    options: Mapping[str, Option] = field(default_factory=dict)
    views: Annotated[tuple[Word, ...], DIFFERENT] = ()
    """Where the same scenes were recorded from, for datasets with one split per view: ``splits`` are then called
    ``<view>-<name>``, and ``prepare --view`` and ``--split`` choose among them."""

    def conflicts(self) -> list[str]:
        """Return a sentence on each split that belongs to no view."""
        stray = [split for split in self.splits if self.views and split.partition("-")[0] not in self.views]
        return [f"split '{split}' belongs to no view: it must be called <view>-{split}" for split in stray]


@dataclass(frozen=True)
class WeightFile:
    """Weights of other authors that a method needs and that are not passed on here: see ``kt3d_bench.weight_files``."""

    __pydantic_config__ = STRICT
    name: Annotated[str, Must("a plain file name", re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}").fullmatch)]
    size_bytes: Annotated[int, Whole(1, 1 << 30)]
    sha256: Sha256
    obtain: str
    """The one command that obtains the file, or an archive that holds it."""
    licence: str = ""


@dataclass(frozen=True)
class MethodPlugin:
    """One method: its class (a ``methods.Method``) and the datasets it uses when the user names none."""

    __pydantic_config__ = STRICT
    name: Name
    summary: str
    load: Annotated[str, Must("'module:Class' with a module that exists", _is_object)]
    presets: Annotated[tuple[Word, ...], SOME, DIFFERENT] = ("paper", "small", "tiny")
    supervision: Annotated[tuple[Annotated[str, OneOf(LEVELS)], ...], SOME, DIFFERENT] = tuple(LEVELS)
    """Levels the method accepts."""
    defaults: Mapping[Annotated[str, OneOf(ROLES)], str] = field(default_factory=dict)
    """Role -> name of the dataset, or of its benchmark, that it uses by default."""
    settings_rule: Annotated[str, OneOf(SETTINGS_RULES)] = "not stated"
    """Where the values of the presets and of the recipes' rows come from: "published" = a paper, "validation" = trials
    on people held out from training and test, "test" = trials scored on the test. Boards print it."""
    detector: Annotated[str, Must("'module:function' with a module that exists", _is_object_or_empty)] = ""
    """Where the method also finds people: ``"module:function"``. Called without arguments, the function returns a
    detector, which takes a picture, (H, W, 3) uint8 RGB, and returns (N, 4) x0, y0, x1, y1 px: the boxes of whole
    people, the surest first. ``kt3d predict --boxes detect`` uses it, with runs of other methods too."""
    weights: tuple[WeightFile, ...] = ()
    """Files for ``kt3d weights add``."""
    external_data: tuple[str, ...] = ()
    """What every run of it uses beside the datasets, such as weights trained on other data. Boards flag it."""


@dataclass(frozen=True)
class MetricPlugin:
    """One metric beside those of this project, for ``kt.evaluate(..., also=[name])``, benchmarks and boards.

    ``load`` names a function that takes a ``JointInput`` (predicted and true poses, (N, J, 3) mm in the camera's frame,
    and which joints count) and returns (N, J) floats. The metric is their mean over the joints that count, then over
    the samples; a NaN there leaves its sample undefined.
    """

    __pydantic_config__ = STRICT
    name: Annotated[
        str, Must("a name of lower-case letters, digits and '_'", re.compile(r"[a-z][a-z0-9_]{0,39}").fullmatch)
    ]
    """As in entries and benchmark files, with the unit: ``bone_length_mm``."""
    title: Text
    """As on a board."""
    unit: str
    better: Annotated[str, OneOf(("lower", "higher"))]
    load: Annotated[str, Must("'module:function' with a module that exists", _is_object)]
    about: Text
    """What the number means, for the notes below a board."""
    paper: str = ""
    benchmarks: Annotated[tuple[str, ...], DIFFERENT] = ()
    """Ids of benchmarks on whose boards it stands beside their own metrics. A file ``benchmarks.yaml`` may also name
    it, in ``headline`` or ``beside``."""


@dataclass(frozen=True)
class RecipeRow:
    """One run of a recipe: what ``kt3d train`` would be given."""

    __pydantic_config__ = STRICT
    method: str
    supervision: Annotated[str, OneOf(LEVELS)] = "none"
    joints: Annotated[int, Whole(1, 17)] = 6
    target: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    """Name of the row in tables and pictures; derived when empty."""
    reported: Mapping[str, str] = field(default_factory=dict)
    """Which of the benchmark's published rows is shown beside this one: values that its ``method``, ``category``,
    ``supervision`` or one of its ``details`` must equal. Empty = none."""
    seeds: Annotated[int, Whole(1, 1000)] = 1
    """Number of runs, with seeds 0, 1, ..., unless the user asks for another."""


@dataclass(frozen=True)
class RecipePicture:
    """A picture that a recipe ends with, one file per benchmark."""

    __pydantic_config__ = STRICT
    kind: Annotated[str, OneOf(("poses", "joints"))]
    """"poses": test images with the true skeleton and those of the rows. "joints": the headline error of the rows over
    the number of joints that had labels, with intervals."""
    rows: tuple[str, ...] = ()
    """Labels of the rows that are shown; () = all."""
    reference: tuple[str, ...] = ()
    """"joints": labels of rows drawn as level lines, whatever their number of joints."""
    title: str = ""


@dataclass(frozen=True)
class RecipeClaim:
    """A comparison of two rows, by their labels, tested with pairs over the test set's clips."""

    __pydantic_config__ = STRICT
    row: str
    than: str
    """What ``row`` should be better than."""
    goal: str = ""
    """A row; when given, also report how much of the gap from ``than`` to it is closed."""


@dataclass(frozen=True)
class Recipe:
    """A named list of runs that belong together on the boards: what ``kt3d reproduce NAME`` runs, and ``kt3d demo``."""

    __pydantic_config__ = STRICT
    name: Name
    summary: str
    rows: tuple[RecipeRow, ...]
    pictures: tuple[RecipePicture, ...] = ()
    claims: tuple[RecipeClaim, ...] = ()
    report: str = ""
    """Label of the row whose report ``kt3d demo`` writes; "" = the last row of each board."""


@hookspec
def kt3d_datasets() -> Sequence[DatasetPlugin]:
    """Return the datasets this plugin offers. Called once per process, whenever names are needed."""
    raise AssertionError("a specification is never called")


@hookspec
def kt3d_methods() -> Sequence[MethodPlugin]:
    """Return the methods this plugin offers. Called once per process, whenever names are needed."""
    raise AssertionError("a specification is never called")


@hookspec
def kt3d_metrics() -> Sequence[MetricPlugin]:
    """Return the metrics this plugin offers. Boards that show one can be built and checked only where it is
    installed."""
    raise AssertionError("a specification is never called")


@hookspec
def kt3d_recipes() -> Sequence[Recipe]:
    """Return the recipes this plugin offers. ``kt3d reproduce`` runs any, ``kt3d demo`` the one called ``demo``."""
    raise AssertionError("a specification is never called")
