"""What generators share: a stand-in appears whole or not at all, and nobody else's files are touched."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch

import kt3d_bench as kt
from kt3d_bench.errors import UsageError
from kt3d_bench.standins import MARKER, check_numbers, check_options, in_parallel, standin_folder

NAMES = ("images", "labels.txt")


def grow(out: Path, text: str, *, fails: bool = False) -> None:
    with standin_folder(out, NAMES, {}) as folder:
        assert folder == out.absolute().with_name(out.name + ".part")
        (folder / "images").mkdir()
        (folder / "images" / "1.png").write_text(text)
        (folder / "labels.txt").write_text(text)
        if fails:
            raise KeyboardInterrupt


def content(out: Path) -> dict[str, str]:
    return {path.relative_to(out).as_posix(): path.read_text() for path in out.rglob("*") if path.is_file()}


def test_it_appears_whole(tmp_path: Path) -> None:
    expected = {"images/1.png": "a", "labels.txt": "a", MARKER: "{}\n"}
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
    assert content(out) == {"images/1.png": "new", "labels.txt": "new", MARKER: "{}\n"}


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
        with standin_folder(out, NAMES, {}) as folder:
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
    with pytest.raises(UsageError, match=r"out\.part: is in the way and is not an unfinished stand-in"):
        grow(tmp_path / "out", "new")
    assert content(part) == {"thesis.tex": "precious"}
    (tmp_path / "link.part").symlink_to(part)
    with pytest.raises(UsageError, match="is in the way"):
        grow(tmp_path / "link", "new")
    (tmp_path / "file").write_text("precious")
    with pytest.raises(UsageError, match="is a file, not a folder"):
        grow(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"people": (0, 1, 20_000)}, "people must be 1 to 20,000, found 0"),
        ({"people": (20_001, 1, 20_000)}, "people must be 1 to 20,000, found 20,001"),
        ({"seed": -1}, "seed must be 0 to 9,223,372,036,854,775,808, found -1"),
        ({"workers": 0}, "workers must be 1 to 1,024, found 0"),
    ],
)
def test_numbers_out_of_bounds_are_refused(changed: dict[str, Any], words: str) -> None:
    good = {"people": (20_000, 1, 20_000), "seed": 0, "workers": None}

    def check(people: tuple[int, int, int], seed: int, workers: int | None) -> None:
        check_numbers(seed, workers, people=people)

    check(**good)
    with pytest.raises(UsageError, match=f"^{words}$"):
        check(**{**good, **changed})


def test_an_unknown_option_is_refused_with_the_name_that_was_meant(tmp_path: Path) -> None:
    def generate(out: Path, *, test_postures: int) -> None: ...

    def anything(out: Path, **options: int) -> None: ...

    check_options(generate, {"test_postures": 1})
    check_options(anything, {"test_posture": 1})
    with pytest.raises(UsageError, match=r"has no option 'test_posture'.*test_postures"):
        check_options(generate, {"test_posture": 1})
    with pytest.raises(UsageError, match=r"has no option 'test_posture'.*test_postures"):
        kt.generate("ubc3v", out=tmp_path / "out", test_posture=1)
    assert list(tmp_path.iterdir()) == []


def _threads_of(number: int) -> tuple[int, int, int, int]:
    return number, cv2.getNumThreads(), torch.get_num_threads(), os.getpid()


@pytest.mark.parametrize(("workers", "device", "elsewhere"), [(1, "cpu", False), (2, "cpu", True), (2, "cuda", False)])
def test_work_is_done_in_order_on_one_thread_each(workers: int, device: str, elsewhere: bool) -> None:
    torch.set_num_threads(2)
    done = list(in_parallel(_threads_of, range(5), workers=workers, device=device, batch=2))
    assert [entry[:3] for entry in done] == [(number, 1, 1) for number in range(5)]
    assert all((process != os.getpid()) == elsewhere for *_, process in done)
    assert torch.get_num_threads() == 2
