"""Runs from Python: ``kt.train``, ``kt.load_run`` and ``Run.predict`` do what the commands do."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from training_toys import Notes
from training_workplace import Workplace

import kt3d_bench as kt
from kt3d_bench.cli import main
from kt3d_bench.metrics.predictions import read_predictions
from kt3d_bench.training.config import RunConfig, RunOptions


@pytest.fixture
def run(workplace: Workplace) -> kt.Run:
    workplace.prepare("dots-target", test=70)
    workplace.prepare("dots-source")
    return kt.train("toy", preset="tiny", device="cpu", settings={"steps": 3}, seed=4, data=workplace.root)


def test_what_python_trains_is_what_the_command_trains(run: kt.Run, workplace: Workplace) -> None:
    options = ["--method", "toy", "--preset", "tiny", "--device", "cpu", "--set", "steps=3", "--seed", "4"]
    args = ["train", *options, "--no-predict", "--name", "again"]
    done = CliRunner(env={"KT3D_DATA": str(workplace.root)}).invoke(main, args)
    assert done.exit_code == 0, done.output
    again = kt.load_run("again", data=workplace.root)
    assert run.finished
    assert run.name == "toy-dots-target-none-tiny-s4"
    assert [stage["digest"] for stage in again.document["stages"]] == [
        stage["digest"] for stage in run.document["stages"]
    ]
    assert run.config == RunConfig(
        "toy", preset="tiny", device="cpu", settings={"steps": 3}, seed=4, data_root=workplace.root
    )


def test_shards_of_another_dataset_are_refused_before_predictions_are_overwritten(
    run: kt.Run, workplace: Workplace
) -> None:
    target = run.folder / "predictions" / "dots-target-rgb.npz"
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(b"earlier")
    with pytest.raises(kt.UsageError, match="tests on 'dots-target/test', these shards hold 'dots-source/test'"):
        run.predict(shards=workplace.root / "shards" / "dots-source", device="cpu")
    assert target.read_bytes() == b"earlier"
    target.unlink()
    target.parent.rmdir()


def test_predictions_of_a_dataset_are_those_of_the_command(run: kt.Run, workplace: Workplace) -> None:
    test = kt.load("dots-target", "test", data=workplace.root)
    notes = Notes()
    found = run.predict(test, device="cpu", report=notes)
    assert [step for _, step in notes.steps] == [1, 2]
    assert not (run.folder / "predictions").exists(), "nothing is written for a dataset"
    done = CliRunner(env={"KT3D_DATA": str(workplace.root)}).invoke(main, ["predict", run.name, "--device", "cpu"])
    assert done.exit_code == 0, done.output
    written = read_predictions(run.folder / "predictions" / "dots-target-rgb.npz")
    benchmark = run.predict(device="cpu")
    for other in (written, benchmark):
        assert found.keys.tolist() == other.keys.tolist() == test.keys.tolist()
        np.testing.assert_array_equal(found.joints_cam_mm, other.joints_cam_mm)
        assert {name: other.meta[name] for name in found.meta} == found.meta
    assert len(found) == 70
    np.testing.assert_allclose(found.joints_cam_mm[:, 0, 2], test.joints_cam_mm[:, 0, 2])


def test_a_selection_is_predicted_as_such(run: kt.Run, workplace: Workplace) -> None:
    test = kt.load("dots-target", "test", data=workplace.root)
    whole, part = run.predict(test, device="cpu"), run.predict(test[[5, 2]], device="cpu")
    assert part.keys.tolist() == [test.keys[5], test.keys[2]]
    np.testing.assert_allclose(part.joints_cam_mm, whole.joints_cam_mm[[5, 2]], rtol=1e-6, atol=1e-5)


def test_a_depth_that_the_method_does_not_estimate_is_refused(run: kt.Run, workplace: Workplace) -> None:
    test = kt.load("dots-target", "test", data=workplace.root)
    with pytest.raises(kt.PluginError, match="the method estimates no depth of the hip"):
        run.predict(test[:2], device="cpu", reference="from-depth")


def test_a_run_is_found_by_name_by_folder_or_as_the_newest(run: kt.Run, workplace: Workplace, tmp_path: Path) -> None:
    named = kt.load_run(run.name, data=workplace.root)
    for opened in (kt.load_run(data=workplace.root), kt.load_run(run.folder), named):
        assert opened.folder.samefile(run.folder)
    with pytest.raises(kt.UsageError, match=r"there is no run 'toy-dots-target-none-tiny-s5'; did you mean '.*-s4'"):
        kt.load_run("toy-dots-target-none-tiny-s5", data=workplace.root)
    with pytest.raises(kt.ArtefactError, match="no finished run"):
        kt.load_run(data=tmp_path)
    with pytest.raises(kt.ArtefactError, match="there is no run here"):
        kt.load_run(tmp_path)


def test_a_data_root_whose_name_is_no_utf8_works(workplace: Workplace) -> None:
    odd = workplace.root.with_name("data\udcff")
    place = Workplace(odd)
    place.prepare("dots-target")
    place.prepare("dots-source")
    run = kt.train("toy", preset="tiny", device="cpu", settings={"steps": 2}, data=odd)
    assert run.config.data_root == odd
    assert Path(run.document["shards"]["target"]["folder"]) == odd / "shards" / "dots-target"
    assert len(run.predict(device="cpu")) == 5


def test_keyword_arguments_are_the_fields_of_the_config() -> None:
    assert RunOptions.__annotations__.keys() == {field.name for field in fields(RunConfig)} - {"method", "data_root"}
