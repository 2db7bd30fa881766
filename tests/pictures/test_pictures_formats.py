"""Predictions in other programs' formats."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from test_pictures_bvh import dancer

import kt3d_bench as kt
from kt3d_bench.cli import main
from kt3d_bench.errors import ArtefactError, UsageError
from kt3d_bench.metrics.predictions import write_predictions

MM = [[10.0 * joint, -20.0, 3000.0] for joint in range(17)]
PX = [[10.0 + joint, 20.0] for joint in range(17)]


def document(**changes: object) -> dict[str, object]:
    pose = {"input": 0, "frame": None, "time_s": None, "person": 1, "box_px": [5, 6, 44, 65], "joints_px": PX,
            "joints_cam_mm": MM, **changes}  # fmt: skip
    told = {"name": "b.png", "size_px": [240, 200]}
    return {"format": "kt3d-pictures", "inputs": [told], "poses": [pose]}


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_coco_by_hand(tmp_path: Path) -> None:
    path = write(tmp_path / "p.json", document(joints_px=[None, *PX[1:]], joints_cam_mm=[None, *MM[1:]]))
    (written,) = kt.write_as(path, "coco")
    assert written == tmp_path / "p.json.coco.json"
    found = json.loads(written.read_text())
    assert found["images"] == [{"id": 1, "file_name": "b.png", "width": 240, "height": 200}]
    (one,) = found["annotations"]
    assert (one["bbox"], one["area"], one["num_keypoints"], one["track_id"]) == ([5, 6, 40, 60], 2400, 16, 1)
    assert one["keypoints"][:6] == [0, 0, 0, 11.5, 20.5, 2]
    assert one["keypoints_3d_mm"][:2] == [None, MM[1]]
    (category,) = found["categories"]
    assert category["keypoints"][:2] == ["hip", "right_hip"]
    assert category["skeleton"][:2] == [[2, 1], [3, 2]]


def test_bvh_of_pictures_and_of_recordings(tmp_path: Path) -> None:
    path = write(tmp_path / "p.json", document())
    (written,) = kt.write_as(path, "bvh", out=tmp_path / "bvh")
    assert written.name == "000-b.png-person1.bvh"
    assert "Frames: 1\n" in written.read_text()
    poses = dancer(6, 0.3)
    keys = [f"S9_Walk_{frame:06d}" for frame in (2, 0, 1)] + [f"S11_Sit_{frame:06d}" for frame in range(3)]
    write_predictions(tmp_path / "p.npz", keys, poses)
    done = CliRunner().invoke(main, ["convert", str(tmp_path / "p.npz"), "--to", "bvh", "--rate", "25"])
    assert done.exit_code == 0, done.output
    walk = (tmp_path / "p.npz.bvh" / "001-S9_Walk.bvh").read_text()
    assert "Frames: 3\nFrame Time: 0.0400000\n" in walk
    first = [float(value) for value in walk.splitlines()[-3].split()[:3]]
    np.testing.assert_allclose(first, poses[1, 0] * [1, -1, -1], atol=1e-3)
    assert (tmp_path / "p.npz.bvh" / "000-S11_Sit.bvh").exists()


def test_frames_are_numbers_and_names_stay_apart(tmp_path: Path) -> None:
    poses = dancer(6, 0.3)
    keys = ["S9 a-10", "S9 a-0", "S9 a-2", "S9 a-4", "S9_a-0", "S9_a-1"]
    write_predictions(tmp_path / "p.npz", keys, poses)
    one, other = kt.write_as(tmp_path / "p.npz", "bvh", rate_hz=10)
    assert (one.name, other.name) == ("000-S9_a.bvh", "001-S9_a.bvh")
    lines = one.read_text().splitlines()
    assert f"Frame Time: {1 / 3:.7f}" in lines
    hips = [[float(value) for value in line.split()[:3]] for line in lines[-4:]]
    np.testing.assert_allclose(hips[0], poses[1, 0] * [1, -1, -1], atol=1e-3)
    np.testing.assert_allclose(hips[3], poses[0, 0] * [1, -1, -1], atol=1e-3)
    np.testing.assert_allclose(hips[1], (poses[2, 0] / 3 + poses[3, 0] * 2 / 3) * [1, -1, -1], atol=1e-3)


def test_poses_that_are_left_out_are_counted(tmp_path: Path) -> None:
    both = document()
    gone = {**both["poses"][0], "person": 2, "joints_cam_mm": [None, *MM[1:]]}  # type: ignore[index]
    path = write(tmp_path / "p.json", {**both, "poses": [*both["poses"], gone, gone]})  # type: ignore[misc]
    done = CliRunner().invoke(main, ["convert", str(path), "--to", "bvh"])
    assert (done.exit_code, "2 poses are left out: their hip is never in the picture" in done.output) == (0, True)


def test_poses_of_pictures_are_not_taken_for_a_recording(tmp_path: Path) -> None:
    meta = {"boxes": "given", "written_by": "kt3d 1"}
    write_predictions(tmp_path / "p.npz", ["a.mp4/000000/0", "a.mp4/000000/1"], dancer(2, 0.3), meta=meta)
    with pytest.raises(UsageError, match=r"holds poses of pictures.*; give the predictions\.json beside it"):
        kt.write_as(tmp_path / "p.npz", "bvh")


@pytest.mark.parametrize(
    ("form", "field"),
    [("coco", "person"), ("coco", "joints_cam_mm"), ("bvh", "person"), ("bvh", "time_s"), ("bvh", "joints_cam_mm")],
)
def test_numbers_that_are_not_finite(tmp_path: Path, form: Any, field: str) -> None:
    content = document(**{field: [[math.inf, 0, 1], *MM[1:]] if field == "joints_cam_mm" else math.inf})
    with pytest.raises(ArtefactError, match=r"its poses cannot be read|holds a number that is not finite"):
        kt.write_as(write(tmp_path / "p.json", content), form)


def test_files_that_cannot_be_written_so(tmp_path: Path) -> None:
    for content, words in (
        ({"format": "other"}, r"is no file of predicted pictures; give the predictions\.json"),
        ([], "is no file of predicted pictures"),
        (document(input=4), "its poses cannot be read"),
        (document(joints_px=3), "its poses cannot be read"),
    ):
        with pytest.raises(ArtefactError, match=words):
            kt.write_as(write(tmp_path / "p.json", content), "coco")
    (tmp_path / "p.json").write_text("{")
    with pytest.raises(ArtefactError, match="is not readable JSON"):
        kt.write_as(tmp_path / "p.json", "bvh")
    with pytest.raises(ArtefactError, match="its poses cannot be read"):
        kt.write_as(write(tmp_path / "p.json", document(joints_cam_mm=[[1, 2, 3]])), "bvh")
    with pytest.raises(UsageError, match="no hip is in any pose"):
        kt.write_as(write(tmp_path / "p.json", document(joints_cam_mm=[None, *MM[1:]])), "bvh")
    told = {**document(), "inputs": [{"name": "b.png", "size_px": [math.inf, 200]}]}
    with pytest.raises(ArtefactError, match="its poses cannot be read"):
        kt.write_as(write(tmp_path / "p.json", told), "coco")
    for words, problem in ((["coco", "--from", "mmpose"], "leave them out"), (["bvh", "--rate", "9"], "--rate is of")):
        done = CliRunner().invoke(main, ["convert", str(tmp_path / "p.json"), "--to", *words])
        assert (done.exit_code, problem in done.output) == (2, True)
