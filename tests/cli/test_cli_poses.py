"""Poses without images, from a user's file to a prediction: what they serve for, and what is said where they do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from kt3d_bench.cli import main
from kt3d_bench.metrics.predictions import read_predictions

W0 = [*[1.5707963, 0.0, 0.0, 0.0, -5000.0, 1500.0] * 44, *[1145.0, 1144.0, 512.0, 515.0, -0.2, 0.24, 0.0, 0.0, 0.0] * 4]
"""All cameras stand 5 m behind the origin (world Z up) and look along world Y."""


@pytest.fixture
def kt3d(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command in a folder whose ``raw`` holds poses and cameras, with an empty data root."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KT3D_DATA", raising=False)
    rng = np.random.default_rng(0)
    (tmp_path / "raw").mkdir()
    names = ("S1/Posing", "S9/Posing", "S11/Posing")
    poses = {name: rng.uniform(-0.5, 0.5, (70, 32, 3)) + np.array([0, 0, 1]) for name in names}
    np.savez(tmp_path / "raw" / "data_3d_h36m_plain.npz", **poses)
    numbers = " ".join(str(number) for number in W0)
    (tmp_path / "raw" / "metadata.xml").write_text(f"<metadata><w0>[{numbers}]</w0></metadata>")

    def call(*words: str) -> Result:
        return CliRunner().invoke(main, list(words))

    return call


def test_they_are_learned_from_and_tested_on_where_no_image_is_read(kt3d: Any) -> None:
    made = kt3d("prepare", "h36m", "--raw", "raw", "--partial", "yes", "--workers", "1")
    assert made.exit_code == 0, made.output
    assert "poses but no images" in kt3d("inspect", "kt3d-data/shards/h36m").output
    run = ("train", "--method", "mean-pose", "--source", "h36m", "--preset", "tiny", "--device", "cpu")
    trained = kt3d(*run, "--shards", "source=kt3d-data/shards/h36m", "--name", "floor")
    assert trained.exit_code == 0, trained.output
    found = read_predictions(Path("kt3d-data/runs/floor/predictions/h36m-s9s11-64.npz"))
    assert len(found.keys) == 2 * 4 * 2
    assert np.isfinite(found.joints_cam_mm).all()


def test_whoever_needs_images_is_told_at_once_in_one_sentence(kt3d: Any) -> None:
    kt3d("prepare", "h36m", "--raw", "raw", "--partial", "yes", "--workers", "1")
    refused = kt3d("train", "--method", "integral-pose", "--supervision", "full", "--preset", "tiny", "--device", "cpu")
    assert refused.exit_code == 2, refused.output
    (line,) = refused.stderr.strip().splitlines()
    assert "split 'train' holds no 'rgb' images, only poses; prepare h36m from a download with images" in line
    assert not Path("kt3d-data/generated").exists()


@pytest.mark.parametrize("text", ["source", "=x", "source="])
def test_folders_of_shards_are_given_by_role(kt3d: Any, text: str) -> None:
    refused = kt3d("train", "--method", "mean-pose", "--shards", text)
    assert refused.exit_code == 2
    assert f"--shards needs ROLE=FOLDER, found '{text}'; for example: --shards source=FOLDER" in refused.stderr


def test_a_role_that_is_not_used_is_named(kt3d: Any) -> None:
    refused = kt3d("train", "--method", "mean-pose", "--preset", "tiny", "--shards", "sourse=x")
    assert refused.exit_code == 2
    assert "shards are given for 'sourse', which is not used; did you mean 'source'?" in refused.stderr
