"""Boards: who is ranked with whom, what is shown, and that the rendered files are what the entries say."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from kt3d_bench.errors import ArtefactError
from kt3d_bench.leaderboard.entries import Clips, Entry, Flags, Provenance, TrainingData, write_entry
from kt3d_bench.leaderboard.ranking import ranked_groups
from kt3d_bench.leaderboard.render import render_boards, rendered_files
from kt3d_bench.leaderboard.tables import (
    REPORTED_TITLE,
    board_markdown,
    index_markdown,
    terminal_table,
)
from kt3d_bench.leaderboard.wording import reported_name
from kt3d_bench.metrics.benchmarks import (
    Benchmark,
    Published,
    PublishedRow,
    all_benchmarks,
    read_benchmarks,
    read_published,
)

ROOT = Path(__file__).parents[2]
BENCHMARK = Benchmark(
    id="toy-test", version=2, title="Toy set", dataset="toy", split="test", modality="rgb",
    headline=("mpjpe_mm", "pa_mpjpe_mm"), beside=("pa_mpjpe_rigid_mm", "pck_100"), root=0, reference="root-given",
    box_rule="joints", sees="the crop", action_mean=True, footnotes=("Every 64th frame.",), samples=8695,
)  # fmt: skip
PUBLISHED = Published(
    benchmark="toy-test",
    source="A paper, 2019",
    rows=(
        PublishedRow("Du et al.", {"mpjpe_mm": 126.5, "pa_mpjpe_mm": None}, "fully supervised", cite=8),
        PublishedRow(
            "ours",
            {"mpjpe_mm": 1.0, "pa_mpjpe_mm": 39.0},
            "unsupervised",
            supervision="none",
            protocol="true 2D",
            comparable=False,
            source="Another paper, 2020",
        ),
    ),
    notes=("The text says otherwise.",),
    ablation=(PublishedRow("ours", {"mpjpe_mm": 19.06}, details={"loss": "none"}),),
    ablation_note="Table 4.",
)


def entry(mpjpe: float | None = 50.0, method: str = "m", **changes: Any) -> Entry:
    facts = {
        "metric_version": 1,
        "sample_list_digest": "a" * 64,
        "labels_digest": "b" * 64,
    }
    provenance = Provenance(**{name: changes.pop(name, value) for name, value in facts.items()})
    flags = Flags(
        target_labels_seen=changes.pop("target_labels_seen", "none"),
        training_data=(
            TrainingData(role="source", dataset="clean", origin="official", labels="3d"),
            TrainingData(role="target", dataset="toy", origin="generated"),
        ),
        reference="root-given",
        box_rule="joints",
        selection_rule=changes.pop("selection_rule", "last"),
        external_data=changes.pop("external_data", ()),
    )
    scores = {"mpjpe_mm": mpjpe, "pa_mpjpe_mm": 40.04, "pa_mpjpe_rigid_mm": 41.0, "pck_100": 87.25,
              "action_mean_mpjpe_mm": 51.0}  # fmt: skip
    whole: dict[str, Any] = {
        "benchmark": "toy-test", "benchmark_version": 2, "origin": "official", "method": method, "supervision": "none",
        "scores": scores, "intervals": {"mpjpe_mm": (45.0, 55.55), "pck_100": (1.0, 2.0)}, "samples": 8695,
        "provenance": provenance, "flags": flags,
        "clips": None if mpjpe is None else Clips(names_sha256="f" * 64, samples=(1,) * 8,
                                                  means={"mpjpe_mm": (mpjpe,) * 8}),
    }  # fmt: skip
    return Entry(**(whole | changes))


def ranks(*entries: Entry) -> list[list[tuple[int | None, str]]]:
    return [[(row.rank, row.entry.method) for row in group.rows] for group in ranked_groups(entries, BENCHMARK)]


def table(markdown: str, heading: str) -> list[list[str]]:
    """Cells of the first table after ``heading``, header first."""
    lines = markdown.split(heading, 1)[1].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    assert set(rows[1]) == {"---"}
    assert {len(row) for row in rows} == {len(rows[0])}
    return rows[:1] + rows[2:]


def test_best_first_equal_values_share_a_rank() -> None:
    found = ranks(entry(60.0, "c"), entry(50.0, "b"), entry(40.0, "a"), entry(50.0, "d"))
    assert [rank for rank, _ in found[0]] == [1, 2, 2, 4]
    assert found[0][0][1] == "a"
    assert found[0][3][1] == "c"


def test_higher_is_better_for_pck() -> None:
    benchmark = Benchmark(**{**BENCHMARK.__dict__, "headline": ("pck_100",), "beside": ("mpjpe_mm",)})
    good = entry(90.0, "good", scores={"pck_100": 99.0, "mpjpe_mm": 90.0})
    bad = entry(10.0, "bad", scores={"pck_100": 1.0, "mpjpe_mm": 10.0})
    assert [row.entry.method for row in ranked_groups([bad, good], benchmark)[0].rows] == ["good", "bad"]


def test_rows_without_every_answer_are_last_and_unranked() -> None:
    found = ranks(entry(1.0, "gaps", unanswered=3), entry(None, "nothing"), entry(50.0, "whole"))
    assert found == [[(1, "whole"), (None, "gaps"), (None, "nothing")]]


@pytest.mark.parametrize(
    "change",
    [{"benchmark_version": 1}, {"sample_list_digest": "c" * 64}, {"labels_digest": "c" * 64}, {"metric_version": 2}],
)
def test_what_does_not_agree_is_ranked_apart(change: dict[str, Any]) -> None:
    found = ranks(entry(40.0, "one"), entry(50.0, "other", **change))
    assert sorted(found) == [[(1, "one")], [(1, "other")]]
    text = board_markdown("toy-test", BENCHMARK, [entry(40.0, "one"), entry(50.0, "other", **change)])
    assert "Rows of different tables must not be compared" in text
    assert text.count("| # | Method |") == 2


def test_other_provenance_does_not_split_a_table() -> None:
    assert ranks(entry(40.0, "one", seed=1), entry(50.0, "other", seed=2, title="x")) == [[(1, "one"), (2, "other")]]


def test_the_newest_and_largest_group_comes_first() -> None:
    old, small, new = entry(1.0, "old", benchmark_version=1), entry(2.0, "small", samples=9), entry(3.0, "new")
    assert [group[0] for group in ranks(old, small, new)] == [(1, "new"), (1, "old"), (None, "small")]
    stand_ins = [one.model_copy(update={"origin": "generated"}) for one in (old, small, new)]
    assert [group[0] for group in ranks(*stand_ins)] == [(1, "new"), (1, "small"), (1, "old")]


def test_a_rows_cells() -> None:
    one = entry(50.04, "knowledge-transfer", supervision="partial", joints=6, seed=3, undefined={"pa_mpjpe_mm": 2})
    header, row = table(board_markdown("toy-test", BENCHMARK, [one]), "## Measured")
    assert dict(zip(header, row, strict=True)) == {
        "#": "1",
        "Method": "knowledge-transfer",
        "Supervision": "partial, 6 joints",
        "Target labels seen": "none",
        "Training data": "source clean (official), target toy (generated)",
        "MPJPE (mm)": "50.0 [45.0, 55.5]",
        "MPJPE (action mean, mm)": "51.0",
        "PA-MPJPE (with scale, mm)": "40.0 (2 undefined)",
        "PA-MPJPE (rigid, mm)": "41.0",
        "PCK@100 (%)": "87.2",
        "Seed": "3",
    }


def test_variants_are_told_apart() -> None:
    text = board_markdown(
        "toy-test", BENCHMARK, [entry(1.0, settings={"anchor": "ema-2d"}), entry(2.0, title="My own")]
    )
    assert [row[1] for row in table(text, "## Measured")[1:]] == ["m (anchor=ema-2d)", "My own"]
    gaps = board_markdown("toy-test", BENCHMARK, [entry(1.0, unanswered=4, external_data=("a weight file",))])
    assert table(gaps, "## Measured")[1][:2] == ["–", "m (4 unanswered)"]
    assert "external a weight file" in gaps
    assert "Not ranked: m (4 unanswered); it left samples unanswered." in gaps


def test_training_data_that_nobody_stated_is_not_none() -> None:
    one = entry(1.0)
    silent = one.model_copy(update={"flags": one.flags.model_copy(update={"training_data": ()})})
    assert table(board_markdown("toy-test", BENCHMARK, [silent]), "## Measured")[1][4] == "not stated"


def test_footnotes_say_which_numbers_these_are() -> None:
    peeking = entry(selection_rule="oracle", method="peeking")
    careful = entry(method="careful")
    flags = careful.flags.model_copy(update={"settings_rule": "validation"})
    text = board_markdown("toy-test", BENCHMARK, [peeking, careful.model_copy(update={"flags": flags})])
    for part in (
        "MPJPE: mean joint distance, after moving joint 0 of both poses to the origin.",
        "PA-MPJPE (with scale): mean joint distance after the best rotation, translation and scale, no mirroring.",
        "Root-aligned PCK counts the root as right by definition.",
        "(root-given)",
        "Boxes: rule 'joints'",
        "Checkpoint selection 'oracle': peeking.",
        "Settings of unknown origin: peeking.",
        "Settings chosen on validation people, who are in neither training nor test: careful.",
        "Every 64th frame.",
    ):
        assert part in text
    absolute = Benchmark(**{**BENCHMARK.__dict__, "root": None, "reference": "from-depth"})
    text = board_markdown("toy-test", absolute, [])
    assert "MPJPE: mean joint distance, absolute." in text
    assert "counts the root" not in text
    assert "(from-depth)" in text


def test_reported_rows_stand_apart() -> None:
    text = board_markdown("toy-test", BENCHMARK, [entry(50.0)], PUBLISHED)
    measured, reported = table(text, "## Measured"), table(text, f"## {REPORTED_TITLE}")
    assert len(measured) == 2
    assert reported == [
        ["Method", "Category", "Supervision", "Protocol", "Source", "MPJPE (mm)", "PA-MPJPE (mm)"],
        ["Du et al. (8)", "fully supervised", "–", "protocol not known", "see above", "126.5", "–"],
        ["ours", "unsupervised", "none", "not comparable: true 2D", "Another paper, 2020", "1.0", "39.0"],
    ]
    assert "A paper, 2019." in text
    assert "The text says otherwise." in text
    assert table(text, "Table 4.")[1] == ["ours", "–", "protocol not known", "none", "19.06"]


def test_reported_variants_of_one_metric_keep_their_qualifier() -> None:
    shown = ["mpjpe_mm", "mpjpe_body_mm", "pa_mpjpe_mm"]
    assert [reported_name(name, shown) for name in shown] == ["MPJPE", "MPJPE (body-centred)", "PA-MPJPE"]


def test_stand_ins_say_so() -> None:
    text = board_markdown("generated/toy-test", BENCHMARK, [entry(50.0, origin="generated")], PUBLISHED)
    assert text.startswith("# Toy set (stand-in)")
    assert "not the real dataset" in text
    assert "nothing above may be compared with them" in text
    assert "stand-in" not in board_markdown("toy-test", BENCHMARK, [entry(50.0)], PUBLISHED)


def test_an_empty_board() -> None:
    assert "No entries yet." in board_markdown("toy-test", BENCHMARK, [])


EVIL = "a|b\n# [x](http://e.x) <img src=x> `code` *b* _i_ \\ ~~s~~ \x1b[31m"


def test_text_from_others_stays_text_in_markdown() -> None:
    text = board_markdown("toy-test", BENCHMARK, [entry(1.0, title=EVIL, supervision=EVIL, target_labels_seen=EVIL)])
    rows = table(text, "## Measured")
    assert len(rows) == 2
    for cell in rows[1][1:4]:
        assert cell == (
            r"a\|b \# \[x\](http://e.x) \<img src=x> \`code\` \*b\* \_i\_ \\ \~\~s\~\~ \[31m"
        )  # fmt: skip
    assert "\x1b" not in text


def test_the_index_names_every_board_and_its_best() -> None:
    boards = {
        "toy-test": (),
        "generated/toy-test": (entry(60.0, "worse"), entry(50.0, "better"), entry(1.0, unanswered=1)),
    }
    rows = table(index_markdown(boards, {"toy-test": BENCHMARK}), "# Leaderboards")
    assert rows[1] == ["[toy-test](toy-test/README.md)", "Toy set", "real", "0", "–"]
    assert rows[2] == [
        "[generated/toy-test](generated/toy-test/README.md)", "Toy set", "stand-in", "3",
        "Without target labels: better 50.0 mm MPJPE.",
    ]  # fmt: skip


def test_rendering_is_repeatable_and_follows_the_entries(tmp_path: Path) -> None:
    write_entry(tmp_path, entry(50.0, "first"))
    write_entry(tmp_path, entry(40.0, "standin", origin="generated"))
    paths = render_boards(tmp_path, {"toy-test": BENCHMARK}, {"toy-test": PUBLISHED})
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        "README.md", "generated/toy-test/README.md", "generated/toy-test/board.csv", "generated/toy-test/board.json",
        "generated/toy-test/forest.svg", "generated/toy-test/index.html", "generated/toy-test/model-index.yml",
        "index.html", "toy-test/README.md", "toy-test/board.csv", "toy-test/board.json", "toy-test/forest.svg",
        "toy-test/index.html", "toy-test/model-index.yml",
    ]  # fmt: skip
    before = {path: path.read_text() for path in paths}
    assert {path: text for path, text in before.items() if path.suffix in (".md", ".svg")} == rendered_files(
        tmp_path, {"toy-test": BENCHMARK}, {"toy-test": PUBLISHED}
    )
    assert "standin" not in before[tmp_path / "toy-test" / "README.md"]
    write_entry(tmp_path, entry(30.0, "second"))
    render_boards(tmp_path, {"toy-test": BENCHMARK}, {"toy-test": PUBLISHED})
    board = (tmp_path / "toy-test" / "README.md").read_text()
    assert [row[1] for row in table(board, "## Measured")[1:]] == ["second", "first"]


def test_only_boards_whose_entries_changed_are_rendered_where_asked(tmp_path: Path) -> None:
    """Written, edited and removed entries and missing pages count; the other board's README keeps what is in it."""
    write_entry(tmp_path, entry(50.0, "first"))
    other = write_entry(tmp_path, entry(40.0, "standin", origin="generated"))
    render_boards(tmp_path, {"toy-test": BENCHMARK}, {})
    readmes = [tmp_path / board / "README.md" for board in ("toy-test", "generated/toy-test")]
    for readme in readmes:
        readme.write_text("kept")

    def rendered() -> list[bool]:
        """Whether each board was rendered; puts the mark back."""
        paths = render_boards(tmp_path, {"toy-test": BENCHMARK}, {}, changed_only=True)
        assert {tmp_path / "README.md", tmp_path / "index.html"} <= set(paths)
        found = [readme.read_text() != "kept" for readme in readmes]
        for readme in readmes:
            readme.write_text("kept")
        return found

    assert rendered() == [False, False]
    written = write_entry(tmp_path, entry(30.0, "second"))
    assert rendered() == [True, False]
    assert "second" in (tmp_path / "README.md").read_text()
    os.utime(other)
    assert rendered() == [False, True]
    for export in ("board.csv", "board.json", "model-index.yml"):
        (readmes[0].parent / export).unlink()
        assert rendered() == [True, False]
    written.unlink()
    assert rendered() == [True, False]
    (tmp_path / "toy-test" / "index.html").unlink()
    assert rendered() == [True, False]
    assert rendered() == [False, False]


