"""Check data against the types, bounds and choices that its record declares, and read YAML safely.

Records are plain dataclasses or pydantic models. What a type alone does not say is declared with
``Annotated`` and the classes below. Importing this imports no pydantic: only checking does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from functools import cache
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from kt3d_bench.budgets import read_whole
from kt3d_bench.errors import Kt3dError, did_you_mean

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

Record = TypeVar("Record")

STRICT: Any = {"extra": "forbid", "revalidate_instances": "always", "allow_inf_nan": False}
"""``__pydantic_config__`` of a record: unknown fields, NaN and infinity are refused, and instances checked again."""
MAX_YAML_BYTES = 1 << 20
MAX_YAML_DEPTH = 50
MAX_YAML_EVENTS = 200_000
"""Scalars, and begins and ends of lists and mappings."""
MAX_YAML_SCALAR = 100_000
"""Characters: a number of many parts, 1:59:59..., takes quadratic time."""
_MOST_PROBLEMS = 10
_SHOWN = 60
_WANTED = {
    "dataclass_type": "a mapping", "dict_type": "a mapping", "mapping_type": "a mapping", "model_type": "a mapping",
    "list_type": "a list", "tuple_type": "a list", "string_type": "text", "int_type": "a whole number",
    "int_parsing": "a whole number", "int_from_float": "a whole number", "float_type": "a number",
    "float_parsing": "a number", "bool_type": "true or false", "bool_parsing": "true or false",
    "greater_than_equal": "at least {ge}", "less_than_equal": "at most {le}", "literal_error": "{expected}",
    "path_type": "a path", "too_short": "at least {min_length}",
}  # fmt: skip
"""pydantic's error type -> what it wants, in plain words; other errors keep pydantic's text."""


class Must:
    """A condition on a value of the annotated type: ``Annotated[str, Must("a name", is_name)]``."""

    def __init__(self, wanted: str, holds: Callable[[Any], Any]) -> None:
        self.wanted, self.holds = wanted, holds

    def check(self, value: Any) -> Any:
        if not self.holds(value):
            raise ValueError(f"expected {self.wanted}")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core.core_schema import no_info_after_validator_function

        return no_info_after_validator_function(self.check, handler(source))


class OneOf(Must):
    """One of some names; the error suggests the nearest. ``text`` says what is expected, without asking for ``known``
    before it is needed."""

    def __init__(self, known: Collection[str], text: str = "") -> None:
        super().__init__(text or f"one of {', '.join(known)}", known.__contains__)
        self.known = known

    def check(self, value: Any) -> Any:
        if value not in self.known:
            raise ValueError(did_you_mean(value, self.known))
        return value


class Whole:
    """A whole number from ``low`` to ``high``; no text, no fraction, no truth value."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core.core_schema import int_schema

        return int_schema(strict=True, ge=self.low, le=self.high)


Text = Annotated[str, Must("text", str.strip)]
Sha256 = Annotated[str, Must("64 hexadecimal digits", re.compile(r"[0-9a-f]{64}").fullmatch)]
Positive = Annotated[float, Must("more than 0", lambda value: value > 0)]
NotNegative = Annotated[float, Must("at least 0", lambda value: value >= 0)]
SOME = Must("at least one", len)
DIFFERENT = Must("different ones", lambda values: len(set(values)) == len(values))


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def parse(kind: Callable[..., Record], content: Any, *, error: type[Kt3dError], where: Path | str, hint: str) -> Record:
    """Return ``content`` as a ``kind``. Raise ``error``, naming every field that is unknown, missing or wrong."""
    found, wrong = checked(kind, content)
    if found is None or wrong:
        raise error("; ".join(wrong), where=where, hint=hint)
    return found


def checked(kind: Callable[..., Record], content: Any) -> tuple[Record | None, list[str]]:
    """Return ``content`` as a ``kind``, or ``None`` and a sentence per wrong field.

    A record's method ``conflicts()``, where it has one, gives sentences on fields that do not fit together.
    """
    from pydantic import ValidationError

    validate: Callable[[Any], Record] = _adapter(kind).validate_python
    try:
        found = validate(content)
    except ValidationError as error:
        return None, problems(error, kind)
    return found, list(found.conflicts()) if hasattr(found, "conflicts") else []


