"""``kt3d demo`` from nothing to a picture, with a recipe of one row."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from kt3d_bench.cli import main
from kt3d_bench.errors import RawDataError, UsageError
from kt3d_bench.locks import LockedError, held
from kt3d_bench.plugins import registry
from kt3d_bench.plugins.hookspecs import DatasetPlugin, Recipe, RecipeRow
from kt3d_bench.reproduction import reproduce
from kt3d_bench.reproduction.reproduce import demo

SMALL = {"people": 1, "frames": 4, "test_postures": 2}


@pytest.fixture
def one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo of the mean pose on a handful of depth images."""
    row = RecipeRow("mean-pose", target="ubc3v")
    monkeypatch.setattr(registry, "recipe", lambda name: Recipe(name, "", (row,)))
    monkeypatch.setattr("kt3d_ubc3v.generate.DEMO", SMALL)


def test_the_demo_ends_with_boards_and_a_picture(one_row: None, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    done = CliRunner().invoke(main, ["demo", "--out", str(out), "--budget-minutes", "0.1", "--workers", "1"])
    assert done.exit_code == 0, done.output
    said = done.stdout
    assert "mean-pose" in said
    picture = cv2.imread(str(out / "pictures" / "ubc3v-hard.png"))
    assert picture is not None
    assert picture.std() > 10
    assert f"Picture: {out / 'pictures' / 'ubc3v-hard.png'}" in said
    assert f"first picture: {out / 'pictures' / 'ubc3v-hard.png'}" in done.stderr.replace("\n", "")
    (report,) = out.glob("runs/*/report.html")
    assert f"Report of a run: {report}" in said
    assert "mean-pose" in (out / "leaderboards" / "generated" / "ubc3v-hard" / "README.md").read_text()


def test_a_second_demo_keeps_the_data_makes_the_runs_anew_and_touches_nothing_else(
    one_row: None, tmp_path: Path
) -> None:
    first = demo(tmp_path, budget_minutes=0.1, workers=1)
    (tmp_path / "mine.txt").write_text("precious")
    tar = next((tmp_path / "shards" / "ubc3v").glob("*.tar"))
    made = tar.stat().st_mtime_ns
    (next((tmp_path / "runs").iterdir()) / "stale").write_text("of the first demo")
    second = demo(tmp_path, budget_minutes=0.1, workers=1)
    assert tar.stat().st_mtime_ns == made
    assert not list((tmp_path / "runs").rglob("stale"))
    assert (tmp_path / "mine.txt").read_text() == "precious"
    (one,), (other,) = first.outcomes, second.outcomes
    assert other.result.entry.board == "generated/ubc3v-hard"
    assert np.isfinite(other.result.scores.overall["mpjpe_mm"])
    assert one.result.scores.overall == other.result.scores.overall


def test_a_folder_that_no_demo_made_loses_nothing(one_row: None, tmp_path: Path) -> None:
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "weights.pt").write_text("precious")
    for _ in range(2):
        with pytest.raises(UsageError, match=r"holds runs that no demo made.*choose another --out"):
            demo(tmp_path, budget_minutes=0.1, workers=1)
    assert (tmp_path / "runs" / "mine" / "weights.pt").read_text() == "precious"


def test_a_demo_beside_another_keeps_its_hands_off(one_row: None, tmp_path: Path) -> None:
    demo(tmp_path, budget_minutes=0.1, workers=1)
    with held(tmp_path / ".lock", "busy", "wait"), pytest.raises(LockedError, match=r"another demo runs here .*--out"):
        demo(tmp_path, budget_minutes=0.1, workers=1)
    assert list(tmp_path.glob("runs/*/checkpoints/final.pt"))


def test_data_is_made_when_a_row_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first row is there before the second row's data is made."""
    rows = (RecipeRow("mean-pose", target="ubc3v"), RecipeRow("mean-pose", target="itop-front"))
    monkeypatch.setattr(registry, "recipe", lambda name: Recipe(name, "", rows))
    monkeypatch.setattr("kt3d_ubc3v.generate.DEMO", SMALL)
    made: list[tuple[str, int]] = []

    def note(plugin: DatasetPlugin, arguments: object, raw: Path, shards: Path, *_: object, **__: object) -> None:
        made.append((plugin.name, len(list(tmp_path.glob("runs/*")))))
        if plugin.name == "itop":
            raise RawDataError("enough")
        make(plugin, arguments, raw, shards, *_, **__)  # type: ignore[arg-type]

    make = reproduce.make_stand_in
    monkeypatch.setattr(reproduce, "make_stand_in", note)
    with pytest.raises(RawDataError, match="enough"):
        demo(tmp_path, budget_minutes=0.1, workers=1)
    assert made == [("ubc3v", 0), ("itop", 1)]
