"""A stranger's way: write a method and a dataset, install them elsewhere, and get from nothing to a row on a board."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

METHOD, DATASET = "first-steps", "two-rooms"


class Home:
    """A folder with two installed distributions, in which commands run as a user's would."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.site = folder, folder / "site"

    def python(self, *words: str, expect: int = 0, at: Path | None = None) -> str:
        environment = {
            **os.environ, "PYTHONPATH": str(self.site), "KT3D_DATA": str(self.folder / "data"), "OMP_NUM_THREADS": "1",
            "PYTHONIOENCODING": "utf-8",
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, *words],
            cwd=at or self.folder, env=environment, capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert done.returncode == expect, said
        return said

    def kt3d(self, *words: str, expect: int = 0) -> str:
        return self.python("-m", "kt3d_bench", *words, expect=expect)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    pytest.importorskip("hatchling")
    home = Home(tmp_path_factory.mktemp("stranger"))
    home.kt3d("new", "method", METHOD)
    home.kt3d("new", "dataset", DATASET)
    folders = [str(home.folder / f"kt3d-{name}") for name in (METHOD, DATASET)]
    apart = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    home.python("-m", "pip", "install", "-q", *apart, "--target", str(home.site), *folders)
    return home


@pytest.mark.slow
def test_from_kt3d_new_to_a_row_on_a_board(home: Home) -> None:
    listed = json.loads(home.kt3d("list", "--json"))
    assert METHOD in listed["methods"]
    assert DATASET in listed["datasets"]
    assert f"{DATASET}-test" in listed["benchmarks"]
    raw = str(home.folder / "data" / "raw" / DATASET)
    home.kt3d("generate", DATASET, "--out", raw, "--people", "4", "--frames", "2", "--workers", "1")
    assert f"{DATASET} train: 8 samples" in home.kt3d("prepare", DATASET, "--workers", "1")
    train = ("--supervision", "full", "--preset", "tiny", "--target", DATASET, "--device", "cpu")
    home.kt3d("train", "--method", METHOD, *train, "--set", "steps=3", "--set", "batch_size=4")
    board = home.kt3d("score")
    assert METHOD in board
    (entry,) = (home.folder / "data" / "leaderboards" / "generated" / f"{DATASET}-test" / "entries").iterdir()
    assert json.loads(entry.read_text())["method"] == METHOD


@pytest.mark.slow
def test_what_kt3d_new_writes_passes_its_check_and_its_own_tests(home: Home) -> None:
    checked = home.kt3d("check", METHOD)
    assert checked.splitlines()[-1] == "15 of 15 rules of the contract hold."
    own = home.python("-m", "pytest", "-q", "-p", "no:cacheprovider", at=home.folder / f"kt3d-{DATASET}")
    assert "5 passed" in own


BREAKS = {
    "No module named 'no_such_library'": ("import annotations\n", "import annotations\n\nimport no_such_library\n"),
    "is not marked as a hook": ("@hookimpl\n", ""),
    "did you mean 'kt3d_methods'?": ("def kt3d_methods(", "def kt3d_metods("),
    "kt3d_methods returned NoneType, expected a sequence": ("    return [", "    _ = ["),
    "presets is 'tiny' (str): expected a list": ('presets=("paper", "tiny")', 'presets="tiny"'),
    "offers 'mean-pose', which plugin '": (f'name="{METHOD}"', 'name="mean-pose"'),
}


def test_an_installed_plugin_that_is_broken_stops_every_command_with_its_name(home: Home) -> None:
    top = home.site / "kt3d_first_steps" / "__init__.py"
    whole = top.read_text()
    try:
        for message, (old, new) in BREAKS.items():
            assert old in whole
            top.write_text(whole.replace(old, new))
            said = home.kt3d("list", expect=1)
            assert "Traceback" not in said
            assert f"plugin '{METHOD}' of kt3d-{METHOD}" in said
            assert message in said
    finally:
        top.write_text(whole)
