"""The stand-in's annotations through every layout: the same joints, crops and images, to the last bit."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from kt3d_mpii import convert
from kt3d_mpii.generate import generate

from kt3d_bench.records import Sample

MAT = "mpii_human_pose_v1_u12_2/mpii_human_pose_v1_u12_1.mat"


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("across") / "mpii"
    generate(out, people=8, frames=2, seed=5, workers=1)
    return out


def samples(raw: Path) -> dict[str, Sample]:
    found = [result for item in convert.plan(raw, "train", {}) for result in convert.convert(item)]
    return {one.key: one for one in found if isinstance(one, Sample)}


def entries(official: Path) -> dict[str, list[dict[str, Any]]]:
    """HRNet's entries per image, 1-based, from the .mat file alone; persons without joints are not in them."""
    release = scipy.io.loadmat(official / MAT)["RELEASE"][0, 0]
    found: dict[str, list[dict[str, Any]]] = {}
    for row, train in enumerate(release["img_train"][0]):
        image = release["annolist"][0, row]
        name = str(image["image"][0, 0]["name"][0])
        if not train or image["annorect"].dtype.names is None or "annopoints" not in image["annorect"].dtype.names:
            continue
        for person in image["annorect"][0]:
            joints, flags = [[-1.0, -1.0] for _ in range(16)], [0] * 16
            for point in person["annopoints"][0, 0]["point"][0] if person["annopoints"].size else ():
                joints[int(point["id"][0, 0])] = [float(point["x"][0, 0]), float(point["y"][0, 0])]
                flags[int(point["id"][0, 0])] = 1
            if any(flags):
                entry = {"image": name, "center": [0, 0], "scale": 1.0, "joints": joints, "joints_vis": flags}
                found.setdefault(name, []).append(entry)
    return found


@pytest.mark.parametrize("files", [("annot/train.json", "annot/valid.json"), ("annotations/mpii_trainval.json",)])
def test_json_of_hrnet(official: Path, tmp_path: Path, files: tuple[str, ...]) -> None:
    shutil.copytree(official / "images", tmp_path / "images")
    images = list(entries(official).values())
    for number, name in enumerate(files):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        listed = [entry for image in images[number :: len(files)] for entry in image]
        (tmp_path / name).write_text(json.dumps(listed))
    expected, found = samples(official), samples(tmp_path)
    persons = [(sample.key.split("_")[0], sample) for sample in expected.values()]
    assert len(found) == len(persons) > 10
    for (stem, wanted), (key, sample) in zip(sorted(persons, key=lambda one: one[1].key), sorted(found.items()),
                                             strict=True):  # fmt: skip
        assert key.split("_")[0] == stem
        for name in ("joints_px", "box_px", "quality", "rgb"):
            np.testing.assert_array_equal(getattr(sample, name), getattr(wanted, name))
        assert (sample.visible == -1).all()
    assert any("Layout: JSON annotations of HRNet" in line for line in convert.describe(tmp_path))


def test_annotations_in_their_archive(official: Path, tmp_path: Path) -> None:
    shutil.copytree(official / "images", tmp_path / "images")
    with zipfile.ZipFile(tmp_path / "mpii_human_pose_v1_u12_2.zip", "w") as archive:
        archive.write(official / MAT, MAT)
    expected, found = samples(official), samples(tmp_path)
    assert list(found) == list(expected)
    for key, sample in found.items():
        for name in ("joints_px", "box_px", "visible", "rgb"):
            np.testing.assert_array_equal(getattr(sample, name), getattr(expected[key], name))
        assert (sample.action, sample.sequence, sample.frame) == (
            expected[key].action, expected[key].sequence, expected[key].frame
        )  # fmt: skip
