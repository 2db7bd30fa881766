"""Datasets seen from several places: ``--view`` and ``--split`` choose, and what is not there is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import data_fake_dataset as fake_dataset
import pytest

from kt3d_bench import DatasetPlugin, MissingDataError, UsageError, WorkItem
from kt3d_bench.data.prepare import chosen_splits, prepare
from kt3d_bench.progress import Reporter

SPLITS = ("front-train", "front-test", "top-train", "top-test")


def plan(raw: Path, split: str, options: Mapping[str, Any]) -> Sequence[WorkItem]:
    if not (raw / split).is_dir():
        raise MissingDataError(f"nothing of {split} is here", where=raw / split, hint="download it")
    return fake_dataset.plan(raw, split, options)


convert = fake_dataset.convert


class Notes(Reporter):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def seen_twice(card_folder: Path) -> DatasetPlugin:
    return fake_dataset.plugin(card_folder, splits=SPLITS, views=("front", "top"), convert="test_data_views")


@pytest.fixture
def front_only(tmp_path: Path) -> Path:
    raw = tmp_path / "raw"
    for number, split in enumerate(SPLITS[:2]):
        (raw / split).mkdir(parents=True)
        (raw / split / "a.txt").write_text(f"{number}1\n{number}2\n")
    return raw


@pytest.mark.parametrize(
    ("splits", "views", "expected"),
    [
        (None, None, SPLITS),
        (None, ("all",), SPLITS),
        (None, ("top",), ("top-train", "top-test")),
        (("test",), None, ("front-test", "top-test")),
        (("test",), ("front",), ("front-test",)),
        (("front-test",), None, ("front-test",)),
        (("front-test", "train"), ("front",), ("front-train", "front-test")),
    ],
)
def test_names_that_choose_splits(
    seen_twice: DatasetPlugin, splits: Any, views: Any, expected: tuple[str, ...]
) -> None:
    assert tuple(chosen_splits(seen_twice, splits, views)) == expected


def test_impossible_choices_are_sentences(seen_twice: DatasetPlugin, card_folder: Path) -> None:
    with pytest.raises(UsageError, match=r"no split 'tset'; did you mean 'test'\?"):
        chosen_splits(seen_twice, ("tset",))
    with pytest.raises(UsageError, match=r"no view 'frnt'; did you mean 'front'\?"):
        chosen_splits(seen_twice, None, ("frnt",))
    with pytest.raises(UsageError, match="no split of fake is both top-test and seen from front"):
        chosen_splits(seen_twice, ("top-test",), ("front",))
    with pytest.raises(UsageError, match="fake has one view only; leave out --view"):
        chosen_splits(fake_dataset.plugin(card_folder), None, ("front",))


def test_an_absent_view_is_an_error_unless_the_work_was_narrowed(
    seen_twice: DatasetPlugin, front_only: Path, tmp_path: Path
) -> None:
    out = tmp_path / "shards"
    with pytest.raises(MissingDataError, match="nothing of top-train is here"):
        prepare(seen_twice, raw=front_only, out=out, workers=1)
    notes = Notes()
    manifest = prepare(seen_twice, raw=front_only, out=out, splits=["test"], workers=1, report=notes)
    assert {name: split.samples for name, split in manifest.splits.items()} == {"front-test": 2}
    assert len(notes.notes) == 1
    assert notes.notes[0].startswith("Left out: ")
    assert "nothing of top-test is here; download it" in notes.notes[0]
    manifest = prepare(seen_twice, raw=front_only, out=out, views=["front"], workers=1)
    assert set(manifest.splits) == {"front-train", "front-test"}


def test_nothing_of_what_was_asked_for_is_an_error(seen_twice: DatasetPlugin, front_only: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="nothing of top-train is here"):
        prepare(seen_twice, raw=front_only, out=tmp_path / "shards", views=["top"], workers=1)
