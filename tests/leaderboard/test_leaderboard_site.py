"""The boards' pages: what stands on them, that strangers' words stay words, and that bytes repeat."""

from __future__ import annotations

import base64
import csv
import hashlib
import re
import shutil
import time
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from kt3d_bench.cli import main
from kt3d_bench.errors import ArtefactError
from kt3d_bench.leaderboard.answer import answer
from kt3d_bench.leaderboard.commands import row_command
from kt3d_bench.leaderboard.entries import (
    Breakdown,
    Clips,
    Entry,
    Flags,
    Provenance,
    Submission,
    TrainingData,
    write_entry,
)
from kt3d_bench.leaderboard.ranking import Row, difference, ranked_groups
from kt3d_bench.leaderboard.render import render_boards, rendered_files
from kt3d_bench.leaderboard.site import rows as site_rows
from kt3d_bench.leaderboard.site.pages import board_page, index_page, page_text
from kt3d_bench.metrics.benchmarks import Benchmark, Published, PublishedRow
from kt3d_bench.metrics.functional import CURVE_MM, METRICS
from kt3d_bench.skeletons import H36M17
from kt3d_bench.web import charts
from kt3d_bench.web.page import web_address

ROOT = Path(__file__).parents[2]
BENCHMARK = Benchmark(
    id="toy-test", version=1, title="Toy set", dataset="toy", split="test", modality="depth",
    headline=("mpjpe_mm", "pa_mpjpe_mm"), beside=("pck_100",), root=0, reference="from-depth", box_rule="mask",
    foreground="central-body", sees="the crop", footnotes=("A footnote.",), action_mean=True,
    sample_list_digest="a" * 64,
)  # fmt: skip
PUBLISHED = Published(
    "toy-test", "A paper, 2019",
    (PublishedRow("Du et al.", {"mpjpe_mm": 126.5}, "fully supervised", cite=8, protocol="RGB"),),
    ("A note on the paper.",), (PublishedRow("ours", {"mpjpe_mm": 19.06}, details={"loss": "none"}),), "Table 4.",
)  # fmt: skip
KNOWN = {"toy-test": BENCHMARK}
SIZES = tuple(range(3, 13))
HARD = np.random.default_rng(0).normal(100, 20, len(SIZES))
EVIL = "\"'></td></script><script>x()</script><b onclick=x() {{ 1 + 1 }}&amp;\u202e\x07"


def breakdown(value: float = 50.0, **changes: Any) -> Breakdown:
    whole: dict[str, Any] = {
        "by_joint": {name: {"mpjpe_mm": value + place} for place, name in enumerate(H36M17.joints)},
        "by_action": {"Walking": {"mpjpe_mm": value}, "Sitting": {"mpjpe_mm": 2 * value}},
        "by_subject": {"S9": {"mpjpe_mm": value}},
        "by_camera": {"one": {"mpjpe_mm": value}},
        "pck_curve": tuple(min(100.0, at * 50 / max(value, 1.0)) for at in CURVE_MM),
    }
    return Breakdown(**(whole | changes))


def entry(method: str = "m", shift: float = 0.0, **changes: Any) -> Entry:
    """An entry with values per clip and, unless ``breakdown=None``, everything that charts show."""
    means = HARD + shift
    value = float(np.average(means, weights=SIZES))
    clips = Clips(names_sha256="f" * 64, samples=SIZES, means={"mpjpe_mm": tuple(means.tolist())})
    facts = {"sample_list_digest": "a" * 64, "labels_digest": "b" * 64, "metric_version": 1, "command": "kt3d train",
             **changes.pop("provenance", {})}  # fmt: skip
    whole: dict[str, Any] = {
        "benchmark": "toy-test", "benchmark_version": 1, "origin": "official", "method": method, "supervision": "none",
        "scores": {"mpjpe_mm": value, "pa_mpjpe_mm": 40.0, "pck_100": 87.2, "action_mean_mpjpe_mm": 51.0},
        "intervals": {"mpjpe_mm": (value - 5, value + 5)}, "samples": sum(SIZES), "seed": 0, "clips": clips,
        "breakdown": breakdown(50 + shift), "provenance": Provenance(**facts), "interval_rule": "expanded-percentile",
        "flags": Flags(target_labels_seen=changes.pop("seen", "none"), reference="from-depth", box_rule="mask",
                       selection_rule="last", external_data=changes.pop("external", ()),
                       training_data=changes.pop("training", (
                           TrainingData(role="source", dataset="clean", origin="generated", labels="all"),))),
    }  # fmt: skip
    return Entry(**(whole | changes))


