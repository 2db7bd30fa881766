"""Benchmarks: the test split, the joints and alignment that count, and what a method may see.

A dataset's folder holds ``benchmarks.yaml`` and may hold ``published.yaml`` (numbers as papers report them).
A benchmark whose meaning changes gets a new version, never a new meaning.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import ArtefactError, PluginError, did_you_mean
from kt3d_bench.metrics.functional import METRICS
from kt3d_bench.schema import DIFFERENT, SOME, STRICT, Must, OneOf, Sha256, Text, Whole, checked, parse, read_yaml
from kt3d_bench.skeletons import NUM_JOINTS, Quality

BENCHMARKS_FILE = "benchmarks.yaml"
PUBLISHED_FILE = "published.yaml"
REFERENCES = ("root-given", "from-depth")
BOX_RULES = ("joints", "mask", "detector")
ORACLE = "oracle"
"""A checkpoint chosen by labels of the target: shown, never ranked."""
QUALITIES = tuple(one.name.lower() for one in Quality if one > Quality.ABSENT)
SELECTION_RULES = ("last", "source-validation", "2d-validation", ORACLE)
_PROTOCOL = (
    "id", "version", "dataset", "split", "modality", "headline", "root", "reference", "box_rule", "foreground", "sees",
    "action_mean", "joints", "original_joints", "min_quality", "selection_rule",
)  # fmt: skip
_NUMBERS_AS_TEXT = {**STRICT, "coerce_numbers_to_str": True}
_HINT = "see Benchmark, Published and PublishedRow in kt3d_bench/metrics/benchmarks.py for the fields"


MetricName = Annotated[str, OneOf(METRICS, "the name of a metric")]
Metrics = tuple[MetricName, ...]
Joint = Annotated[int, Whole(0, NUM_JOINTS - 1)]
Joints = Annotated[tuple[Joint, ...], DIFFERENT]


@dataclass(frozen=True)
class Benchmark:
    """One test: a split of a dataset, and how predictions on it are measured and ranked."""

    __pydantic_config__ = STRICT
    id: Annotated[str, Must("lower-case letters, digits and '-'", re.compile(r"[a-z0-9][a-z0-9\-]*").fullmatch)]
    version: Annotated[int, Whole(1, 10**6)]
    title: Text
    dataset: Text
    split: Text
    modality: Annotated[str, OneOf(("rgb", "depth"))]
    """What a method is given at test time."""
    headline: Annotated[Metrics, SOME]
    """The first one ranks."""
    root: Joint | None
    """Joint at which prediction and truth are aligned before measuring; ``None`` = absolute positions."""
    reference: Annotated[str, OneOf(REFERENCES)]
    """Depth of camera-frame positions: "root-given" (the hip's true depth) or "from-depth"."""
    box_rule: Annotated[str, OneOf(BOX_RULES)]
    """Where the person's box comes from."""
    sees: Text
    """What a method may see of the test samples."""
    beside: Metrics = ()
    """Further metrics, shown but not ranked by."""
    action_mean: bool = False
    """Also show the headline averaged over actions instead of frames."""
    joints: Annotated[Joints, SOME] = tuple(range(NUM_JOINTS))
    """Joints that count, in the common order; a file may write ``all``."""
    min_quality: Annotated[str, OneOf(QUALITIES)] = "approximate"
    """Joints whose mapping is worse than this are not counted."""
    original_joints: Joints = ()
    """Joints, in the common order, that are the dataset's own and not derived from them: what ``map_100`` counts."""
    selection_rule: Annotated[str, OneOf(SELECTION_RULES)] = "last"
    """How a checkpoint may be chosen."""
    frames_every: Annotated[int, Whole(1, 10**6)] = 1
    """Samples count whose frame is a multiple of it; others in the split are neighbours for methods of clips."""
    train: Text | None = None
    """The split that methods train on; ``None`` = the dataset's first split that no benchmark tests on."""
    sample_list_digest: Sha256 | None = None
    """SHA-256 of the official test samples' keys; ``None`` = not known. Rows of real data on another list are never
    ranked. Stand-ins have their own lists."""
    samples: Annotated[int, Whole(1, 10**9)] | None = None
    """Published number of test samples, which pins the list where no digest does."""
    foreground: Text = "given"
    """How the person is found in a depth image: "given" (it shows nothing else), else the name of a rule."""
    footnotes: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        return self.headline + self.beside

    def scored(self, frame: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
        """Return which samples of the split are scored, ascending, by their (N,) frames. Everything that predicts or
        measures asks here. Raises ``ArtefactError`` where none is."""
        found = np.flatnonzero(frame % self.frames_every == 0)
        if not len(found):
            raise ArtefactError(
                f"none of the {len(frame)} frames is one that benchmark '{self.id}' scores: multiples of "
                f"{self.frames_every}",
                where=f"{self.dataset}/{self.split}",
                hint=f"prepare the dataset again: kt3d prepare {self.dataset}",
            )
        return found

    def not_official(self, samples: int, sample_list_digest: str) -> str:
        """Return why rows of real data on these test samples are not ranked; "" = they are the official ones."""
        official = self.sample_list_digest
        if official is not None:
            other = f"sample list {sample_list_digest[:12]} is not the official one ({official[:12]})"
            return "" if sample_list_digest == official else other
        if self.samples is None:
            return "the benchmark pins no sample list"
        return "" if samples == self.samples else f"{samples} samples, and the published test set has {self.samples}"

    def conflicts(self) -> Iterator[str]:
        """Yield a sentence on each field that contradicts another."""
        if len(set(self.metrics)) < len(self.metrics):
            yield "a metric is named twice"
        if self.train == self.split:
            yield "'train' must be another split than 'split'"
        for name in self.metrics:
            if METRICS[name].joints == "original" and not self.original_joints:
                yield f"the metric '{name}' needs 'original_joints'"


@dataclass(frozen=True)
class PublishedRow:
    """One number as a paper reports it: shown apart, never ranked with measured ones."""

    __pydantic_config__ = _NUMBERS_AS_TEXT
    method: str
    scores: Mapping[MetricName, float | None]
    category: str = ""
    supervision: str = ""
    cite: Annotated[int, Whole(1, 10**6)] | None = None
    """Number in the source's reference list."""
    protocol: str = ""
    """What the number was measured under, where it differs from the benchmark; "" = not known."""
    comparable: bool = True
    """False = known to follow another protocol than the benchmark."""
    source: str = ""
    """A key of the file's ``sources``, "" = that of the block; once read, the source itself, or ""."""
    details: Mapping[str, str] = field(default_factory=dict)
    """Anything else the source says: input, synthetic data."""

    @property
    def protocol_text(self) -> str:
        known = self.protocol or "protocol not known"
        return known if self.comparable else f"not comparable: {known}"


@dataclass(frozen=True)
class Published:
    """The reported rows of one benchmark and where they come from."""

    __pydantic_config__ = STRICT
    benchmark: str
    source: str
    """A key of the file's ``sources``; once read, the source itself and ``where`` in it the rows stand."""
    rows: tuple[PublishedRow, ...]
    notes: tuple[str, ...] = ()
    ablation: tuple[PublishedRow, ...] = ()
    ablation_note: str = ""
    where: str = ""


@dataclass(frozen=True)
class _BenchmarksFile:
    """``benchmarks.yaml``."""

    __pydantic_config__ = STRICT
    benchmarks: tuple[Any, ...]


@dataclass(frozen=True)
class _PublishedFile:
    """``published.yaml``."""

    __pydantic_config__ = STRICT
    published: Mapping[str, Published]
    sources: Mapping[str, str] = field(default_factory=dict)

    def conflicts(self) -> Iterator[str]:
        for name, block in self.published.items():
            own = (row.source for row in (*block.rows, *block.ablation) if row.source)
            for key in dict.fromkeys((block.source, *own)):
                if key not in self.sources:
                    yield f"published.{name}: source is '{key}', {did_you_mean(key, self.sources)}"


def protocol_digest(benchmark: Benchmark) -> str:
    """Return the SHA-256 of what a number on this benchmark means; a change of it needs a new version.

    Title, footnotes, further metrics and the training split are not part of it; neither are the frames that count and
    the official sample list, since entries hold their own list, and those of stand-ins never have the official one.
    """
    facts = {name: getattr(benchmark, name) for name in _PROTOCOL} | {"sample_list_digest": None}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def read_benchmarks(folder: Path) -> tuple[Benchmark, ...]:
    """Return the benchmarks of a dataset's folder, in the file's order; none when it has no ``benchmarks.yaml``.

    Raise ``PluginError`` for fields that are unknown, missing or wrong, naming all of them.
    """
    path = Path(folder) / BENCHMARKS_FILE
    if not path.is_file():
        return ()
    content = read_yaml(path, error=PluginError, hint=_HINT)
    found: dict[str, Benchmark] = {}
    problems: list[str] = []
    entries = parse(_BenchmarksFile, content, error=PluginError, where=path, hint=_HINT).benchmarks
    for number, entry in enumerate(entries, 1):
        if isinstance(entry, dict) and entry.get("joints") == "all":
            entry = {**entry, "joints": tuple(range(NUM_JOINTS))}
        name = f"{entry.get('id')!s:.40}" if isinstance(entry, dict) and "id" in entry else f"number {number}"
        benchmark, wrong = checked(Benchmark, entry)
        problems += [f"{name}: {text}" for text in wrong]
        if benchmark is not None:
            if benchmark.id in found:
                problems.append(f"the id '{benchmark.id}' is used twice")
            found[benchmark.id] = benchmark
    if problems:
        raise PluginError("; ".join(problems), where=path, hint=_HINT)
    return tuple(found.values())


def all_benchmarks(folders: Iterable[Path]) -> dict[str, Benchmark]:
    """Return the benchmarks of several dataset folders by id, in the files' order.

    Raise ``PluginError`` for an id that two of them define.
    """
    found: dict[str, Benchmark] = {}
    where: dict[str, Path] = {}
    for folder in folders:
        for benchmark in read_benchmarks(folder):
            if benchmark.id in found:
                raise PluginError(
                    f"defines benchmark '{benchmark.id}', which {where[benchmark.id]} defines too",
                    where=Path(folder) / BENCHMARKS_FILE,
                    hint="rename one of them",
                )
            found[benchmark.id], where[benchmark.id] = benchmark, Path(folder)
    return found


def read_published(folder: Path) -> dict[str, Published]:
    """Return what papers report, by benchmark id; nothing where the folder has no ``published.yaml``.

    Raise ``PluginError`` for fields that are unknown, missing or wrong, naming all of them.
    """
    path = Path(folder) / PUBLISHED_FILE
    if not path.is_file():
        return {}
    content = read_yaml(path, error=PluginError, hint=_HINT)
    if isinstance(content, dict) and isinstance(content.get("published"), dict):
        blocks = content["published"].items()
        blocks_by_name = {
            name: {**block, "benchmark": name} if isinstance(block, dict) else block for name, block in blocks
        }
        content = {**content, "published": blocks_by_name}
    file = parse(_PublishedFile, content, error=PluginError, where=path, hint=_HINT)

    def named(rows: tuple[PublishedRow, ...]) -> tuple[PublishedRow, ...]:
        return tuple(replace(row, source=file.sources.get(row.source, "")) for row in rows)

    return {
        name: replace(
            block,
            source=", ".join(filter(None, (file.sources[block.source], block.where))),
            rows=named(block.rows),
            ablation=named(block.ablation),
        )
        for name, block in file.published.items()
    }
