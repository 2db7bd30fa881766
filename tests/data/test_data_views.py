"""Videos exchanged between cameras that face each other are found: each camera's joints fit the other's images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from kt3d_bench.data.checks.belonging import belonging
from kt3d_bench.data.checks.moments import TOO_FEW
from kt3d_bench.data.checks.views import GAIN, NOT_TOGETHER, Views
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.geometry.cameras import project
from kt3d_bench.records import Sample
from kt3d_bench.skeletons import H36M17
from kt3d_bench.testing import tiny_sample, tiny_shards

RECORDINGS = 8


def seen(recording: int, camera: str, shown: str) -> Sample:
    """One image with the labels of ``camera`` that shows what the camera ``shown`` sees. The two face each other."""
    person = tiny_sample(seed=recording, modalities=())
    assert person.joints_cam_mm is not None
    joints = {"a": person.joints_cam_mm, "b": person.joints_cam_mm * [-1, 1, -1] + np.array([0, 0, 8000.0])}
    mask = np.zeros((48, 40), np.uint8)
    points = np.rint(project(person.camera, joints[shown])).astype(int)
    for child, parent in H36M17.bones:
        cv2.line(mask, points[child].tolist(), points[parent].tolist(), 255, 2)
    return tiny_sample(
        f"r{recording}_{camera}", 0, modalities=(), sequence=f"r{recording}", frame=0, camera_id=camera,
        foreground=mask, joints_cam_mm=joints[camera], joints_px=project(person.camera, joints[camera]),
    )  # fmt: skip


def shards(folder: Path, exchanged: tuple[int, ...]) -> ShardSet:
    other = {"a": "b", "b": "a"}
    return tiny_shards(
        folder,
        [
            seen(one, camera, other[camera] if one in exchanged else camera)
            for one in range(RECORDINGS)
            for camera in "ab"
        ],
    )


def test_an_exchanged_recording_is_found_and_the_others_are_not(tmp_path: Path) -> None:
    split = shards(tmp_path, (2, 5))
    views = Views(split)
    for i in range(len(split)):
        views.look(i, split.image(i, "foreground") > 0, 1.0)
    [outcome], unchecked = views.found()
    assert (unchecked, outcome.tested, outcome.failed) == ([], 2 * RECORDINGS, 4)
    assert outcome.worst > GAIN
    assert {one.sentence.partition(":")[0] for one in outcome.findings} == {
        f"r{number} seen by {camera}" for number in (2, 5) for camera in "ab"
    }
    assert all("these images are another camera's" in one.sentence for one in outcome.findings)


def test_one_camera_alone_cannot_be_told(tmp_path: Path) -> None:
    one = tiny_shards(tmp_path, [seen(number, "a", "a") for number in range(RECORDINGS)])
    assert [(missing.check.name, missing.reason) for missing in Views(one).found()[1]] == [
        ("view", "all images are of one camera")
    ]
    listed = {missing.check.name for missing in belonging(one)[1]}
    assert {"view", "moment"} <= listed


def test_only_clips_that_were_looked_at_beside_another_camera_count(tmp_path: Path) -> None:
    split = shards(tmp_path / "together", ())
    assert [one.reason for one in Views(split).found()[1]] == [NOT_TOGETHER], "no image was offered"
    views = Views(split)
    for i, beside in ((0, 1.0), (1, 0.0), (1, 0.0), (2, 0.0)):  # one that fits well counts without being measured
        views.look(i, split.image(i, "foreground") > 0, beside)
    assert [(one.tested, one.failed) for one in views.found()[0]] == [(3, 0)]
    samples = [seen(one, camera, camera) for one in range(RECORDINGS) for camera in "ab"]
    apart = tiny_shards(tmp_path / "apart", [replace(one, frame=i) for i, one in enumerate(samples)])
    views = Views(apart)
    for i in range(len(apart)):
        views.look(i, apart.image(i, "foreground") > 0, 1.0)
    outcomes, [unchecked] = views.found()
    assert (outcomes, unchecked.reason) == ([], NOT_TOGETHER)


def test_images_that_are_left_out_are_not_called_right(tmp_path: Path) -> None:
    """By the card, or since their subject has too few recordings for a motion foreground."""
    split = shards(tmp_path / "known", ())
    known = [f"r{number}" for number in range(RECORDINGS)]
    few = [seen(one, camera, camera) for one in range(3) for camera in "ab"]
    for found in (belonging(split, known), belonging(tiny_shards(tmp_path / "few", few))):
        assert "view" not in {one.check.name for one in found[0]}
        reasons = {one.check.name: one.reason for one in found[1]}
        assert reasons["view"] == NOT_TOGETHER
        assert reasons["moment"] == TOO_FEW
