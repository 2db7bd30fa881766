"""From pictures to poses and files: against dots whose places are known, and against the benchmarks' own path."""

from __future__ import annotations

import itertools
import json
import tracemalloc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from pictures_toys import DARK, PLACES_PX, Z_ROOT_MM, Dots, dot_picture
from PIL import Image
from test_pictures_inputs import write_video

import kt3d_bench as kt
from kt3d_bench.cli import main
from kt3d_bench.errors import ArtefactError, RawDataError, UsageError
from kt3d_bench.metrics.predictions import read_predictions
from kt3d_bench.pictures.clips import FRAMES_AT_ONCE
from kt3d_bench.pictures.inputs import Picture, give_back_memory, video_frames
from kt3d_bench.pictures.output import InputRecord, Record
from kt3d_bench.pictures.page import OF_ALL, Gallery
from kt3d_bench.pictures.people import Found, Person, Root, pose_of
from kt3d_bench.pictures.predict import _require_useful
from kt3d_bench.progress import Reporter
from kt3d_bench.records import Camera
from kt3d_bench.skeletons import H36M17

CAMERA = "500,510,119.5,99.5"
Z_MM = 3000.0


def hand_projected(shift: tuple[int, int] = (0, 0)) -> np.ndarray:
    """(17, 3) mm of the dots with the hip at ``Z_MM``."""
    z = Z_MM + Z_ROOT_MM
    x, y = (PLACES_PX + shift).T
    return np.stack([(x - 119.5) / 500 * z, (y - 99.5) / 510 * z, z], axis=1)


def save(path: Path, picture: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
    return path


def predict(inputs: Any, *, method: str = "dots", **options: Any) -> Any:
    return kt.predict_images(method, inputs, **{"camera": CAMERA, "root_depth_mm": Z_MM, **options})


def test_dots_are_found_where_they_are(dots: None, tmp_path: Path) -> None:
    found = predict(save(tmp_path / "a.png", dot_picture()), out=tmp_path / "out")
    assert found.keys.tolist() == ["a.png/0"]
    np.testing.assert_allclose(found[0], hand_projected(), atol=8.0)
    assert found.meta["depth_from"] == ["given"]
    document = json.loads((tmp_path / "out" / "predictions.json").read_text())
    (pose,) = document["poses"]
    assert document["joint_names"] == list(H36M17.joints)
    np.testing.assert_allclose(pose["joints_px"], PLACES_PX, atol=1)
    np.testing.assert_allclose(pose["joints_cam_mm"], found[0], atol=0.01)
    np.testing.assert_allclose(pose["joints_root_mm"], found[0] - found[0][0], atol=0.02)
    again = read_predictions(tmp_path / "out" / "predictions.npz")
    np.testing.assert_array_equal(again.joints_cam_mm, found.joints_cam_mm)
    with Image.open(tmp_path / "out" / "overlays" / "000-a.png.jpg") as overlay:
        assert overlay.size == (240, 200)
    assert "https://" not in (tmp_path / "out" / "index.html").read_text().split("</style>")[1].split("plotly")[0]


def test_several_people_and_joints_outside(dots: None, tmp_path: Path) -> None:
    wide = np.concatenate([dot_picture(), dot_picture()], axis=1)
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps([[20, 20, 220, 180], [260, 20, 460, 180]]))
    found = predict(save(tmp_path / "a.png", wide), boxes=boxes)
    assert found.keys.tolist() == ["a.png/0", "a.png/1"]
    np.testing.assert_allclose(found[0], hand_projected(), atol=8.0)
    np.testing.assert_allclose(found[1], hand_projected((240, 0)), atol=8.0)
    cut = predict(save(tmp_path / "b.png", dot_picture((-70, 0))), boxes="whole")
    seen = PLACES_PX[:, 0] >= 80
    np.testing.assert_allclose(cut[0][seen], hand_projected((-70, 0))[seen], atol=8.0)
    assert np.isnan(cut[0][PLACES_PX[:, 0] == 40]).all()


