"""Predictions in other programs' formats."""

from __future__ import annotations

import json
from pathlib import Path

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
    walk = (tmp_path / "p.npz.bvh" / "S9_Walk.bvh").read_text()
    assert "Frames: 3\nFrame Time: 0.0400000\n" in walk
    first = [float(value) for value in walk.splitlines()[-3].split()[:3]]
    np.testing.assert_allclose(first, poses[1, 0] * [1, -1, -1], atol=1e-3)
    assert (tmp_path / "p.npz.bvh" / "S11_Sit.bvh").exists()


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
    done = CliRunner().invoke(main, ["convert", str(tmp_path / "p.json"), "--to", "coco", "--from", "mmpose"])
    assert (done.exit_code, "leave them out" in done.output) == (2, True)
