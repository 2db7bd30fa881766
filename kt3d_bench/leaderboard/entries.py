"""Leaderboard entries: one JSON file per result, written once, read strictly; every table is derived from them.

``<leaderboards>/<board>/entries/<method>-<hash>.json``, where the board is the benchmark's id, or ``generated/<id>``
when the test set was a stand-in. The hash is of what the result is *of* (method, settings, supervision, seed,
benchmark version), so that running the same again replaces its own entry, as the output says, and nothing else. A
prediction file of an existing name replaces it only on request. Entries are published, so they hold no absolute paths.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, cast
from urllib.parse import unquote

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import from_json, to_jsonable_python

from kt3d_bench.budgets import read_whole
from kt3d_bench.errors import ArtefactError
from kt3d_bench.files import installed_versions, write_whole
from kt3d_bench.geometry import alignment
from kt3d_bench.metrics import evaluate, functional, uncertainty
from kt3d_bench.metrics.benchmarks import Benchmark, protocol_digest
from kt3d_bench.metrics.evaluate import Scores
from kt3d_bench.metrics.functional import CURVE_MM, METRICS

FORMAT_VERSION: Literal[1] = 1
ENTRIES = "entries"
GENERATED = "generated"
ACTION_MEAN = "action_mean_"
"""Prefix of a metric's name in ``Entry.scores``: averaged over actions instead of samples."""
_MAX_BYTES = 4 << 20
_LATER = ("degenerate", "interval_rule", "clips", "breakdown")
_LATER_FLAGS = ("also_reads", "settings_rule")
_DIGESTS = ("split_digest", "manifest_digest")
_LATER_PROVENANCE = ("metric_code_sha256", "protocol_digest", "submission")
_NUMBERS = re.compile(r"(?<=\[)\n\s*(?:[-\d.e+]+,\s*|null,\s*){2,}(?:[-\d.e+]+|null)\s*(?=\])")
_PACKAGES = ("kt3d-bench", "numpy", "scipy", "torch", "opencv-python-headless")
_HINT = "remove it, or score the run again"

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}$"
Name = Annotated[str, StringConstraints(pattern=_NAME)]
BenchmarkId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9\-]{0,99}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Origin = Literal["official", "generated"]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_METRIC_CODE = (alignment, functional, evaluate, uncertainty)
_DECIMALS = 4
"""Decimals of per-clip means and breakdowns, in mm or %: far finer than their uncertainty."""


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
    split_digest: str | None = None
    """Digest of the split that was read; the other splits do not change it. ``None`` where samples were drawn while
    training: the generator's version in ``dataset`` and the run's seed decide them."""
    manifest_digest: str | None = None
    """Digest of the whole manifest, in entries that do not know the split's."""


class Submission(_Strict):
    """A prediction file that was submitted."""

    form: str
    """Which of the accepted forms it had (``metrics.forms.FORMS``)."""
    file_sha256: Digest
    """SHA-256 of the file as submitted; ``predictions_sha256`` is that of its converted form."""
    suspicions: tuple[str, ...] = ()
    """What was flagged about it, in sentences."""
    link: str = ""
    """Where code or a paper is found."""


class Clips(_Strict):
    """Means per clip, for paired tests between rows without their predictions."""

    names_sha256: Digest
    """SHA-256 of the clips' sorted names, one per line."""
    samples: tuple[Annotated[int, Field(ge=1)], ...]
    """Samples of each clip, in that order."""
    means: dict[str, tuple[Finite, ...]]
    """Metric -> mean over the samples of each clip."""

    @model_validator(mode="after")
    def _as_many_everywhere(self) -> Clips:
        wrong = [metric for metric, values in self.means.items() if len(values) != len(self.samples)]
        if wrong:
            raise ValueError(f"'{wrong[0]}' has {len(self.means[wrong[0]])} values for {len(self.samples)} clips")
        unknown = sorted(set(self.means) - set(METRICS))
        if unknown:
            raise ValueError(f"unknown metric '{unknown[0]}'")
        return self


class Breakdown(_Strict):
    """What stands behind the one number: name -> metric -> mean; ``None`` = undefined."""

    by_joint: dict[str, dict[str, Finite | None]] = {}
    by_action: dict[str, dict[str, Finite | None]] = {}
    by_subject: dict[str, dict[str, Finite | None]] = {}
    by_camera: dict[str, dict[str, Finite | None]] = {}
    pck_curve: Annotated[tuple[Finite | None, ...], Field(min_length=len(CURVE_MM), max_length=len(CURVE_MM))]
    """PCK at ``metrics.functional.CURVE_MM``."""


