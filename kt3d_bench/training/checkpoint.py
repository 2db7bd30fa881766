"""Checkpoint files: written atomically, guarded by a SHA-256 sidecar, read as plain data only.

A flipped byte inside a tensor loads without an error, so ``load`` compares the digest before it opens the file. The
sidecar is written before the file appears under its name, and holds the digest of the file that is replaced too: after
a crash between the two the old one is valid.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kt3d_bench.budgets import OverBudgetError, read_whole, require_stored
from kt3d_bench.errors import ArtefactError
from kt3d_bench.files import file_sha256, write_atomically

FORMAT_VERSION = 1


def sidecar(path: Path) -> Path:
    """Return the file beside ``path`` that holds its digest, in the format of ``sha256sum``."""
    return path.with_name(path.name + ".sha256")


def save(path: Path, content: Mapping[str, Any], *, ready: Callable[[str], None] = lambda digest: None) -> str:
    """Write tensors and plain data (str, int, float, bool, None, list, tuple, dict) to ``path``; return the SHA-256.

    An existing file of that name stays whole until the new one replaces it. ``ready`` is called with the SHA-256 just
    before the file appears under its name. Raises ``ArtefactError`` when the
    file cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with writing(path), ExitStack() as stack:
        path.parent.mkdir(parents=True, exist_ok=True)
        stack.callback(unfinished.unlink, missing_ok=True)
        with unfinished.open("wb") as stream:
            torch.save({"format_version": FORMAT_VERSION, **content}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        digest = file_sha256(unfinished)
        before = _recorded(path)[:1] if path.exists() else []
        for digests in ([digest, *before], [digest]) if before else ([digest],):
            lines = "".join(f"{one}  {path.name}\n" for one in digests)
            write_atomically(sidecar(path), lines.encode())
            if unfinished.exists():
                ready(digest)
                unfinished.replace(path)
    return digest


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what prevents a checkpoint from being written into an ``ArtefactError``."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        failed = error if isinstance(error, OSError) else error.__context__
        if not isinstance(failed, OSError):
            raise
        raise ArtefactError(
            f"the checkpoint cannot be written ({failed.strerror or failed})",
            where=path,
            hint="free space or fix permissions there, then continue with --resume; earlier checkpoints are kept",
        ) from error


def remove_unfinished(folder: Path) -> None:
    """Delete what a killed process left of checkpoints that it had begun to write."""
    without = (path for path in folder.glob("*.pt.sha256") if not path.with_suffix("").exists())
    for path in (*folder.glob(".*.pt.*"), *without):
        path.unlink(missing_ok=True)


def _recorded(path: Path) -> list[str]:
    """Return the digests of a file by its sidecar: two after a crash while it was replaced, none where it cannot be
    read."""
    try:
        return [line.split()[0] for line in read_whole(sidecar(path), 4096).decode().splitlines()]
    except (OSError, IndexError, ValueError):
        return []


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; ``sha256`` in what is returned is that of the file.

    Raises ``ArtefactError`` when it is missing, corrupt (its digest or its structure) or of another format version.
    """
    again = "train again, or copy the file and its .sha256 again from where they came"
    if not path.is_file():
        raise ArtefactError("there is no checkpoint", where=path, hint="finish the run: kt3d train ... --resume")
    expected = _recorded(path)
    if not expected:
        raise ArtefactError("the checkpoint's digest file is missing or empty", where=sidecar(path), hint=again)
    digest = file_sha256(path)
    if digest not in expected:
        raise ArtefactError("the checkpoint is corrupt: its SHA-256 is not the recorded one", where=path, hint=again)
    try:
        with zipfile.ZipFile(path) as archive:
            require_stored(archive, path.stat().st_size)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # whatever the unpickler meets in a damaged file
        reason = str(error) if isinstance(error, OverBudgetError) else type(error).__name__
        raise ArtefactError(f"this is not a checkpoint ({reason})", where=path, hint=again) from error
    if not isinstance(content, dict) or content.get("format_version") != FORMAT_VERSION:
        found = content.get("format_version") if isinstance(content, dict) else type(content).__name__
        raise ArtefactError(f"checkpoint format {found!r}, expected {FORMAT_VERSION}", where=path,
                            hint="use the release that wrote it, or train again")  # fmt: skip
    return {**content, "sha256": digest}


def state_digest(state: Mapping[str, Tensor], names: Iterable[str] | None = None) -> str:
    """Return the SHA-256 over names, types, shapes and bytes of the tensors (of ``names``, default all), sorted."""
    digest = hashlib.sha256()
    for name in sorted(state if names is None else names):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
