"""Folders that are not what they should be, for every dataset alike."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from badinput_bench import HTML, MAKERS, READS_EVERYTHING, Bench, copy_tree, kt3d, refused

Made = Callable[[str], Bench]
MARKER = "kt3d-generated.json"


@pytest.mark.parametrize(("dataset", "other"), [*itertools.permutations(sorted(MAKERS), 2)])
def test_the_raw_folder_of_another_dataset(
    standin: Callable[[str], Path], tmp_path: Path, dataset: str, other: str
) -> None:
    """Marked as generated it names its own dataset; unmarked it says what is there and what was expected."""
    raw, out = standin(other), tmp_path / "out"
    if (raw / MARKER).is_file():
        said = refused(kt3d("prepare", dataset, "--raw", raw, "--out", out), raw / MARKER)
        assert f"this is generated data of {other}, not of {dataset}" in said
        assert f"kt3d prepare {other} --raw {raw}" in said
    unmarked = tmp_path / "raw"
    unmarked.mkdir()
    for path in raw.iterdir():
        if path.name != MARKER:
            (unmarked / path.name).symlink_to(path)
    refused(kt3d("prepare", dataset, "--raw", unmarked, "--out", out), unmarked)
    assert not out.exists()


@pytest.mark.parametrize("dataset", sorted(MAKERS))
def test_shards_of_another_dataset_are_left_alone(bench: Made, clean: Callable[[str], Path], dataset: str) -> None:
    made = bench(dataset)
    copy_tree(clean("mpii" if dataset == "ubc3v" else "ubc3v"), made.out)
    before = made.bytes_of()
    refused(made.prepare(), made.out, "shards of another configuration", "choose another --out", "--overwrite")
    assert made.bytes_of() == before
    assert made.prepare("--overwrite").exit_code == 0
    assert made.is_clean()


@pytest.mark.parametrize("dataset", sorted(MAKERS))
def test_a_file_for_a_folder(tmp_path: Path, dataset: str) -> None:
    (tmp_path / "page").write_bytes(HTML)
    result = kt3d("prepare", dataset, "--raw", tmp_path / "page")
    assert result.exit_code == 2
    assert "is a file" in result.stderr
    made_of_files = kt3d("prepare", dataset, "--raw", tmp_path, "--out", tmp_path / "page" / "shards")
    assert made_of_files.exit_code in (1, 2)
    assert "Traceback" not in made_of_files.output
    assert (tmp_path / "page").read_bytes() == HTML


def test_an_output_that_cannot_be_made_or_written(bench: Made, tmp_path: Path) -> None:
    made = bench("mpii")
    (tmp_path / "file").write_text("precious")
    words = ("prepare", "mpii", "--raw", made.raw, "--workers", "1", "--out")
    refused(kt3d(*words, tmp_path / "file/shards"), tmp_path / "file", "Not a directory", "choose another --out")
    assert (tmp_path / "file").read_text() == "precious"
    if not READS_EVERYTHING:
        (tmp_path / "locked").mkdir(mode=0o500)
        refused(kt3d(*words, tmp_path / "locked/shards"), tmp_path / "locked", "Permission denied", "another --out")


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"", "is damaged"), (b"[1]", "must hold"), (HTML, "is damaged"), (b'{"dataset": "mpii"}', "must hold")],
)
def test_a_damaged_mark_of_generated_data(bench: Made, content: bytes, what: str) -> None:
    made = bench("mpii")
    (made.raw / MARKER).unlink()
    (made.raw / MARKER).write_bytes(content)
    refused(made.prepare(), made.raw / MARKER, what, "generate the stand-in again")