class Provenance(_Strict):
    """Where a result comes from, in enough detail to run it again. ``None`` = not known."""

    sample_list_digest: str
    labels_digest: str
    metric_version: Count
    test_manifest_digest: str | None = None
    """Of the shards that were predicted, which may hold more frames than are scored."""
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
    metric_code_sha256: Digest | None = None
    """SHA-256 of the files that measured; they may differ within one metric version, which promises equal numbers."""
    protocol_digest: Digest | None = None
    """SHA-256 of what the benchmark asked for (``metrics.benchmarks.protocol_digest``)."""
    submission: Submission | None = None
    """How the predictions came here, where no run of this harness made them."""

    @property
    def predictions(self) -> frozenset[str]:
        """Digests of the predictions: as scored, and of a submission as given, which may be a run's own file."""
        given = () if self.submission is None else (self.submission.file_sha256,)
        return frozenset(one for one in (self.predictions_sha256, *given) if one)


class Flags(_Strict):
    """What a reader must know before comparing."""

    target_labels_seen: str
    """"none", or which labels of the target data the run saw."""
    training_data: tuple[TrainingData, ...]
    reference: str
    box_rule: str
    selection_rule: str
    """How the checkpoint was chosen."""
    settings_rule: Literal["not stated", "published", "validation", "test"] = "not stated"
    """Where the settings come from (``supervision.SETTINGS_RULES``)."""
    also_reads: tuple[str, ...] = ()
    """Modalities that the predictions were made from beside the benchmark's own."""
    external_data: tuple[str, ...] = ()
    """Weights or data from outside, such as an ImageNet file."""


class Entry(_Strict):
    """One result on one benchmark."""

    format_version: Literal[1] = FORMAT_VERSION
    benchmark: BenchmarkId
    benchmark_version: Annotated[int, Field(ge=1)]
    origin: Origin
    """Origin of the test data; it decides the board."""
    generator_version: Count | None = None
    """Version of the generator that made the stand-in test data."""
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
    degenerate: dict[str, Count] = {}
    """Kind of degenerate pose -> samples."""
    interval_rule: Literal["percentile", "expanded-percentile"] = "percentile"
    """How ``intervals`` were made; the plain percentiles of earlier entries are too narrow for few clips."""
    clips: Clips | None = None
    breakdown: Breakdown | None = None
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
        return self._digest(self.method)

    @property
    def key(self) -> str:
        """The identity where names are equal whatever their case and Unicode form."""
        return self._digest(unicodedata.normalize("NFKC", self.method).casefold())

    def _digest(self, name: str) -> str:
        parts = {
            "benchmark": self.benchmark,
            "benchmark_version": self.benchmark_version,
            "joints": self.joints,
            "method": name,
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
    settings_rule: str = "not stated",
    external_data: Sequence[str] = (),
    also_reads: Sequence[str] = (),
    generator_version: int | None = None,
    **provenance: Any,
) -> Entry:
    """Return the entry of scored predictions; ``provenance`` = more fields of ``Provenance``, without absolute paths.

    Raises ``ArtefactError`` when a value cannot be stored, naming the field.
    """
    run = _json(provenance.get("run", {}), "run")
    provenance |= _portable(run, provenance.get("command", ""))
    if "versions" not in provenance:
        provenance["versions"] = installed_versions(_PACKAGES)
    try:
        return Entry(
            **_measured(scores, benchmark),
            benchmark=benchmark.id,
            origin=cast(Origin, scores.origin),
            generator_version=generator_version,
            method=method,
            title=title,
            supervision=supervision,
            joints=joints,
            settings=portable(_json(settings or {}, "settings"), data_root(run)),
            seed=seed,
            provenance=Provenance(
                **_measured_by(scores, benchmark),
                **provenance,
            ),
            flags=Flags(
                target_labels_seen=target_labels_seen,
                training_data=tuple(training_data),
                reference=benchmark.reference,
                box_rule=benchmark.box_rule,
                selection_rule=selection_rule or benchmark.selection_rule,
                settings_rule=cast(Any, settings_rule),
                external_data=tuple(external_data),
                also_reads=tuple(also_reads),
            ),
        )
    except ValidationError as error:
        raise ArtefactError(_problems(error), where=f"entry of '{method}'", hint="correct these fields") from error


