"""Benchmarks as data: what is tested on, which joints and alignment count, and what a run may see.

A dataset's folder holds ``benchmarks.yaml`` and may hold ``published.yaml`` (numbers as papers report them).
A benchmark whose meaning changes gets a new version, never a new meaning.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from kt3d_bench.errors import PluginError, UsageError, did_you_mean
from kt3d_bench.metrics.functional import METRICS
from kt3d_bench.skeletons import NUM_JOINTS, Quality

BENCHMARKS_FILE = "benchmarks.yaml"
PUBLISHED_FILE = "published.yaml"
REFERENCES = ("root-given", "from-depth")
BOX_RULES = ("joints", "mask", "detector")
ORACLE = "oracle"
"""A checkpoint chosen by labels of the target: shown, never ranked."""
SELECTION_RULES = ("last", "source-validation", "2d-validation", ORACLE)
_PROTOCOL = (
    "id", "version", "dataset", "split", "modality", "headline", "root", "reference", "box_rule", "foreground", "sees",
    "action_mean", "joints", "original_joints", "min_quality", "selection_rule", "sample_list_digest",
)  # fmt: skip
_ID = re.compile(r"[a-z0-9][a-z0-9\-]*")


@dataclass(frozen=True)
class Benchmark:
    """One test: a split of a dataset, and how predictions on it are measured and ranked."""

    id: str
    version: int
    title: str
    dataset: str
    split: str
    modality: str
    """"rgb" or "depth": what a method is given at test time."""
    headline: tuple[str, ...]
    """Metric names; the first one ranks."""
    root: int | None
    """Joint at which prediction and truth are aligned before measuring; ``None`` = absolute positions."""
    reference: str
    """How camera-frame positions come about: "root-given" (the hip's true depth) or "from-depth"."""
    box_rule: str
    """Where the person's box comes from: "joints", "mask" or "detector"."""
    sees: str
    """What a method may see of the test samples."""
    beside: tuple[str, ...] = ()
    """Further metric names, shown but not ranked by."""
    action_mean: bool = False
    """Also show the headline averaged over actions instead of frames."""
    joints: tuple[int, ...] = tuple(range(NUM_JOINTS))
    """Joints that count, in the common order."""
    min_quality: str = "approximate"
    """Joints whose mapping is worse than this are not counted: "approximate", "derived" or "exact"."""
    original_joints: tuple[int, ...] = ()
    """Joints, in the common order, that are the dataset's own and not derived from them: what ``map_100`` counts."""
    selection_rule: str = "last"
    """How a checkpoint may be chosen: "last", "source-validation", "2d-validation" or "oracle"."""
    train: str | None = None
    """The split that methods train on; ``None`` = the dataset's first one that no benchmark tests on."""
    sample_list_digest: str | None = None
    """SHA-256 of the official test samples' keys; ``None`` = not pinned. Stand-ins have lists of their own."""
    foreground: str = "given"
    """How the person is found in a depth image: "given" (nothing else is in it), else the name of a rule."""
    footnotes: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        return self.headline + self.beside


@dataclass(frozen=True)
class PublishedRow:
    """One number as a paper reports it: shown apart, never ranked with measured ones."""

    method: str
    scores: Mapping[str, float | None]
    category: str = ""
    supervision: str = ""
    cite: int | None = None
    """Number in the source's reference list."""
    details: Mapping[str, str] = field(default_factory=dict)
    """Anything else the source says: input, synthetic data, protocol."""


@dataclass(frozen=True)
class Published:
    """The reported rows of one benchmark and where they come from."""

    benchmark: str
    source: str
    rows: tuple[PublishedRow, ...]
    notes: tuple[str, ...] = ()
    ablation: tuple[PublishedRow, ...] = ()
    ablation_note: str = ""


def read_benchmarks(folder: Path) -> tuple[Benchmark, ...]:
    """The benchmarks of a dataset's folder, in the file's order; none when it has no ``benchmarks.yaml``.

    Raises ``PluginError`` naming the file for anything unknown, missing or impossible in it, all of it at once.
    """
    path = Path(folder) / BENCHMARKS_FILE
    if not path.is_file():
        return ()
    entries = _section(path, _read_yaml(path), "benchmarks", list)
    problems: list[str] = []
    found: list[Benchmark] = []
    for number, entry in enumerate(entries, 1):
        benchmark, complaints = _benchmark(entry)
        name = entry.get("id", f"number {number}") if isinstance(entry, dict) else f"number {number}"
        problems += [f"{name}: {complaint}" for complaint in complaints]
        if benchmark is not None:
            found.append(benchmark)
    problems += _doubled([benchmark.id for benchmark in found])
    if problems:
        raise PluginError("; ".join(problems), where=path, hint="see the fields of scoring.benchmarks.Benchmark")
    return tuple(found)


def all_benchmarks(folders: Iterable[Path]) -> dict[str, Benchmark]:
    """The benchmarks of several dataset folders by id, in the files' order.

    Raises ``PluginError`` for an id that two of them define.
    """
    found: dict[str, tuple[Benchmark, Path]] = {}
    for folder in folders:
        for benchmark in read_benchmarks(folder):
            if benchmark.id in found:
                raise PluginError(
                    f"defines benchmark '{benchmark.id}', which {found[benchmark.id][1]} defines too",
                    where=Path(folder) / BENCHMARKS_FILE,
                    hint="rename one of them",
                )
            found[benchmark.id] = benchmark, Path(folder)
    return {name: benchmark for name, (benchmark, _) in found.items()}


def benchmark_named(name: str, known: Mapping[str, Benchmark]) -> Benchmark:
    """The benchmark of that id; ``UsageError`` with a suggestion when there is none."""
    if name not in known:
        raise UsageError(f"there is no benchmark '{name}'", hint=did_you_mean(name, known))
    return known[name]


def protocol_digest(benchmark: Benchmark) -> str:
    """SHA-256 of what a number on this benchmark means: whatever changes it asks for a new version.

    Title, footnotes, further metrics and the training split are not part of it.
    """
    facts = {name: getattr(benchmark, name) for name in _PROTOCOL}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def read_published(folder: Path, benchmark_id: str) -> Published | None:
    """What papers report for a benchmark; ``None`` where the folder's ``published.yaml`` is absent or silent on it.

    Raises ``PluginError`` naming the file for unknown fields or values that are not numbers.
    """
    path = Path(folder) / PUBLISHED_FILE
    if not path.is_file():
        return None
    document = _read_yaml(path)
    citations = document.get("sources", {}) if isinstance(document, dict) else {}
    block = _section(path, document, "published", dict, also=("sources",)).get(benchmark_id)
    if block is None:
        return None
    try:
        _only(block, {"source", "where", "rows", "notes", "ablation", "ablation_note"}, "the block")
        source = str(citations[block["source"]])
        return Published(
            benchmark=benchmark_id,
            source=f"{source}, {block['where']}" if block.get("where") else source,
            rows=tuple(_published_row(row) for row in block["rows"]),
            notes=tuple(str(note) for note in block.get("notes", ())),
            ablation=tuple(_published_row(row) for row in block.get("ablation", ())),
            ablation_note=str(block.get("ablation_note", "")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PluginError(
            f"cannot be used for '{benchmark_id}' ({type(error).__name__}: {error})",
            where=path,
            hint="see scoring.benchmarks.Published and PublishedRow for its fields",
        ) from error


def _published_row(row: Mapping[str, Any]) -> PublishedRow:
    _only(row, {"method", "category", "supervision", "cite", "scores", "details"}, "a row")
    scores: dict[str, float | None] = {}
    for name, value in row["scores"].items():
        if name not in METRICS:
            raise ValueError(f"unknown metric '{name}', {did_you_mean(str(name), METRICS)}")
        scores[name] = None if value is None else float(value)
    return PublishedRow(
        method=str(row["method"]),
        scores=scores,
        category=str(row.get("category") or ""),
        supervision=str(row.get("supervision") or ""),
        cite=None if row.get("cite") is None else int(row["cite"]),
        details={str(name): str(value) for name, value in (row.get("details") or {}).items()},
    )


def _only(given: Mapping[str, Any], known: set[str], what: str) -> None:
    unknown = sorted(set(given) - known)
    if unknown:
        raise ValueError(f"unknown field '{unknown[0]}' in {what}, {did_you_mean(str(unknown[0]), known)}")


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PluginError(f"is not readable YAML ({error})", where=path, hint="repair the file") from error


def _section(path: Path, document: Any, name: str, kind: type, also: tuple[str, ...] = ()) -> Any:
    if not isinstance(document, dict) or not isinstance(document.get(name), kind) or set(document) - {name, *also}:
        raise PluginError(
            f"expected a mapping with '{name}' (a {kind.__name__})" + (f" and {', '.join(also)}" if also else ""),
            where=path,
            hint="repair the file",
        )
    return document[name]


def _doubled(names: list[str]) -> list[str]:
    return [f"the id '{name}' is used twice" for name in sorted({name for name in names if names.count(name) > 1})]


def _benchmark(entry: Any) -> tuple[Benchmark | None, list[str]]:
    """The record, or what is wrong with it."""
    if not isinstance(entry, dict):
        return None, ["is not a mapping"]
    known = {field_.name: field_ for field_ in fields(Benchmark)}
    problems = [f"unknown field '{name}', {did_you_mean(str(name), known)}" for name in entry if name not in known]
    problems += [
        f"the field '{name}' is missing"
        for name, field_ in known.items()
        if field_.default is MISSING and field_.default_factory is MISSING and name not in entry
    ]
    if problems:
        return None, problems
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in entry.items()}
    if values.get("joints") == "all":
        values["joints"] = tuple(range(NUM_JOINTS))
    problems = _check(Benchmark(**values))
    return (None, problems) if problems else (Benchmark(**values), [])


def _check(benchmark: Benchmark) -> list[str]:
    problems = []
    if not isinstance(benchmark.id, str) or not _ID.fullmatch(benchmark.id):
        problems.append("'id' may hold lower-case letters, digits and '-' only")
    if not _whole(benchmark.version, 1, 10**6):
        problems.append("'version' must be a whole number from 1")
    if benchmark.root is not None and not _whole(benchmark.root, 0, NUM_JOINTS - 1):
        problems.append(f"'root' must be null or a joint index 0..{NUM_JOINTS - 1}")
    for name in ("title", "dataset", "split", "sees", "foreground"):
        if not isinstance(getattr(benchmark, name), str):
            problems.append(f"'{name}' must be text")
    if benchmark.foreground == "":
        problems.append("'foreground' must be 'given' or the name of a rule")
    if benchmark.train is not None and (
        not isinstance(benchmark.train, str) or benchmark.train in ("", benchmark.split)
    ):
        problems.append("'train' must be null or the name of another split than 'split'")
    pinned = benchmark.sample_list_digest
    if pinned is not None and not (isinstance(pinned, str) and re.fullmatch(r"[0-9a-f]{64}", pinned)):
        problems.append("'sample_list_digest' must be null or 64 hexadecimal digits")
    choices = {
        "modality": ("rgb", "depth"),
        "reference": REFERENCES,
        "box_rule": BOX_RULES,
        "selection_rule": SELECTION_RULES,
        "min_quality": tuple(quality.name.lower() for quality in Quality if quality > Quality.ABSENT),
    }
    for name, known in choices.items():
        if getattr(benchmark, name) not in known:
            problems.append(f"'{name}' is {getattr(benchmark, name)!r}, expected one of {', '.join(known)}")
    for name in ("headline", "beside", "joints", "original_joints", "footnotes"):
        if not isinstance(getattr(benchmark, name), tuple):
            problems.append(f"'{name}' must be a list")
    if problems:
        return problems
    if not benchmark.headline:
        problems.append("'headline' names no metric")
    problems += [f"unknown metric '{name}', {did_you_mean(str(name), METRICS)}" for name in benchmark.metrics
                 if name not in METRICS]  # fmt: skip
    if len(set(benchmark.metrics)) != len(benchmark.metrics):
        problems.append("a metric is named twice")
    if not benchmark.joints or not _joint_indices(benchmark.joints):
        problems.append(f"'joints' must be 'all' or different joint indices 0..{NUM_JOINTS - 1}")
    if not _joint_indices(benchmark.original_joints):
        problems.append(f"'original_joints' must be different joint indices 0..{NUM_JOINTS - 1}")
    for name in benchmark.metrics:
        if name in METRICS and METRICS[name].joints == "original" and not benchmark.original_joints:
            problems.append(f"the metric '{name}' needs 'original_joints'")
    return problems


def _joint_indices(joints: tuple[Any, ...]) -> bool:
    return len(set(joints)) == len(joints) and all(_whole(joint, 0, NUM_JOINTS - 1) for joint in joints)


def _whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
