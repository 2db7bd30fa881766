"""The derived layout of Moon et al.: a damaged annotation file stops, a damaged image costs its own sample."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from badinput_bench import CUTS, contents, kt3d, refused, replace
from click.testing import Result

FRAMES = 320


@pytest.fixture
def moon(tmp_path: Path) -> Path:
    """One recording of S9: five test frames (every 64th) of four cameras that look at the origin from its sides."""
    raw = tmp_path / "moon"
    (raw / "annotations").mkdir(parents=True)
    pose = np.random.default_rng(1).uniform(-500, 500, (17, 3)).tolist()
    poses = {str(frame): pose for frame in range(FRAMES)}
    cameras = {}
    for number, (x, y) in enumerate(((0, -1), (1, 0), (0, 1), (-1, 0)), 1):
        rotation = [[-y, x, 0], [0, 0, -1], [-x, -y, 0]]
        cameras[str(number)] = {"R": rotation, "t": [5000 * x, 5000 * y, 0], "f": [1145, 1144], "c": [512, 515]}
        folder = raw / f"images/s_09_act_02_subact_01_ca_{number:02d}"
        folder.mkdir(parents=True)
        for frame in range(0, FRAMES, 64):
            image = np.full((1002 if number in (1, 4) else 1000, 1000, 3), 90 + frame % 97, np.uint8)
            assert cv2.imwrite(str(folder / f"{folder.name}_{frame + 1:06d}.jpg"), image)
    (raw / "annotations/Human36M_subject9_joint_3d.json").write_text(json.dumps({"2": {"1": poses}}))
    (raw / "annotations/Human36M_subject9_camera.json").write_text(json.dumps(cameras))
    return raw


def prepare(raw: Path) -> Result:
    words = ("--split", "test", "--subjects", "S9", "--partial", "yes", "--workers", "1")
    return kt3d("prepare", "h36m", "--raw", raw, "--out", "out", *words)


def test_damaged_annotations_stop_and_lose_nothing(moon: Path) -> None:
    assert prepare(moon).exit_code == 0
    before = contents(Path("out"))
    for kind in ("camera", "joint_3d"):
        path = moon / f"annotations/Human36M_subject9_{kind}.json"
        whole = path.read_bytes()
        for damage in CUTS.values():
            damage(path)
            refused(prepare(moon), path, "is not JSON", "download the annotations")
            assert contents(Path("out")) == before
            replace(path, whole)
    assert prepare(moon).exit_code == 0
    assert contents(Path("out")) == before


@pytest.mark.parametrize("spoiled", [{"R": None}, {"t": None}, {"f": None}, {"c": None}, {"f": [1.0]}, {"R": [[1, 0]]},
                                     {"t": [0, 0, float("nan")]}, {"f": ["a", "b"]}])  # fmt: skip
def test_a_camera_without_parameters(moon: Path, spoiled: dict[str, Any]) -> None:
    path = moon / "annotations/Human36M_subject9_camera.json"
    cameras = json.loads(path.read_bytes())
    for name, value in spoiled.items():
        if value is None:
            del cameras["3"][name]
        else:
            cameras["3"][name] = value
    replace(path, json.dumps(cameras).encode())
    refused(prepare(moon), path, "is not four cameras of R, t, f and c", "download the annotations")


def test_a_camera_that_is_not_there(moon: Path) -> None:
    path = moon / "annotations/Human36M_subject9_camera.json"
    cameras = json.loads(path.read_bytes())
    del cameras["2"]
    replace(path, json.dumps(cameras).encode())
    refused(prepare(moon), path, "is not four cameras", "KeyError: '2'", "download the annotations")


def test_damaged_images_cost_their_own_samples(moon: Path) -> None:
    assert prepare(moon).exit_code == 0
    clean = contents(Path("out"))
    Path("out").rename("clean")
    folder = moon / "images/s_09_act_02_subact_01_ca_02"
    whole = {path: path.read_bytes() for path in sorted(folder.iterdir())}
    paths = list(whole)
    for path, name in zip(paths, ("cut in the header", "empty", "a web page"), strict=False):
        CUTS[name](path)
    paths[3].unlink()
    done = prepare(moon)
    assert done.exit_code == 0, done.output
    split = json.loads(Path("out/manifest.json").read_bytes())["splits"]["test"]
    assert {one["where"] for one in split["skipped"]} == {str(path.relative_to(moon)) for path in paths[:4]}
    assert split["samples"] == 20 - 4
    for path, content in whole.items():
        path.unlink(missing_ok=True)
        path.write_bytes(content)
    assert prepare(moon).exit_code == 0
    assert contents(Path("out")) == clean