def problems(error: ValidationError, kind: Any) -> list[str]:
    """Return one sentence per wrong field of a ``kind``, at most ten."""
    found = [_problem(one, kind) for one in error.errors(include_url=False)]
    more = len(found) - _MOST_PROBLEMS
    return found if more <= 0 else [*found[:_MOST_PROBLEMS], f"and {more} more"]


def _problem(one: Any, kind: Any) -> str:
    *above, last = one["loc"] or ("",)
    if last == "[key]":
        last = f"name {above.pop()!r}"
    place = repr(".".join(map(str, [*above, last])))[1:-1]
    if one["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        inside = repr(".".join(map(str, above)))[1:-1]
        within = f" in {inside}" if inside else ""
        return f"unknown field {str(last)!r}{within}, {did_you_mean(str(last), _fields(_part(kind, above)))}"
    if one["type"] in ("missing", "missing_argument"):
        return f"the field '{place}' is missing"
    wanted = _WANTED.get(one["type"])
    text = str(one["msg"]).removeprefix("Value error, ").replace("Input should be", "expected")
    text = f"expected {wanted.format(**one.get('ctx', {}))}" if wanted else text
    return f"{place} is {shown(one['input'])}: {text}" if place else text


def shown(value: Any) -> str:
    """Return a value as one short line without control characters, with its type."""
    text = repr(str(value)) if isinstance(value, Path) else ascii(value) if isinstance(value, str) else repr(value)
    return f"{text if len(text) <= _SHOWN else text[: _SHOWN - 3] + '...'} ({type(value).__name__})"


def _part(kind: Any, place: Collection[Any]) -> Any:
    """Return the type of what lies at a place in a record; ``None`` where that is not known."""
    for step in place:
        fields, members = _fields(kind), get_args(kind)
        kind = fields.get(step) if fields else members[0 if isinstance(step, int) else -1] if members else None
    return kind


def _fields(kind: Any) -> Mapping[str, Any]:
    """Return field -> type of the record that a type is, or may be; empty for other types."""
    for option in get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,):
        if any(hasattr(option, mark) for mark in ("__dataclass_fields__", "model_fields")):
            return get_type_hints(option)
    return {}


def read_yaml(path: Path, *, error: type[Kt3dError], hint: str) -> Any:
    """Return the content of a YAML file.

    Raise ``error`` for a file that cannot be read, is larger than 1 MiB, nests deeper than 50 levels, holds an alias
    (a few lines of them can stand for gigabytes), or is no YAML.
    """
    import yaml

    try:
        if path.stat().st_size > MAX_YAML_BYTES:
            raise error(f"is larger than {MAX_YAML_BYTES >> 20} MiB", where=path, hint=hint)
        data = read_whole(path, MAX_YAML_BYTES)
        text, depth = data.decode(), 0
        for number, event in enumerate(yaml.parse(text, Loader=yaml.CSafeLoader)):
            if number > MAX_YAML_EVENTS:
                raise error(f"holds more than {MAX_YAML_EVENTS} values", where=path, hint=hint)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_YAML_DEPTH:
                raise error(f"nests deeper than {MAX_YAML_DEPTH} levels", where=path, hint=hint)
            if isinstance(event, yaml.ScalarEvent) and len(event.value) > MAX_YAML_SCALAR:
                raise error(f"holds a value of {len(event.value)} characters", where=path, hint=hint)
            if isinstance(event, yaml.AliasEvent):
                raise error(f"holds a YAML alias (*{event.anchor!s:.40})", where=path, hint="write it out")
        return yaml.load(text, Loader=yaml.CSafeLoader)
    except (OSError, ValueError, OverflowError, yaml.YAMLError) as wrong:
        raise error(f"is not readable YAML ({' '.join(str(wrong).split())})", where=path, hint=hint) from wrong
