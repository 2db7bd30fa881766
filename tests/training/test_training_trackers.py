"""Curves in other programs: TensorBoard's files are read again; the two that share functions get what they expect."""

from __future__ import annotations

import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from training_toys import Notes
from training_workplace import Workplace

from kt3d_bench.errors import UsageError
from kt3d_bench.run_folder import read_run
from kt3d_bench.training.trackers import Online, require_installed, start
from kt3d_bench.training.train import train


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_tensorboard_has_the_numbers_of_the_log(workplace: Workplace) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for dataset in ("dots-target", "dots-source"):
        workplace.prepare(dataset)
    folder = train(workplace.config(log=("tensorboard",)))
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {
        "first/energy", "first/seen", "first/learning rate", "second/pull", "second/learning rate",
    }  # fmt: skip
    found = [(one.step, one.value) for one in events.Scalars("second/pull")]
    expected = [(line["step"], line["losses"]["pull"]) for line in lines(folder) if line["stage"] == "second"]
    assert found == [(step, pytest.approx(value, rel=1e-6)) for step, value in expected]
    plain = read_run(train(workplace.config(name="plain")))
    assert all(stage["reused"] for stage in plain["stages"]), "where curves are shown decides nothing"


class Recorder(ModuleType):
    """The functions that Trackio and Weights & Biases share, remembered."""

    def __init__(self) -> None:
        super().__init__("trackio")
        self.called: list[tuple[str, Any]] = []

    def init(self, **given: Any) -> None:
        self.called.append(("init", given))

    def log(self, values: dict[str, float]) -> None:
        self.called.append(("log", values))

    def finish(self) -> None:
        self.called.append(("finish", None))


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_the_functions_that_two_trackers_share_are_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    recorder = Recorder()
    monkeypatch.setitem(sys.modules, name, recorder)
    (tracker,) = start([name], tmp_path / "my-run", {"width": 3})
    tracker.write("adapt", 7, {"pose": 0.5})
    tracker.close()
    assert recorder.called == [
        ("init", {"project": "kt3d", "name": "my-run", "config": {"width": 3}}),
        ("log", {"adapt/step": 7, "adapt/pose": 0.5}),
        ("finish", None),
    ]


def test_wandb_takes_them_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    tracker = Online(wandb, "my-run", {"width": 3})
    tracker.write("adapt", 7, {"pose": 0.5})
    assert wandb.run.summary["adapt/pose"] == 0.5
    tracker.close()
    (written,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    assert b"adapt/pose" in written.read_bytes()


def test_a_tracker_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(UsageError, match=r"--log: trackio is not installed; pip install 'kt3d-bench\[trackio\]'"):
        require_installed(["trackio"])


def test_a_tracker_that_does_not_start_closes_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    monkeypatch.setitem(sys.modules, "trackio", recorder)
    monkeypatch.setitem(sys.modules, "wandb", object())
    with pytest.raises(UsageError, match=r"--log: wandb does not start \(AttributeError: .*\); set it up, or train"):
        start(["trackio", "wandb"], tmp_path, {})
    assert recorder.called[-1] == ("finish", None)


def test_a_tracker_that_fails_later_is_dropped_and_training_goes_on(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for dataset in ("dots-target", "dots-source"):
        workplace.prepare(dataset)

    def refuse(values: dict[str, float]) -> None:
        raise ConnectionError("no route")

    recorder, report = Recorder(), Notes()
    recorder.__spec__ = ModuleSpec("trackio", None)
    recorder.log = refuse  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "trackio", recorder)
    folder = train(workplace.config(log=("trackio",)), report)
    assert read_run(folder)["state"] == "finished"
    dropped = [note for note in report.notes if "curves" in note]
    assert dropped == ["Online takes no more curves: ConnectionError: no route"] * 2, "once a stage"
    assert recorder.called[-1] == ("finish", None)
