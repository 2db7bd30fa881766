"""Which samples are shown, and what is drawn of them."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np
import pytest
from report_fake import SAMPLES, STANDING_MM, benchmarks, document, predicted_pose, true_pose

from kt3d_bench.report.measured import Measured, measure
from kt3d_bench.report.samples import LONGEST_PX, choose, jpeg, png, sample_views, shaded
from kt3d_bench.skeletons import H36M17


def chosen(values: list[float], clips: list[str], number: int, *, lower: bool = True) -> dict[str, list[int]]:
    return choose(np.array(values), np.array(clips), number, lower_is_better=lower)


def test_best_median_and_worst_by_hand() -> None:
    values = [30.0, 10, 70, 50, 20, 60, 40]
    clips = list("abcdefg")
    assert chosen(values, clips, 1) == {"best": [1], "median": [6], "worst": [2]}
    assert chosen(values, clips, 2) == {"best": [1, 4], "median": [6, 0], "worst": [2, 5]}
    assert chosen(values, clips, 2, lower=False) == {"best": [2, 5], "median": [6, 3], "worst": [1, 4]}


def test_of_one_clip_one_sample_is_shown_while_there_are_others() -> None:
    values = [float(value) for value in range(9)]
    assert chosen(values, list("aaabbbccc"), 2)["best"] == [0, 3]
    assert chosen(values, list("aaaaaaaaa"), 2)["best"] == [0, 1]


def test_no_sample_is_shown_twice_and_undefined_ones_never() -> None:
    nan = float("nan")
    found = chosen([nan, 3.0, nan, 1.0, 2.0], list("abcde"), 3)
    assert found == {"best": [3], "median": [4], "worst": [1]}
    assert chosen([nan, 5.0], list("ab"), 3) == {"best": [1]}
    assert chosen([nan, nan], list("ab"), 3) == {}


@pytest.fixture
def measured(run: Path) -> Measured:
    found = measure(run, document(run.parents[1] / "shards" / "yard"), benchmarks(), None)
    assert len(found) == 1
    assert isinstance(found[0], Measured)
    return found[0]


def test_the_chosen_samples_are_those_of_known_errors(measured: Measured) -> None:
    """Sample n is 10 n mm off, two samples to a clip."""
    views = sample_views(measured, 3, images=True)
    assert [(view.group, view.key, view.value) for view in views] == [
        ("best", "yard_000", "0.0 mm"), ("best", "yard_002", "20.0 mm"), ("best", "yard_004", "40.0 mm"),
        ("median", "yard_011", "110.0 mm"), ("median", "yard_012", "120.0 mm"), ("median", "yard_009", "90.0 mm"),
        ("worst", "yard_023", "230.0 mm"), ("worst", "yard_021", "210.0 mm"), ("worst", "yard_019", "190.0 mm"),
    ]  # fmt: skip
    assert np.nanmean(measured.per_sample) == pytest.approx(10 * (SAMPLES - 1) / 2, abs=1e-3)
    assert {row.error for row in views[-3].joints} == {"230"}


def test_skeletons_lie_where_the_camera_sees_them(measured: Measured) -> None:
    view = sample_views(measured, 1, images=False)[2]
    joint = true_pose(23)[10]
    dot = view.truth.dots[10]
    assert float(dot.x) == pytest.approx(130 * joint[0] / joint[2] + 44.5, abs=0.06)
    assert float(dot.y) == pytest.approx(130 * joint[1] / joint[2] + 59.5, abs=0.06)
    shifted = predicted_pose(23)[10]
    assert float(view.prediction.dots[10].x) == pytest.approx(130 * shifted[0] / shifted[2] + 44.5, abs=0.06)
    assert view.prediction.dots[10].title == "head, predicted: 230 mm off"
    assert view.shots == []


def test_poses_to_turn_are_measured_moved_and_aligned(measured: Measured) -> None:
    pose = sample_views(measured, 1, images=False)[2].pose
    true, asis, hip, aligned = (np.array(pose[name], float) for name in ("true", "measured", "hip", "aligned"))
    np.testing.assert_allclose(true, true_pose(23) - true_pose(23)[0], atol=0.51)
    np.testing.assert_allclose(asis - true, np.broadcast_to([230.0, 0, 0], (17, 3)), atol=1)
    np.testing.assert_allclose(hip, true, atol=1)
    np.testing.assert_allclose(aligned, true, atol=1)
    assert pose["errors"] == [230.0] * 17
    assert len(STANDING_MM) == len(H36M17)


def test_all_images_are_there_and_the_rule_takes_the_background_away(measured: Measured) -> None:
    view = sample_views(measured, 1, images=True)[0]
    titles = {shot.title: shot for shot in view.shots}
    assert list(titles) == ["RGB", "depth as stored", "depth of the person", "parts (label)"]
    assert "rule 'central-body'" in titles["depth of the person"].about
    assert "given to the method" in titles["depth of the person"].about
    assert "given to the method" not in titles["RGB"].about
    stored, person = (decoded(titles[name].source) for name in ("depth as stored", "depth of the person"))
    assert stored[:, :5].mean() > 60
    assert person[:, :5].mean() < 25
    near = decoded(titles["parts (label)"].source)[60, 44]
    assert len(set(near.tolist())) > 1


def decoded(source: str) -> np.ndarray:
    data = base64.b64decode(source.split(",", 1)[1])
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))


def test_a_damaged_image_is_said_and_the_rest_is_shown(measured: Measured) -> None:
    assert measured.test is not None
    path = measured.test.paths[0]
    place = int(measured.test.offsets[0, measured.test.fields.index("rgb")])
    content = bytearray(path.read_bytes())
    content[place : place + 40] = b"\0" * 40
    path.write_bytes(content)
    view = sample_views(measured, 1, images=True)[0]
    assert [shot.title for shot in view.shots] == ["depth as stored", "depth of the person", "parts (label)"]
    assert len(view.notes) == 1
    assert "rgb cannot be decoded" in view.notes[0]


def test_images_are_bounded() -> None:
    wide = np.zeros((100, 2 * LONGEST_PX, 3), np.uint8)
    for source in (jpeg(wide), png(wide)):
        assert decoded(source).shape == (50, LONGEST_PX, 3)


def test_near_is_pale_and_no_reading_is_dark() -> None:
    picture = shaded(np.array([[0, 1000, 2000, 3000]], np.uint16)).astype(int).sum(axis=-1)[0]
    assert picture[0] < picture[3] < picture[2] < picture[1]
    assert shaded(np.zeros((2, 2), np.uint16)).max() < 25