def test_a_broken_entry_leaves_the_boards_as_they_were(tmp_path: Path) -> None:
    write_entry(tmp_path, entry(50.0))
    paths = render_boards(tmp_path, {"toy-test": BENCHMARK}, {})
    before = [path.read_bytes() for path in paths]
    broken = tmp_path / "toy-test" / "entries" / "x.json"
    broken.write_text("{}")
    with pytest.raises(ArtefactError, match=r"x\.json"):
        render_boards(tmp_path, {"toy-test": BENCHMARK}, {})
    assert [path.read_bytes() for path in paths] == before


def test_a_known_benchmark_has_a_board_and_an_unknown_one_is_left_alone(tmp_path: Path) -> None:
    path = write_entry(tmp_path, entry(50.0, benchmark="stranger"))
    readme = path.parent.parent / "README.md"
    readme.write_text("rendered elsewhere")
    assert tmp_path / "toy-test" / "README.md" in render_boards(tmp_path, {"toy-test": BENCHMARK}, {})
    assert readme.read_text() == "rendered elsewhere"


def shown(width: int = 200, **more: Any) -> str:
    console = Console(width=width, force_terminal=False, record=True, file=io.StringIO())
    console.print(terminal_table(BENCHMARK, [entry(50.0, "one"), entry(60.0, "two")], **more))
    return console.export_text()


