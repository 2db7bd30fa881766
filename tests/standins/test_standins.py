"""The folder a stand-in grows in: whole or not at all, and nobody else's files touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from kt3d_bench.errors import UsageError
from kt3d_bench.standins import MARKER, growing

NAMES = ("images", "labels.txt")


def grow(out: Path, text: str, *, fails: bool = False) -> None:
    with growing(out, NAMES) as folder:
        assert folder == out.absolute().with_name(out.name + ".part")
        (folder / "images").mkdir()
        (folder / "images" / "1.png").write_text(text)
        (folder / "labels.txt").write_text(text)
        if fails:
            raise KeyboardInterrupt
        (folder / MARKER).write_text("{}")


def content(out: Path) -> dict[str, str]:
    return {path.relative_to(out).as_posix(): path.read_text() for path in out.rglob("*") if path.is_file()}


def test_it_appears_whole(tmp_path: Path) -> None:
    expected = {"images/1.png": "a", "labels.txt": "a", MARKER: "{}"}
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty", "below/new"):
        grow(tmp_path / name, "a")
        assert content(tmp_path / name) == expected
        assert not (tmp_path / f"{name}.part").exists()


def test_an_interrupted_one_leaves_nothing_in_place_and_the_next_clears_up(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        grow(out, "half", fails=True)
    assert not out.exists()
    grow(out, "whole")
    assert content(out)["labels.txt"] == "whole"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_an_earlier_one_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    grow(out, "old")
    (out / "images" / "2.png").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        grow(out, "new", fails=True)
    assert content(out)["images/1.png"] == "old"
    grow(out, "new")
    assert content(out) == {"images/1.png": "new", "labels.txt": "new", MARKER: "{}"}


@pytest.mark.parametrize("marked", [False, True])
def test_what_was_not_generated_is_never_touched(tmp_path: Path, marked: bool) -> None:
    out = tmp_path / "out"
    grow(out, "old")
    (out / "mine.txt").write_text("precious")
    if not marked:
        (out / MARKER).unlink()
    before = content(out)
    says = "already holds mine.txt, which" if marked else "already holds images, labels.txt, mine.txt, which"
    with pytest.raises(UsageError, match=f"{says} was not generated; choose another --out; nothing was changed"):
        grow(out, "new")
    assert content(out) == before
    assert not (tmp_path / "out.part").exists()


def test_files_that_come_while_it_grows_are_kept_too(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def grow_slowly() -> None:
        with growing(out, NAMES) as folder:
            (folder / "labels.txt").write_text("new")
            out.mkdir()
            (out / "late.txt").write_text("precious")

    with pytest.raises(UsageError, match=r"already holds late\.txt"):
        grow_slowly()
    assert content(out) == {"late.txt": "precious"}


def test_somebody_elses_part_folder_and_files_are_refused(tmp_path: Path) -> None:
    part = tmp_path / "out.part"
    part.mkdir()
    (part / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match=r"out\.part: is in the way, and no unfinished stand-in"):
        grow(tmp_path / "out", "new")
    assert content(part) == {"thesis.tex": "precious"}
    (tmp_path / "link.part").symlink_to(part)
    with pytest.raises(UsageError, match="is in the way"):
        grow(tmp_path / "link", "new")
    (tmp_path / "file").write_text("precious")
    with pytest.raises(UsageError, match="is a file, not a folder"):
        grow(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "precious"