def rescored(entry: Entry, scores: Scores, benchmark: Benchmark) -> Entry:
    """Return the entry with new measurements; all else stays, but absolute paths go."""
    told = _portable(entry.provenance.run, entry.provenance.command)
    provenance = entry.provenance.model_copy(update={**_measured_by(scores, benchmark), **told})
    return entry.model_copy(update={**_measured(scores, benchmark), "provenance": provenance})


def _portable(run: dict[str, JsonValue], command: str) -> dict[str, Any]:
    root = data_root(run)
    return {"run": portable(run, root), "command": portable_command(command, root)}


def _measured(scores: Scores, benchmark: Benchmark) -> dict[str, Any]:
    summary = scores.summary()
    overall = dict(summary["overall"])
    if benchmark.action_mean:
        ranked = benchmark.headline[0]
        overall[ACTION_MEAN + ranked] = summary["action_mean"].get(ranked)
    return {
        "benchmark_version": benchmark.version,
        "scores": overall,
        "intervals": dict(scores.intervals),
        "samples": scores.samples,
        "unanswered": scores.unanswered,
        "undefined": {name: count for name, count in scores.undefined.items() if count},
        "degenerate": dict(scores.degenerate),
        "interval_rule": "expanded-percentile",
        "clips": _clips(scores),
        "breakdown": _breakdown(summary),
    }


def _measured_by(scores: Scores, benchmark: Benchmark) -> dict[str, Any]:
    return {
        "sample_list_digest": scores.sample_list_digest,
        "labels_digest": scores.labels_digest,
        "metric_version": scores.metric_version,
        "metric_code_sha256": metric_code_sha256(),
        "protocol_digest": protocol_digest(benchmark),
    }


def is_name(text: str) -> bool:
    """Return whether an entry's method may have that name: it becomes part of a file name."""
    return re.fullmatch(_NAME[1:-1], text) is not None


def write_entry(leaderboards: Path, entry: Entry) -> Path:
    """Write ``entry`` onto its board, replacing an earlier result of the same identity. Raises ``ArtefactError``."""
    path = Path(leaderboards) / entry.board / ENTRIES / entry.file_name
    write_whole(path, encode_entry(entry))
    return path


def encode_entry(entry: Entry) -> bytes:
    """Return sorted, indented JSON, long lists of numbers on one line: equal entries give equal bytes.

    What format version 1 gained later is left out where it has its default, so that older entries keep their bytes; and
    so are digests of training data that are not known.
    """
    document = entry.model_dump(mode="json")
    later: tuple[tuple[dict[str, Any], type[BaseModel], tuple[str, ...]], ...] = (
        (document, Entry, _LATER),
        (document["provenance"], Provenance, _LATER_PROVENANCE),
        (document["flags"], Flags, _LATER_FLAGS),
        *((data, TrainingData, _DIGESTS) for data in document["flags"]["training_data"]),
    )
    for place, model, names in later:
        for name in names:
            if place[name] == to_jsonable_python(model.model_fields[name].default):
                del place[name]
    text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return (_NUMBERS.sub(lambda found: re.sub(r"\s+", " ", found[0]), text) + "\n").encode()


def read_entry(path: Path) -> Entry:
    """Read one entry. Raises ``ArtefactError`` naming the file and every field that is unknown, missing or wrong."""
    path = Path(path)
    try:
        document = from_json(read_whole(path, _MAX_BYTES), allow_inf_nan=False)
    except (OSError, ValueError) as error:
        raise ArtefactError(f"is not readable JSON ({error})", where=path, hint=_HINT) from error
    try:
        return Entry.model_validate(document)
    except ValidationError as error:
        raise ArtefactError(_problems(error), where=path, hint=_HINT) from error


def read_entries(board_folder: Path) -> tuple[Entry, ...]:
    """Read all entries of one board, by file name; none when it has no ``entries`` folder.

    Raises ``ArtefactError`` for a broken entry, one that lies on another board than its own, and one whose file name
    does not fit its content.
    """
    entries = []
    for path in sorted((Path(board_folder) / ENTRIES).glob("*.json")):
        entry = read_entry(path)
        if path.name != entry.file_name:
            raise ArtefactError(f"holds the entry {entry.file_name}", where=path, hint="give the file that name")
        place = Path(board_folder).resolve()
        found = f"{GENERATED}/{place.name}" if place.parent.name == GENERATED else place.name
        if found != entry.board:
            raise ArtefactError(f"belongs on the board '{entry.board}'", where=path, hint="move it there")
        entries.append(entry)
    return tuple(entries)


