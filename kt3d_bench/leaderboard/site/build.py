"""``leaderboards/index.html`` and one ``index.html`` per board, rendered from entries; equal entries give equal bytes.

Pages are self-contained: style, script and drawings are inside, and a Content-Security-Policy with the digests of the
one style sheet and the one script lets nothing else run or load. Text from entries is data: Jinja2 escapes all of it,
no script reads any of it as code, and links are made of web addresses only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment
from markupsafe import Markup

from kt3d_bench.leaderboard.entries import ENTRIES, GENERATED, Entry
from kt3d_bench.leaderboard.site import charts
from kt3d_bench.leaderboard.site.html import SITE, asset, source_hash, spoken, templates
from kt3d_bench.leaderboard.site.pages import board_page, index_page, sources_text
from kt3d_bench.metrics.benchmarks import Benchmark, Published
from kt3d_bench.metrics.functional import CURVE_MM
from kt3d_bench.progress import duration

PAGE = "index.html"


def rendered_site(
    root: Path,
    boards: Mapping[str, tuple[Entry, ...]],
    benchmarks: Mapping[str, Benchmark],
    published: Mapping[str, Published],
) -> dict[Path, str]:
    """File below ``root`` -> text of every page of ``boards`` (``entries.known_boards``)."""
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
    environment = templates(SITE)
    style, script = asset(SITE, "site.css"), asset(SITE, "site.js")
    environment.globals.update(
        style=Markup(style),
        script=Markup(script),
        policy=f"default-src 'none'; img-src data:; style-src {source_hash(style.encode())}; "
        f"script-src {source_hash(script.encode())}; base-uri 'none'; form-action 'none'",
        charts=charts,
        figure=charts.figure(),
        thresholds=CURVE_MM,
        entries_folder=ENTRIES,
        sources_text=sources_text,
    )
    environment.filters.update(web_address=web_address, joint_name=spoken, duration=duration)
    return environment
