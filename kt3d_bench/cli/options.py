"""The options of a method: every field of its ``Config`` with default, presets, choices and documentation."""

from __future__ import annotations

import ast
import inspect
import textwrap
import typing
from collections.abc import Mapping
from dataclasses import fields
from itertools import pairwise
from typing import Any, Literal

from kt3d_bench.plugins import registry
from kt3d_bench.plugins.hookspecs import MethodPlugin


def option_lines(method: MethodPlugin) -> list[str]:
    """One line per option that ``kt3d train --set`` takes. Imports the method, and torch with it; raises
    ``PluginError`` when that fails."""
    loaded = registry.load(method.load)
    config, presets = loaded.Config, loaded.PRESETS
    defaults = config()
    documentation = field_documentation(config)
    hints = _hints(config)
    lines = []
    for field in fields(config):
        default = getattr(defaults, field.name)
        others = [
            f"{name} {_shown(presets[name][field.name])}"
            for name in method.presets
            if field.name in presets.get(name, {}) and presets[name][field.name] != default
        ]
        extra = f" ({', '.join(others)})" if others else ""
        choices = typing.get_args(hints.get(field.name)) if typing.get_origin(hints.get(field.name)) is Literal else ()
        known = f" one of {', '.join(map(str, choices))}." if choices else ""
        text = documentation.get(field.name, "")
        colon = ":" if text or known else ""
        lines.append(f"  {field.name} = {_shown(default)}{extra}{colon}{known}{' ' + text if text else ''}")
    return lines


def field_documentation(config: type[Any]) -> dict[str, str]:
    """Field -> the text below it in the source of a dataclass, on one line; empty where there is no source."""
    found: dict[str, str] = {}
    for cls in reversed(config.__mro__[:-1]):
        try:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        except (OSError, TypeError, SyntaxError, ValueError):
            continue
        body = getattr(tree, "body", [])
        for statement, below in pairwise(body):
            if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
                continue
            value = below.value if isinstance(below, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found[statement.target.id] = " ".join(value.value.split())
    return found


def _hints(config: type[Any]) -> Mapping[str, Any]:
    try:
        return typing.get_type_hints(config)
    except (NameError, TypeError):
        return {}


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
