"""Render pages that need nothing else: style, scripts and drawings are inside, and nothing is loaded.

Text from files is data: Jinja2 escapes all of it, links are made of web addresses only, and a Content-Security-Policy
allows only those scripts (and, unless asked otherwise, that style sheet) whose digests it names. Equal input gives
equal bytes.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import BytecodeCache, ChoiceLoader, Environment, FileSystemBytecodeCache, PackageLoader, StrictUndefined
from jinja2.bccache import Bucket
from markupsafe import Markup

from kt3d_bench.progress import duration
from kt3d_bench.web import charts

WEB = "kt3d_bench.web"
_LONGEST_TEXT = 4000


def render(
    package: str, template: str, *, own: str = "", scripts: Sequence[str] = (), any_style: bool = False, **context: Any
) -> str:
    """Return the page that ``template``, below the ``templates`` of ``package`` or of ``web``, makes of ``context``.

    ``own`` names the package's ``assets/<own>.css`` and ``.js``, which follow the shared ones. ``scripts`` are policy
    hashes of further scripts that may run; ``any_style`` allows styles that a script writes.
    """
    styles, sources = [_asset(WEB, "page.css")], [_asset(WEB, "page.js")]
    if own:
        styles.append(_asset(package, f"{own}.css"))
        sources.append(_asset(package, f"{own}.js"))
    style = "".join(styles)
    allowed = " ".join((*(policy_hash(source.encode()) for source in sources), *scripts))
    allowed_style = "'unsafe-inline'" if any_style else policy_hash(style.encode())
    page = _environment(package).get_template(template)
    return page.render(
        **context,
        style=Markup(style),
        scripts=[Markup(source) for source in sources],
        policy=f"default-src 'none'; img-src data:; style-src {allowed_style}; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'",
    ) + "\n"  # fmt: skip


def policy_hash(content: bytes) -> str:
    """Return how a Content-Security-Policy names one style sheet or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"


def spoken(name: str) -> str:
    """``left_ankle`` -> ``left ankle``."""
    return name.replace("_", " ")


def web_address(text: str) -> str:
    """Return ``text`` where it is a plain http or https address, else "": nothing that a link could run."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return ""
    whole = text.isprintable() and not any(char.isspace() or char in '<>"\\' for char in text)
    return text if whole and parts.scheme in ("http", "https") and parts.hostname else ""


@cache
def _environment(package: str) -> Environment:
    """Return the templates of a package: everything printed is escaped, names that are not given are errors."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader(WEB)]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
        bytecode_cache=_bytecode_cache(),
    )
    environment.globals.update(charts=charts, figure=charts.figure())
    environment.filters.update(web_address=web_address, spoken=spoken, duration=duration)
    return environment


class _Bytecode(FileSystemBytecodeCache):
    """Compiled templates, kept from process to process where the system's temporary folder can hold them."""

    def dump_bytecode(self, bucket: Bucket) -> None:
        with contextlib.suppress(OSError):
            super().dump_bytecode(bucket)


def _bytecode_cache() -> BytecodeCache | None:
    """A cache in a folder that only this user can write, with names of this file's own: its options are compiled in."""
    own = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    try:
        return _Bytecode(pattern=f"kt3d-{own}-%s.cache")
    except (RuntimeError, OSError):
        return None


@cache
def _asset(package: str, name: str) -> str:
    return files(package).joinpath("assets", name).read_text(encoding="utf-8")


def _printable(value: Any) -> Any:
    """Text without control characters, line ends and direction marks among them, and of limited length."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    text = value if value.isprintable() else "".join(char if char.isprintable() else " " for char in value)
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"
