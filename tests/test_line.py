"""The whole line as a user walks it: generate, prepare, train, predict, score, board; one small world for all tests."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from kt3d_bench.cli import main
from kt3d_bench.data.prepare import prepare
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.geometry.cameras import project_arrays
from kt3d_bench.leaderboard.entries import read_entries
from kt3d_bench.metrics.predictions import read_predictions, write_predictions
from kt3d_bench.plugins import registry

ROOT = Path(__file__).resolve().parents[1]
SIZES: dict[str, dict[str, Any]] = {
    "h36m": {"people": 3, "frames": 1, "frame_px": 200, "actions": 15, "takes": 1, "long_clip": False},
    "itop": {"people": 5, "frames": 18},
    "mpii": {"people": 60, "frames": 1},
    "ubc3v": {"people": 4, "frames": 10, "test_postures": 8},
}
SHORT = [
    f"--set={name}=4"
    for name in ("synthetic_steps", "generator_steps", "pretrain_steps", "prior_steps", "bridge_steps", "adapt_steps",
                 "batch_size")
]  # fmt: skip


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def kt3d(home: Path, *words: str | Path) -> Result:
    with working_in(home):
        result = CliRunner(env={"KT3D_DATA": ""}).invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with stand-ins of every dataset, generated and prepared."""
    home = tmp_path_factory.mktemp("home")
    for name, sizes in SIZES.items():
        plugin = registry.dataset(name)
        counts = registry.load_function(plugin.generate, "generate")(
            home / "kt3d-data" / "raw" / name,
            seed=1,
            motion=None,
            device="cpu",
            workers=1,
            progress=lambda done, total: None,
            **sizes,
        )
        (home / f"{name}.json").write_text(json.dumps(dict(counts)))
        kt3d(home, "prepare", name, "--workers", "1")
    return home


@pytest.fixture(scope="module")
def scored(home: Path) -> Path:
    """The same folder after training and scoring a run."""
    kt3d(home, "train", "--method", "knowledge-transfer", "--preset", "tiny", "--device", "cpu", *SHORT)
    kt3d(home, "score")
    return home


def splits() -> list[tuple[str, str]]:
    return [(plugin.name, split) for plugin in registry.datasets().values() for split in plugin.splits]


@pytest.mark.parametrize(("name", "split"), splits())
def test_prepare_finds_exactly_what_was_generated(home: Path, name: str, split: str) -> None:
    promised = json.loads((home / f"{name}.json").read_text())
    shards = ShardSet.open(home / "kt3d-data" / "shards" / name, split, verify=True)
    assert len(shards) == promised[split] > 0
    assert shards.origin == "generated"
    assert len(set(shards.keys)) == len(shards)


@pytest.mark.parametrize(("name", "split"), [pair for pair in splits() if pair[0] != "mpii"])
def test_the_stored_camera_reprojects_stored_3d_onto_stored_2d(home: Path, name: str, split: str) -> None:
    shards = ShardSet.open(home / "kt3d-data" / "shards" / name, split)
    labels = shards.labels
    pixels = project_arrays(labels.intrinsics_px, labels.distortion, shards.tangential_factor, labels.joints_cam_mm)
    known = np.isfinite(labels.joints_cam_mm).all(-1)
    assert known.any()
    assert np.abs(pixels - labels.joints_px)[known].max() < 0.01


def test_joints_lie_inside_the_person_behind_its_surface(home: Path) -> None:
    """Depth images show the body alone, so every joint must lie in the silhouette, within a limb's thickness of it."""
    shards = ShardSet.open(home / "kt3d-data" / "shards" / "ubc3v", "test")
    inside, behind_mm = [], []
    for index in range(len(shards)):
        depth = shards.image(index, "depth_mm")
        x, y = np.round(shards.labels.joints_px[index]).astype(int).T
        inside.append(depth[y, x] > 0)
        behind_mm.append((shards.labels.joints_cam_mm[index, :, 2] - depth[y, x])[depth[y, x] > 0])
    assert np.mean(inside) > 0.97
    assert 20 < np.median(np.concatenate(behind_mm)) < 200
    assert np.mean(np.concatenate(behind_mm) > -35) > 0.99, (
        "a joint floats before the surface by more than one grey level"
    )


