"""Read weight files of others: tensors by name, never unpickled."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kt3d_bench.budgets import require_stored
from kt3d_bench.errors import ArtefactError, UsageError


def read_weights(path: str | PathLike[str]) -> Mapping[str, Tensor]:
    """Return the tensors of a file by name, on the CPU: a ``.safetensors`` file, or what torch saved of a dict of
    tensors, {"state_dict": that dict} or {"model": that dict}.

    Raises ``ArtefactError`` for a file that is missing, cannot be read safely or holds anything else, ``UsageError``
    where the package safetensors is needed and not installed.
    """
    safe = Path(path).suffix == ".safetensors"
    try:
        content: Any = _safetensors(path) if safe else _saved_by_torch(path)
    except FileNotFoundError as error:
        raise ArtefactError("there is no such file", where=path) from error
    except UsageError:
        raise
    except Exception as error:  # whatever the unpickler meets in a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ArtefactError(
            f"is not a weight file that can be read safely ({reason})",
            where=path,
            hint="save a plain dict of tensors with torch.save(net.state_dict(), path)",
        ) from error
    for name in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ArtefactError(
            f"holds a {type(content).__name__}, expected a dict of tensors", where=path, hint="save net.state_dict()"
        )
    return content


def _saved_by_torch(path: str | PathLike[str]) -> Any:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            require_stored(archive, Path(path).stat().st_size)
    return torch.load(path, map_location="cpu", weights_only=True)


def _safetensors(path: str | PathLike[str]) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise UsageError(
            "the package safetensors is not installed", where=path, hint="pip install 'kt3d-bench[weights]'"
        ) from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
