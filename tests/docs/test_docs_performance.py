"""The page of measurements is what the files of results say, and the tables follow from these as they should."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from tests.benchmarks import results
from tests.benchmarks.results import Results
from tests.benchmarks.rows import BY_NAME, ROWS, RUNS

FILES = sorted(results.FOLDER.glob("*.json"))


def machine(name: str, superseded: bool = False, **rows: list[float]) -> Results:
    runs = {key.replace("_", "-"): {"date": "2026-01-02", "runs": value} for key, value in rows.items()}
    return Results({"cpu": name, "cores": 2}, {"torch": "1"}, runs, superseded)


def test_the_page_shows_what_the_files_say() -> None:
    text = results.PAGE.read_text(encoding="utf-8")
    assert results.page(text, results.every()) == text


def test_a_page_without_a_place_for_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="has no two lines <!-- made by"):
        results.page("# Performance\n", [])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_holds_known_rows_and_nothing_private(path: Path) -> None:
    found = results.read(path)
    assert set(found.rows) <= set(BY_NAME)
    assert set(found.machine) <= {"cpu", "cores", "memory_gb", "gpu"}
    if not found.superseded:
        assert path.name == found.path.name
        assert {len(row["runs"]) for row in found.rows.values()} == {RUNS}


def test_names_are_unique_and_every_row_has_its_file() -> None:
    assert len(BY_NAME) == sum(map(len, ROWS.values()))
    assert all((results.FOLDER.parent / file).is_file() for file in ROWS)


def test_the_page_gives_the_range_of_medians_the_worst_run_and_marks_misses() -> None:
    one = machine("A", load_jpeg=[0.9, 1.0, 0.99, 0.97, 0.98], help=[0.1, 0.1, 0.1, 0.1, 0.12])
    other = machine("B", load_jpeg=[0.96, 0.97, 0.96, 0.96, 0.96])
    old = machine("C", superseded=True, load_jpeg=[0.5], list=[0.4])
    lines = results.over_machines([old, other, one]).splitlines()
    (jpeg,) = [line for line in lines if "JPEG" in line]
    assert "| of its rate | 0.95 | 0.96 to 0.98 | **0.90** | 1 |" in jpeg
    (start,) = [line for line in lines if "kt3d --help" in line]
    assert "| s | 0.15 | 0.10 | 0.12 |" in start
    (known_before,) = [line for line in lines if "kt3d list" in line]
    assert "| 0.40 (earlier) |  |" in known_before
    assert lines[-3:] == [
        "* Machine: A, 2 cores, torch 1, 2026-01-02.",
        "* Machine: B, 2 cores, torch 1, 2026-01-02.",
        "* Earlier figures, single ones of an earlier state of the code: C, 2 cores, torch 1, 2026-01-02.",
    ]


def test_the_table_of_one_machine() -> None:
    text = results.table(machine("A", help=[0.1, 0.2, 0.1, 0.1, 0.1]))
    row = "| `kt3d --help`, processor time (`help`) | s | lower | 0.15 | 0.10 | **0.20** | Python with click: 0.1 s |"
    assert text.splitlines()[-1] == row


def test_rows_join_those_of_the_same_versions_and_replace_those_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    machine("Some CPU (R)", help=[0.1], list=[0.3]).write()
    machine("Some CPU (R)", list=[0.2]).write()
    (path,) = tmp_path.iterdir()
    assert path.name == "some-cpu-r-2-cores.json"
    assert {name: row["runs"] for name, row in results.read(path).rows.items()} == {"help": [0.1], "list": [0.2]}
    Results({"cpu": "Some CPU (R)", "cores": 2}, {"torch": "2"}, {}).with_rows({"help": [0.123456]}).write()
    found = results.read(path)
    assert {name: row["runs"] for name, row in found.rows.items()} == {"help": [0.1235]}


def test_numbers_are_shown_with_two_digits() -> None:
    found = doctest.testmod(results)
    assert found.attempted
    assert not found.failed