class Parsed(HTMLParser):
    """Elements and text of a page, as a browser would tell them apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self._inside.append("")

    def handle_data(self, data: str) -> None:
        if not self._inside or self._inside[-1] not in ("script", "style"):
            self.text += f"{data} "

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


def site(folder: Path, *entries: Entry, published: Published | None = PUBLISHED) -> dict[str, str]:
    for one in entries:
        write_entry(folder, one)
    reported = {} if published is None else {"toy-test": published}
    return {
        path.relative_to(folder).as_posix(): text
        for path, text in rendered_files(folder, KNOWN, reported, html=folder).items()
        if path.suffix == ".html"
    }


def board(folder: Path, *entries: Entry, **more: Any) -> Parsed:
    return Parsed(site(folder, *entries, **more)["toy-test/index.html"])


def test_a_page_per_board_and_an_index_that_leads_to_them(tmp_path: Path) -> None:
    pages = site(tmp_path, entry(), entry(origin="generated", generator_version=1))
    assert set(pages) == {"index.html", "toy-test/index.html", "generated/toy-test/index.html"}
    links = {one["href"] for one in Parsed(pages["index.html"]).all("a")}
    assert {"toy-test/index.html", "generated/toy-test/index.html"} <= links
    for name in ("toy-test/index.html", "generated/toy-test/index.html"):
        back = "../" * name.count("/") + "index.html"
        assert back in {one["href"] for one in Parsed(pages[name]).all("a")}
    for name, text in pages.items():
        for one in Parsed(text).all("a"):
            target = one["href"].partition("#")[0]
            if target and not target.startswith("http"):
                assert (tmp_path / Path(name).parent / target).resolve().relative_to(tmp_path)
                rendered = target.endswith("index.html") or target in ("board.csv", "board.json", "model-index.yml")
                assert rendered or (tmp_path / Path(name).parent / target).is_file()


def test_a_board_says_its_protocol_outright(tmp_path: Path) -> None:
    words = board(tmp_path).words
    for said in (
        "A method sees the crop. Rows are ranked by MPJPE after both poses are moved so that the hip is at the origin",
        "Both poses are moved so that the hip is at the origin.",
        "Camera-frame depth comes from the depth image alone (from-depth).",
        "Around the foreground of the image, without labels.",
        "Rule 'central-body', which reads the depth image and no label.",
        "The last checkpoint of a schedule fixed beforehand.",
        "17, whose mapping is at least approximate.",
        "A footnote.",
        "No entries yet.",
    ):
        assert said in words


def test_rows_intervals_seeds_and_ties(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).normal(0, 5, len(SIZES))
    near = Clips(names_sha256="f" * 64, samples=SIZES, means={"mpjpe_mm": tuple((HARD + 0.2 + noise).tolist())})
    seeds = [entry("m", shift, seed=seed) for seed, shift in enumerate((30.0, 31.0, 32.0))]
    page = board(tmp_path, entry("best"), entry("near", 0.1, clips=near), *seeds)
    rows = [one for one in page.all("tbody") if "data-level" in one]
    assert [one["class"].strip() for one in rows] == ["item tied", "item tied", "item"]
    value = float(np.average(HARD, weights=SIZES))
    assert f"MPJPE {value:.1f} mm, 95 % interval {value - 5:.1f} to {value + 5:.1f}" in page.words
    assert f"{value + 31:.1f} ± 1.0" in page.words
    assert "3 seeds: 0, 1, 2" in page.words
    assert [one["data-rank"] for one in rows] == ["1", "1", "3"]
    assert len([one for one in page.all("circle") if one.get("class") == "seed"]) == 3
    assert {"ascending"} == {one["aria-sort"] for one in page.all("th") if "aria-sort" in one}
    assert len([one for one in page.all("button") if one.get("class") == "sort" and one.get("title")]) >= 6


def test_what_old_entries_do_not_hold_is_not_recorded(tmp_path: Path) -> None:
    bare = entry("old", clips=None, breakdown=None, interval_rule="percentile", seed=None, intervals={}, training=(),
                 provenance={"command": ""})  # fmt: skip
    words = board(tmp_path, bare).words
    for said in (
        "no entry of this table holds a curve",
        "no entry of this table holds values by joint",
        "Not recorded: by action, by subject, by camera.",
        "training data not stated",
        "no interval",
    ):
        assert said in words
    assert words.count("not recorded") >= 8
    mixed = board(tmp_path, entry("new", 1.0)).words
    assert "Not recorded: old · none ." in mixed
    assert "no entry of this table" not in mixed
    assert "counts as right by definition, so curves do not begin at 0" in mixed


def test_undefined_and_unanswered_rows_are_shown_and_not_ranked(tmp_path: Path) -> None:
    hurt = entry("hurt", unanswered=4, undefined={"mpjpe_mm": 4}, degenerate={"one point": 2})
    nothing = entry("nothing", scores={"mpjpe_mm": None}, clips=None, intervals={}, breakdown=None)
    flags = entry().flags.model_copy(update={"also_reads": ("foreground",)})
    words = board(tmp_path, hurt, nothing, entry("fine", 5.0), entry("more", 6.0, flags=flags)).words
    assert "also reads motion foreground" in words
    assert "4 samples unanswered: not ranked · 2 degenerate poses" in words
    assert "4 undefined" in words
    assert "Without target labels: fine 105.3 mm MPJPE." in words


def test_boards_of_stand_ins_say_so_and_reported_rows_stand_apart(tmp_path: Path) -> None:
    pages = site(tmp_path, entry(origin="generated"))
    words = Parsed(pages["generated/toy-test/index.html"]).words
    assert "The test set is a generated stand-in, not the real dataset." in words
    assert "Real data; not comparable with anything measured on this page." in words
    real = Parsed(pages["toy-test/index.html"]).words
    assert "stand-in" not in real
    assert "never ranked with measured rows" in real
    assert "(real data; not comparable)" in Parsed(pages["index.html"]).words
    page = Parsed(pages["generated/toy-test/index.html"])
    kinds = [one["data-kind"] for tag, one in page.elements if tag in ("tbody", "tr") and "data-kind" in one]
    assert kinds == ["measured", "reported", "reported"]
    assert [one.get("class") for one in page.all("table")].count("plain sortable reported") == 2


def test_weights_trained_elsewhere_are_not_called_stand_ins(tmp_path: Path) -> None:
    said = "training data of stand-ins"
    other = (TrainingData(role="source", dataset="other", origin="generated", labels="all"),)
    alike = entry("m"), entry("n", 5.0, training=other)
    assert said in board(tmp_path / "a", *alike).words
    assert said not in board(tmp_path / "b", *alike, entry("zero-shot", 9.0, training=(), external=("weights",))).words


def test_the_best_reported_value_has_a_known_protocol(tmp_path: Path) -> None:
    rows = [PublishedRow("known", {"mpjpe_mm": 60.0}, protocol="one frame"), PublishedRow("unknown", {"mpjpe_mm": 9.0}),
            PublishedRow("other", {"mpjpe_mm": 8.0}, protocol="true 2D", comparable=False)]  # fmt: skip

    def best(*chosen: PublishedRow) -> str:
        published = Published("toy-test", "A paper, 2019", chosen)
        return Parsed(site(tmp_path, entry(), published=published)["index.html"]).words

    assert "60.0 mm, known" in best(*rows)
    assert "9.0 mm, unknown" not in best(*rows[1:])


def test_tables_of_other_versions_are_apart(tmp_path: Path) -> None:
    page = board(tmp_path, entry("new"), entry("other", provenance={"metric_version": 2}))
    assert "Rows of different tables must not be compared" in page.words
    assert len([one for one in page.all("table") if "board" in one.get("class", "")]) == 2


def test_strangers_words_stay_words(tmp_path: Path) -> None:
    hostile = entry(
        "stranger", title=EVIL, supervision=EVIL, seen=EVIL, external=(EVIL,), settings={EVIL: [EVIL]},
        training=(TrainingData(role=EVIL, dataset=EVIL, origin="generated", labels=EVIL, split_digest=EVIL),),
        breakdown=breakdown(by_action={EVIL: {"mpjpe_mm": 1.0}}, by_joint={EVIL: {"mpjpe_mm": 1.0}}),
        provenance={"command": EVIL, "device": EVIL, "versions": {EVIL: EVIL}, "checkpoint_sha256": EVIL,
                    "test_manifest_digest": EVIL, "labels_digest": EVIL, "submission": Submission(
                        form=EVIL, file_sha256="d" * 64, suspicions=(EVIL,), link=f"javascript:x('{EVIL}')")},
    )  # fmt: skip
    published = Published("toy-test", EVIL, (PublishedRow(EVIL, {"mpjpe_mm": 1.0}, EVIL, EVIL, details={EVIL: EVIL}),),
                          (EVIL,))  # fmt: skip
    clean = site(tmp_path / "clean", entry("stranger"), published=None)
    pages = site(tmp_path / "evil", hostile, published=published)
    for name, text in pages.items():
        page = Parsed(text)
        assert {tag for tag, _ in page.elements} <= {tag for tag, _ in Parsed(clean[name]).elements} | {"div", "abbr"}
        assert len(page.all("script")) == 1
        for _, attributes in page.elements:
            assert not [one for one in attributes if one.startswith("on") or one == "style"]
            assert not any("javascript:" in attributes.get(one, "") for one in ("href", "src", "action", "xlink:href"))
        assert "\u202e" not in text
        assert "\x07" not in text
    assert "<script>x()</script>" in Parsed(pages["toy-test/index.html"]).text
    assert "{{ 1 + 1 }}&amp;" in Parsed(pages["toy-test/index.html"]).text


@pytest.mark.parametrize(
    ("text", "linked"),
    [
        ("https://example.org/a?b=1&c=2#d", True),
        ("http://example.org", True),
        ("HTTPS://example.org/x", True),
        ("javascript:alert(1)", False),
        ("JaVaScRiPt:alert(1)", False),
        (" javascript:alert(1)", False),
        ("java\nscript:alert(1)", False),
        ("javascript://example.org/%0Aalert(1)", False),
        ("ftp://example.org/x", False),
        ("data:text/html,<script>1</script>", False),
        ("vbscript:x", False),
        ("file:///etc/passwd", False),
        ("//example.org", False),
        ("https://", False),
        ("https://[broken", False),
        ('https://example.org/"onmouseover="x', False),
        ("https://example.org/a b", False),
        ("https://example.org/\u202egpj", False),
        ("", False),
    ],
)
def test_only_web_addresses_become_links(text: str, linked: bool) -> None:
    assert web_address(text) == (text if linked else "")


def test_endless_text_ends(tmp_path: Path) -> None:
    text = site(tmp_path, entry(title="x" * 500_000, provenance={"command": "y" * 500_000}))["toy-test/index.html"]
    assert len(text) < 200_000
    many = {f"group {n}": {"mpjpe_mm": 1.0} for n in range(500)}
    page = board(tmp_path / "many", entry(breakdown=breakdown(by_action=many)))
    assert "460 more columns are in the entries." in page.words


def test_pages_are_complete_in_themselves_and_let_nothing_else_run(tmp_path: Path) -> None:
    for text in site(tmp_path, entry()).values():
        page = Parsed(text)
        [policy] = [one["content"] for one in page.all("meta") if "http-equiv" in one]
        for tag in ("style", "script"):
            [inside] = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
            digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
            assert f"{tag}-src 'sha256-{digest}'" in policy
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        loads = [
            one.get("src") or one.get("href", "") for tag, one in page.elements if tag in ("img", "link", "script")
        ]
        assert all(one.startswith("data:") or not one for one in loads)
        assert text.startswith('<!doctype html>\n<html lang="en">')


def test_equal_entries_give_equal_bytes_and_stale_pages_are_rendered_anew(tmp_path: Path) -> None:
    entries = [entry(name, shift, seed=seed) for name, shift, seed in (("a", 0.0, 0), ("a", 1.0, 1), ("b", 9.0, 0))]
    first, second = site(tmp_path / "one", *entries), site(tmp_path / "two", *reversed(entries))
    assert first == second
    paths = render_boards(tmp_path / "one", KNOWN, {"toy-test": PUBLISHED})
    assert (tmp_path / "one" / "toy-test" / "index.html") in paths
    assert (tmp_path / "one" / "index.html").read_text() == first["index.html"]
    assert site(tmp_path / "one", entry("c", 3.0)) != first
    (tmp_path / "one" / "toy-test" / "entries" / "x.json").write_text("{}")
    with pytest.raises(ArtefactError, match=r"x\.json"):
        render_boards(tmp_path / "one", KNOWN, {})
    assert (tmp_path / "one" / "index.html").read_text() == first["index.html"]


def test_curves_are_of_all_seeds_or_not_shown() -> None:
    seeds = entry(seed=0), entry(seed=1, breakdown=breakdown(100.0))
    shares = site_rows.pck_shares(Row(1, seeds))
    assert shares is not None
    assert shares[10] == pytest.approx((50.0 + 25.0) / 2)
    assert charts.curve("r", "n", shares, 0).auc == f"{np.mean(shares):.1f}"
    assert site_rows.pck_shares(Row(1, (seeds[0], entry(seed=1, breakdown=None)))) is None
    holes = breakdown(pck_curve=(None, *[1.0] * (len(CURVE_MM) - 1)))
    assert site_rows.pck_shares(Row(1, (entry(breakdown=holes),))) is None
    points = charts.curve("r", "n", (0.0,) * 30 + (100.0,), None).points.split()
    assert points[0] == f"{charts.CURVE_LEFT:.1f},{charts.CURVE_HEIGHT - charts.CURVE_BOTTOM:.1f}"
    assert points[-1] == f"{charts.CURVE_WIDTH - charts.CURVE_RIGHT:.1f},{charts.CURVE_TOP:.1f}"


def heat(*rows: Row, metric: str = "mpjpe_mm", fold: str = "by_joint", order: Sequence[str] = ()) -> Any:
    named = [(str(n), f"row {n}", site_rows.fold_values(row, fold, metric)) for n, row in enumerate(rows)]
    found = charts.heat(
        "t", named, METRICS[metric].unit, lower_is_better=METRICS[metric].better == "lower", order=order
    )
    assert found is not None
    return found


def test_joints_are_in_the_skeletons_order_and_coloured_by_their_error() -> None:
    seeds = entry(seed=0), entry(seed=1, breakdown=breakdown(60.0))
    found = heat(Row(1, seeds), Row(None, (entry(breakdown=None),)), order=H36M17.joints)
    assert tuple(found.columns) == H36M17.joints
    [(_, _, cells)] = found.rows
    assert [cell.text for cell in cells] == [f"{55.0 + place:.1f}" for place in range(17)]
    levels = [cell.level for cell in cells]
    assert (levels[0], levels[-1]) == (0, charts.LEVELS - 1)
    assert levels == sorted(levels, key=lambda level: -1 if level is None else level)
    assert found.missing == ["row 1"]
    assert (found.low, found.high) == ("55.0", "71.0 mm")


def test_higher_is_better_turns_the_colours_round() -> None:
    by_action = {"low": {"pck_100": 10.0}, "high": {"pck_100": 90.0}}
    found = heat(Row(1, (entry(breakdown=breakdown(by_action=by_action)),)), metric="pck_100", fold="by_action")
    assert dict(zip(found.columns, (cell.level for cell in found.rows[0][2]), strict=True)) == {"high": 0, "low": 9}


def test_one_value_far_behind_does_not_pale_the_others() -> None:
    by_action = {f"a{n:02d}": {"mpjpe_mm": 40.0 + n} for n in range(30)} | {"z": {"mpjpe_mm": 900.0}}
    found = heat(Row(1, (entry(breakdown=breakdown(by_action=by_action)),)), fold="by_action")
    levels = [cell.level for cell in found.rows[0][2]]
    assert levels[29] == levels[30] == charts.LEVELS - 1
    assert found.high == "69.0 mm and more"


def test_groups_are_in_the_order_of_their_numbers() -> None:
    names = ("S11", "S9", "b", "2", "S9 ²", "", "02")
    found = heat(Row(1, (entry(breakdown=breakdown(by_action={name: {"mpjpe_mm": 1.0} for name in names})),)),
                 fold="by_action")  # fmt: skip
    assert found.columns == ["", "02", "2", "S9", "S9 ²", "S11", "b"]


def test_undefined_groups_are_empty_cells() -> None:
    by_action = {"here": {"mpjpe_mm": 1.0}, "nowhere": {"mpjpe_mm": None}}
    other = entry(seed=1, breakdown=breakdown(by_action={"here": {"mpjpe_mm": 3.0}}))
    found = heat(Row(1, (entry(breakdown=breakdown(by_action=by_action)), other)), fold="by_action")
    assert [(cell.text, cell.level is None) for cell in found.rows[0][2]] == [("2.0", False), ("", True)]


def test_bars_share_a_scale_that_rows_far_behind_do_not_stretch() -> None:
    rows = [Row(1, (entry("a"),)), Row(2, (entry("b", 20.0),)), Row(3, (entry("c", 900.0),))]
    scale = site_rows.shared_scale(rows, "mpjpe_mm")
    assert scale is not None
    first, second = rows[0].value("mpjpe_mm"), rows[1].value("mpjpe_mm")
    assert first is not None
    assert second is not None
    assert (scale.low, scale.high) == (first - 5, second + 5)
    bars = [site_rows.row_bar(row, "mpjpe_mm", scale) for row in rows]
    assert [bar.beyond for bar in bars if bar] == [False, False, True]
    assert float(bars[0].low) < float(bars[0].value) < float(bars[0].high) < float(bars[1].value) < 100
    assert float(bars[0].low) == charts.BAR_EDGE
    assert site_rows.shared_scale([Row(None, (entry(scores={}, intervals={}),))], "mpjpe_mm") is None


def test_the_figure_has_every_joint_and_bone_and_faces_the_reader() -> None:
    joints, bones = charts.figure()
    assert tuple(joint.name for joint in joints) == H36M17.joints
    assert len(bones) == len(H36M17.bones)
    for right, left in H36M17.mirror_pairs:
        assert joints[right].x + joints[left].x == charts.FIGURE_WIDTH
        assert joints[right].y == joints[left].y
        assert joints[right].x < joints[left].x


def test_the_grid_of_sources_and_targets(tmp_path: Path) -> None:
    target = TrainingData(role="target", dataset="toy", origin="official", labels="full")
    source = TrainingData(role="source", dataset="clean", origin="generated", labels="all")
    stages = {"run": {"stages": [{"digest": "1" * 64}]}}
    more = {"run": {"stages": [{"digest": "1" * 64}, {"digest": "2" * 64}]}}
    rows = (
        entry("before", 40.0, training=(source,), provenance=stages),
        entry("m", 10.0, training=(source, target), provenance=more, seen="partial", supervision="partial"),
        entry("m", 0.0, training=(source, target), provenance=more, seen="full", supervision="full"),
        entry("alone", 5.0, training=(target,), seen="full", supervision="full"),
    )
    page = index_page({"toy-test": rows, "generated/toy-test": ()}, KNOWN, {})
    [grid] = page.grids
    assert [words for words, _ in grid.lines] == ["clean (stand-in)", "no source"]
    steps = {(step.name, step.labels_seen): step for step in grid.lines[0][1][0].steps}
    assert steps["m · partial · seed 0", "partial"].percent == "75 %"
    assert steps["m · full · seed 0", "full"].kind == "oracle"
    assert grid.lines[1][1][0].steps[0].kind == "target-only"
    words = Parsed(site(tmp_path, *rows)["index.html"]).words
    assert "target labels: partial" in words
    assert "75 %" in words


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 100, ["0", "50", "100"]), (121.4, 289.0, ["150", "200", "250"]),
     (0.11, 0.19, ["0.12", "0.14", "0.16", "0.18"]), (5, 5, ["5"]), (10, 20000, ["5000", "10000", "15000", "20000"])],
)  # fmt: skip
def test_axes_have_a_few_round_values(low: float, high: float, expected: list[str]) -> None:
    found = charts.ticks(charts.Scale(low, high))
    assert [text for _, text in found] == expected
    places = [float(place) for place, _ in found]
    assert places == sorted(places)
    assert all(charts.BAR_EDGE <= place <= 100 - charts.BAR_EDGE for place in places)


def adapted_board() -> list[Entry]:
    """A row without data of the target, the adapted one with noise over clips, and one with all labels."""
    target = TrainingData(role="target", dataset="toy", origin="official", labels="")
    source = TrainingData(role="source", dataset="clean", origin="generated", labels="all")
    noise = np.random.default_rng(5).normal(0, 1, len(SIZES))
    gain = Clips(names_sha256="f" * 64, samples=SIZES, means={"mpjpe_mm": tuple((HARD - 20 + noise).tolist())})
    before = {"run": {"stages": [{"digest": "1" * 64}]}}
    after = {"run": {"stages": [{"digest": "1" * 64}, {"digest": "2" * 64}]}}
    value = float(np.average(HARD - 20 + noise, weights=SIZES))
    return [
        entry("before", training=(source,), provenance=before),
        entry("m", clips=gain, scores={"mpjpe_mm": value}, training=(source, target), provenance=after),
        entry("m", -50.0, training=(source, target), provenance=after, seen="full", supervision="full"),
    ]


def test_the_answer_is_made_from_the_entries() -> None:
    rows = adapted_board()
    [group] = ranked_groups(rows, BENCHMARK)
    found = answer(group, BENCHMARK)
    values = [one.scores["mpjpe_mm"] for one in rows]
    first, floor = (next(row for row in group.rows if row.entry == one) for one in (rows[1], rows[0]))
    low, high = difference(floor, first, "mpjpe_mm")
    assert found.text == (
        f"Without target labels: m {values[1]:.1f} mm MPJPE; before {values[0]:.1f}; "
        f"with all labels m {values[2]:.1f}. "
        f"Gain of m over before: {values[0] - values[1]:.1f} mm [{low:.1f}, {high:.1f}], 95 %."
    )
    assert (found.first, found.floor, found.ceiling) == (first, floor, group.rows[-1])
    assert low > 0


def test_a_shared_link_shows_the_answer(tmp_path: Path) -> None:
    rows = [*adapted_board(), entry("other", 40.0, title='a "title"')]
    page = board(tmp_path, *rows)
    shown = {one["property"]: one["content"] for one in page.all("meta") if "property" in one}
    [group] = ranked_groups(rows, BENCHMARK)
    assert shown["og:title"] == "Toy set · kt3d leaderboards"
    assert shown["og:description"] == answer(group, BENCHMARK).text


def test_the_answer_names_the_best_adapted_row_where_another_is_first() -> None:
    near = adapted_board()[1].model_copy(update={"clips": None, "method": "n"})
    [group] = ranked_groups([*adapted_board(), entry("other", -40.0), near], BENCHMARK)
    assert "other" in answer(group, BENCHMARK).text
    assert "; best adapted row, m, " in answer(group, BENCHMARK).text


def test_without_a_test_nothing_is_best_and_clips_are_dots(tmp_path: Path) -> None:
    short = Clips(names_sha256="f" * 64, samples=(1, 2, 3), means={"mpjpe_mm": (40.0, 50.0, 60.0)})
    page = board(tmp_path, entry("a", clips=short), entry("b", 9.0, clips=short))
    said = "No row can be called best: the test set has 3 clips, and a paired test needs 6."
    assert said in page.words
    assert [one["data-rank"] for one in page.all("tbody") if "data-rank" in one] == ["", ""]
    assert len([one for one in page.all("circle") if one.get("class") == "clip"]) == 6
    assert "Differences" not in page.words
    unable = [entry("a", clips=None)]
    [group] = ranked_groups(unable, BENCHMARK)
    assert answer(group, BENCHMARK).text.startswith("No row can be called best: none may be ranked. MPJPE in mm:")


def test_differences_are_those_of_the_paired_test(tmp_path: Path) -> None:
    rows = adapted_board()
    words = board(tmp_path, *rows, entry("third", 30.0)).words
    [group] = ranked_groups(rows, BENCHMARK)
    first, second = group.rows[:2]
    low, high = difference(first, second, "mpjpe_mm")
    assert f"{first.value('mpjpe_mm') - second.value('mpjpe_mm'):+.1f} [{low:.1f}, {high:.1f}]" in words


def test_the_csv_holds_what_the_entries_say(tmp_path: Path) -> None:
    seeds = [entry("m", shift, seed=seed) for seed, shift in enumerate((1.0, 2.0))]
    odd = entry("odd", 9.0, title="=cmd()", settings={"a": 1}, clips=None)
    for one in (*seeds, odd):
        write_entry(tmp_path, one)
    render_boards(tmp_path, KNOWN, {})
    first, last = csv.DictReader((tmp_path / "toy-test" / "board.csv").open())
    values = [one.scores["mpjpe_mm"] for one in seeds]
    assert float(first["mpjpe_mm"]) == pytest.approx(np.mean(values))
    assert float(first["mpjpe_mm_sd"]) == pytest.approx(np.std(values, ddof=1))
    assert (first["rank"], first["track"], first["seeds"], first["samples"]) == ("1", "none", "0 1", str(sum(SIZES)))
    assert first["entries"].split() == [one.file_name for one in seeds]
    assert (last["rank"], last["title"], last["settings"], last["mpjpe_mm_sd"]) == ("", "'=cmd()", "a=1", "")
    assert float(last["mpjpe_mm_low"]) == odd.intervals["mpjpe_mm"][0]


def run_of(**config: Any) -> dict[str, Any]:
    return {"run": {"config": {"preset": "tiny", "settings": {}, "shards": {}, "precision": "auto", **config}},
            "command": "kt3d reproduce table1"}  # fmt: skip


@pytest.mark.parametrize(
    ("one", "command"),
    [
        (entry("m", seed=2, provenance=run_of(settings={"weight": 0.5}, shards={"source": "a b"})),
         "kt3d train --method m --supervision none --preset tiny --seed 2 --set weight=0.5 --shards 'source=a b' "
         "&& kt3d score"),
        (entry("m", supervision="partial", joints=6, provenance=run_of(target="itop-front", precision="32-true")),
         "kt3d train --method m --supervision partial --joints 6 --preset tiny --seed 0 --target itop-front "
         "--precision 32-true && kt3d score"),
        (entry("m", provenance=run_of(hold_out=0.25, deterministic=True)),
         "kt3d train --method m --supervision none --preset tiny --seed 0 --hold-out 0.25 --deterministic "
         "&& kt3d score"),
        (entry("m", provenance=run_of(masks="a", pseudo_labels="b")),
         "kt3d train --method m --supervision none --preset tiny --seed 0 --masks a --pseudo-labels b && kt3d score"),
        (entry("m", provenance=run_of(hold_out=0.0, deterministic=False)),
         "kt3d train --method m --supervision none --preset tiny --seed 0 && kt3d score"),
        (entry("m", provenance=run_of(steps_scale=0.75)), "kt3d reproduce table1"),
        (entry("m", provenance={"command": "python their.py"}), "python their.py"),
    ],
)  # fmt: skip
def test_the_command_repeats_this_row_alone(one: Entry, command: str) -> None:
    assert row_command(one) == command


def test_a_board_of_500_entries_is_light_and_quick(tmp_path: Path) -> None:
    few = entry().provenance.model_dump() | {"command": f"kt3d train {'--shards role=a/rather/long/path ' * 8}"}
    settings = {"preset": "tiny", "bridge": "observed"}
    rows = [entry(f"a-usual-name-{number}", number / 3, seed=0, provenance=few, settings=settings | {"weight": number})
            for number in range(500)]  # fmt: skip
    started = time.process_time()
    text = page_text(board_page("toy-test", BENCHMARK, rows), "toy-test")
    assert time.process_time() - started < 1
    assert len(text.encode()) < 1_000_000
    assert text.count("<polyline") == 30
    assert "470 more are in the table above" in text


def test_names_in_charts_say_what_sets_rows_apart() -> None:
    rows = [entry("m", n, settings={"preset": "tiny", "weight": n}, supervision=level, joints=6)
            for n, level in ((0, "none"), (1, "partial"))]  # fmt: skip
    page = board_page("toy-test", BENCHMARK, rows)
    assert [curve.name for curve in page.curves] == [
        "m · none · weight=0 · seed 0",
        "m · partial, 6 joints · weight=1 · seed 0",
    ]


def test_pages_in_a_folder_of_their_own_are_whole_and_small(tmp_path: Path) -> None:
    """This repository's boards, as ``make site`` builds them: no page is beside its entries, and every link leads to a
    file."""
    boards = shutil.copytree(ROOT / "leaderboards", tmp_path / "boards", ignore=shutil.ignore_patterns("index.html"))
    words = ["leaderboard", "build", "--leaderboards", str(boards), "--html", str(tmp_path / "site")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    said = dict(line.rsplit(": ", 1) for line in done.output.splitlines())
    for folder in ("h36m-s9s11-64", "generated/h36m-s9s11-64"):
        files = [path for path in (tmp_path / "site" / folder).rglob("*") if path.is_file()]
        assert said[str(tmp_path / "site" / folder)] == f"{len(files)} files"
    assert said[str(boards / "h36m-s9s11-64")] == "1 file"
    assert not list(boards.rglob("index.html"))
    pages = sorted((tmp_path / "site").rglob("index.html"))
    assert len(pages) >= 7
    assert max(path.stat().st_size for path in pages) < 500_000
    links = [
        path.parent / one["href"].partition("#")[0]
        for path in pages
        for one in Parsed(path.read_text()).all("a")
        if not one["href"].startswith(("#", "http"))
    ]
    assert [link for link in links if link.suffix == ".json"]
    assert all(link.is_file() for link in links)