def test_the_terminal_table_shows_the_same_rows() -> None:
    text = shown(published=PUBLISHED, highlight=entry(50.0, "one").file_name)
    assert "50.0 [45.0, 55.5]" in text
    assert text.index("one") < text.index("two")
    assert REPORTED_TITLE in text
    assert "Du et al. (8)" in text


def test_the_terminal_table_takes_text_literally_and_cuts_nothing() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    name = "[bold]x[/bold][/]" + "y" * 60
    console.print(terminal_table(BENCHMARK, [entry(50.0, title=name)]))
    text = console.export_text()
    assert "…" not in text
    assert "[bold]" in text
    assert text.count("y") >= 60


@pytest.mark.parametrize("origin", ["official", "generated"])
def test_the_terminal_table_says_what_was_tested_on(origin: str) -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(terminal_table(BENCHMARK, [entry(50.0, "one").model_copy(update={"origin": origin})]))
    assert ("On a generated stand-in: " in console.export_text()) == (origin == "generated")


def test_a_narrow_terminal_is_shown_the_headline_unbroken() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    name = "a-method-with-quite-a-long-name"
    console.print(terminal_table(BENCHMARK, [entry(50.0, name), entry(60.0, "two")], width=80))
    text = " ".join(console.export_text(clear=False).split())
    assert max(map(len, console.export_text().splitlines())) <= 80
    assert "50.0 [45.0, 55.5]" in text
    assert "more columns are on the board." in text
    assert "Seed" not in text