def test_a_turned_photograph_is_the_upright_one(dots: None, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.fromarray(np.rot90(dot_picture()))
    turned.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_allclose(predict(tmp_path / "a.png")[0], hand_projected(), atol=8.0)


def test_depth_is_solved_and_told(dots: None, tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", dot_picture())
    usual = predict(path, root_depth_mm=None)
    tall = predict(path, root_depth_mm=None, height_mm=2550.0)
    assert (usual.meta["depth_from"], tall.meta["depth_from"]) == (["usual-lengths"], ["height"])
    assert "the scale is assumed" in usual.meta["notes"][0]
    sums = [np.nansum(H36M17.bone_lengths(one[0])) for one in (usual, tall)]
    assert sums[1] / sums[0] == pytest.approx(1.5, rel=1e-4)
    assert sums[0] == pytest.approx(1700 * 2.569, rel=1e-4), (
        "twice the legs and arms, hips and shoulders, and the trunk"
    )


def test_what_is_known_of_depth() -> None:
    lengths = tuple(float(100 + bone) for bone in range(16))
    assert Root(source_lengths_mm=lengths).lengths[1] == "bone-lengths"
    assert Root(source_lengths_mm=lengths, height_mm=1800).lengths[1] == "height"
    for wrong, words in (
        ({"depth_mm": 1e3, "height_mm": 1e3}, "both the hip's depth and the person's height"),
        ({"depth_mm": 3.0}, "the hip's depth is 3 mm; give 100"),
        ({"height_mm": 1.8}, r"the person's height is 1.8 mm; give 300"),
    ):
        with pytest.raises(UsageError, match=words):
            Root(**wrong)


def test_what_cannot_be_used_is_skipped(dots: None, tmp_path: Path) -> None:
    save(tmp_path / "in" / "good.png", dot_picture())
    save(tmp_path / "in" / "dark.png", np.full((50, 60, 3), DARK, np.uint8))
    save(tmp_path / "in" / "dot.png", np.full((1, 1, 3), 46, np.uint8))
    (tmp_path / "in" / "bad.jpg").write_bytes(b"no picture")
    told: list[str] = []

    class Heard(Reporter):
        def note(self, text: str) -> None:
            told.append(text)

    found = predict(tmp_path / "in", camera=None, boxes="detect", report=Heard())
    assert set(found.meta["skipped"]) == {"bad.jpg", "dark.png"}
    assert {key.split("/")[0] for key in found.keys} == {"good.png", "dot.png"}
    assert len(told) == 2
    assert "dark.png: no person was found; give boxes in a file" in "".join(told)
    with pytest.raises(RawDataError, match=r"no picture and no video of a known kind.*nothing is written"):
        predict(tmp_path / "in" / "bad.jpg", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(RawDataError, match="none of the 2 inputs gave a pose"):
        predict([tmp_path / "in" / "bad.jpg", tmp_path / "none.png"])


def film(path: Path, times_s: list[float]) -> Path:
    """Write a video of the dots, losslessly, each frame at its own time."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = 240, 200, "gray"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, time_s in enumerate(times_s):
            frame = av.VideoFrame.from_ndarray(dot_picture((2 * number, 0))[..., 0], format="gray")
            frame.pts, frame.time_base = round(1000 * time_s), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_videos_of_uneven_frames(dots: None, tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.08, 0.12, 0.5, 0.54, 0.58, 0.62, 0.66, 0.7, 0.74]
    path = film(tmp_path / "clip.mkv", times)
    found = predict(path, out=tmp_path / "out", bvh=True)
    assert found.keys[3] == "clip.mkv/000003/0"
    for number in (0, 5, 10):
        np.testing.assert_allclose(found[number], hand_projected((2 * number, 0)), atol=8.0)
    document = json.loads((tmp_path / "out" / "predictions.json").read_text())
    np.testing.assert_allclose([pose["time_s"] for pose in document["poses"]], times, atol=2e-3)
    assert {pose["person"] for pose in document["poses"]} == {0}
    assert "the frame rate varies" in document["inputs"][0]["notes"][0]
    with av.open(str(tmp_path / "out" / "overlays" / "000-clip.mkv.mp4")) as overlay:
        shown = [float(frame.time) for frame in overlay.decode(video=0)]
    np.testing.assert_allclose(shown, times, atol=2e-3)
    bvh = (tmp_path / "out" / "bvh" / "000-clip.mkv-person0.bvh").read_text()
    assert "Frames: 11\nFrame Time: 0.0740000\n" in bvh
    smooth = predict(path, smooth=True)
    np.testing.assert_array_equal(smooth[0], found[0])
    assert np.linalg.norm(smooth[10] - found[10], axis=-1).max() > 3


@pytest.mark.parametrize("method", ["dots", "film"])
def test_few_frames_are_in_memory(dots: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    def watched(*given: Any) -> Iterator[Any]:
        nonlocal most
        for frame in video_frames(*given):
            alive.add(frame)
            most = max(most, len(alive))
            yield frame

    monkeypatch.setattr("kt3d_bench.pictures.predict.video_frames", watched)
    path = film(tmp_path / "clip.mkv", [0.04 * frame for frame in range(40)])
    assert len(predict(path, method=method, out=tmp_path / "out")) == 40
    assert most <= FRAMES_AT_ONCE + 2


def test_freed_memory_goes_back_while_a_video_is_read(
    dots: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back: list[int] = []
    monkeypatch.setattr("kt3d_bench.pictures.predict.give_back_memory", lambda: given_back.append(1))
    monkeypatch.setattr("kt3d_bench.pictures.predict.TRIM_EVERY", 2 * FRAMES_AT_ONCE)
    predict(film(tmp_path / "clip.mkv", [0.04 * frame for frame in range(4 * FRAMES_AT_ONCE + 3)]))
    assert len(given_back) == 2
    give_back_memory()


def test_a_pose_of_a_video_takes_a_few_kilobytes() -> None:
    """So that the 18,000 of ten minutes take less than 100 MB."""
    camera = Camera.pinhole((9.0, 9.0), (3.5, 3.5), (8, 8))
    record = Record({}, [InputRecord("a", "video")])
    tracemalloc.start()
    for number in range(200):
        picture = Picture("a", np.zeros((8, 8, 3), np.uint8), number, number / 30)
        record.add(pose_of(Person(picture, camera, np.array([0.0, 0, 7, 7])), Found(np.ones((17, 3)), "given", None)))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 500 < taken / 200 < 5000


def test_a_video_that_breaks_off_keeps_what_was_read(dots: None, tmp_path: Path) -> None:
    path = film(tmp_path / "clip.mkv", [0.04 * frame for frame in range(12)])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    found = predict(path, out=tmp_path / "out")
    assert 1 <= len(found) < 12
    assert (tmp_path / "out" / "overlays" / "000-clip.mkv.mp4").exists()
    write_video(tmp_path / "dark.mp4", [])
    with pytest.raises(RawDataError):
        predict(tmp_path / "dark.mp4")


def test_a_person_without_a_joint_is_left_out(dots: None, tmp_path: Path) -> None:
    dark = save(tmp_path / "in" / "dark.png", np.full((200, 240, 3), DARK, np.uint8))
    with pytest.raises(RawDataError, match="a person's depth could not be found, or no joint lies in the picture"):
        predict(dark, boxes="whole", root_depth_mm=None)
    save(tmp_path / "in" / "good.png", dot_picture())
    found = predict(tmp_path / "in", boxes="whole", out=tmp_path / "out")
    assert found.keys.tolist() == ["good.png/0"]
    assert not list((tmp_path / "out" / "overlays").glob("*dark*"))


def test_earlier_results_are_kept_or_replaced_whole(dots: None, tmp_path: Path) -> None:
    first, second = save(tmp_path / "a.png", dot_picture()), save(tmp_path / "b.png", dot_picture())
    predict(first, out=tmp_path / "out", bvh=True)
    with pytest.raises(UsageError, match="the folder holds earlier results; name another folder with --out, or"):
        predict(second, out=tmp_path / "out")
    with pytest.raises(RawDataError, match="is missing"):
        predict(tmp_path / "none.png", out=tmp_path / "out", replace=True)
    assert (tmp_path / "out" / "overlays" / "000-a.png.jpg").exists()
    predict(second, out=tmp_path / "out", replace=True)
    assert [path.name for path in (tmp_path / "out" / "overlays").iterdir()] == ["000-b.png.jpg"]
    assert not (tmp_path / "out" / "bvh").exists()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_what_was_predicted_before_a_stop_is_written(
    dots: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    def stopped(*given: Any) -> Iterator[Any]:
        yield from itertools.islice(video_frames(*given), FRAMES_AT_ONCE + 1)
        raise stop

    monkeypatch.setattr("kt3d_bench.pictures.predict.video_frames", stopped)
    path = film(tmp_path / "clip.mkv", [0.04 * frame for frame in range(12)])
    with pytest.raises(stop):
        predict(path, out=tmp_path / "out", bvh=True)
    document = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert len(document["poses"]) == FRAMES_AT_ONCE
    assert document["inputs"][0]["error"] == "it was stopped before its end"
    assert (tmp_path / "out" / "bvh" / "000-clip.mkv-person0.bvh").exists()


def test_joints_that_are_extrapolated_are_named(dots: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def guessing(method: Dots, batch: Any) -> Any:
        found, sure = seen(method, batch), torch.ones(batch.size, 17)
        sure[:, H36M17.index("head")] = torch.nan
        return replace(found, confidence=sure)

    seen = Dots.predict
    monkeypatch.setattr(Dots, "predict", guessing)
    predict(save(tmp_path / "a.png", dot_picture()), out=tmp_path / "out")
    document = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert document["inputs"][0]["notes"] == ["extrapolated by the method, not seen: head"]
    assert document["poses"][0]["confidence"] == [None if name == "head" else 1.0 for name in H36M17.joints]


def test_options_that_do_nothing(dots: None, tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", dot_picture())
    for options, words in (
        ({"smooth": True}, "--smooth: smoothing is over time, and no input is a video; leave it out"),
        ({"depth_unit": "m"}, "--depth-unit: a unit of depth is given, and the method reads RGB images"),
    ):
        with pytest.raises(UsageError, match=words):
            predict(path, **options)
    with pytest.raises(UsageError, match="--height: a height is given, and depth images show the distance"):
        _require_useful("depth", [path], 1800.0, "mm", smooth=False)


def test_the_gallery_keeps_few_pictures_of_many_inputs() -> None:
    camera = Camera.pinhole((9.0, 9.0), (3.5, 3.5), (8, 8))
    person = Person(Picture("a", np.zeros((8, 8, 3), np.uint8)), camera, np.array([0.0, 0, 7, 7]))
    pose, gallery = pose_of(person, Found(np.ones((17, 3)), "given", None)), Gallery(True)
    for number in range(100):
        gallery.offer(pose, number, number)
        assert len(gallery.chosen()) <= OF_ALL
    assert [one.row for one in gallery.chosen()] == list(range(0, 100, 4))


def test_the_command(dots: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "a.png", dot_picture())

    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(main, ["predict", *words])
        return done.exit_code, done.output

    save(tmp_path / "b" / "a.png", dot_picture())
    exif = Image.Exif()
    exif[0x8769] = {0xA405: 28}
    Image.fromarray(dot_picture()).save(tmp_path / "b" / "c.png", exif=exif)
    code, output = run("dots", "a.png", "b")
    assert code == 0, output
    assert "c.png: camera: as the picture records it, a focal length of 28 mm" in output
    assert "camera: assumed, 60 degrees" in output
    assert output.count("camera: assumed, 60 degrees") == 1
    assert "Note: the hip's depth was solved for a person of 1.70 m, so the scale is assumed" in output
    assert (tmp_path / "kt3d-data" / "pictures" / "dots" / "index.html").exists()
    for words, problem in (
        (("a.png",), "'a.png' is a file where a run is expected; name the run: kt3d predict RUN a.png"),
        (("a.png", "b.png"), "'a.png' is a file where a run is expected; name the run: kt3d predict RUN a.png b.png"),
        (("dotz", "a.png"), "there is no run 'dotz'; did you mean 'dots'?"),
        (("dots", "a.png"), "the folder holds earlier results"),
        (("dots", "a.png", "--benchmark", "x"), "--benchmark is of benchmarks, and pictures are given"),
        (("dots", "--height", "1800"), "--height is of pictures, and none is given"),
        (("integral-pose", "a.png"), "must be trained before it predicts"),
        (("nothing", "a.png"), "there is no run 'nothing'"),
        (("dots", "b.png", "--replace"), "is missing"),
    ):
        code, output = run(*words)
        assert (code > 0, problem in output) == (True, True), output


def test_a_folder_that_cannot_be_written_ends_the_call_and_keeps_the_poses(dots: None, tmp_path: Path) -> None:
    """It is no fault of the picture, which must not be skipped with success."""
    pictures = [save(tmp_path / f"{name}.png", dot_picture()) for name in "ab"]
    (tmp_path / "out").mkdir()
    (tmp_path / "out/overlays").touch()
    with pytest.raises(ArtefactError, match=r"overlays/000-a\.png\.jpg: cannot be written"):
        predict(pictures, out=tmp_path / "out")
    document = json.loads((tmp_path / "out/predictions.json").read_text())
    assert [(one["name"], one["people"]) for one in document["inputs"]] == [("a.png", 1)]
    assert "cannot be written" in document["inputs"][0]["error"]
