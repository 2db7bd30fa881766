"""What a newcomer meets first: one sentence with file and hint, the right exit code, no traceback, nothing lost."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from kt3d_bench.cli import main
from kt3d_bench.cli.base import Commands
from kt3d_bench.metrics.predictions import write_predictions


@pytest.fixture
def kt3d(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command in an empty folder with an empty data root."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KT3D_DATA", raising=False)

    def call(*words: str | Path) -> Result:
        return CliRunner().invoke(main, [str(word) for word in words])

    return call


def said(result: Result, code: int, *texts: str) -> str:
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    for text in texts:
        assert text in result.stderr, result.stderr
    return result.stderr


@pytest.mark.parametrize("dataset", ["h36m", "itop", "mpii", "ubc3v"])
def test_no_raw_folder(kt3d: Any, dataset: str) -> None:
    absent = f"kt3d-data/raw/{dataset}: there is no raw data of {dataset}"
    said(kt3d("prepare", dataset), 1, absent, f"kt3d list {dataset}")


@pytest.mark.parametrize("dataset", ["h36m", "itop", "mpii", "ubc3v"])
def test_empty_raw_folder(kt3d: Any, tmp_path: Path, dataset: str) -> None:
    (tmp_path / "raw").mkdir()
    text = said(kt3d("prepare", dataset, "--raw", tmp_path / "raw"), 1, "raw")
    assert not (tmp_path / "kt3d-data" / "shards" / dataset / "manifest.json").exists()
    assert ";" in text, "no hint"


@pytest.mark.parametrize("dataset", ["h36m", "itop", "mpii", "ubc3v"])
def test_raw_folder_of_something_else(kt3d: Any, tmp_path: Path, dataset: str) -> None:
    (tmp_path / "raw" / "holiday").mkdir(parents=True)
    (tmp_path / "raw" / "holiday" / "beach.jpg").write_bytes(b"not a dataset")
    assert ";" in said(kt3d("prepare", dataset, "--raw", tmp_path / "raw"), 1, "raw")


def test_unknown_names_come_with_suggestions(kt3d: Any) -> None:
    said(kt3d("prepare", "h36n"), 2, "there is no dataset 'h36n'; did you mean 'h36m'?")
    said(kt3d("generate", "mpi"), 2, "did you mean 'mpii'?")
    said(kt3d("train", "--method", "knowlege-transfer"), 2, "did you mean 'knowledge-transfer'?")
    said(kt3d("train", "--method", "integral-pose", "--supervision", "fulll"), 2, "did you mean 'full'?")
    said(kt3d("list", "h36m-s9s11-46"), 2, "did you mean 'h36m-s9s11-64'?")
    misspelt = kt3d("prepare", "h36m", "--trian-every", "5")
    said(misspelt, 2, "'--trian-every' is not an option of prepare h36m", "did you mean '--train-every'?")
    said(kt3d("prepare", "mpii", "--no-chek"), 2, "'--no-chek' is not an option", "did you mean '--no-check'?")
    said(kt3d("prepare", "h36m", "--split", "tset", "--raw", "."), 2, "did you mean 'test'?")


def test_options_of_the_wrong_kind(kt3d: Any) -> None:
    said(
        kt3d("prepare", "h36m", "--train-every", "often"),
        2,
        "--train-every of h36m: expected a whole number like 5, found 'often'",
    )
    said(kt3d("prepare", "h36m", "--train-every"), 2, "--train-every needs a value")
    said(
        kt3d("train", "--method", "mean-pose", "--set", "x"),
        2,
        "--set needs NAME=VALUE, found 'x'; for example: --set steps=100",
    )


def test_unknown_command_and_missing_argument_are_usage_errors(kt3d: Any) -> None:
    for words in (("prepair",), ("prepare",), ("train",), ("score", "--no-such-option")):
        result = kt3d(*words)
        assert result.exit_code == 2
        assert "Traceback" not in result.output


def test_paper_preset_without_a_gpu_names_tiny(kt3d: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    said(kt3d("train", "--method", "knowledge-transfer"), 2, "'paper' needs a GPU", "--preset tiny")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--set", "stepz=3"), "--set: there is no setting 'stepz'"),
        (("--set", "adapt_steps=many"), "adapt_steps"),
        (("--target", "h36mm"), "there is no dataset or benchmark 'h36mm'; did you mean 'h36m'?"),
    ],
)
@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_wrong_words_come_before_a_missing_gpu(
    kt3d: Any, device: str, words: tuple[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = kt3d("train", "--method", "knowledge-transfer", "--device", device, *words)
    said(result, 2, message)
    assert "GPU" not in result.output
    assert "device" not in result.output


def test_missing_target_shards_name_the_prepare_to_run(kt3d: Any) -> None:
    said(
        kt3d("train", "--method", "knowledge-transfer", "--preset", "tiny", "--device", "cpu"),
        1,
        "kt3d-data/shards/h36m: there are no shards of 'h36m', the target",
        "kt3d prepare h36m",
    )


def test_scoring_without_any_run(kt3d: Any) -> None:
    said(kt3d("score"), 1, "runs: there is no finished run", "kt3d train")
    said(kt3d("predict"), 1, "there is no finished run")
    said(kt3d("score", "--run", "nothing"), 2, "there is no run 'nothing'")


def test_wrong_prediction_files(kt3d: Any, tmp_path: Path) -> None:
    text = tmp_path / "text.npz"
    text.write_text("not an npz")
    said(kt3d("score", text, "--benchmark", "h36m-s9s11-64"), 1, "text.npz")
    said(kt3d("score", tmp_path / "absent.npz", "--benchmark", "h36m-s9s11-64"), 1, "absent.npz")
    nameless = tmp_path / "nameless.npz"
    write_predictions(nameless, ["a"], np.zeros((1, 17, 3)))
    said(kt3d("score", nameless), 2, "the predictions do not name their benchmark", "--benchmark ID")
    said(kt3d("score", nameless, "--benchmark", "h36m"), 2, "there is no benchmark 'h36m'")
    unprepared = kt3d("score", nameless, "--benchmark", "h36m-s9s11-64")
    said(unprepared, 1, "no shards of 'h36m' to score against", "kt3d prepare")
    said(kt3d("score", nameless, "--run", "x"), 2, "give a FILE or --run, not both")


def test_a_method_name_that_cannot_be_a_file_name(kt3d: Any, tmp_path: Path) -> None:
    write_predictions(tmp_path / "my method (1).npz", ["a"], np.zeros((1, 17, 3)))
    words = ("score", tmp_path / "my method (1).npz", "--benchmark", "h36m-s9s11-64")
    said(kt3d(*words), 2, "'my method (1)' cannot be the name of a method", "letters, digits", "with --name")
    said(kt3d(*words, "--name", "../evil"), 2, "'../evil' cannot be the name of a method")


def test_options_of_a_file_are_not_ignored_for_a_run(kt3d: Any) -> None:
    for words in (("--name", "x"), ("--shards", "x")):
        said(kt3d("score", *words), 2, "a name and shards go with a file of predictions", "leave them out")


def test_boards_that_are_not_there_are_not_made(kt3d: Any, tmp_path: Path) -> None:
    said(kt3d("leaderboard", "build", "--leaderboards", tmp_path / "typo"), 2, "typo: there is no such folder")
    assert not (tmp_path / "typo").exists()


def test_a_source_needs_depth_labels(kt3d: Any) -> None:
    words = ("train", "--method", "mean-pose", "--preset", "tiny", "--source", "mpii")
    said(kt3d(*words), 2, "'mpii' has 2D labels only, and a source must have 3D ones", "choose another --source")


def test_inspecting_nothing_and_nonsense(kt3d: Any, tmp_path: Path) -> None:
    said(kt3d("inspect", tmp_path / "absent"), 2, "absent: there is nothing here")
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "beach.jpg").write_bytes(b"x")
    said(kt3d("inspect", tmp_path / "junk"), 1, "nothing of any dataset is here", "--dataset NAME")


def test_inspecting_a_part_names_the_whole(kt3d: Any, tmp_path: Path) -> None:
    for name, part, kind in (("manifest.json", "test-000000.tar", "shards"), ("run.yaml", "checkpoints/x.pt", "a run")):
        folder = tmp_path / name.partition(".")[0]
        (folder / part).parent.mkdir(parents=True)
        (folder / part).write_bytes(b"")
        (folder / name).write_text("{}")
        said(kt3d("inspect", folder / part), 2, f"this is a part of {kind}", f"kt3d inspect {folder}")


def test_generating_into_an_occupied_folder(kt3d: Any, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("precious")
    said(kt3d("generate", "mpii", "--out", tmp_path / "full"), 2, "is not empty", "choose another --out")
    assert (tmp_path / "full" / "mine.txt").read_text() == "precious"


def test_a_file_where_a_folder_should_be_is_the_users_to_resolve(kt3d: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    for dataset in ("h36m", "mpii", "ubc3v"):
        words = ("generate", dataset, "--people", "1", "--frames", "1", "--out", tmp_path / "file" / "raw")
        said(kt3d(*words), 1, "file: Not a directory; choose another folder")
    assert (tmp_path / "file").read_text() == "precious"


def test_errors_of_the_system_that_no_user_can_resolve_stay_bugs(kt3d: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise FileNotFoundError(2, "No such file or directory", "lost.py")

    monkeypatch.setattr("kt3d_bench.cli.catalogue.describe", broken)
    with pytest.raises(FileNotFoundError):
        main(["list", "h36m"], standalone_mode=False)


def test_a_full_disk_that_names_no_file_is_a_sentence(kt3d: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(name: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kt3d_bench.cli.catalogue.describe", full)
    said(kt3d("list", "h36m"), 1, "Error: No space left on device; free space")


def test_generating_on_a_device_that_is_not_there(kt3d: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    said(kt3d("generate", "mpii", "--people", "1", "--device", "cuda"), 2, "there is no device 'cuda' here")
    said(kt3d("generate", "mpii", "--people", "1", "--device", "gpu"), 2, "unknown device 'gpu'")


@pytest.mark.parametrize("dataset", ["mpii", "ubc3v"])
def test_ctrl_c_is_one_sentence_and_the_same_command_works_again(kt3d: Any, tmp_path: Path, dataset: str) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    sizes = {"mpii": ("5000", "1"), "ubc3v": ("16", "200")}[dataset]
    command = [sys.executable, "-m", "kt3d_bench", "generate", dataset, "--workers", "1",
               "--people", sizes[0], "--frames", sizes[1]]  # fmt: skip
    running = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 60
        raw = tmp_path / "kt3d-data" / "generated" / dataset / "raw"
        while not raw.with_name("raw.part").exists() and time.monotonic() < deadline:
            assert running.poll() is None, running.stderr.read() if running.stderr else ""
            time.sleep(0.1)
        time.sleep(0.5)
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 1, errors
    assert "Traceback" not in errors
    assert "nterrupted" in errors.strip().splitlines()[-1]
    assert not raw.exists() or not any(raw.iterdir()), "half a stand-in lies where the dataset should"
    again = kt3d(*command[3:-3], "2", "--frames", "1")
    assert again.exit_code == 0, again.output
    assert (raw / "kt3d-generated.json").is_file()
    assert not raw.with_name("raw.part").exists()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.EMFILE, "Too many open files", "a.tar"), "a.tar: Too many open files; allow more open files"),
        (OSError(errno.EIO, "Input/output error", "a"), "a: Input/output error; check the disk, and run the"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "Error: Cannot allocate memory; free memory, or use fewer"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x"), "x: File name too long; choose another folder"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "x: Permission denied; change its permissions, or"),
        (
            OSError(errno.ENOSPC, "No space left", tempfile.gettempdir()),
            "disk of temporary files is full; free some",
        ),
        (
            FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"),
            "Error: no folder for temporary files can be written to; free some space, or name another folder by TMPDIR",
        ),
        (MemoryError(), "Error: not enough memory; free memory, or use fewer --workers"),
    ],
)
def test_errors_of_the_machine_are_one_sentence(error: Exception, text: str) -> None:
    @click.group(cls=Commands)
    def group() -> None:
        pass

    @group.command()
    def fail() -> None:
        raise error

    said(CliRunner().invoke(group, ["fail"]), 1, text)


def test_hidden_commands_are_not_listed() -> None:
    group = Commands("group", commands=[click.Command("seen", help="Shown."), click.Command("unseen", hidden=True)])
    listed = CliRunner().invoke(group, ["--help"]).output
    assert "seen  Shown." in listed
    assert "unseen" not in listed
