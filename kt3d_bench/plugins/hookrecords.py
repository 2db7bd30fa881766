"""What must hold for a record that a plugin hands over; checked wherever records are collected, without importing
anything that the record names."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kt3d_bench.errors import did_you_mean
from kt3d_bench.plugins.hookspecs import (
    DatasetPlugin,
    MethodPlugin,
    Option,
    Recipe,
    RecipeClaim,
    RecipePicture,
    RecipeRow,
)
from kt3d_bench.supervision import LEVELS

MODALITIES = ("rgb", "depth", "parts")
ROLES = ("target", "source", "pretrain")
PICTURES = ("poses", "joints")
_NAME = re.compile(r"[a-z0-9][a-z0-9_\-]{0,79}")
_SPLIT = re.compile(r"[A-Za-z0-9_\-]{1,80}")


@dataclass(frozen=True)
class _Rule:
    """One field: what it must be, in words, and the test of it."""

    wanted: str
    holds: Callable[[Any], bool]
    known: Sequence[str] = ()
    """The only members that a tuple may have."""


def problems(record: Any) -> list[str]:
    """Sentences on every field of a ``DatasetPlugin``, ``MethodPlugin`` or ``Recipe`` that is not what it must be."""
    found: list[str] = []
    for name, rule in _RULES[type(record)].items():
        value = getattr(record, name)
        if not rule.holds(value):
            found.append(f"{name} is {_shown(value)}, expected {rule.wanted}")
        elif rule.known:
            found += [
                f"{name} holds '{entry}', {did_you_mean(str(entry), rule.known)}"
                for entry in value
                if entry not in rule.known
            ]
    if isinstance(record, DatasetPlugin) and not found:
        stray = [split for split in record.splits if record.views and split.partition("-")[0] not in record.views]
        found += [f"split '{split}' belongs to no view: it must be called <view>-{split}" for split in stray]
    return found


def missing(reference: str) -> str | None:
    """Why ``"module"`` or ``"module:object"`` cannot be there, as far as can be told without importing the module."""
    module, _, attribute = reference.partition(":")
    if module in sys.modules:
        there = not attribute or hasattr(sys.modules[module], attribute)
        return None if there else f"module {module} defines no {attribute}"
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError) as error:
        return str(error)
    return f"there is no module {module}" if spec is None else None


def _shown(value: Any) -> str:
    text = repr(str(value)) if isinstance(value, Path) else repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} (a {type(value).__name__})"


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _names(value: Any) -> bool:
    """A tuple (or list) of different names, at least one."""
    return (
        isinstance(value, tuple | list)
        and len(value) > 0
        and all(isinstance(entry, str) and _SPLIT.fullmatch(entry) for entry in value)
        and len(set(value)) == len(value)
    )


def _mapping_of(kind: type) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, Mapping)
        and all(isinstance(name, str) and isinstance(entry, kind) for name, entry in value.items())
    )


def _folder(value: Any) -> bool:
    return isinstance(value, Path) and value.is_dir()


def _module(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and ":" not in value and missing(value) is None


def _object(value: Any) -> bool:
    return isinstance(value, str) and value.count(":") == 1 and missing(value) is None


_NAMED = _Rule("a name of lower-case letters, digits, '-' and '_'", _is_name)
_TEXT = _Rule("a text", _is_text)
_RULES: Mapping[type, Mapping[str, _Rule]] = {
    DatasetPlugin: {
        "name": _NAMED,
        "title": _TEXT,
        "modalities": _Rule("a tuple such as ('rgb',)", _names, MODALITIES),
        "splits": _Rule("a tuple of names such as ('train', 'test')", _names),
        "views": _Rule("a tuple of names, () for a single view", lambda value: value == () or _names(value)),
        "folder": _Rule("an existing folder as a pathlib.Path", _folder),
        "convert": _Rule("the name of a module that exists", _module),
        "generate": _Rule("the name of a module that exists", _module),
        "stream": _Rule("the name of a module that exists", lambda value: value is None or _module(value)),
        "labels": _Rule("'3d' or '2d'", lambda value: value in ("3d", "2d")),
        "options": _Rule("a mapping of names to Option records", _mapping_of(Option)),
    },
    MethodPlugin: {
        "name": _NAMED,
        "summary": _TEXT,
        "load": _Rule("'module:Class' with a module that exists", _object),
        "presets": _Rule("a tuple of names such as ('paper', 'tiny')", _names),
        "supervision": _Rule("a tuple of levels such as ('none', 'full')", _names, LEVELS),
        "defaults": _Rule(
            f"a mapping of roles ({', '.join(ROLES)}) to names of datasets",
            lambda value: _mapping_of(str)(value) and set(value) <= set(ROLES),
        ),
    },
    Recipe: {
        "name": _NAMED,
        "summary": _TEXT,
        "rows": _Rule(
            "a tuple of RecipeRow records",
            lambda value: isinstance(value, tuple | list) and all(isinstance(row, RecipeRow) for row in value),
        ),
        "claims": _Rule(
            "a tuple of RecipeClaim records",
            lambda value: isinstance(value, tuple | list) and all(isinstance(one, RecipeClaim) for one in value),
        ),
        "pictures": _Rule(
            f"a tuple of RecipePicture records of the kinds {', '.join(PICTURES)}",
            lambda value: (
                isinstance(value, tuple | list)
                and all(isinstance(one, RecipePicture) and one.kind in PICTURES for one in value)
            ),
        ),
    },
}  # fmt: skip
