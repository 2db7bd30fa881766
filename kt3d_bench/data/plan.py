"""Plan a preparation: options, origin of the raw data, shards, and the digests that identify them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from kt3d_bench.budgets import json_value, read_whole
from kt3d_bench.data.format import FORMAT_VERSION
from kt3d_bench.errors import PluginError, RawDataError, UsageError, did_you_mean
from kt3d_bench.geometry.crops import LONGEST_PX, MARGIN
from kt3d_bench.plugins.hookspecs import DatasetPlugin, Option
from kt3d_bench.plugins.registry import load_function
from kt3d_bench.records import WorkItem
from kt3d_bench.standins import MARKER

SAMPLES_PER_SHARD = 1024
"""Expected samples per shard; small datasets get smaller shards, so that several workers can share them."""
_FEWEST_PER_SHARD = 64
_SHARDS_WANTED = 16
_HEAD_BYTES = 65536


@dataclass(frozen=True)
class Origin:
    """Whether the raw data is official, or which generator wrote it."""

    generated: bool = False
    version: int | None = None
    marker: str = ""
    """Canonical content of the marker."""


@dataclass(frozen=True, eq=False)
class ShardTask:
    """One shard to write, with everything that a worker process needs."""

    convert: str
    """Module reference of the dataset's ``convert``."""
    path: Path
    configuration: str
    items: tuple[WorkItem, ...]
    modalities: tuple[str, ...]
    num_parts: int


@dataclass(frozen=True, eq=False)
class SplitPlan:
    """The work of one split."""

    split: str
    items: tuple[WorkItem, ...]
    source_digest: str
    """Digest of the plan and of the raw files that it names."""
    configuration: str
    """Digest of everything that the split's shards depend on, except the content of raw files."""
    tasks: tuple[ShardTask, ...]


