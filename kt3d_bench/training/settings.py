"""Build a method's frozen ``Config`` from its preset and the user's settings, as its fields' types and bounds say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from kt3d_bench.errors import UsageError, did_you_mean
from kt3d_bench.schema import problems, shown

_NONE = ("none", "null", "")
Bundles = Mapping[str, Mapping[str, Mapping[str, Any]]]


def build_config(
    kind: type[Any],
    presets: Mapping[str, Mapping[str, Any]],
    preset: str,
    settings: Mapping[str, Any],
    bundles: Bundles | None = None,
) -> Any:
    """Return an instance of the dataclass ``kind``: its defaults, overlaid by the preset, by the bundles
    (``Method.BUNDLES``) that the settings name, and by the other ``settings``.

    Values may be text (from the command line) or already of the field's type. Raise one ``UsageError`` that lists
    every unknown name (with the nearest known one), every value of the wrong type, and what ``kind`` itself refuses.
    """
    if preset not in presets:
        raise UsageError(f"the method has no preset '{preset}'", hint=did_you_mean(preset, presets))
    hints = get_type_hints(kind, include_extras=True)
    known = [field.name for field in fields(kind)]
    wrong: list[str] = []
    given: dict[str, Any] = {}
    for name, value in settings.items():
        if name not in known:
            wrong.append(f"there is no setting '{name}': {did_you_mean(name, known)}")
            continue
        try:
            given[name] = convert(value, hints[name])
        except ValueError as error:
            wrong.append(f"setting '{name}' is {shown(value)}: {error}")
    chosen: dict[str, Any] = dict(presets[preset])
    for name, words in (bundles or {}).items():
        word = given.get(name)
        if word is not None and word not in words:
            wrong.append(f"setting '{name}' is '{word}': {did_you_mean(str(word), words)}")
        chosen |= words.get(word, {}) if word is not None else {}
    chosen |= given
    if wrong:
        raise UsageError("; ".join(wrong), where="--set", hint="kt3d list METHOD describes its settings")
    try:
        return kind(**chosen)
    except ValueError as error:
        raise UsageError(str(error), where="--set", hint="choose values that fit together") from error


def convert(value: Any, hint: Any) -> Any:
    """Return ``value``, or what it stands for as text, as the type that ``hint`` names.

    Raise ``ValueError`` saying what the type or its bounds expect.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(hint, config={"allow_inf_nan": False}).validate_python(_read(value, hint))
    except ValidationError as error:
        raise ValueError("; ".join(problems(error, hint))) from error


def _read(value: Any, hint: Any) -> Any:
    """Return what a text stands for where pydantic would not read it: none, a choice, a comma-separated list."""
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    members = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        if type(None) in members and str(value).lower() in _NONE:
            return None
        others = [member for member in members if member is not type(None)]
        return _read(value, others[0]) if len(others) == 1 else value
    if isinstance(value, bool):
        return value if hint is bool else str(value)
    if not isinstance(value, str):
        return value
    if get_origin(hint) is Literal:
        return next((choice for choice in members if str(choice) == value), value)
    if get_origin(hint) is tuple:
        return [_read(part.strip(), members[0]) for part in value.split(",") if part.strip()]
    return value
