"""``--set name=value``: text becomes a method's frozen ``Config``, typed by its dataclass fields."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from kt3d_bench.errors import UsageError, did_you_mean

_TRUE, _FALSE, _NONE = ("true", "yes", "on", "1"), ("false", "no", "off", "0"), ("none", "null", "")


Bundles = Mapping[str, Mapping[str, Mapping[str, Any]]]


def build_config(
    kind: type[Any],
    presets: Mapping[str, Mapping[str, Any]],
    preset: str,
    settings: Mapping[str, Any],
    bundles: Bundles | None = None,
) -> Any:
    """An instance of the dataclass ``kind``: its defaults, overlaid by the preset, by the bundles (``Method.BUNDLES``)
    that the settings name, and by the other ``settings``.

    Values may be text (from the command line) or already of the field's type. Raises one ``UsageError`` that lists
    every unknown name (with the nearest known one), every value of the wrong type, and what ``kind`` itself refuses.
    """
    if preset not in presets:
        raise UsageError(f"the method has no preset '{preset}'", hint=did_you_mean(preset, presets))
    hints = get_type_hints(kind)
    known = [field.name for field in fields(kind)]
    problems: list[str] = []
    given: dict[str, Any] = {}
    for name, value in settings.items():
        if name not in known:
            problems.append(f"there is no setting '{name}': {did_you_mean(name, known)}")
            continue
        try:
            given[name] = convert(value, hints[name])
        except ValueError:
            problems.append(f"setting '{name}' is {describe(hints[name])}, found {value!r}")
    chosen: dict[str, Any] = dict(presets[preset])
    for name, words in (bundles or {}).items():
        word = given.get(name)
        if word is not None and word not in words:
            problems.append(f"setting '{name}' is '{word}': {did_you_mean(str(word), words)}")
        chosen |= words.get(word, {}) if word is not None else {}
    chosen |= given
    if problems:
        raise UsageError("; ".join(problems), where="--set", hint="the method's README lists its settings")
    try:
        return kind(**chosen)
    except ValueError as error:
        raise UsageError(str(error), where="--set", hint="choose values that fit together") from error


def convert(value: Any, hint: Any) -> Any:
    """``value`` as the type that ``hint`` names; ``ValueError`` when it is not one."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(value, get_args(hint))
    if origin is Literal:
        for choice in get_args(hint):
            if value == choice or (isinstance(value, str) and value == str(choice)):
                return choice
        raise ValueError(value)
    if origin is tuple:
        return _convert_tuple(value, get_args(hint))
    if hint is bool:
        text = str(value).lower()
        if text not in _TRUE + _FALSE:
            raise ValueError(value)
        return text in _TRUE
    if hint in (int, float):
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(value)
        if hint is int and isinstance(value, float) and not value.is_integer():
            raise ValueError(value)
        if not math.isfinite(number := hint(value)):
            raise ValueError(value)
        return number
    if hint is str and isinstance(value, str):
        return value
    raise ValueError(value)


def _convert_union(value: Any, members: tuple[Any, ...]) -> Any:
    if type(None) in members and (value is None or (isinstance(value, str) and value.lower() in _NONE)):
        return None
    for member in members:
        if member is type(None):
            continue
        try:
            return convert(value, member)
        except ValueError:
            continue
    raise ValueError(value)


def _convert_tuple(value: Any, members: tuple[Any, ...]) -> tuple[Any, ...]:
    parts = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        raise ValueError(value)
    if len(members) == 2 and members[1] is Ellipsis:
        return tuple(convert(part, members[0]) for part in parts)
    if len(parts) != len(members):
        raise ValueError(value)
    return tuple(convert(part, member) for part, member in zip(parts, members, strict=True))


def describe(hint: Any) -> str:
    """A type in words: "int", "one of 'a', 'b'", "float or none"."""
    origin = get_origin(hint)
    if origin is Literal:
        return "one of " + ", ".join(repr(choice) for choice in get_args(hint))
    if origin in (Union, types.UnionType):
        return " or ".join("none" if member is type(None) else describe(member) for member in get_args(hint))
    if origin is tuple:
        return "a comma-separated list of " + describe(get_args(hint)[0])
    return {bool: "true or false"}.get(hint, getattr(hint, "__name__", str(hint)))
