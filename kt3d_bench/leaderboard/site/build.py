"""``leaderboards/index.html`` and one ``index.html`` per board, rendered from entries; equal entries give equal bytes.

Pages are self-contained: style, script and drawings are inside, and a Content-Security-Policy with the digests of the
one style sheet and the one script lets nothing else run or load. Text from entries is data: Jinja2 escapes all of it,
no script reads any of it as code, and links are made of web addresses only.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from kt3d_bench.leaderboard.entries import ENTRIES, GENERATED, Entry, read_boards
from kt3d_bench.leaderboard.site import charts
from kt3d_bench.leaderboard.site.pages import board_page, index_page, sources_text
from kt3d_bench.scoring.benchmarks import Benchmark, Published
from kt3d_bench.scoring.metrics import CURVE_MM

PAGE = "index.html"
_LONGEST_TEXT = 4000
_PACKAGE = "kt3d_bench.leaderboard.site"


def rendered_site(
    leaderboards: Path, benchmarks: Mapping[str, Benchmark], published: Mapping[str, Published]
) -> dict[Path, str]:
    """File -> text of every page, as ``render.render_boards`` writes them.

    Every known benchmark has its real board, entries or not; boards of unknown benchmarks are left alone. Raises
    ``ArtefactError`` for a broken entry.
    """
    root = Path(leaderboards)
    boards: dict[str, tuple[Entry, ...]] = dict.fromkeys(sorted(benchmarks), ())
    for board, entries in read_boards(root).items():
        if board.removeprefix(f"{GENERATED}/") in benchmarks:
            boards[board] = entries
    environment = _environment()
    pages = {root / PAGE: _render(environment, "index.html", index_page(boards, benchmarks, published), "")}
    for board, entries in boards.items():
        name = board.removeprefix(f"{GENERATED}/")
        page = board_page(board, benchmarks[name], entries, published.get(name))
        pages[root / board / PAGE] = _render(environment, "board.html", page, "../" * (board.count("/") + 1))
    return pages


def web_address(text: str) -> str:
    """``text`` where it is a plain http or https address, else "": nothing that a link could run."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return ""
    whole = text.isprintable() and not any(char.isspace() or char in '<>"\\' for char in text)
    return text if whole and parts.scheme in ("http", "https") and parts.hostname else ""


def _render(environment: Environment, template: str, page: Any, root: str) -> str:
    """``root`` leads from the page's folder to the boards'."""
    return environment.get_template(template).render(page=page, root=root) + "\n"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(_PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = _asset("site.css"), _asset("site.js")
    environment.globals.update(
        style=Markup(style),
        script=Markup(script),
        policy=f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'",
        charts=charts,
        figure=charts.figure(),
        thresholds=CURVE_MM,
        entries_folder=ENTRIES,
        sources_text=sources_text,
    )
    environment.filters.update(web_address=web_address, joint_name=_joint_name, duration=_duration)
    return environment


def _asset(name: str) -> str:
    return files(_PACKAGE).joinpath("assets", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _printable(value: Any) -> Any:
    """Text without control characters, line ends and direction marks among them, and never endless."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    text = "".join(char if char.isprintable() else " " for char in value)
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"


def _joint_name(name: str) -> str:
    return name.replace("_", " ")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
