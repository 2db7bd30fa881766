"""The command line answers fast because it imports little; and it lists what is there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from kt3d_bench.cli import main

HEAVY = ("torch", "webdataset", "scipy", "cv2", "h5py", "matplotlib", "cdflib", "av", "joblib")


@pytest.mark.parametrize("words", [["--help"], ["list"], ["list", "h36m"], ["train", "--help"]])
def test_help_and_list_import_nothing_heavy(words: list[str]) -> None:
    script = (
        "import sys\nfrom kt3d_bench.cli import main\n"
        f"try:\n    main({words!r}, prog_name='kt3d')\nexcept SystemExit as end:\n    assert end.code == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == "[]"
    assert done.stdout


def test_scoring_a_file_imports_no_torch(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom kt3d_bench.cli import main\n"
        "try:\n    main(['score', 'absent.npz', '--benchmark', 'h36m-s9s11-64'])\nexcept SystemExit as end:\n"
        "    assert end.code == 1\nassert 'torch' not in sys.modules and 'webdataset' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, timeout=60, check=True)


def test_list_names_everything_and_never_cuts_it_when_piped() -> None:
    text = CliRunner().invoke(main, ["list"]).output
    for name in ("h36m", "ubc3v", "mpii", "knowledge-transfer", "integral-pose", "lift-mlp", "h36m-s9s11-64", "demo"):
        assert name in text
    assert "…" not in text


def test_list_as_json_is_json() -> None:
    listed = json.loads(CliRunner().invoke(main, ["list", "--json"]).output)
    assert set(listed) == {"datasets", "methods", "benchmarks", "recipes"}
    assert listed["benchmarks"]["ubc3v-hard"]["dataset"] == "ubc3v"


@pytest.mark.parametrize("name", ["h36m", "ubc3v", "mpii"])
def test_cards_say_how_to_obtain_a_dataset_and_on_which_terms(name: str) -> None:
    text = CliRunner().invoke(main, ["list", name]).output
    for heading in ("How to obtain it:", "Terms:", "Redistribution:", "Joints:", "Cite:"):
        assert heading in text
