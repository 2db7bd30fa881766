"""``kt3d check --raw``: a converter runs on a part of the author's own raw data; a generator may be left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from kt3d_bench.cli import main
from kt3d_bench.data.manifest import read_manifest
from kt3d_bench.errors import UsageError
from kt3d_bench.testing import check_plugin, require_contract

Offer = Callable[..., Path]
NO_GENERATOR = ("__init__.py", '            generate="kt3d_mutant_own.generate",\n', "")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Three training sequences of ten frames each, without a test split, in the layout that ``kt3d new`` reads."""
    raw = tmp_path / "own raw"
    for number in range(3):
        folder = raw / "train" / f"s{number}"
        folder.mkdir(parents=True)
        rng = np.random.default_rng(number)
        frames = []
        for frame in range(10):
            cv2.imwrite(str(folder / f"{frame}.png"), rng.integers(0, 255, (120, 100, 3), np.uint8))
            frames.append({"image": f"{frame}.png", "joints_mm": standing([30.0 * number, 0.0, 3000.0 + 40 * frame])})
        camera = {"id": f"c{number}", "size_px": [100, 120], "focal_px": [100, 100], "center_px": [50, 60],
                  "rotation": np.eye(3).tolist(), "position_mm": [0, 0, 0]}  # fmt: skip
        document = {"subject": f"S{number}", "action": "stand", "camera": camera, "frames": frames}
        (folder / "sequence.json").write_text(json.dumps(document))
    return raw


def standing(hip_mm: list[float]) -> dict[str, list[float]]:
    """A person who faces the camera (y down, so that the person's right is at smaller x)."""
    places = {"hip": (100, 0), "knee": (110, 440), "ankle": (110, 880), "shoulder": (170, -480), "elbow": (210, -200),
              "wrist": (220, 50)}  # fmt: skip
    joints = {"neck": [0, -520, 0], "nose": [0, -640, -90], "head_top": [0, -800, 0]}
    for name, (x, y) in places.items():
        joints |= {f"r_{name}": [-x, y, 0], f"l_{name}": [x, y, 0]}
    return {name: (np.array(place) + hip_mm).tolist() for name, place in joints.items()}


def test_the_converter_runs_on_a_part_of_the_authors_data(offer: Offer, own: Path, tmp_path: Path) -> None:
    offer("dataset", "mutant-own", [NO_GENERATOR])
    before = {path: path.read_bytes() for path in own.rglob("*") if path.is_file()}
    keep = tmp_path / "kept"
    done = CliRunner().invoke(main, ["check", "mutant-own", "--raw", str(own), "--keep", str(keep)])
    assert done.exit_code == 0, done.output
    assert "prepare converts up to 8 samples of 2 work items per split" in done.output
    assert "generate()" not in done.output
    manifest = read_manifest(keep / "dataset-mutant-own" / "shards")
    assert list(manifest.splits) == ["train"]
    assert manifest.splits["train"].samples == 16
    assert manifest.splits["train"].counts.subject == {"S0": 8, "S1": 8}
    assert before == {path: path.read_bytes() for path in own.rglob("*") if path.is_file()}


def test_without_generator_and_raw_data_the_check_says_what_it_left_out(offer: Offer) -> None:
    offer("dataset", "mutant-own", [NO_GENERATOR])
    findings = check_plugin("mutant-own")
    assert all(finding.holds for finding in findings)
    assert findings[-1].rule == "convert() was not run: the plugin has no generator"
    assert findings[-1].hint == "run it on your raw data: kt3d check mutant-own --raw FOLDER"


def test_what_goes_wrong_on_own_data_is_named(offer: Offer, own: Path) -> None:
    offer(
        "dataset",
        "mutant-own",
        [
            NO_GENERATOR,
            ("convert.py", "    document = _read(path)\n    camera", WRITES),
            ("convert.py", "joints_px=crop.to_crop(joints_px)", "joints_px=(crop.to_crop(joints_px) + 40)"),
        ],
    )
    with pytest.raises(AssertionError) as caught:
        require_contract("mutant-own", raw=own)
    changed, *_, unsound = str(caught.value).splitlines()
    assert "do not change the raw data: these raw files changed: train/s0/sequence.json" in changed
    assert "the samples pass kt3d validate: " in unsound
    assert "change convert() in kt3d_mutant_own.convert" in unsound


WRITES = "    document = _read(path)\n    path.write_text(json.dumps(document) + ' ')\n    camera"


def test_a_raw_folder_that_is_not_the_dataset_is_refused(offer: Offer, tmp_path: Path) -> None:
    offer("dataset", "mutant-own", [NO_GENERATOR])
    (tmp_path / "empty").mkdir()
    broken = [finding for finding in check_plugin("mutant-own", raw=tmp_path / "empty") if not finding.holds]
    assert "there is no train/<sequence>/sequence.json" in broken[0].sentence
    with pytest.raises(UsageError, match="nowhere: is not a folder; give the folder of the raw data"):
        check_plugin("mutant-own", raw=tmp_path / "nowhere")
    with pytest.raises(UsageError, match="--raw is for one dataset, and 'mean-pose' is not one"):
        check_plugin("mean-pose", raw=tmp_path)


def test_a_dataset_without_generator_works_and_says_so_where_a_stand_in_is_asked_for(
    offer: Offer, tmp_path: Path
) -> None:
    offer("dataset", "mutant-own", [NO_GENERATOR])
    done = CliRunner().invoke(main, ["generate", "mutant-own", "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "the dataset 'mutant-own' has no generator, so there is no stand-in of it; obtain the real data" in (
        done.output
    )
    assert not (tmp_path / "out").exists()
    assert CliRunner().invoke(main, ["list", "mutant-own"]).exit_code == 0
    done = CliRunner().invoke(main, ["prepare", "mutant-own", "--raw", str(tmp_path / "nowhere")])
    assert done.exit_code == 1
    assert "obtain it (kt3d list mutant-own says how)" in done.output
    assert "kt3d generate" not in done.output
