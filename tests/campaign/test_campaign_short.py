"""The campaigns in short: ``make torture`` and ``make fuzz`` go on for as long as they are given."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import fuzz
import torture
from campaign_faults import Fault
from campaign_world import COMMANDS, World, run

CORPUS = Path(__file__).with_name("corpus")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"), ("prepare",))


def trials(world: World, kind: str, most: int) -> list[torture.Trial]:
    undisturbed = {name: done.changes for name, done in world.undisturbed.items()}
    found = [one for one in torture.plan(undisturbed) if one.kind == kind and not one.fault.startswith("20 ")]
    return found[:most]


@pytest.mark.parametrize(("kind", "most"), [("kill", 3), ("fault", 3), ("pair", 1)])
def test_prepare_survives_it(world: World, kind: str, most: int) -> None:
    for trial in trials(world, kind, most):
        assert torture.tried(world, trial) == [], trial.name


def test_the_campaign_sees_what_is_lost_partial_or_left_over(world: World) -> None:
    command = COMMANDS["prepare"]
    with world.home(command) as home:
        assert run(command.words, home).code == 0
        shards = home / "kt3d-data/shards/ubc3v"
        whole = (shards / "test-000000.tar").read_bytes()
        (shards / "test-000000.tar").unlink()
        (shards / "test-000000.tar").write_bytes(whole[:-1])
        (shards / "manifest.json").unlink()
        (shards / "more").touch()
        assert world.partial(command, home) == ["kt3d-data/shards/ubc3v/test-000000.tar"]
        assert world.differences(command, home) == [
            "kt3d-data/shards/ubc3v/manifest.json is missing",
            "kt3d-data/shards/ubc3v/more is left over",
            "kt3d-data/shards/ubc3v/test-000000.tar differs",
        ]


def test_every_kind_of_change_is_seen(world: World) -> None:
    done = world.undisturbed["prepare"].changes
    assert {one.split()[0] for one in done} == {"open", "write", "fsync", "mkdir", "rename", "unlink", "truncate"}
    with world.home(COMMANDS["prepare"]) as home:
        killed = run(COMMANDS["prepare"].words, home, Fault("kill", 3))
    assert killed.code == -9


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, fuzz.Target]:
    return {one.name: one for one in fuzz.targets(tmp_path_factory.mktemp("targets"), line=False)}


def test_every_reader_takes_its_valid_files_and_a_few_damaged_ones(
    targets: dict[str, fuzz.Target], tmp_path: Path
) -> None:
    for target in targets.values():
        for data in target.valid:
            fuzz.put(target, data, tmp_path)
            for path in target.beside.iterdir() if target.beside else ():
                (tmp_path / path.name).write_bytes(path.read_bytes())
            target.read(tmp_path)
    assert fuzz.campaign(list(targets.values()), 60, tmp_path / "keep", start=2, most=4)[1] == {}


@pytest.mark.parametrize(("name", "file"), [(one.parent.name, one.name) for one in sorted(CORPUS.glob("*/*"))])
def test_what_once_failed_is_answered(targets: dict[str, fuzz.Target], name: str, file: str, tmp_path: Path) -> None:
    if name not in targets:
        pytest.skip("needs the whole line: make fuzz")
    assert fuzz.outcome(targets[name], (CORPUS / name / file).read_bytes(), tmp_path) == ""
