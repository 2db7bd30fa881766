"""What ``kt3d new`` writes is clean, and a name that cannot work is refused before a file is touched."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from kt3d_bench.cli import main
from kt3d_bench.errors import UsageError
from kt3d_bench.scaffold import KINDS, named, new_plugin

ROOT = Path(__file__).resolve().parents[2]


def test_all_forms_of_a_name() -> None:
    names = named("my-first-net2")
    assert (names.package, names.distribution, names.stem) == (
        "kt3d_my_first_net2",
        "kt3d-my-first-net2",
        "my_first_net2",
    )
    assert (names.cls, names.title) == ("MyFirstNet2", "My first net2")
    assert names.package.isidentifier()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("My Net", "'My Net' cannot name a plugin.*; try 'my-net'"),
        ("net_2", "try 'net-2'"),
        ("2net", "try 'net'"),
        ("-", "choose another name"),
        ("../evil", "try 'evil'"),
        ("a--b", "try 'a-b'"),
        ("x" * 31, f"at most 30 characters; try '{'x' * 30}'"),
        ("lambda", "a Python keyword; choose another, such as 'my-lambda'"),
        ("h36m", "a dataset 'h36m' is installed already; choose another name"),
        ("martinez", "a method 'martinez' is installed already"),
        ("floor", "a plugin 'floor' is installed already"),
        ("demo", "a recipe 'demo' is installed already"),
        ("bone-length-mm", "a metric 'bone-length-mm' is installed already"),
        ("bench", "a package kt3d_bench is installed already"),
    ],
)
def test_names_that_cannot_work_are_refused_with_a_hint(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        new_plugin("method", name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "kt3d-thing").mkdir()
    with pytest.raises(UsageError, match="kt3d-thing: exists already; choose another name or another --out"):
        new_plugin("dataset", "thing", tmp_path)
    assert list((tmp_path / "kt3d-thing").iterdir()) == []


def test_unknown_kinds_and_targets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no kind of plugin 'datset'; did you mean 'dataset'\?"):
        new_plugin("datset", "thing", tmp_path)
    with pytest.raises(UsageError, match=r"no dataset 'ubc3'; did you mean 'ubc3v'\?"):
        new_plugin("method", "thing", tmp_path, target="ubc3")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_ends_with_what_to_do_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["new", kind, "thing", "--out", "here it is"])
    assert done.exit_code == 0, done.output
    *_, install, check = done.output.splitlines()
    assert install.startswith("Next: ")
    assert install.endswith(f"-m pip install -e '{tmp_path}/here it is/kt3d-thing'")
    assert check == "Next: kt3d check thing"
    refused = CliRunner().invoke(main, ["new", kind, "thing", "--out", "here it is"])
    assert refused.exit_code == 2
    assert "exists already" in refused.output


def test_a_method_is_written_for_the_target_that_is_named(tmp_path: Path) -> None:
    folder = new_plugin("method", "thing", tmp_path, target="ubc3v")
    assert '"target": "ubc3v"' in (folder / "src" / "kt3d_thing" / "__init__.py").read_text()
    assert "kt3d generate ubc3v" in (folder / "README.md").read_text()


@pytest.mark.parametrize(("kind", "reads"), [*((kind, "image") for kind in KINDS), ("method", "video")])
@pytest.mark.parametrize("name", ["a", "z" * 30])
def test_what_is_written_is_clean(tmp_path: Path, kind: str, reads: str, name: str) -> None:
    folder = new_plugin(kind, name, tmp_path, reads=reads)
    written = "".join(path.read_text() for path in folder.rglob("*") if path.is_file())
    assert not re.search(r"\$[a-z]", written), "a place in a template was not filled"
    if importlib.util.find_spec("ruff") is None:
        pytest.skip("ruff is not installed")
    for words in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, "--no-cache", "."], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_what_is_written_is_typed(tmp_path: Path) -> None:
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    sources = [new_plugin(kind, f"typed-{kind}", tmp_path) / "src" for kind in KINDS]
    words = [word for kind in KINDS for word in ("-p", f"kt3d_typed_{kind}")]
    config = tmp_path / "kt3d-typed-dataset" / "pyproject.toml"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--follow-imports=silent",
            "--config-file",
            str(config),
            "--cache-dir",
            str(tmp_path / "cache"),
            *words,
        ],
        env={"PATH": "", "MYPYPATH": ":".join(map(str, [*sources, ROOT]))},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_ships_the_templates(tmp_path: Path) -> None:
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, capture_output=True, check=True, timeout=120,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("kt3d_bench/templates/")}
    root = ROOT / "kt3d_bench" / "templates"
    assert shipped == {f"kt3d_bench/templates/{path.relative_to(root)}" for path in root.rglob("*.tmpl")}
