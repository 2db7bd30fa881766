"""Leaderboard entries: one JSON file per result, written once, read strictly; every table is derived from them.

``<leaderboards>/<board>/entries/<method>-<hash>.json``, where the board is the benchmark's id, or ``generated/<id>``
when the test set was a stand-in. The hash is of what the result is *of* (method, settings, supervision, seed,
benchmark version), so that running the same again replaces its own entry and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, ValidationError, field_validator

from kt3d_bench.errors import ArtefactError
from kt3d_bench.files import write_whole
from kt3d_bench.scoring.benchmarks import Benchmark
from kt3d_bench.scoring.metrics import METRICS
from kt3d_bench.scoring.score import Scores

FORMAT_VERSION: Literal[1] = 1
ENTRIES = "entries"
GENERATED = "generated"
ACTION_MEAN = "action_mean_"
"""Prefix of a metric's name in ``Entry.scores``: averaged over actions instead of samples."""
_MAX_BYTES = 4 << 20
_PACKAGES = ("kt3d-bench", "numpy", "scipy", "torch", "opencv-python-headless")
_MEND = "remove it, or score the run again to write it anew"

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}$"
Name = Annotated[str, StringConstraints(pattern=_NAME)]
BenchmarkId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9\-]{0,99}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Origin = Literal["official", "generated"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainingData(_Strict):
    """One data set that a run trained on."""

    role: str
    """"source", "target" or "pretrain"."""
    dataset: str
    origin: Origin
    labels: str = ""
    """Which of its labels the run saw, in words such as "3d", "2d" or a supervision level; "" = none."""
    manifest_digest: str | None = None


class Provenance(_Strict):
    """Where a result comes from, in enough detail to run it again. ``None`` = not known."""

    sample_list_digest: str
    labels_digest: str
    metric_version: Count
    test_manifest_digest: str | None = None
    checkpoint_sha256: str | None = None
    predictions_sha256: str | None = None
    run: dict[str, JsonValue] = {}
    """The run's resolved configuration."""
    versions: dict[str, str] = {}
    """Package -> version."""
    command: str = ""
    device: str = ""
    wall_seconds: Finite | None = None
    """Training time."""


class Flags(_Strict):
    """What a reader must know before comparing."""

    target_labels_seen: str
    """"none", or which labels of the target data the run saw."""
    training_data: tuple[TrainingData, ...]
    reference: str
    box_rule: str
    selection_rule: str
    external_data: tuple[str, ...] = ()
    """Weights or data from outside, such as an ImageNet file."""


class Entry(_Strict):
    """One result on one benchmark."""

    format_version: Literal[1] = FORMAT_VERSION
    benchmark: BenchmarkId
    benchmark_version: Annotated[int, Field(ge=1)]
    origin: Origin
    """Of the test data; decides the board."""
    generator_version: Count | None = None
    """Of the stand-in that was tested on."""
    method: Name
    title: str = ""
    """Shown instead of ``method`` where given."""
    supervision: str
    joints: Count | None = None
    """Joints that a partial supervision level granted."""
    settings: dict[str, JsonValue] = {}
    """The method's settings that differ from its defaults, and the preset."""
    seed: int | None = None
    scores: dict[str, Finite | None]
    """Metric -> value; ``None`` = undefined."""
    intervals: dict[str, tuple[Finite, Finite]] = {}
    """Metric -> 95 % interval over clips."""
    samples: Count
    unanswered: Count = 0
    """Samples with a counted joint that has no prediction: such a row is shown but not ranked."""
    undefined: dict[str, Count] = {}
    provenance: Provenance
    flags: Flags

    @field_validator("scores", "intervals", "undefined")
    @classmethod
    def _known_metrics(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name in values:
            if name.removeprefix(ACTION_MEAN) not in METRICS:
                raise ValueError(f"unknown metric '{name}'")
        return values

    @property
    def board(self) -> str:
        """``<benchmark>`` or ``generated/<benchmark>``."""
        return self.benchmark if self.origin == "official" else f"{GENERATED}/{self.benchmark}"

    @property
    def identity(self) -> str:
        """Ten hex digits of what this is a result of."""
        parts = {
            "benchmark": self.benchmark,
            "benchmark_version": self.benchmark_version,
            "joints": self.joints,
            "method": self.method,
            "seed": self.seed,
            "settings": self.settings,
            "supervision": self.supervision,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:10]

    @property
    def file_name(self) -> str:
        return f"{self.method}-{self.identity}.json"


def make_entry(
    scores: Scores,
    benchmark: Benchmark,
    *,
    method: str,
    supervision: str,
    training_data: Sequence[TrainingData],
    target_labels_seen: str = "none",
    joints: int | None = None,
    title: str = "",
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
    selection_rule: str | None = None,
    external_data: Sequence[str] = (),
    generator_version: int | None = None,
    **provenance: Any,
) -> Entry:
    """The entry of a scored run; ``provenance`` = further fields of ``Provenance``.

    Raises ``ArtefactError`` when a value cannot be stored, naming the field.
    """
    summary = scores.summary()
    overall = dict(summary["overall"])
    if benchmark.action_mean:
        ranked = benchmark.headline[0]
        overall[ACTION_MEAN + ranked] = summary["action_mean"].get(ranked)
    try:
        return Entry(
            benchmark=benchmark.id,
            benchmark_version=benchmark.version,
            origin=cast(Origin, scores.origin),
            generator_version=generator_version,
            method=method,
            title=title,
            supervision=supervision,
            joints=joints,
            settings=_json(settings or {}, "settings"),
            seed=seed,
            scores=overall,
            intervals=dict(scores.intervals),
            samples=scores.samples,
            unanswered=scores.unanswered,
            undefined={name: count for name, count in scores.undefined.items() if count},
            provenance=Provenance(
                sample_list_digest=scores.sample_list_digest,
                labels_digest=scores.labels_digest,
                metric_version=scores.metric_version,
                **{"versions": package_versions(), **provenance, "run": _json(provenance.get("run", {}), "run")},
            ),
            flags=Flags(
                target_labels_seen=target_labels_seen,
                training_data=tuple(training_data),
                reference=benchmark.reference,
                box_rule=benchmark.box_rule,
                selection_rule=selection_rule or benchmark.selection_rule,
                external_data=tuple(external_data),
            ),
        )
    except ValidationError as error:
        raise ArtefactError(_problems(error), where=f"entry of '{method}'", mend="correct these fields") from error


def is_name(text: str) -> bool:
    """Whether an entry's method may be called so: it becomes part of a file name."""
    return re.fullmatch(_NAME[1:-1], text) is not None


def write_entry(leaderboards: Path, entry: Entry) -> Path:
    """Write ``entry`` onto its board, replacing an earlier result of the same identity. Raises ``ArtefactError``."""
    path = Path(leaderboards) / entry.board / ENTRIES / entry.file_name
    write_whole(path, encode_entry(entry))
    return path


def encode_entry(entry: Entry) -> bytes:
    """Sorted, indented JSON: equal entries give equal bytes."""
    document = entry.model_dump(mode="json")
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_entry(path: Path) -> Entry:
    """One entry. Raises ``ArtefactError`` naming the file and every field that is unknown, missing or wrong."""
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ArtefactError(f"is larger than {_MAX_BYTES >> 20} MiB", where=path, mend=_MEND)
        document = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise ArtefactError(f"is not readable JSON ({error})", where=path, mend=_MEND) from error
    try:
        return Entry.model_validate(document)
    except ValidationError as error:
        raise ArtefactError(_problems(error), where=path, mend=_MEND) from error


def read_entries(board_folder: Path) -> tuple[Entry, ...]:
    """All entries of one board, by file name; none when it has no ``entries`` folder.

    Raises ``ArtefactError`` for a broken entry, one that lies on another board than its own, and one whose file name
    does not fit its content.
    """
    entries = []
    for path in sorted((Path(board_folder) / ENTRIES).glob("*.json")):
        entry = read_entry(path)
        if path.name != entry.file_name:
            raise ArtefactError(f"holds the entry {entry.file_name}", where=path, mend="give the file that name")
        place = Path(board_folder).resolve()
        found = f"{GENERATED}/{place.name}" if place.parent.name == GENERATED else place.name
        if found != entry.board:
            raise ArtefactError(f"belongs on the board '{entry.board}'", where=path, mend="move it there")
        entries.append(entry)
    return tuple(entries)


def read_boards(leaderboards: Path) -> dict[str, tuple[Entry, ...]]:
    """Board -> its entries, for every board under ``leaderboards`` that has an ``entries`` folder; sorted."""
    root = Path(leaderboards)
    folders = sorted({*root.glob(f"*/{ENTRIES}"), *root.glob(f"{GENERATED}/*/{ENTRIES}")})
    return {
        folder.parent.relative_to(root).as_posix(): read_entries(folder.parent) for folder in folders if folder.is_dir()
    }


def package_versions() -> dict[str, str]:
    """Versions of what decides numbers, read from installed metadata without importing anything."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _json(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Settings as JSON holds them (tuples become lists). Raises ``ArtefactError`` for what it cannot hold."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(values), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ArtefactError(f"{name} cannot be stored as JSON ({error})", mend="use plain, finite values") from error
    return plain


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


def _problems(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'entry'}: {one['msg']}" for one in error.errors())
