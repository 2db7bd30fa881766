"""The front page and what all pages link to: made from this repository's entries and from what is installed."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from kt3d_bench.cli import main
from kt3d_bench.errors import ArtefactError
from kt3d_bench.leaderboard.answer import answer
from kt3d_bench.leaderboard.entries import Entry, known_boards
from kt3d_bench.leaderboard.ranking import ranked_groups
from kt3d_bench.leaderboard.site.about import PARAMETERS, About, embedded, installed, verbatim
from kt3d_bench.leaderboard.site.exports import board_json, model_index
from kt3d_bench.leaderboard.site.pages import index_page, page_text
from kt3d_bench.plugins import registry

LEADERBOARDS = Path(__file__).parents[2] / "leaderboards"
BOARD = "generated/h36m-s9s11-64"
DOCS = ("numbers.html", "submit.html", "index.html", "methods/a2j.html", "datasets/itop.html")


@pytest.fixture(scope="module")
def boards() -> dict[str, tuple[Entry, ...]]:
    return {board: tuple(entries) for board, entries in known_boards(LEADERBOARDS, registry.benchmarks()).items()}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages as ``make site`` builds them, beside a documentation of a few pages."""
    site = tmp_path_factory.mktemp("site")
    for page in DOCS:
        (site / "docs" / page).parent.mkdir(parents=True, exist_ok=True)
        (site / "docs" / page).write_text("")
    words = ["leaderboard", "build", "--leaderboards", str(LEADERBOARDS), "--html", str(site)]
    done = CliRunner().invoke(main, [*words, "--url", "https://example.org/kt3d/"])
    assert done.exit_code == 0, done.output
    return site


def test_the_first_answer_is_that_of_a_board_with_its_badge(site: Path, boards: dict[str, tuple[Entry, ...]]) -> None:
    text = (site / "index.html").read_text()
    benchmark = registry.benchmark("h36m-s9s11-64")
    found = answer(ranked_groups(boards[BOARD], benchmark)[0], benchmark)
    lead = text[text.index('class="lead-board"') : text.index('id="boards"')]
    assert unescape(lead).count(found.text) == 1
    assert ">generated people<" in lead
    assert f'href="{BOARD}/index.html"' in lead
    drawing = (LEADERBOARDS / BOARD / "forest.svg").read_bytes()
    assert embedded(drawing, "svg+xml") in lead


def test_every_dataset_and_method_has_a_card(site: Path, boards: dict[str, tuple[Entry, ...]]) -> None:
    text = (site / "index.html").read_text()
    page = index_page(boards, registry.benchmarks(), registry.published(), installed(site))
    assert [one.name for one in page.datasets] == list(registry.datasets())
    assert [one.name for one in page.methods] == list(registry.methods())
    assert all(one.picture for one in page.datasets)
    assert text.count("A generated person in the layout of") == len(registry.datasets())
    reads = {one.name: one.reads for one in page.methods}
    assert (reads["a2j"], reads["blazepose"]) == ("depth image", "RGB image")
    best = {}
    for one in boards[BOARD]:
        best.setdefault(one.method, []).append(one.scores["mpjpe_mm"])
    (mean,) = [one.number for one in page.methods if one.name == "mean-pose"]
    assert (mean.text, mean.board) == (f"{min(best['mean-pose']):.1f} mm MPJPE, none", BOARD)


def test_links_lead_to_the_documentation_where_it_is_there(site: Path, boards: dict[str, tuple[Entry, ...]]) -> None:
    text = (site / "index.html").read_text()
    assert {*re.findall(r'href="docs/([^"]+)"', text)} == set(DOCS)
    below = (site / "itop-front" / "index.html").read_text()
    assert {*re.findall(r'href="../docs/([^"]+)"', below)} == {"index.html", "submit.html", "datasets/itop.html"}
    assert "@inproceedings{haque2016viewpoint,\n  author" in unescape(below)
    assert 'href="https://www.alberthaque.com/' in below
    alone = page_text(index_page(boards, registry.benchmarks(), {}))
    assert "docs/" not in alone
    assert "@software{kt3d_bench,\n" in alone