@pytest.mark.parametrize("name", sorted(SIZES))
def test_shards_are_the_same_bytes_again_and_with_two_workers(home: Path, tmp_path: Path, name: str) -> None:
    def content(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}

    first = content(home / "kt3d-data" / "shards" / name)
    assert any(path.endswith(".tar") for path in first)
    for workers in (1, 2):
        out = tmp_path / str(workers)
        prepare(registry.dataset(name), raw=home / "kt3d-data" / "raw" / name, out=out, workers=workers)
        assert content(out) == first


def test_a_run_ends_on_the_board(scored: Path) -> None:
    board = scored / "kt3d-data" / "leaderboards" / "generated" / "h36m-s9s11-64"
    (entry,) = read_entries(board)
    assert (entry.method, entry.supervision, entry.origin) == ("knowledge-transfer", "none", "generated")
    assert entry.scores["mpjpe_mm"] is not None
    assert entry.scores["mpjpe_mm"] > 0
    assert {one.role: one.dataset for one in entry.flags.training_data} == {
        "pretrain": "mpii", "source": "ubc3v", "target": "h36m",
    }  # fmt: skip
    assert entry.flags.target_labels_seen == "none"
    assert "knowledge-transfer" in (board / "README.md").read_text()


def test_predictions_differ_between_samples_and_are_finite(scored: Path) -> None:
    (path,) = (scored / "kt3d-data" / "runs").glob("*/predictions/*.npz")
    joints = read_predictions(path).joints_cam_mm
    assert np.isfinite(joints).all()
    assert joints.std(axis=0).min() > 0


def test_a_strangers_file_gets_its_row_beside_it(scored: Path, tmp_path: Path) -> None:
    shards = ShardSet.open(scored / "kt3d-data" / "shards" / "h36m", "test")
    perfect = tmp_path / "perfect.npz"
    write_predictions(perfect, shards.keys, shards.labels.joints_cam_mm + 5.0)
    words = ("score", perfect, "--benchmark", "h36m-s9s11-64", "--name", "stranger")
    found = json.loads(kt3d(scored, *words, "--json").output)
    assert found["overall"]["mpjpe_mm"] == pytest.approx(0, abs=1e-3), "aligned at the hip, a shift costs nothing"
    table = kt3d(scored, *words).output
    assert "stranger" in table
    assert "knowledge" in table, "the name may be broken at its hyphen"
    (scored / "kt3d-data" / "leaderboards" / "generated" / "h36m-s9s11-64" / "entries").glob(
        "stranger*"
    ).__next__().unlink()


def test_scoring_anybodys_file_needs_no_torch(home: Path, tmp_path: Path) -> None:
    shards = ShardSet.open(home / "kt3d-data" / "shards" / "h36m", "test")
    write_predictions(tmp_path / "given.npz", shards.keys, shards.labels.joints_cam_mm)
    words = ["score", str(tmp_path / "given.npz"), "--benchmark", "h36m-s9s11-64", "--leaderboards", str(tmp_path)]
    script = (
        "import sys\nfor name in ('torch', 'webdataset', 'lightning_fabric'): sys.modules[name] = None\n"
        f"from kt3d_bench.cli import main\nmain({words!r})"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=home, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "generated" / "h36m-s9s11-64" / "entries").iterdir())) == 1


