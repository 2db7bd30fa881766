"""Methods of clips on videos and pictures: which frames a clip has, and that depths follow the motion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from pictures_toys import Z_ROOT_MM, DotsFilm, dot_picture
from test_pictures_predict import CAMERA, Z_MM, film, predict, save

from kt3d_bench.cli import main
from kt3d_bench.errors import UsageError
from kt3d_bench.pictures.clips import around
from kt3d_bench.plugins import registry

TIMES_S = [0.04 * frame for frame in range(11)]


def motion_mm(found: Any) -> np.ndarray:
    """(N,) depth beyond the standing pose's, mean over the joints."""
    return np.asarray((found.joints_cam_mm[:, :, 2] - Z_MM - Z_ROOT_MM).mean(axis=1))


def test_clips_repeat_the_next_frame_towards_the_middle() -> None:
    """Person 0 is missing in frame 3, person 1 comes in frame 4."""
    frames: Any = {frame: {number: (frame, number) for number in (0, 1) if (frame, number) not in gone}
                   for frame in range(8) for gone in [{(3, 0), *((one, 1) for one in range(4))}]}  # fmt: skip
    assert around(frames, 5, 0, (5, 1)) == [(4, 0), (4, 0), (5, 0), (6, 0), (7, 0)]
    assert around(frames, 5, 0, (5, 2)) == [(1, 0), (5, 0), (5, 0), (7, 0), (7, 0)]
    assert around(frames, 4, 1, (3, 1)) == [(4, 1), (4, 1), (5, 1)]


def test_a_video_is_read_in_clips(dots: None, tmp_path: Path) -> None:
    """Dots move by 2 px a frame at a focal length of 500 px: 4 mm a frame, over 4 frames in the middle and 2 at the
    ends; the crops follow the person and tell nothing of it."""
    path = film(tmp_path / "clip.mkv", TIMES_S)
    found = predict(path, method="film", out=tmp_path / "out", bvh=True)
    assert found.keys.tolist() == [f"clip.mkv/{frame:06d}/0" for frame in range(11)]
    np.testing.assert_allclose(motion_mm(found), [8, 8, *[16] * 7, 8, 8], atol=2.5)
    still = predict(path)
    np.testing.assert_allclose(found.joints_cam_mm[..., :2], still.joints_cam_mm[..., :2], atol=8)
    assert (tmp_path / "out" / "overlays" / "000-clip.mkv.mp4").exists()
    assert not any("stands for all" in note for note in found.meta["notes"])


def test_a_single_picture_stands_for_the_whole_clip_and_the_output_says_so(dots: None, tmp_path: Path) -> None:
    picture = save(tmp_path / "a.png", dot_picture())
    found = predict(picture, method="film", out=tmp_path / "out")
    np.testing.assert_allclose(motion_mm(found), 0, atol=1e-6)
    note = "the method reads clips of 3 frames, and a single picture stands for all of them"
    assert note in found.meta["notes"]
    assert note in json.loads((tmp_path / "out" / "predictions.json").read_text())["inputs"][0]["notes"]
    words = ["predict", "film", str(picture), "--camera", CAMERA, "--out", str(tmp_path / "other")]
    done = CliRunner().invoke(main, words)
    assert f"Note: {note}" in done.output


def test_a_video_that_breaks_off_keeps_what_was_read(dots: None, tmp_path: Path) -> None:
    path = film(tmp_path / "clip.mkv", TIMES_S)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    assert predict(path, method="film").keys.tolist() == predict(path).keys.tolist()


def test_a_method_of_stored_detections_is_refused(dots: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DotsFilm, "detections", "x")
    assert registry.method("film").load == "pictures_toys:DotsFilm"
    with pytest.raises(UsageError, match="film: the method reads the stored detections 'x', and pictures have none"):
        predict(save(tmp_path / "a.png", dot_picture()), method="film")
