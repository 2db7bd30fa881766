"""The command line answers fast because it imports little; and it lists what is there."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

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


@pytest.mark.parametrize(("words", "limit_s"), [(["--help"], 0.3), (["list"], 0.5)])
def test_help_and_list_answer_at_once(words: list[str], limit_s: float) -> None:
    """The processor's time of the quickest of five, so that a busy machine does not count."""
    spent = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "kt3d_bench", *words], capture_output=True, timeout=60, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < limit_s


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