@pytest.mark.parametrize(
    ("words", "read"),
    [
        (("score",), "h36m-s9s11-64.npz"),
        (("predict",), "final.pt"),
        (("pack",), "final.pt"),
        (("validate", "kt3d-data/shards/h36m"), "test-000000.tar"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_command_hashes_every_file_that_it_reads_once(
    scored: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], read: str
) -> None:
    hashed: Counter[str] = Counter()
    of_file = hashlib.file_digest

    def counted(file: Any, kind: str) -> Any:
        hashed[Path(file.name).name] += 1
        return of_file(file, kind)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    kt3d(scored, *words)
    assert hashed[read] == 1
    assert set(hashed.values()) == {1}


def test_supervised_and_depth_targets_run_too(home: Path) -> None:
    common = ("--preset", "tiny", "--device", "cpu", "--set=batch_size=4")
    supervised = ("--method", "integral-pose", "--set=steps=4", "--set=pretrain_steps=4", "--name", "supervised")
    kt3d(home, "train", *supervised, "--supervision", "full", *common)
    branch = ("--method", "knowledge-transfer", "--target", "ubc3v", "--set=branch=mask", "--name", "mask-branch")
    kt3d(home, "train", *branch, "--supervision", "full", "--preset", "tiny", "--device", "cpu", *SHORT)
    boards = home / "other-boards"
    for run, board in (("supervised", "h36m-s9s11-64"), ("mask-branch", "ubc3v-hard")):
        kt3d(home, "score", "--run", run, "--leaderboards", boards)
        (entry,) = read_entries(boards / "generated" / board)
        assert entry.samples > 0
        assert entry.unanswered == 0


@pytest.mark.parametrize("view", ["front", "top"])
def test_every_method_runs_on_both_views_of_a_scene(home: Path, view: str) -> None:
    boards = home / "boards-of-views"
    common = ("--target", f"itop-{view}", "--preset", "tiny", "--device", "cpu")
    for method, level, few in (
        ("knowledge-transfer", "none", SHORT),
        ("source-only", "none", SHORT),
        ("integral-pose", "full", ["--set=steps=4", "--set=batch_size=4"]),
    ):
        kt3d(home, "train", "--method", method, "--supervision", level, *common, *few, "--name", f"{view}-{method}")
        kt3d(home, "score", "--run", f"{view}-{method}", "--leaderboards", boards)
    found = read_entries(boards / "generated" / f"itop-{view}")
    assert {entry.method for entry in found} == {"knowledge-transfer", "source-only", "integral-pose"}
    assert all(entry.unanswered == 0 and entry.scores["map_100"] is not None for entry in found)
    board = (boards / "generated" / f"itop-{view}" / "README.md").read_text()
    assert "Marin-Jimenez et al. (DDP)" in board, "the paper's rows stand beside"


def test_inspect_says_what_is_where(scored: Path) -> None:
    raw = kt3d(scored, "inspect", "kt3d-data/raw/ubc3v").output
    assert "ubc3v: split 'test' gives about 24 samples" in raw
    assert "kt3d prepare ubc3v --raw" in raw
    shards = kt3d(scored, "inspect", "kt3d-data/shards/h36m").output
    assert "GENERATED stand-in" in shards
    (folder,) = [
        path for path in (scored / "kt3d-data" / "runs").iterdir() if path.name.startswith("knowledge-transfer")
    ]
    assert "supervision none, preset tiny: finished" in kt3d(scored, "inspect", folder).output
    (path,) = folder.glob("predictions/*.npz")
    assert "predictions of 17 joints" in kt3d(scored, "inspect", path).output


def test_preparing_a_prepared_folder_keeps_it_and_another_configuration_is_refused(home: Path) -> None:
    manifest = home / "kt3d-data" / "shards" / "h36m" / "manifest.json"
    before = manifest.read_bytes()
    kt3d(home, "prepare", "h36m")
    assert manifest.read_bytes() == before
    with working_in(home):
        refused = CliRunner(env={"KT3D_DATA": ""}).invoke(main, ["prepare", "h36m", "--train-every", "3"])
    assert refused.exit_code == 1
    assert "--overwrite" in refused.stderr
    assert manifest.read_bytes() == before
