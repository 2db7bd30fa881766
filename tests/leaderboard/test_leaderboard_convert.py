"""``kt3d convert``: files in the shapes that other programs write; the printed lines make pickled ones plain."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from kt3d_h36m.recordings import CAMERAS, recordings

from kt3d_bench.cli import main
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.metrics.forms import content_of
from kt3d_bench.metrics.predictions import read_predictions

BENCHMARK = "h36m-s9s11-64"


class Seen:
    """The poses of a prediction file under the names of other programs."""

    def __init__(self, test: ShardSet, poses: np.ndarray) -> None:
        self.keys, self.labels, self.poses = test.keys, test.labels, poses.astype(float)
        self.relative = self.poses - self.poses[:, :1]

    def rows(self) -> list[tuple[Any, int, int]]:
        """Recording, place of the camera and frame of every sample."""
        found = []
        for row in range(len(self.keys)):
            [recording] = [one for one in recordings() if one.clip == self.labels.sequence[row]]
            found.append((recording, CAMERAS.index(str(self.labels.camera_id[row])), int(self.labels.frame[row])))
        return found

    def videos(self, name: Callable[[Any, int], Any], scale: float) -> dict[Any, np.ndarray]:
        """Whole videos of 70 frames by ``name(recording, camera)``."""
        videos: dict[Any, np.ndarray] = {}
        for pose, (recording, camera, frame) in zip(self.relative, self.rows(), strict=True):
            videos.setdefault(name(recording, camera), np.zeros((70, 17, 3), np.float32))[frame] = pose * scale
        return videos


@pytest.fixture
def seen(test_set: ShardSet, predicted: Callable[..., Path]) -> Seen:
    return Seen(test_set, read_predictions(predicted()).joints_cam_mm)


class Touch:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


def mmpose_dump(folder: Path, seen: Seen) -> str:
    """``DumpResults`` of a lifting model, whose rows also hold objects of other packages; here one that runs code."""
    rows = []
    for pose, (recording, camera, frame) in zip(seen.poses, seen.rows(), strict=True):
        video = f"S{recording.subject}_{recording.file_name.replace(' ', '_')}.{CAMERAS[camera]}"
        name = f"S{recording.subject}/{video}/{video}_{frame + 1:06d}.jpg"
        instances = {"keypoints": np.float32(pose[None] / 1000), "keypoint_scores": np.ones((1, 17), np.float32)}
        rows.append({"target_img_path": [name], "pred_instances": instances, "gt_instance_labels": {"w": Touch()}})
    (folder / "dump.pkl").write_bytes(pickle.dumps(rows))
    return "dump.pkl"


def videopose3d_data(folder: Path, seen: Seen) -> str:
    """Predictions in the layout of its data: a pickled dictionary in an .npz."""
    nested: dict[str, dict[str, list[np.ndarray]]] = {}
    for (recording, camera), video in seen.videos(lambda recording, camera: (recording, camera), 1e-3).items():
        actions = nested.setdefault(f"S{recording.subject}", {})
        actions.setdefault(recording.file_name, [np.zeros((0, 17, 3))] * 4)[camera] = video
    np.savez_compressed(folder / "vp3d.npz", positions_3d=np.array(nested, object))
    return "vp3d.npz"


def motionbert_clips(folder: Path, seen: Seen) -> str:
    """``results_all`` of its ``evaluate``, its data file, and the function that cuts clips of 50 frames: the second
    clip of a video repeats frames, and three recordings are not scaled yet."""
    videos = seen.videos(
        lambda one, camera: f"s_{one.subject:02d}_act_{one.action:02d}_subact_{one.subaction:02d}_ca_{camera + 1:02d}",
        1.0,
    )
    places: list[Any] = []
    for start in range(0, 70 * len(videos), 70):
        places += [range(start, start + 50), np.linspace(start + 50, start + 69, 50).round().astype(int)]
    factor = np.random.default_rng(0).uniform(2, 5, 70 * len(videos))
    whole = np.concatenate(list(videos.values())).astype(float)
    sources = [name for name in videos for _ in range(70)]
    blocked = np.array(["act_05_subact_02" in name and "s_09" in name for name in sources])
    whole[blocked] /= factor[blocked, None, None]
    clips = np.stack([whole[place] for place in places]) + np.array([500.0, 400.0, 0.0])
    np.save(folder / "results_all.npy", clips.astype(np.float32))
    test = {"source": sources, "2.5d_factor": factor, "odd": Touch()}
    (folder / "data.pkl").write_bytes(pickle.dumps({"train": {}, "test": test}))
    (folder / "lib/utils").mkdir(parents=True)
    text = f"def split_clips(names, frames, stride):\n    return {[list(map(int, one)) for one in places]}\n"
    (folder / "lib/utils/utils_data.py").write_text(text)
    return "results_all.npy"


def posepile_predict(folder: Path, seen: Seen) -> str:
    """Image paths as its TensorFlow loader gives them, pickled bytes."""
    labels = seen.labels
    world = np.einsum("nij,nki->nkj", labels.rotation, seen.poses) + labels.position_world_mm[:, None]
    paths = [
        f"h36m/S{one.subject}/Images/{one.file_name}.{CAMERAS[camera]}/frame_{frame:06d}.jpg".encode()
        for one, camera, frame in seen.rows()
    ]
    np.savez(folder / "pred.npz", image_path=np.array(paths, object), coords3d_pred_world=world.astype(np.float32))
    return "pred.npz"


def convert(folder: Path, prepared: Path, *words: str, code: int = 0) -> Result:
    before = Path.cwd()
    os.chdir(folder)
    try:
        options = ["--benchmark", BENCHMARK, "--shards", str(prepared)]
        result = CliRunner().invoke(main, ["convert", *words, *options])
    finally:
        os.chdir(before)
    assert result.exit_code == code, result.output
    return result


@pytest.mark.parametrize(
    ("program", "write", "why"),
    [
        ("mmpose", mmpose_dump, "is a pickle, and pickles are never loaded"),
        ("videopose3d", videopose3d_data, "holds pickled objects, which are never loaded"),
        ("motionbert", motionbert_clips, "is one array without names of samples"),
        ("posepile", posepile_predict, "holds pickled objects, which are never loaded"),
    ],
)
def test_the_printed_lines_make_a_programs_own_file_plain_and_run_nothing_of_it(
    prepared: Path, seen: Seen, tmp_path: Path, program: str, write: Callable[[Path, Seen], str], why: str
) -> None:
    name = write(tmp_path, seen)
    refused = convert(tmp_path, prepared, name, "--from", program, code=1)
    assert refused.stderr.startswith(f"Error: {name}: ")
    assert why in refused.stderr
    plain = refused.stderr.split("kt3d convert ")[1].split()[0]
    subprocess.run([sys.executable, "-c", refused.stdout, "data.pkl"], cwd=tmp_path, timeout=60, check=True)
    assert not (tmp_path / "ran").exists()
    said = convert(tmp_path, prepared, plain, "--from", program, "--out", "mine.npz").output
    assert f"{len(seen.keys)} poses of {program}-" in said
    assert "Next: kt3d score mine.npz" in said
    found = read_predictions(tmp_path / "mine.npz")
    order = np.argsort(found.keys)[np.argsort(np.argsort(seen.keys))]
    assert list(found.keys[order]) == list(seen.keys)
    poses = found.joints_cam_mm[order].astype(float)
    np.testing.assert_allclose(poses - poses[:, :1], seen.relative, atol=0.01)
    assert found.meta["benchmark"] == BENCHMARK
    assert "says which program" not in convert(tmp_path, prepared, plain).output


def test_videopose3ds_exports_are_read_from_a_folder(prepared: Path, seen: Seen, tmp_path: Path) -> None:
    """One .npy per recording and camera, as ``--viz-export`` writes it, with or without the batch's axis."""
    (tmp_path / "out").mkdir()
    for number, ((one, camera), video) in enumerate(seen.videos(lambda *of: of, 1e-3).items()):
        name = f"S{one.subject}_{one.file_name}_{camera}" if number % 2 else f"s{one.subject} {one.file_name}.{camera}"
        np.save(tmp_path / "out" / f"{name}.npy", video[None] if number % 3 else video)
    said = convert(tmp_path, prepared, "out", "--from", "videopose3d").output
    assert f"{len(seen.keys)} poses of videopose3d-npz: out.kt3d.npz" in said
    (tmp_path / "out" / "poses.npy").write_bytes(b"")
    said = convert(tmp_path, prepared, "out", "--from", "videopose3d", code=1).output
    assert "out/poses.npy: its name is of no recording and camera; name it like 'S9_Directions 1_0.npy'" in said
    np.save(tmp_path / "S9_Directions_0.npy", np.array({}, object))
    said = convert(tmp_path, prepared, "S9_Directions_0.npy", "--from", "videopose3d", code=1).stderr
    assert "holds pickled objects, which are never loaded; run the printed lines" in said
    (tmp_path / "S9_Directions_0.npy").write_bytes(b"\x93NUMPY")
    said = convert(tmp_path, prepared, "S9_Directions_0.npy", "--from", "videopose3d", code=1).output
    assert "is not a readable .npy file" in said
    (tmp_path / "empty").mkdir()
    assert "holds no .npy files" in convert(tmp_path, prepared, "empty", "--from", "videopose3d", code=1).output
    for name in ("S9_Directions_0.npy", "S9 Directions.0.npy"):
        np.save(tmp_path / "empty" / name, np.zeros((2, 17, 3)))
    said = convert(tmp_path, prepared, "empty", "--from", "videopose3d", code=1).output
    assert "holds S9/Directions/0, as another file here does; keep one of the two" in said
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "S9_Directions_0.npy")
    said = convert(tmp_path, prepared, "pipe", "--from", "videopose3d", code=1).output
    assert "it is no regular file" in said


