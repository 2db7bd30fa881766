"""Cameras and boxes as users give them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kt3d_bench.errors import RawDataError, UsageError
from kt3d_bench.pictures.boxes import REMEMBERED, Tracks, box_rule, overlap
from kt3d_bench.pictures.cameras import Calibration, camera_of, read_calibration
from kt3d_bench.pictures.inputs import Picture


def picture(name: str = "a.png", frame: int | None = None, size_px: tuple[int, int] = (300, 200)) -> Picture:
    return Picture(name, np.zeros((size_px[1], size_px[0], 3), np.uint8), frame)


def test_four_numbers_and_files(tmp_path: Path) -> None:
    assert read_calibration("1000, 1001.5,320,240") == Calibration(1000, 1001.5, 320, 240)
    path = tmp_path / "camera.json"
    path.write_text(json.dumps({"fx": 5, "fy": 6, "cx": 7, "cy": 8, "distortion": [0.1, 0, 0, 0, 0], "width": 16}))
    found = read_calibration(path)
    camera, words = camera_of((16, 12), found, 28, "a.png")
    assert (camera.focal_px, camera.center_px, camera.distortion[0], words) == ((5, 6), (7, 8), 0.1, "camera: given")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"fx": 5, "fy": 5, "cx": 1}, "the field 'cy' is missing"),
        ({"fx": 5, "fy": 5, "cx": 1, "cy": 1, "f": 3}, "unknown field 'f'"),
        ({"fx": -5, "fy": 5, "cx": 1, "cy": 1}, "fx is -5 .*expected more than 0"),
        ({"fx": 5, "fy": 5, "cx": 1, "cy": 1, "distortion": [0.1]}, "distortion"),
    ],
)
def test_camera_files_that_cannot_be(tmp_path: Path, content: dict[str, Any], words: str) -> None:
    path = tmp_path / "camera.yaml"
    path.write_text(json.dumps(content))
    with pytest.raises(UsageError, match=words) as raised:
        read_calibration(path)
    assert "give --camera fx,fy,cx,cy" in raised.value.message


def test_cameras_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--camera needs four numbers, found '1,2,3'"):
        read_calibration("1,2,3")
    with pytest.raises(UsageError, match="there is no such camera file"):
        read_calibration(tmp_path / "no.yaml")
    with pytest.raises(RawDataError, match=r"has 300 x 200 px, and the camera is that of a picture of 640 x 480"):
        camera_of((300, 200), Calibration(500, 500, 150, 100, width=640, height=480), None, "a.png")
    with pytest.raises(RawDataError, match=r"the camera's centre lies outside \(900, 100\)"):
        camera_of((300, 200), Calibration(500, 500, 900, 100), None, "a.png")


def test_the_guess_is_stated_and_a_recorded_focal_length_used() -> None:
    camera, words = camera_of((400, 300), None, None, "a.png")
    assert 2 * math.degrees(math.atan(200 / camera.focal_px[0])) == pytest.approx(60)
    assert camera.center_px == (199.5, 149.5)
    assert "assumed, 60 degrees" in words
    camera, words = camera_of((360, 240), None, 50, "a.png")
    assert camera.focal_px[0] == pytest.approx(500), "50 mm on 36 x 24 mm of film, 10 px per mm"
    assert "a focal length of 50 mm" in words


def test_boxes_from_files(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    named: dict[str, Any] = {"a.png": [[1, 2, 30, 40], [5, 5, 9, 9]], "b.mp4": {"2": [[0, 0, 9, 9]], "5": []}}
    path.write_text(json.dumps(named))
    rule, words = box_rule(path, "")
    assert words == "given"
    assert rule(picture("some/a.png")).tolist() == named["a.png"]
    assert [len(rule(picture("b.mp4", frame))) for frame in range(7)] == [0, 0, 1, 1, 1, 0, 0]
    with pytest.raises(RawDataError, match="the file of boxes does not name this picture"):
        rule(picture("c.png"))
    path.write_text("[[1, 2, 30, 40]]")
    assert box_rule(path, "")[0](picture("any")).tolist() == [[1, 2, 30, 40]]


@pytest.mark.parametrize("text", ["{a: 1}", "[[1, 2, 3]]", "[[a, b, c, d]]", "3", "{a: {x: [[1, 2, 3, 4]]}}"])
def test_files_without_boxes(tmp_path: Path, text: str) -> None:
    (tmp_path / "boxes.yaml").write_text(text)
    with pytest.raises(UsageError, match="no list of four numbers each"):
        box_rule(tmp_path / "boxes.yaml", "")


@pytest.mark.parametrize("box", [[5, 5, 5, 9], [0, 0, 1e6, 1e6], [400, 0, 500, 90], [0, 0, float("nan"), 5]])
def test_boxes_that_cannot_be(tmp_path: Path, box: list[float]) -> None:
    (tmp_path / "boxes.json").write_text(json.dumps([box]).replace("NaN", ".nan"))
    rule, _ = box_rule(tmp_path / "boxes.json", "")
    with pytest.raises(RawDataError, match="cannot be one of a picture of 300 x 200 px"):
        rule(picture())


def test_too_many_boxes_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "boxes.json").write_text(json.dumps([[0, 0, 9, 9]] * 101))
    with pytest.raises(RawDataError, match="101 boxes are given; give at most 100"):
        box_rule(tmp_path / "boxes.json", "")[0](picture())
    with pytest.raises(UsageError, match="there is no such file of boxes; use whole, detect, or a file"):
        box_rule("wohle", "")


def test_the_whole_picture_is_one_person() -> None:
    for given in ("whole", "auto"):
        rule, words = box_rule(given, "integral-pose")
        assert (rule(picture()).tolist(), words) == ([[0, 0, 299, 199]], "whole picture")


def test_detection_is_for_colours(dots: None) -> None:
    rule, words = box_rule("auto", "dots")
    assert words == "detected by dots"
    with pytest.raises(RawDataError, match="is a depth image, in which nobody can be detected"):
        rule(Picture("d.png", np.ones((9, 9), np.uint16)))


def test_people_of_a_video_keep_their_numbers() -> None:
    tracks = Tracks()
    left, right = np.array([0.0, 0, 10, 20]), np.array([50.0, 0, 60, 20])
    assert tracks.numbers(np.array([left, right])) == [0, 1]
    assert tracks.numbers(np.array([right + 2, left + 2])) == [1, 0]
    assert tracks.numbers(np.array([right + 3, [90, 0, 99, 20]])) == [1, 2]
    assert tracks.numbers(np.zeros((0, 4))) == []
    assert tracks.numbers(np.array([left])) == [0], "one frame without a detection makes nobody new"
    for _ in range(REMEMBERED):
        tracks.numbers(np.zeros((0, 4)))
    assert tracks.numbers(np.array([left])) == [3], "somebody who was gone for long is somebody else"


def test_who_was_there_in_the_last_frame_comes_first() -> None:
    tracks, here = Tracks(), np.array([0.0, 0, 10, 20])
    assert tracks.numbers(np.array([here])) == [0]
    assert tracks.numbers(np.array([here + np.array([8, 0, 8, 0])])) == [1]
    assert tracks.numbers(np.array([here + np.array([3, 0, 3, 0])])) == [1]


def test_overlap_by_hand() -> None:
    assert overlap([0, 0, 10, 10], [5, 0, 15, 10]) == pytest.approx(50 / 150)
    assert overlap([0, 0, 1, 1], [5, 5, 6, 6]) == 0
    assert overlap([0, 0, 0, 0], [0, 0, 0, 0]) == 0


@pytest.mark.parametrize("focal_px", [(1e-300, 1.0), (5.0, 0.9), (1601.0, 5.0)])
def test_focal_lengths_that_cannot_be(focal_px: tuple[float, float]) -> None:
    with pytest.raises(RawDataError, match=r"focal lengths are .*; give 1 to 1600 px"):
        camera_of((16, 12), Calibration(*focal_px, 7, 8), None, "a.png")
