"""What every page is made with: templates that escape all text, assets of a package, digests for the policy."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

SITE = "kt3d_bench.leaderboard.site"
"""The package whose style, script and templates pages share."""
_LONGEST_TEXT = 4000


def templates(package: str) -> Environment:
    """The templates of a package: everything printed is escaped, names that are not given are errors."""
    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def asset(package: str, name: str) -> str:
    """The text of a file below the package's ``assets``."""
    return files(package).joinpath("assets", name).read_text(encoding="utf-8")


def source_hash(content: bytes) -> str:
    """How a Content-Security-Policy names one style sheet or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"


def spoken(name: str) -> str:
    """``left_ankle`` -> ``left ankle``."""
    return name.replace("_", " ")


def _printable(value: Any) -> Any:
    """Text without control characters, line ends and direction marks among them, and never endless."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    text = "".join(char if char.isprintable() else " " for char in value)
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"