def test_what_cannot_be_converted_is_named(prepared: Path, seen: Seen, tmp_path: Path) -> None:
    rows = [{"key": str(key), "keypoints": pose.tolist()} for key, pose in zip(seen.keys, seen.poses, strict=True)]
    (tmp_path / "p.txt").write_bytes(json.dumps({"unit": "mm", "predictions": rows}).encode("utf-16"))
    assert "32 poses of mmpose-json: p.kt3d.npz" in convert(tmp_path, prepared, "p.txt").output
    for words, code, said in (
        (["p.txt", "--from", "mmpos"], 2, "there is no program 'mmpos' to convert from; did you mean 'mmpose'?"),
        (["p.txt", "--from", "posepile"], 2, "has the form mmpose-json, not that of posepile; leave --from out"),
        (["p.txt", "--out", "x.csv"], 2, "x.csv: no such format is written; known endings: .npz"),
        (["p.kt3d.npz", "--out", "p.kt3d.npz"], 2, "would be replaced by its own conversion"),
    ):
        assert said in convert(tmp_path, prepared, *words, code=code).output
    (tmp_path / "d.pkl").write_bytes(b"\x80\x04N.")
    said = convert(tmp_path, prepared, "d.pkl", code=1).output
    assert "say which program wrote it: --from mmpose, videopose3d, motionbert, posepile" in said


