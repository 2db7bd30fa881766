"""Whose people a stand-in's test split shows: validation people change nothing else, and every board has enough."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kt3d_h36m.generate as h36m
import kt3d_itop.generate as itop
import kt3d_mpii.generate as mpii
import kt3d_ubc3v.generate as ubc3v
import numpy as np
import pytest

import kt3d_bench as kt
from kt3d_bench.errors import UsageError
from kt3d_bench.standins import held_out_options

FEWEST_PEOPLE, FEWEST_CLIPS = 6, 60
SMALL: dict[str, tuple[Any, dict[str, Any], str]] = {
    "h36m": (h36m, {"people": 2, "frames": 2, "actions": 1, "takes": 1, "frame_px": 64, "long_clip": False}, "S9/"),
    "itop": (itop, {"people": 2, "frames": 4}, "_test_"),
    "ubc3v": (ubc3v, {"people": 1, "frames": 1, "test_postures": 2}, "hard-pose/"),
}
"""Generator, arguments of a small stand-in, and what the names of its test files hold."""


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", SMALL)
def test_other_people_are_held_out_and_training_data_is_the_same(name: str, tmp_path: Path) -> None:
    generator, arguments, test = SMALL[name]
    for held_out in ("test", "validation"):
        generator.generate(tmp_path / held_out, **arguments, seed=3, workers=1, held_out=held_out)
    first, second = files(tmp_path / "test"), files(tmp_path / "validation")
    shared = [path for path in first if test not in path and path not in ("kt3d-generated.json", "metadata.xml")]
    tested = [path for path in first if test in path]
    assert len(shared) >= 4
    assert len(tested) >= 4
    assert all(first[path] == second[path] for path in shared)
    assert all(second.get(path) != first[path] for path in tested)
    assert b'"held_out": "validation"' in second["kt3d-generated.json"]


def test_the_command_writes_validation_people(tmp_path: Path) -> None:
    arguments = SMALL["ubc3v"][1]
    kt.generate("ubc3v", out=tmp_path / "a", seed=3, workers=1, held_out="validation", **arguments)
    ubc3v.generate(tmp_path / "b", **arguments, seed=3, workers=1, held_out="validation")
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_a_dataset_without_tested_people_has_no_validation_people(tmp_path: Path) -> None:
    def older(out: Path) -> None: ...

    assert held_out_options(mpii.generate, "validation", tested=False) == {}
    assert held_out_options(older, "test", tested=True) == {}
    with pytest.raises(UsageError, match="generator has no validation people; choose another dataset, or give its"):
        held_out_options(older, "validation", tested=True)


@pytest.mark.parametrize("generate", [h36m.generate, itop.generate, ubc3v.generate])
def test_an_unknown_choice_is_refused(generate: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="held-out people are 'dev', expected one of test, validation"):
        generate(tmp_path / "out", people=2, frames=1, seed=0, held_out="dev")


@pytest.mark.parametrize("held_out", ["test", "validation"])
def test_every_board_of_the_demo_has_six_people_and_sixty_clips(held_out: str) -> None:
    takes = [
        take
        for take in h36m._takes(0, h36m.PEOPLE, held_out, 15, 2, h36m.DEMO["frames"], False)
        if take.subject in ("S9", "S11")
    ]
    assert len({take.person for take in takes}) == 30
    assert len({(take.subject, take.file_name) for take in takes}) >= FEWEST_CLIPS

    tested = itop._people(itop.DEMO["people"])["test"]
    added = itop._HELD_OUT_CASTS[held_out]
    blocks = [block for person in tested for block in itop._blocks(0, person, added, itop.DEMO["frames"], None, "cpu")]
    clips = 0
    for block in blocks:
        ends = np.cumsum([clip.frames for clip in block.clips])[:-1]
        clips += sum(any(part) for part in np.split(np.array(block.valid), ends))
    assert len({block.cast for block in blocks}) >= FEWEST_PEOPLE
    assert clips >= FEWEST_CLIPS


def test_hard_pose_has_sixty_sections_of_one_character_each(tmp_path: Path) -> None:
    count = ubc3v.DEMO["test_postures"]
    split = ubc3v._test_split(tmp_path, 0, "test", ubc3v.DEMO["people"], count, None, "cpu")
    sections = {block.section for block in ubc3v._blocks(split, count)}
    assert len(sections) == FEWEST_CLIPS
    assert split.characters >= FEWEST_PEOPLE