def read_boards(leaderboards: Path) -> dict[str, tuple[Entry, ...]]:
    """Return board -> its entries, for every board below ``leaderboards`` that has an ``entries`` folder; sorted."""
    root = Path(leaderboards)
    folders = sorted({*root.glob(f"*/{ENTRIES}"), *root.glob(f"{GENERATED}/*/{ENTRIES}")})
    return {
        folder.parent.relative_to(root).as_posix(): read_entries(folder.parent) for folder in folders if folder.is_dir()
    }


def known_boards(leaderboards: Path, benchmarks: Collection[str]) -> dict[str, tuple[Entry, ...]]:
    """Return the boards to render: the real one of every known benchmark, with entries or without, and those of
    stand-ins that have entries. Boards of unknown benchmarks are left alone.

    Raises ``ArtefactError`` for a broken entry.
    """
    read = {
        board: entries
        for board, entries in read_boards(leaderboards).items()
        if board.removeprefix(f"{GENERATED}/") in benchmarks
    }
    return {**dict.fromkeys(sorted(benchmarks), ()), **read}


def data_root(run: Mapping[str, Any]) -> str | None:
    """Return the data root that a run's configuration names, if any."""
    config = run.get("config")
    root = config.get("data_root") if isinstance(config, Mapping) else None
    return root if isinstance(root, str) else None


def portable(value: Any, root: str | None = None) -> Any:
    """Return plain data without absolute paths and ``file://`` URLs: a path below ``root`` begins with that folder's
    name, any other path becomes its last name. Relative paths, other URLs and all else stay."""
    if isinstance(value, str):
        return _path(value, root)
    if isinstance(value, Mapping):
        return {name: portable(inner, root) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [portable(inner, root) for inner in value]
    return value


def portable_command(command: str, root: str | None = None) -> str:
    """Return a command line without absolute paths, also in ``name=/path``. One without such paths, or that cannot be
    split, is returned unchanged."""
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    cut = [_word(word, root) for word in words]
    return command if cut == words else shlex.join(cut)


def _word(word: str, root: str | None) -> str:
    name, equals, path = word.partition("=")
    return f"{name}={_word(path, root)}" if equals else _path(word, root)


def _path(text: str, root: str | None) -> str:
    path = PurePosixPath(unquote(text.removeprefix("file://")) if text.startswith("file://") else text)
    if not path.is_absolute() or not path.name:
        return text
    if root and PurePosixPath(root).name and path.is_relative_to(root):
        return str(PurePosixPath(PurePosixPath(root).name) / path.relative_to(root))
    return path.name


def metric_code_sha256() -> str:
    """Return the SHA-256 of the files that decide the numbers, comments included."""
    digest = hashlib.sha256()
    for module in _METRIC_CODE:
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()


def _clips(scores: Scores) -> Clips | None:
    if scores.clips is None:
        return None
    return Clips(
        names_sha256=hashlib.sha256("\n".join(scores.clips.names).encode()).hexdigest(),
        samples=tuple(scores.clips.counts.tolist()),
        means={name: tuple(values.round(_DECIMALS).tolist()) for name, values in scores.clips.means.items()},
    )


def _breakdown(summary: Mapping[str, Any]) -> Breakdown:
    folds = {
        fold: {group: {metric: _rounded(value) for metric, value in values.items()} for group, values in
               summary[fold].items()}
        for fold in ("by_joint", "by_action", "by_subject", "by_camera")
    }  # fmt: skip
    return Breakdown(**folds, pck_curve=tuple(map(_rounded, summary["pck_curve"])))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DECIMALS)


_NO_UTF8 = re.compile("[\ud800-\udfff]")


def _json(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return settings as JSON holds them (tuples become lists). Raises ``ArtefactError`` for what it cannot hold."""
    try:
        text = json.dumps(dict(values), allow_nan=False, ensure_ascii=False)
        plain: dict[str, Any] = from_json(_NO_UTF8.sub(r"\\\g<0>", text).encode("utf-8", "backslashreplace"))
    except (TypeError, ValueError) as error:
        raise ArtefactError(f"{name} cannot be stored as JSON ({error})", hint="use plain, finite values") from error
    return plain


def _problems(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'entry'}: {one['msg']}" for one in error.errors())
