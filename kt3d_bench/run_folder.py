"""The folder of a run: ``run.yaml``, ``checkpoints/``, ``log.jsonl``, ``predictions/`` and ``scores/``.

It lies at ``<data root>/runs/<name>/``. ``run.yaml`` records what was asked for, resolved, and what became of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import yaml

from kt3d_bench.errors import ArtefactError, UsageError, did_you_mean
from kt3d_bench.files import default_data_root, write_whole
from kt3d_bench.packs import is_pack, unpacked
from kt3d_bench.schema import STRICT, OneOf, Sha256, Whole, parse, read_yaml
from kt3d_bench.supervision import ROLES, Seen
from kt3d_bench.training.config import RunConfig

RUN_FILE = "run.yaml"
FINAL = "final.pt"
_HINT = "remove the run's folder, or train again"

Count = Annotated[int, Whole(0, 10**15)]


@dataclass(frozen=True)
class ShardsDocument:
    """The shards that a run read in one role."""

    __pydantic_config__ = STRICT
    dataset: str
    folder: str
    """"" for samples that were drawn while training."""
    samples: Count
    """On which it trained."""
    origin: Annotated[str, OneOf(("official", "generated"))]
    manifest_digest: str
    name: str = ""
    benchmark: str | None = None
    url: str | None = None
    split: str = ""
    split_digest: str = ""
    labels_digest: str | None = None
    sample_list_digest: str | None = None
    held_out: Count = 0
    """Samples of the split on which it did not train."""
    stream: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class StageDocument:
    """One stage of a run."""

    __pydantic_config__ = STRICT
    name: str
    digest: str
    roles: tuple[str, ...] = ()
    steps: Count = 0
    seconds: float = 0.0
    reused: bool = False
    worlds: tuple[Count, ...] = ()


@dataclass(frozen=True)
class RunDocument:
    """``run.yaml``."""

    __pydantic_config__ = STRICT
    config: RunConfig
    method_config: dict[str, Any]
    shards: dict[Annotated[str, OneOf(ROLES)], ShardsDocument]
    state: str = ""
    command: str = ""
    started: str = ""
    finished: str = ""
    context: dict[str, Any] = field(default_factory=dict)
    accelerator: str = ""
    precision: str = ""
    acceleration: dict[str, bool] = field(default_factory=dict)
    target_labels: dict[str, list[int]] = field(default_factory=dict)
    selection_rule: str = ""
    settings_rule: str = ""
    external_data: tuple[str, ...] = ()
    saw: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    """``supervision.Seen``: of every dataset, through whatever the run learned from."""
    init: dict[str, Any] | None = None
    versions: dict[str, str] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    """Package -> commit of its working tree, and whether that was modified."""
    processes: Count = 0
    stages: tuple[StageDocument, ...] = ()
    checkpoint_sha256: Sha256 | None = None


_ALWAYS = ("config.method", "config.supervision", "config.joints", "config.preset", "config.settings", "config.seed",
           "shards.target")  # fmt: skip
"""Fields that must be present although ``RunConfig`` has defaults: predicting and scoring need them."""


def final_checkpoint(folder: Path) -> Path:
    """Return the path of the checkpoint from which a finished run predicts."""
    return folder / "checkpoints" / FINAL


def declared(document: Mapping[str, Any]) -> list[str]:
    """Return the external data of a run, the weights that it began with included."""
    init = document.get("init")
    return [*(document.get("external_data") or ()), *([f"weights of {init['from']}"] if init else [])]


def labels_seen(document: Mapping[str, Any], where: Path) -> Seen:
    """Return which labels a run saw, of every dataset. Raise ``ArtefactError`` where ``run.yaml`` does not say so."""
    if "saw" not in document:
        what = "does not say which labels the run saw: an earlier version wrote it"
        raise ArtefactError(what, where=where / RUN_FILE, hint="train the run again")
    seen: Seen = document["saw"]
    return seen


def finished(folder: Path) -> bool:
    return final_checkpoint(folder).exists()


def newest_run(data_root: Path | None = None) -> Path:
    """Return the folder of the run that finished last. Raise ``ArtefactError`` when there is none."""
    runs = (data_root or default_data_root()) / "runs"
    found = [path.parent for path in runs.glob(f"*/{RUN_FILE}") if finished(path.parent)]
    if not found:
        raise ArtefactError("there is no finished run", where=runs, hint="train one: kt3d train --method METHOD")
    return max(found, key=lambda folder: (final_checkpoint(folder).stat().st_mtime_ns, folder.name))


def found_run(run: Path | str | None, data_root: Path, *, also: Iterable[str] = ()) -> Path:
    """Return the folder of a run given by its folder, its name below ``<data root>/runs`` or a packed run
    (``kt3d_bench.packs``); ``None`` = the newest. ``also``: other names that the hint of an error may propose.

    Raises ``UsageError`` for a name that no run has, ``ArtefactError`` where no run has finished yet and for a corrupt
    pack.
    """
    if run is None:
        return newest_run(data_root)
    if is_pack(run):
        return unpacked(Path(run))
    runs = data_root / "runs"
    folder = next((folder for folder in (Path(run), runs / run) if folder.is_dir()), None)
    if folder is None:
        names = [path.name for path in runs.iterdir()] if runs.is_dir() else []
        raise UsageError(f"there is no run '{run}'", where=runs, hint=did_you_mean(str(run), [*names, *also]))
    return folder


def _plain(value: Any) -> Any:
    """Return what YAML holds: paths as texts, and as bytes those that are no UTF-8."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    text = str(value) if isinstance(value, Path) else value
    return os.fsencode(text) if isinstance(text, str) and any("\udc80" <= one <= "\udcff" for one in text) else text


def _texts(value: Any) -> Any:
    """Return what ``_plain`` made bytes as texts again."""
    if isinstance(value, dict):
        return {_texts(key): _texts(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_texts(entry) for entry in value]
    return os.fsdecode(value) if isinstance(value, bytes) else value


def run_yaml(document: Mapping[str, Any]) -> bytes:
    """Return a ``run.yaml`` of this content."""
    held = _plain(document)
    return yaml.dump(held, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=100).encode()


def write_run(folder: Path, document: Mapping[str, Any]) -> None:
    """Write ``run.yaml``, whole or not at all. Raise ``ArtefactError`` when it cannot be written."""
    write_whole(folder / RUN_FILE, run_yaml(document))


def read_run(folder: Path) -> dict[str, Any]:
    """Return the content of a run's ``run.yaml``. Raise ``ArtefactError`` when the file is missing or corrupt, naming
    the fields that are unknown, missing or wrong."""
    return read_run_file(folder / RUN_FILE)


def read_run_file(path: Path) -> dict[str, Any]:
    """Return the content of a ``run.yaml`` that may lie anywhere. Raises as ``read_run``."""
    if not path.is_file():
        raise ArtefactError("there is no run here", where=path, hint="name a folder below runs/, or train one")
    document: dict[str, Any] = _texts(read_yaml(path, error=ArtefactError, hint=_HINT))
    parse(RunDocument, document, error=ArtefactError, where=path, hint=_HINT)
    for place in _ALWAYS:
        part, _, name = place.partition(".")
        if name not in document[part]:
            raise ArtefactError(f"the field '{place}' is missing", where=path, hint=_HINT)
    return document
