"""The folder of a run: ``run.yaml``, ``checkpoints/``, ``log.jsonl``, ``predictions/`` and ``scores/``.

It lies at ``<data root>/runs/<name>/``. ``run.yaml`` records what was asked for, resolved, and what became of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from kt3d_bench.errors import ArtefactError, UsageError, did_you_mean
from kt3d_bench.files import default_data_root, write_whole

RUN_FILE = "run.yaml"
FINAL = "final.pt"


def final_checkpoint(folder: Path) -> Path:
    """The checkpoint from which a finished run predicts."""
    return folder / "checkpoints" / FINAL


def finished(folder: Path) -> bool:
    return final_checkpoint(folder).exists()


def newest_run(data_root: Path | None = None) -> Path:
    """The folder of the run that finished last. Raises ``ArtefactError`` when there is none."""
    runs = (data_root or default_data_root()) / "runs"
    found = [path.parent for path in runs.glob(f"*/{RUN_FILE}") if finished(path.parent)]
    if not found:
        raise ArtefactError("there is no finished run", where=runs, hint="train one: kt3d train --method METHOD")
    return max(found, key=lambda folder: (final_checkpoint(folder).stat().st_mtime_ns, folder.name))


def found_run(run: Path | str | None, data_root: Path) -> Path:
    """Return the folder of a run given by its folder or its name below ``<data root>/runs``; ``None`` = the newest.

    Raises ``UsageError`` for a name that no run has, ``ArtefactError`` where no run has finished yet.
    """
    if run is None:
        return newest_run(data_root)
    runs = data_root / "runs"
    folder = next((folder for folder in (Path(run), runs / run) if folder.is_dir()), None)
    if folder is None:
        names = [path.name for path in runs.iterdir()] if runs.is_dir() else []
        raise UsageError(f"there is no run '{run}'", where=runs, hint=did_you_mean(str(run), names))
    return folder


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


def write_run(folder: Path, document: Mapping[str, Any]) -> None:
    """Write ``run.yaml``, whole or not at all. Raises ``ArtefactError`` when it cannot be written."""
    text = yaml.safe_dump(_plain(document), sort_keys=False, allow_unicode=True, width=100)
    write_whole(folder / RUN_FILE, text.encode())


def read_run(folder: Path) -> dict[str, Any]:
    """The document of a run's ``run.yaml``. Raises ``ArtefactError`` when it is missing or damaged."""
    path = folder / RUN_FILE
    if not path.is_file():
        raise ArtefactError("there is no run here", where=path, hint="name a folder below runs/, or train one")
    try:
        document = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ArtefactError("is no readable YAML", where=path, hint="remove its folder, or train again") from error
    if not isinstance(document, dict) or not _whole(document):
        raise ArtefactError("lacks the run's config or shards", where=path, hint="remove its folder, or train again")
    return document


def _whole(document: Mapping[str, Any]) -> bool:
    """Whether the parts that predicting, scoring and inspecting rely on are there."""
    config, shards, digest = (document.get(name) for name in ("config", "shards", "checkpoint_sha256"))
    return (
        (digest is None or re.fullmatch("[0-9a-f]{64}", str(digest)) is not None)
        and isinstance(config, dict)
        and {"method", "supervision", "joints", "preset", "settings", "seed"} <= config.keys()
        and isinstance(config["settings"], dict)
        and isinstance(document.get("method_config"), dict)
        and isinstance(shards, dict)
        and "target" in shards
        and all(
            isinstance(found, dict) and {"dataset", "folder", "samples", "origin", "manifest_digest"} <= found.keys()
            for found in shards.values()
        )
    )