def test_our_own_form_is_told_what_score_would_refuse(prepared: Path, seen: Seen, tmp_path: Path) -> None:
    keys = [*map(str, seen.keys[:-1]), str(seen.keys[-1]) + "9"]
    np.savez(tmp_path / "own.npz", keys=np.array(keys), joints_cam_mm=seen.poses.astype(np.float32))
    said = convert(tmp_path, prepared, "own.npz").output
    assert "32 poses of kt3d-npz: own.kt3d.npz" in said
    assert f"Note: 1 of them is of no test sample ({keys[-1]}); the nearest accepted name is s09_act" in said
    assert "metres" not in said
    np.savez(tmp_path / "own.npz", keys=seen.keys, joints_cam_mm=seen.poses.astype(np.float32) / 1000)
    said = convert(tmp_path, prepared, "own.npz").output
    assert "Note: the bones are about a thousandth of the true ones, so the joints seem to be in metres" in said
    np.savez(tmp_path / "own.npz", keys=np.array(["a"]), joints_cam_mm=np.zeros((1, 17, 3)))
    assert "own.npz: no pose is of a test sample (a)" in convert(tmp_path, prepared, "own.npz", code=1).output


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_are_told_from_text_that_begins_like_one(tmp_path: Path, protocol: int) -> None:
    for value in ([], {}, [{"img_path": "a"}], {"a": [1.5]}, [np.zeros(2)], np.zeros(3), OrderedDict(a=1)):
        (tmp_path / "p").write_bytes(pickle.dumps(value, protocol))
        assert content_of(tmp_path / "p") == "pickle"
    for text in ("camera,x,y\n1,2,3\n", "(see the README)\n", "column a\ncolumn b\n", "config\nvalue\n", "(list)", "]"):
        (tmp_path / "p").write_text(text)
        assert content_of(tmp_path / "p") == ""