def test_previews_name_the_published_address_and_a_picture_that_is_there(
    site: Path, boards: dict[str, tuple[Entry, ...]]
) -> None:
    for path, address in (("index.html", ""), (f"{BOARD}/index.html", f"{BOARD}/")):
        found = dict(re.findall(r'<meta property="(og:\w+)" content="([^"]*)">', (site / path).read_text()))
        assert found["og:url"] == f"https://example.org/kt3d/{address}"
        assert found["og:image"] == "https://example.org/kt3d/strip.png"
        assert found["og:description"]
    assert (site / "strip.png").read_bytes().startswith(b"\x89PNG")
    for url in ("", "javascript:alert(1)"):
        text = page_text(index_page(boards, registry.benchmarks(), {}), about=About(url=url))
        assert "og:image" not in text
        assert "javascript:" not in text


@pytest.mark.parametrize(
    "url", ["example.org/kt3d", "ftp://example.org", "javascript:alert(1)", "https://", "https://a b"]
)
def test_an_address_that_is_none_is_refused(url: str, tmp_path: Path) -> None:
    words = ["leaderboard", "build", "--leaderboards", str(LEADERBOARDS), "--html", str(tmp_path), "--url", url]
    done = CliRunner().invoke(main, words)
    said = " ".join(done.output.split())
    assert done.exit_code == 2
    assert f"{url}: this is no http or https address" in said
    assert "https://example.org/boards" in said
    assert not list(tmp_path.iterdir())


def test_exports_hold_what_the_entries_say(boards: dict[str, tuple[Entry, ...]]) -> None:
    benchmark = registry.benchmark("ubc3v-hard")
    entries = {one.file_name: one for one in boards["generated/ubc3v-hard"]}
    rows = json.loads(board_json(benchmark, tuple(entries.values())))
    assert sorted(name for row in rows for name in row["entries"].split()) == sorted(entries)
    for row in rows:
        own = [entries[name].scores["mpjpe_mm"] for name in row["entries"].split()]
        assert row["mpjpe_mm"] == pytest.approx(sum(own) / len(own))
    ranked = [row for row in rows if row["rank"] is not None and row["group"] == 1]
    models = yaml.safe_load(model_index(benchmark, tuple(entries.values())))["model-index"]
    assert len(models) == len(ranked) > 0
    for model, row in zip(models, ranked, strict=True):
        (result,) = model["results"]
        assert result["dataset"]["type"] == "generated/ubc3v-hard"
        assert "generated stand-in" in result["dataset"]["name"]
        values = {one["type"]: one["value"] for one in result["metrics"]}
        assert values["mpjpe_mm"] == pytest.approx(row["mpjpe_mm"], abs=5e-4)


def test_text_of_several_lines_is_escaped_and_keeps_them() -> None:
    assert verbatim("@a{<b>\n  x\x1b\u202e}") == "@a{&lt;b&gt;\n  x}"


def test_methods_show_the_parameters_that_the_documentation_counted(
    tmp_path: Path, boards: dict[str, tuple[Entry, ...]]
) -> None:
    (tmp_path / "docs").mkdir()
    counted = {"a2j": {"paper": 43_126_848, "laptop": 800_000, "tiny": 797_456}, "mean-pose": {"paper": 0}}
    (tmp_path / "docs" / PARAMETERS).write_text(json.dumps(counted))
    page = index_page(boards, registry.benchmarks(), {}, installed(tmp_path))
    sizes = {one.name: one.size for one in page.methods}
    assert sizes["a2j"] == "trained parameters: 43.1 M (paper), 0.80 M (tiny)"
    assert (sizes["mean-pose"], sizes["v2v"]) == ("no trained parameters", "")
    assert sizes["a2j"] in page_text(page)
    for broken in ("[1]", '{"a2j": {"paper": -1}}', "{"):
        (tmp_path / "docs" / PARAMETERS).write_text(broken)
        with pytest.raises(ArtefactError, match="is not what the documentation's build writes"):
            installed(tmp_path)
