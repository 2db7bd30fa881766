"""Remove absolute paths from what an entry records: entries are published, and nobody's folders belong there."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

FILE_URL = "file://"


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
    path = PurePosixPath(unquote(text.removeprefix(FILE_URL)) if text.startswith(FILE_URL) else text)
    if not path.is_absolute() or not path.name:
        return text
    if root and PurePosixPath(root).name and path.is_relative_to(root):
        return str(PurePosixPath(PurePosixPath(root).name) / path.relative_to(root))
    return path.name
