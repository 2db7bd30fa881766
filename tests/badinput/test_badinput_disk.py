"""A disk that is full, wherever it is noticed: one sentence, nothing half-written, and the same command goes on."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from badinput_bench import Bench, contents, copy_tree, kt3d, refused

from kt3d_bench.data.reader import ShardSet
from kt3d_bench.metrics.predictions import write_predictions

Made = Callable[[str], Bench]


@contextmanager
def full_disk(name: str) -> Iterator[None]:
    """No room for files of such names, their temporary versions included."""
    fsync, open_path = os.fsync, Path.open

    def no_room(descriptor: int) -> None:
        if name in Path(f"/proc/self/fd/{descriptor}").readlink().name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    def opened(path: Path, mode: str = "r", *more: Any, **options: Any) -> Any:
        return open_path(Path("/dev/full") if mode == "a" and name in path.name else path, mode, *more, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", no_room)
        patch.setattr(Path, "open", opened)
        yield


def test_no_room_for_a_shard_in_a_worker_process(bench: Made) -> None:
    made = bench("mpii")
    command = [sys.executable, "-m", "kt3d_bench", "prepare", "mpii", "--raw", str(made.raw), "--out", str(made.out),
               "--workers", "2"]  # fmt: skip

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))

    failed = subprocess.run(command, preexec_fn=small_files, capture_output=True, text=True, timeout=120, check=False)
    assert failed.returncode == 1, failed.stderr
    assert "Traceback" not in failed.stderr
    (said,) = failed.stderr.strip().splitlines()
    assert said.startswith(f"Error: {made.out}/train-000000.tar: cannot be written"), said
    assert "File too large" in said
    assert "finished shards are kept: run the same command again" in said
    assert [path.name for path in made.out.iterdir()] == ["prepare.json"]
    assert made.prepare().exit_code == 0
    assert made.is_clean()


@pytest.mark.parametrize("file", ["test-000001.tar", "test-000001.index.npz", "test-000000.tar", "prepare.json",
                                  "manifest.json"])  # fmt: skip
def test_no_room_while_preparing(bench: Made, file: str) -> None:
    made = bench("ubc3v")
    with full_disk(file):
        said = refused(made.prepare(), made.out, "the disk is full", "free some space; finished shards are kept")
    assert file.partition(".")[0] in said or file.endswith(".json")
    left = made.bytes_of()
    assert not [name for name in left if name.endswith(".tmp")]
    assert "manifest.json" not in left
    whole = contents(made.clean)
    assert all(content == whole[name] for name, content in left.items())
    assert made.prepare().exit_code == 0
    assert made.is_clean()


@pytest.fixture
def shards(clean: Callable[[str], Path]) -> Path:
    """Shards of all that a run needs, where commands look for them."""
    for dataset in ("h36m", "ubc3v"):
        copy_tree(clean(dataset), Path("data/shards") / dataset)
    return Path("data/shards/h36m")


TRAIN = ("train", "--method", "mean-pose", "--preset", "tiny", "--device", "cpu", "--name", "x")


@pytest.mark.parametrize("file", ["final.pt", "run.yaml", "log.jsonl", "h36m-s9s11-64.npz"])
def test_no_room_while_training(shards: Path, file: str) -> None:
    with full_disk(file):
        result = kt3d(*TRAIN)
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    (said,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert file in said
    assert "cannot be written" in said
    assert "No space left on device" in said
    assert "; free" in said
    again = kt3d(*TRAIN, "--resume")
    started = Path("data/runs/x/run.yaml").exists()
    if not started or (again.exit_code and "no unfinished run" in again.stderr):
        again = kt3d("predict", "x") if started else kt3d(*TRAIN)
    assert again.exit_code == 0, again.output
    assert Path("data/runs/x/predictions/h36m-s9s11-64.npz").is_file()


@pytest.mark.parametrize("file", [".json", "README.md"])
def test_no_room_on_the_board(shards: Path, tmp_path: Path, file: str) -> None:
    test = ShardSet.open(shards, "test")
    paths = tmp_path / "first.npz", tmp_path / "second.npz"
    for path, far in zip(paths, (20, 30), strict=True):
        write_predictions(path, test.keys, test.labels.joints_cam_mm + np.float32([far, 0, 0]))
    words = ("score", paths[1], "--benchmark", "h36m-s9s11-64")
    assert kt3d("score", paths[0], *words[2:], "--name", "first").exit_code == 0
    boards = Path("data/leaderboards/h36m-s9s11-64")
    before = boards.joinpath("README.md").read_bytes()
    with full_disk(file):
        result = kt3d(*words, "--name", "second")
    refused(result, tmp_path / "data/leaderboards", file, "cannot be written", "No space left", "; free")
    assert len(list((boards / "entries").iterdir())) == (1 if file == ".json" else 2)
    assert boards.joinpath("README.md").read_bytes() == before
    assert kt3d(*words, "--name", "second").exit_code == 0
    assert "second" in boards.joinpath("README.md").read_text()
