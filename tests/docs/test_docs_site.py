"""The documentation builds without a warning, links nowhere in vain, and loads nothing from elsewhere."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from docs_pages import ROOT

from kt3d_bench.leaderboard.site.about import PARAMETERS, millions

sys.path.insert(0, str(ROOT / "docs"))
import build as docs


class _Page(HTMLParser):
    """A page's anchors, its links, and what a browser would load for it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.anchors |= {named[name] for name in ("id", "name") if name in named}
        if tag == "a" and "href" in named:
            self.links.append(named["href"])
        if tag in ("script", "img", "iframe", "source") and "src" in named:
            self.loads.append(named["src"])
        if tag == "link" and named.get("rel") != "canonical" and "href" in named:
            self.loads.append(named["href"])


def broken(site: Path) -> list[str]:
    """Return the links and loaded files of all pages below ``site`` that lead nowhere, or load from elsewhere.

    The boards lie beside ``site``: links to their index and their pages are right.
    """
    pages = {path: _Page(path.read_text()) for path in site.rglob("*.html")}
    found = []
    for path, page in pages.items():
        for address in (*page.links, *page.loads):
            parts = urlsplit(address)
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            where = f"{path.relative_to(site)}: {address}"
            if parts.scheme or parts.netloc:
                found += (
                    [f"{where} is loaded from elsewhere"] if address in page.loads and parts.scheme != "data" else []
                )
            elif target.is_relative_to(site):
                missing = not target.exists() or (
                    parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors
                )
                found += [where] if missing else []
            elif target.parent != site.parent and not (
                target.parents[2] == site.parent and target.name == "index.html"
            ):
                found.append(where)
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("zensical") is None:
        pytest.skip("the documentation's generator is not installed: pip install -e '.[docs]'")
    out = tmp_path_factory.mktemp("site") / "docs"
    docs.build(out)
    return out


def test_the_site_has_every_page_and_no_broken_link(site: Path) -> None:
    for page in docs.sources().values():
        assert (site / page).with_suffix(".html").is_file()
    assert broken(site) == []


def test_the_reference_shows_every_public_name(site: Path) -> None:
    lines = ast.parse((ROOT / "kt3d_bench" / "__init__.pyi").read_text()).body
    names = [one.asname for line in lines if isinstance(line, ast.ImportFrom) for one in line.names]
    text = (site / "api.html").read_text()
    assert len(names) > 50
    assert [name for name in names if f"kt.{name}" not in text] == []
    assert "The test set lies in" in text, "docstrings are missing"


def test_links_of_readmes_lead_to_pages_boards_or_nowhere(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "plugins").mkdir()
    text = (
        "[a](../docs/x.md#y) [b](code.py) ![c](fig/p.png) [d](https://e.org) [e](../leaderboards/generated/k/README.md)"
    )
    (tmp_path / "plugins" / "README.md").write_text(text + "\n\n```bash slow\nkt3d list\n```\n")
    pages = {"docs/x.md": "x.md", "plugins/README.md": "methods/m.md"}
    shown, pictures = docs.page("plugins/README.md", pages, tmp_path)
    assert shown.splitlines()[0] == (
        '[a](../x.md#y) b ![c](p.png) [d](https://e.org) <a href="../../generated/k/index.html">e</a>'
    )
    assert "```bash\nkt3d list" in shown
    assert pictures == {"methods/p.png": tmp_path / "plugins" / "fig" / "p.png"}


def test_code_in_tables_has_no_bars() -> None:
    """A bar in a table's code needs a backslash, which the generator would show."""
    lines = [(source, line) for source in docs.sources() for line in (ROOT / source).read_text().splitlines()]
    assert [
        (source, line) for source, line in lines if line.startswith("|") and re.search(r"`[^`]*\\\|[^`]*`", line)
    ] == []


def test_what_is_broken_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<a href="b.html">1</a><a href="#here">2</a><script src="https://x.org/s.js"></script>'
    )
    assert broken(tmp_path) == [
        "a.html: b.html", "a.html: #here", "a.html: https://x.org/s.js is loaded from elsewhere",
    ]  # fmt: skip


README_COUNTS = {"a2j": "43.1 M", "simcc-3d": "26.1 M", "v2v": "3.41 M", "zhou": "34.0 M", "volumetric": "53.6 M"}
"""Of the preset ``paper``, as the READMEs say, whose numbers are those of the released networks or counted by hand."""


def test_methods_name_their_trained_parameters(site: Path) -> None:
    found = json.loads((site / PARAMETERS).read_text())
    text = (site / "methods.html").read_text()
    for name, count in README_COUNTS.items():
        assert found[name]["paper"] / 1e6 == pytest.approx(float(count.split()[0]), abs=0.05)
        assert f"paper {millions(found[name]['paper'])}" in text
    assert set(found["mean-pose"].values()) == set(found["blazepose"].values()) == {0}
    assert (millions(0), millions(797_456), millions(43_126_848)) == ("none", "0.80 M", "43.1 M")
