"""What an entry may say of the machine that made it: entries are published, and nobody's folders belong there."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any


def portable_run(run: Mapping[str, Any]) -> dict[str, Any]:
    """A run's configuration without absolute paths: what lies below its data root begins with that folder's name, any
    other path is its last name. Relative paths, URLs and all else stay."""
    root = (run.get("config") or {}).get("data_root")
    return {name: _portable(value, root) for name, value in run.items()}


def portable_command(command: str, data_root: str | None = None) -> str:
    """A command line without absolute paths, also in ``name=/path``; one that cannot be split stays as it is."""
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    return shlex.join(_word(word, data_root) for word in words) if words else command


def _portable(value: Any, root: str | None) -> Any:
    if isinstance(value, str):
        return _path(value, root)
    if isinstance(value, Mapping):
        return {name: _portable(inner, root) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_portable(inner, root) for inner in value]
    return value


def _word(word: str, root: str | None) -> str:
    name, equals, path = word.partition("=")
    return f"{name}={_path(path, root)}" if equals else _path(word, root)


def _path(text: str, root: str | None) -> str:
    path = PurePosixPath(text)
    if not path.is_absolute() or not path.name:
        return text
    if root and path.is_relative_to(root) and PurePosixPath(root).name:
        return str(PurePosixPath(PurePosixPath(root).name) / path.relative_to(root))
    return path.name
