"""The JSON annotations of HRNet and Integral Pose in place of the official file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kt3d_mpii import convert
from mpii_release import image_entry, one, points, standing, write_jpg, write_release

from kt3d_bench.errors import RawDataError
from kt3d_bench.records import Sample
from kt3d_bench.skeletons import H36M17


def entry(name: str, x: float, unlabelled: tuple[int, ...] = ()) -> dict[str, Any]:
    joints = [standing(x, 121)[joint] if joint not in unlabelled else (-1.0, -1.0) for joint in range(16)]
    flags = [int(joint not in unlabelled) for joint in range(16)]
    return {"image": name, "center": [x, 121.0], "scale": 0.75, "joints": joints, "joints_vis": flags}


def write(raw: Path, name: str, entries: Any) -> None:
    path = raw / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries))


def run(raw: Path) -> dict[str, Sample]:
    found = [result for item in convert.plan(raw, "train", {}) for result in convert.convert(item)]
    return {one.key: one for one in found if isinstance(one, Sample)}


def test_train_and_valid_are_both_training_images(tmp_path: Path) -> None:
    write_jpg(tmp_path / "images", "000000001.jpg")
    write_jpg(tmp_path / "images", "000000002.jpg")
    write(tmp_path, "annot/train.json", [entry("000000001.jpg", 101), entry("000000001.jpg", 201, (0, 1, 15))])
    write(tmp_path, "annot/valid.json", [entry("000000002.jpg", 101)])
    samples = run(tmp_path)
    assert sorted(samples) == ["000000001_p1", "000000001_p2", "000000002_p1"]
    partial = samples["000000001_p2"]
    missing = [H36M17.index(name) for name in ("right_ankle", "right_knee", "left_wrist", "spine", "nose")]
    assert np.isnan(partial.joints_px[missing]).all()
    assert np.isfinite(np.delete(partial.joints_px, missing, axis=0)).all()
    assert (partial.visible == -1).all()
    assert "3 persons" in "\n".join(convert.describe(tmp_path))


def test_both_kinds_of_file_give_the_same_joints(tmp_path: Path) -> None:
    for kind in ("mat", "json"):
        write_jpg(tmp_path / kind / "images", "000000001.jpg")
    write(tmp_path / "json", "annotations/mpii_trainval.json", [entry("000000001.jpg", 101)])
    write_release(tmp_path / "mat/mpii_human_pose_v1_u12_1.mat",
                  [image_entry("000000001.jpg", one(annopoints=points(standing(101, 121))))], [1])  # fmt: skip
    (official,), (derived,) = run(tmp_path / "mat").values(), run(tmp_path / "json").values()
    np.testing.assert_array_equal(official.joints_px, derived.joints_px)
    np.testing.assert_array_equal(official.box_px, derived.box_px)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"image": 1}', "holds a dict, expected a list"),
        ("[1, 2", "is not JSON"),
        ("[7]", "entry 0 is not an image with 16 joints"),
        ('[{"image": "a.jpg", "joints": [[1, 2]], "joints_vis": [1]}]', "entry 0 is not an image with 16 joints"),
        ('[{"image": 3, "joints": [], "joints_vis": []}]', "entry 0 is not an image with 16 joints .*image 3"),
        ("[]", "annotates no training images"),
    ],
)
def test_other_json_is_refused_in_words(tmp_path: Path, content: str, words: str) -> None:
    write_jpg(tmp_path / "images", "000000001.jpg")
    (tmp_path / "annot").mkdir()
    (tmp_path / "annot/train.json").write_text(content)
    with pytest.raises(RawDataError, match=words) as caught:
        convert.plan(tmp_path, "train", {})
    assert "train.json" in caught.value.message
