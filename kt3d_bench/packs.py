"""One file that holds a finished run: ``NAME.kt3d``, which every command that takes a run accepts elsewhere.

It is a zip of three members, stored without compression: ``pack.json`` (method, preset, input, joints, units, data and
their terms, SHA-256 of the weights), ``run.yaml`` and ``final.pt`` (tensors and plain data, never unpickled). A pack is
unpacked once, into ``<cache>/packs/<name>-<digest>/``, which has the layout of a run's folder.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kt3d_bench.budgets import OverBudgetError, json_value, require_bytes, require_stored
from kt3d_bench.errors import ArtefactError
from kt3d_bench.files import CORRUPT, cache_root, file_sha256, opened_atomically, unreadable, write_whole

ENDING = ".kt3d"
FORMAT_VERSION = 1
FACTS, RUN, WEIGHTS = "pack.json", "run.yaml", "final.pt"
_MOST_BYTES = 4 << 20
"""Of each member but the weights."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
_HINT = "obtain the file again, or write it again: kt3d pack RUN"


def is_pack(path: Path | str) -> bool:
    """Return whether a path is a file that is named as packs are."""
    return Path(path).suffix == ENDING and Path(path).is_file()


def write_pack(path: Path, facts: Mapping[str, Any], run: bytes, weights: Path, weights_sha256: str) -> None:
    """Write a pack, whole or not at all; equal content gives equal bytes. Raises ``ArtefactError``."""
    told = {"format_version": FORMAT_VERSION, **facts, "weights_sha256": weights_sha256}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with opened_atomically(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(zipfile.ZipInfo(FACTS, _EPOCH), json.dumps(told, indent=1, sort_keys=True).encode())
            archive.writestr(zipfile.ZipInfo(RUN, _EPOCH), run)
            with (
                archive.open(zipfile.ZipInfo(WEIGHTS, _EPOCH), "w", force_zip64=True) as member,
                weights.open("rb") as own,
            ):
                shutil.copyfileobj(own, member)
    except OSError as error:
        raise ArtefactError(f"cannot be written ({error})", where=path, hint="free space or choose a folder") from error


def read_facts(path: Path) -> dict[str, Any]:
    """Return ``pack.json``. Raises ``ArtefactError`` for a file that is no pack, or of another format version."""
    try:
        with zipfile.ZipFile(path) as archive:
            require_stored(archive, path.stat().st_size)
            sizes = {one.filename: one.file_size for one in archive.infolist()}
            if len(archive.infolist()) != len(sizes) or set(sizes) != {FACTS, RUN, WEIGHTS}:
                raise ValueError(f"it does not hold {FACTS}, {RUN} and {WEIGHTS} alone")
            for name in (FACTS, RUN):
                require_bytes(name, sizes[name], _MOST_BYTES)
            found = json_value(archive.read(FACTS))
    except CORRUPT as error:
        reason = str(error) if isinstance(error, ValueError | OverBudgetError) else type(error).__name__
        wrong = ArtefactError(f"is not a packed run ({reason})", where=path, hint=_HINT)
        raise unreadable(error, path) or wrong from error
    if not isinstance(found, dict) or found.get("format_version") != FORMAT_VERSION:
        version = found.get("format_version") if isinstance(found, dict) else None
        raise ArtefactError(f"pack format {version!r}, expected {FORMAT_VERSION}", where=path, hint=_HINT)
    return found


def unpacked(path: Path) -> Path:
    """Return the folder of a pack's run, named like the pack and unpacked into the cache unless it is there.

    Raises ``ArtefactError`` as ``read_facts``, and for weights whose SHA-256 is not the stated one."""
    path = Path(path)
    facts = read_facts(path)
    folder = cache_root() / "packs" / file_sha256(path)[:24] / path.stem
    final = folder / "checkpoints" / WEIGHTS
    if (folder / RUN).is_file():
        return folder
    with zipfile.ZipFile(path) as archive:
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            with opened_atomically(final) as own:
                with archive.open(WEIGHTS) as member:
                    shutil.copyfileobj(member, own)
                own.flush()
                digest = file_sha256(Path(own.name))
                if digest != facts.get("weights_sha256"):
                    raise ArtefactError("its weights are corrupt: their SHA-256 is another one", where=path, hint=_HINT)
                write_whole(final.with_name(f"{WEIGHTS}.sha256"), f"{digest}  {WEIGHTS}\n".encode())
            write_whole(folder / RUN, archive.read(RUN))
        except CORRUPT as error:
            raise ArtefactError(f"cannot be unpacked ({error})", where=path, hint=_HINT) from error
    return folder
