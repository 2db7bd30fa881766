"""Data against declared types: what a sentence names, and what a YAML file may not do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest

from kt3d_bench.errors import ArtefactError, PluginError
from kt3d_bench.schema import MAX_YAML_BYTES, STRICT, Must, OneOf, Whole, parse, read_yaml, shown


@dataclass(frozen=True)
class Part:
    __pydantic_config__ = STRICT
    colour: Annotated[str, OneOf(("red", "green"))]
    count: Annotated[int, Whole(1, 5)] = 1
    share: float = 0.0


@dataclass(frozen=True)
class Thing:
    __pydantic_config__ = STRICT
    parts: tuple[Part, ...]
    named: Mapping[str, Part] = field(default_factory=dict)
    title: Annotated[str, Must("a short text", lambda text: len(text) < 9)] | None = None

    def conflicts(self) -> list[str]:
        return ["title and parts do not fit"] if self.title == "none" and self.parts else []


def refused(content: Any) -> str:
    with pytest.raises(PluginError) as caught:
        parse(Thing, content, error=PluginError, where="thing.yaml", hint="repair it")
    assert caught.value.message.startswith("thing.yaml: ")
    assert caught.value.message.endswith("; repair it")
    return caught.value.message


def test_lists_become_tuples_and_mappings_become_records() -> None:
    content = {"parts": [{"colour": "red", "share": 1}], "named": {"x": {"colour": "green", "count": 5}}}
    found = parse(Thing, content, error=PluginError, where="", hint="")
    assert found == Thing((Part("red", 1, 1.0),), {"x": Part("green", 5)})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "thing.yaml: expected a mapping;"),
        ({}, "the field 'parts' is missing"),
        ({"parts": [], "part": 1}, "unknown field 'part', did you mean 'parts'?"),
        ({"parts": [{"color": "red"}]}, "unknown field 'color' in parts.0, did you mean 'colour'?"),
        ({"parts": [], "named": {"a": {"color": 1}}}, "unknown field 'color' in named.a, did you mean 'colour'?"),
        ({"parts": [{"colour": "rde"}]}, "parts.0.colour is 'rde' (str): did you mean 'red'?"),
        ({"parts": [{"colour": "blue"}]}, "parts.0.colour is 'blue' (str): known names: green, red"),
        ({"parts": [{"colour": "red", "count": True}]}, "parts.0.count is True (bool): expected a whole number"),
        ({"parts": [{"colour": "red", "count": "3"}]}, "parts.0.count is '3' (str): expected a whole number"),
        ({"parts": [{"colour": "red", "count": 0}]}, "parts.0.count is 0 (int): expected at least 1"),
        ({"parts": [{"colour": "red", "count": 10**30}]}, "00000 (int): expected at most 5"),
        ({"parts": [{"colour": "red", "share": float("nan")}]}, "parts.0.share is nan (float): expected a finite"),
        ({"parts": "red"}, "parts is 'red' (str): expected a list"),
        ({"parts": [], "named": []}, "named is [] (list): expected a mapping"),
        ({"parts": [], "title": 3}, "title is 3 (int): expected text"),
        ({"parts": [], "title": "0123456789"}, "title is '0123456789' (str): expected a short text"),
        ({"parts": [{"colour": "red"}], "title": "none"}, "title and parts do not fit"),
        ({"parts": [], "\x1b[31m": 1}, "unknown field '\\x1b[31m'"),
        ({"parts": [], 3: 1}, "3 is 3 (int)"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_with_what_it_should_be(content: Any, message: str) -> None:
    text = refused(content)
    assert message in text
    assert "\x1b" not in text
    text.encode()


def test_all_wrong_fields_are_named_at_once_but_not_thousands() -> None:
    assert "parts is 1 (int): expected a list; title is 2 (int)" in refused({"parts": 1, "title": 2})
    assert refused({"parts": [1] * 1000}).endswith("parts.9 is 1 (int): expected a mapping; and 990 more; repair it")


def test_an_instance_is_checked_like_a_mapping() -> None:
    assert "parts.0.colour is 'blue'" in refused(Thing((Part("blue"),)))


def test_a_value_is_shown_on_one_short_line() -> None:
    assert shown("a\n\x1b") == r"'a\n\x1b' (str)"
    assert len(shown("x" * 1000)) == 60 + len(" (str)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [1]\nb: *a", "holds a YAML alias"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", "holds a YAML alias"),
        ("[" * 51 + "]" * 51, "nests deeper than 50 levels"),
        ("[" * 100_000, "nests deeper than 50 levels"),
        ("a: [", "is not readable YAML"),
        ("a: 2026-13-45", "is not readable YAML"),
        ("a: " + "9" * 5000, "is not readable YAML"),
        ("? [1]\n: 2", "is not readable YAML"),
        ("!!python/name:os.system", "is not readable YAML"),
        ("a: 1\n---\nb: 2", "is not readable YAML"),
        ("#" * MAX_YAML_BYTES + "#", "is larger than 1 MiB"),
        ("a: [" + "[]," * 100_000 + "]", "holds more than 200000 values"),
        ("a: 1" + ":59" * 40_000, "holds a value of 120001 characters"),
    ],
    ids=range(13),
)
def test_a_yaml_file_that_could_do_harm_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ArtefactError, match=message) as caught:
        read_yaml(path, error=ArtefactError, hint="train again")
    assert caught.value.where == str(path)
    assert "\n" not in caught.value.message


def test_a_yaml_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"a: \xff")
    for path in (tmp_path / "x.yaml", tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ArtefactError, match="is not readable YAML"):
            read_yaml(path, error=ArtefactError, hint="")


def test_a_yaml_file_at_the_limits_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("[" * 50 + "]" * 50)
    assert read_yaml(tmp_path / "x.yaml", error=ArtefactError, hint="")
