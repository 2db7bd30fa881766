"""Runs whose data moved or whose files are damaged, and the first moments of a command."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from badinput_bench import CUTS, copy_tree, kt3d, refused, replace
from click.testing import Result

from kt3d_bench.metrics.predictions import read_predictions, write_predictions


@pytest.fixture(scope="session")
def trained(clean: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``data`` that holds shards and a finished run, recorded as ``data/...``; never to be changed."""
    place = tmp_path_factory.mktemp("trained")
    for dataset in ("h36m", "ubc3v"):
        copy_tree(clean(dataset), place / "data/shards" / dataset)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("KT3D_DATA", "data")
        done = kt3d("train", "--method", "mean-pose", "--preset", "tiny", "--device", "cpu", "--name", "x")
    assert done.exit_code == 0, done.output
    return place / "data"


@pytest.fixture
def moved(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same data under another name, the command given from elsewhere."""
    shutil.copytree(trained, tmp_path / "elsewhere")
    monkeypatch.setenv("KT3D_DATA", str(tmp_path / "elsewhere"))
    return tmp_path / "elsewhere"


def error_of(result: Result) -> str:
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    (said,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert "; " in said
    return said


def test_a_run_whose_data_was_moved_is_predicted_and_scored(moved: Path) -> None:
    assert kt3d("score").exit_code == 0
    shutil.rmtree(moved / "runs/x/predictions")
    again = kt3d("predict", "x")
    assert again.exit_code == 0, again.output
    assert kt3d("score", "--run", "x", "--as", "kt3d").exit_code == 0


def test_a_run_that_replaces_its_earlier_result_says_so(moved: Path) -> None:
    assert "Replaced" not in kt3d("score").output
    assert "Replaced" not in kt3d("score").output
    path = moved / "runs/x/predictions/h36m-s9s11-64.npz"
    old = read_predictions(path)
    write_predictions(path, old.keys, old.joints_cam_mm * 1.1, meta=old.meta)
    again = kt3d("score")
    assert again.exit_code == 0, again.output
    assert "Replaced: an earlier result of the same settings and seed: mpjpe_mm " in again.output
    assert len(list(moved.rglob("entries/*.json"))) == 1


def test_other_shards_at_the_new_place_are_refused(moved: Path, clean: Callable[[str], Path]) -> None:
    shards = moved / "shards/h36m"
    shutil.rmtree(shards)
    copy_tree(clean("ubc3v"), shards)
    said = error_of(kt3d("score"))
    assert said.startswith(f"Error: {shards}: these are other shards than those of the run, which lay in data/shards")
    assert "put those back, or prepare them again" in said
    shutil.rmtree(shards)
    gone = error_of(kt3d("score"))
    assert "there are no shards of 'h36m'" in gone
    assert "kt3d prepare h36m" in gone


@pytest.mark.parametrize("name", ["run.yaml", "checkpoints/final.pt", "checkpoints/final.pt.sha256",
                                  "predictions/h36m-s9s11-64.npz"])  # fmt: skip
def test_damaged_files_of_a_run(moved: Path, name: str) -> None:
    path = moved / "runs/x" / name
    whole = path.read_bytes()
    for damage in CUTS.values():
        damage(path)
        if path.suffix == ".pt" or path.suffix == ".sha256":
            said = error_of(kt3d("predict", "x"))
        else:
            said = error_of(kt3d("score"))
        assert str(path).removesuffix(".sha256") in said
        replace(path, whole)
    assert kt3d("predict", "x").exit_code == 0
    assert kt3d("score").exit_code == 0


def test_damaged_entries_are_named(moved: Path) -> None:
    assert kt3d("score").exit_code == 0
    (entry,) = (moved / "leaderboards/h36m-s9s11-64/entries").glob("*.json")
    board = entry.parents[1] / "README.md"
    before, whole = board.read_bytes(), entry.read_bytes()
    for damage in CUTS.values():
        damage(entry)
        refused(kt3d("leaderboard", "build", "--leaderboards", moved / "leaderboards"), entry)
        assert board.read_bytes() == before
        replace(entry, whole)
    assert kt3d("leaderboard", "build", "--leaderboards", moved / "leaderboards").exit_code == 0


@pytest.mark.parametrize("module", ["numpy", "click", "kt3d_bench.cli.runs", "yaml", "pluggy"])
def test_ctrl_c_while_the_program_starts(module: str) -> None:
    """Whatever is being imported when it comes, it is one sentence."""
    script = f"""
import runpy, sys

class Interrupting:
    def find_spec(self, name, *more):
        if name == {module!r}:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupting())
sys.argv = ["kt3d", "list"]
runpy.run_module("kt3d_bench", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "Interrupted; run the same command again.\n")