def test_long_words_and_levels_leave_room_for_the_headline() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    settings = {"preset": "laptop", "prior_cameras": "a-quite-long-word-of-forty-characters"}
    rows = [
        entry(1150.0 + seed, supervision="partial-3d", joints=6, settings=settings, seed=seed,
              intervals={"mpjpe_mm": (1101.5 + seed, 1222.5 + seed)})
        for seed in (0, 9)
    ]  # fmt: skip
    console.print(terminal_table(BENCHMARK, rows, width=80))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert re.search(r"1154\.5 ± 6\.4 \[[0-9.]+, [0-9.]+\] │\n", text)
    assert "partial-3d," in text


def test_a_wider_terminal_shows_more_columns_and_no_width_breaks_a_name() -> None:
    rows = [entry(50.0, "knowledge-transfer", settings={"depth_at_test": "mask"}), entry(60.0, "source-only")]
    counts = []
    for width in (80, 110, 140, 200, 260):
        console = Console(width=width, record=True, file=io.StringIO())
        console.print(terminal_table(BENCHMARK, rows, width=width))
        text = console.export_text()
        assert max(map(len, text.splitlines())) <= width
        assert "knowledge-transfer" in text
        assert "Without target labels" in text
        assert ("Training" in text) == (width >= 200)
        counts.append(next(line for line in text.splitlines() if "Method" in line).count("┃"))
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_this_repositorys_boards_are_what_their_entries_say() -> None:
    folders = sorted(path.parent for path in (ROOT / "datasets").glob("*/benchmarks.yaml"))
    known = all_benchmarks(folders)
    reported = {
        benchmark.id: found
        for folder in folders
        for benchmark in read_benchmarks(folder)
        if (found := read_published(folder).get(benchmark.id)) is not None
    }
    for path, text in rendered_files(ROOT / "leaderboards", known, reported).items():
        assert path.is_file(), f"{path} is missing; render the boards with: kt3d leaderboard build"
        assert path.read_text() == text, f"{path} is not what its entries say; run: kt3d leaderboard build"