def checked_options(plugin: DatasetPlugin, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return every option of the dataset with its value: given or default, converted from text where needed. Those that
    came ``later`` are left out at their default.

    Raises ``UsageError`` for an unknown name, a value of the wrong type, or one that is not among the choices.
    """
    for name in given:
        if name not in plugin.options:
            raise UsageError(f"{plugin.name} has no option '{name}'", hint=did_you_mean(name, plugin.options))
    chosen = {
        name: _option_value(plugin.name, name, option, given[name]) if name in given else option.default
        for name, option in sorted(plugin.options.items())
    }
    known = plugin.options
    return {name: value for name, value in chosen.items() if not known[name].later or value != known[name].default}


def _option_value(dataset: str, name: str, option: Option, value: Any) -> Any:
    kind = type(option.default)
    where = f"--{name.replace('_', '-')} of {dataset}"
    what = {int: "a whole number", float: "a number"}.get(kind, kind.__name__)
    wanted = "true or false" if kind is bool else f"{what} like {option.default}"
    if isinstance(value, str) and kind is tuple:
        value = tuple(word for word in value.split(",") if word)
    elif option.default is not None and type(value) is not kind:
        try:
            value = TypeAdapter(kind).validate_python(value, strict=not isinstance(value, str) and kind is not float)
        except ValidationError as error:
            raise UsageError(f"expected {wanted}, found {value!r}", where=where) from error
    if option.choices and value not in option.choices:
        known = [str(choice) for choice in option.choices]
        raise UsageError(f"there is no choice '{value}'", where=where, hint=did_you_mean(str(value), known))
    return value


def read_origin(plugin: DatasetPlugin, raw: Path) -> Origin:
    """Read the generator's marker in ``raw``, one of its parents or a folder directly inside it; without one, the data
    is official. Raises ``RawDataError`` for a marker that is corrupt or of another dataset."""
    absolute = raw.absolute()
    places = [absolute / MARKER, *(parent / MARKER for parent in absolute.parents), *sorted(raw.glob(f"*/{MARKER}"))]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        return Origin()
    hint = f"generate the stand-in again (kt3d generate {plugin.name}), or delete the folder it marks"
    try:
        content = json_value(read_whole(path))
    except (OSError, ValueError) as error:
        raise RawDataError(f"the marker of generated data is damaged ({error})", where=path, hint=hint) from error
    expected = {"dataset": str, "version": int, "seed": int, "people": int, "frames": int}
    if not isinstance(content, dict) or any(type(content.get(name)) is not kind for name, kind in expected.items()):
        raise RawDataError(
            f"the marker of generated data must hold {', '.join(expected)}, found {content!r}", where=path, hint=hint
        )
    if content["dataset"] != plugin.name:
        what = f"this is generated data of {content['dataset']}, not of {plugin.name}"
        raise RawDataError(what, where=path, hint=f"run: kt3d prepare {content['dataset']} --raw {path.parent}")
    return Origin(True, content["version"], _canonical(content))


def plan_split(
    plugin: DatasetPlugin,
    split: str,
    *,
    raw: Path,
    out: Path,
    options: Mapping[str, Any],
    origin: Origin,
    num_parts: int,
    samples_per_shard: int | None,
) -> SplitPlan:
    """Ask the dataset for its work items and group them into shards; nothing but the plan decides the groups."""
    items = tuple(load_function(plugin.convert, "plan")(raw, split, options))
    where = f"{plugin.convert}.plan"
    if not all(isinstance(item, WorkItem) for item in items):
        raise PluginError("expected WorkItem records only", where=where)
    names = [item.name for item in items]
    doubled = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if doubled is not None:
        raise PluginError(f"split {split} lists the work item {doubled} twice", where=where)
    if not items:
        hint = f"see what is there with: kt3d inspect {raw}"
        raise RawDataError(f"the raw data holds nothing for split {split}", where=raw, hint=hint)
    groups = group(items, samples_per_shard)
    planned = [_plan_without_place(raw, members) for members in groups]
    configuration = _digest(
        {
            "format_version": FORMAT_VERSION,
            "dataset": plugin.name,
            "split": split,
            "options": dict(options),
            "origin": origin.marker,
            "plan": [entry for entries, _ in planned for entry in entries],
            "groups": [len(members) for members in groups],
            "crop": [MARGIN, LONGEST_PX],
        }
    )
    sources = [_source_digest(raw, *one) for one in planned]
    tasks = []
    for number, (members, source) in enumerate(zip(groups, sources, strict=True)):
        path, digest = out / f"{split}-{number:06d}.tar", _digest([configuration, source])
        tasks.append(ShardTask(plugin.convert, path, digest, members, plugin.modalities, num_parts))
    return SplitPlan(split, items, _digest(sources), configuration, tuple(tasks))


def group(items: Sequence[WorkItem], samples_per_shard: int | None = None) -> list[tuple[WorkItem, ...]]:
    """Group work items, in order, into shards of about ``samples_per_shard`` expected samples; no item is divided.

    The default is 1024, or fewer for small datasets so that there are up to 16 shards of at least 64 samples. It does
    not depend on the number of workers, which therefore changes no byte.
    """
    total = sum(max(item.expected_samples, 1) for item in items)
    target = samples_per_shard or min(SAMPLES_PER_SHARD, max(_FEWEST_PER_SHARD, -(-total // _SHARDS_WANTED)))
    groups: list[list[WorkItem]] = []
    filled = 0
    for item in items:
        size = max(item.expected_samples, 1)
        if not groups or filled + size > target:
            groups.append([])
            filled = 0
        groups[-1].append(item)
        filled += size
    return [tuple(members) for members in groups]


def _source_digest(raw: Path, plan: Sequence[Any], named: set[str]) -> str:
    """Return the digest of a shard's sources: its plan, and name, size and first 64 KiB of each file named in it."""
    files = sorted((text.replace(str(raw), "."), raw / text) for text in named if _is_file(raw / text))
    return _digest({"plan": plan, "files": [[name, path.stat().st_size, _head(path)] for name, path in files]})


def _plan_without_place(raw: Path, items: Sequence[WorkItem]) -> tuple[list[Any], set[str]]:
    """Return the plan as plain data with ``raw`` removed from its paths, and every text in it."""
    root = str(raw)
    named: set[str] = set()

    def relative(value: Any) -> Any:
        if isinstance(value, (int, float)):
            return value
        if isinstance(value, str):
            named.add(value)
            return value.replace(root, ".")
        if isinstance(value, Path):
            return relative(str(value))
        if isinstance(value, Mapping):
            return {str(name): relative(entry) for name, entry in value.items()}
        if isinstance(value, (list, tuple)):
            return [relative(entry) for entry in value]
        return value

    return [[item.name, item.expected_samples, relative(item.payload)] for item in items], named


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _head(path: Path) -> str:
    """Return the digest of a file's first bytes; "" where it cannot be read, which ``convert`` will report."""
    try:
        with path.open("rb") as file:
            return hashlib.sha256(file.read(_HEAD_BYTES)).hexdigest()
    except OSError:
        return ""


def _canonical(content: Any) -> str:
    try:
        return json.dumps(content, sort_keys=True, separators=(",", ":"))
    except TypeError as error:
        raise PluginError(
            f"payloads and options must be plain data ({error})",
            hint="use str, int, float, bool, None, tuples and dicts",
        ) from error


def _digest(content: Any) -> str:
    return hashlib.sha256(_canonical(content).encode()).hexdigest()
