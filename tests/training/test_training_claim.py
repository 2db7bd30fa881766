"""A run's folder belongs to one process: two starts give two folders, and a living run is not resumed beside it."""

from __future__ import annotations

import multiprocessing
import os
import platform
import re
import threading
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import training_generator
from training_toys import CONTEXT, Notes, ToyConfig, ToyMethod
from training_workplace import Workplace

from kt3d_bench.data.manifest import read_manifest
from kt3d_bench.data.prepare import holds_stand_in
from kt3d_bench.interrupts import InterruptedRunError
from kt3d_bench.locks import LockedError, held
from kt3d_bench.run_folder import RUN_FILE
from kt3d_bench.testing import tiny
from kt3d_bench.training import checkpoint
from kt3d_bench.training.claim import LOCK, claimed
from kt3d_bench.training.resolve import Resolved, resolve
from kt3d_bench.training.stages import StageStore
from kt3d_bench.training.train import train

ALONE: Any = SimpleNamespace(is_global_zero=True, world_size=1)
FORK = multiprocessing.get_context("fork")


def _start(resolved: Resolved, barrier: Barrier, answers: Any) -> None:
    barrier.wait()
    try:
        with claimed(ALONE, resolved, resume=False) as folder:
            (folder / RUN_FILE).touch()
            answers.put(folder.name)
            barrier.wait()
    except Exception as error:
        answers.put(type(error).__name__)
        barrier.wait()


@pytest.mark.parametrize(("name", "expected"), [
    (None, ["toy-dots-target-none-tiny-s0", "toy-dots-target-none-tiny-s0-2", "toy-dots-target-none-tiny-s0-3"]),
    ("mine", ["LockedError", "LockedError", "mine"]),
])  # fmt: skip
def test_simultaneous_starts_give_folders_or_refusals(
    workplace: Workplace, name: str | None, expected: list[str]
) -> None:
    resolved = resolve(workplace.config(name=name))
    for _ in range(5):
        barrier, answers = FORK.Barrier(3), FORK.SimpleQueue()
        starts = [FORK.Process(target=_start, args=(resolved, barrier, answers)) for _ in range(3)]
        for start in starts:
            start.start()
        found = sorted(answers.get() for _ in starts)
        for start in starts:
            start.join()
        assert [answer.replace("UsageError", "LockedError") for answer in found] == sorted(expected)
        for run in (workplace.root / "runs").iterdir():
            (run / RUN_FILE).unlink(missing_ok=True)


def interrupted(workplace: Workplace) -> Path:
    workplace.prepare("dots-target")
    workplace.prepare("dots-source")
    with pytest.raises(InterruptedRunError, match="--resume"):
        train(workplace.config(), Notes(2, "second"))
    return workplace.root / "runs" / "toy-dots-target-none-tiny-s0"


def test_a_living_run_is_not_resumed_and_a_dead_one_is(workplace: Workplace) -> None:
    folder = interrupted(workplace)
    before = (folder / RUN_FILE).read_bytes()
    who = rf"another process trains this run \(process {os.getpid()} on {re.escape(platform.node())}, since .*; wait"
    with held(folder / LOCK, "", ""), pytest.raises(LockedError, match=who):
        train(workplace.config(), resume=True)
    assert (folder / RUN_FILE).read_bytes() == before
    left = folder / "checkpoints" / ".step-second-000000003.pt.4242"
    left.touch()
    assert train(workplace.config(), resume=True) == folder
    assert not left.exists()
    assert not (folder / LOCK).exists()


def test_resume_takes_the_newest_run_that_nobody_trains(workplace: Workplace) -> None:
    older = interrupted(workplace)
    interrupted(workplace)
    newer = older.with_name(f"{older.name}-2")
    with held(newer / LOCK, "", ""):
        assert train(workplace.config(), resume=True) == older


def test_a_run_that_was_killed_before_it_began_leaves_its_name(workplace: Workplace) -> None:
    workplace.prepare("dots-target")
    workplace.prepare("dots-source")
    (workplace.root / "runs" / "toy-dots-target-none-tiny-s0").mkdir(parents=True)
    assert train(workplace.config()).name == "toy-dots-target-none-tiny-s0"


def test_a_stage_is_read_whole_while_another_run_writes_it(tmp_path: Path) -> None:
    """Between its two files a stage looks corrupt; a reader waits for the writer."""
    method = ToyMethod(ToyConfig(), CONTEXT)
    stage = method.stages()[0]
    store = StageStore(tmp_path)
    store.save("abc", method, stage, {"steps": 1})
    sidecar = checkpoint.sidecar(tmp_path / "abc.pt")
    good = sidecar.read_text()
    begun = threading.Event()

    def write() -> None:
        with held(tmp_path / ".lock", "", ""):
            sidecar.write_text("0" * 64)
            begun.set()
            time.sleep(0.3)
            sidecar.write_text(good)

    writer = threading.Thread(target=write)
    writer.start()
    begun.wait()
    assert store.restore("abc", method, stage) == {"steps": 1}
    writer.join()
    (tmp_path / ".abc.pt.77").touch()
    store.save("abc", method, stage, {"steps": 2})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["abc.pt", "abc.pt.sha256"]


def test_a_stand_in_of_an_older_generator_is_replaced_with_its_shards(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workplace.prepare("dots-target")
    train(workplace.config())
    (home,) = (workplace.root / "generated" / "dots-source").iterdir()
    shards, version = home / "shards", training_generator.VERSION
    assert read_manifest(shards).generator_version == version
    for module in (training_generator, tiny):
        monkeypatch.setattr(module, "VERSION", version + 1)
    train(workplace.config(seed=1))
    assert read_manifest(shards).generator_version == version + 1
    assert holds_stand_in(shards)
    assert not holds_stand_in(workplace.root / "shards" / "dots-target")


def test_a_stand_in_that_was_killed_while_it_was_replaced_is_made_again(workplace: Workplace) -> None:
    """Another version is to replace it: the marker is gone already, other files are not."""
    workplace.prepare("dots-target")
    train(workplace.config())
    home = next((workplace.root / "generated" / "dots-source").iterdir())
    raw = home / "raw"
    before = sorted(path.name for path in raw.iterdir())
    (raw / "kt3d-generated.json").unlink()
    (raw / "kt3d-stand-in.txt").write_text("version 0")
    (home / "raw.old").mkdir()
    (home / "raw.old" / "image").touch()
    train(workplace.config(seed=1))
    assert sorted(path.name for path in raw.iterdir()) == before
    assert sorted(path.name for path in home.iterdir()) == ["raw", "shards"]
