"""``kt3d submit`` and ``kt3d score`` as strangers use them: every accepted form, every wrong file, cards, rescoring."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from kt3d_h36m.recordings import recordings

import kt3d_bench as kt
from kt3d_bench import check_boards
from kt3d_bench.cli import main
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.leaderboard.cards import NOTES
from kt3d_bench.leaderboard.entries import read_entries, read_entry
from kt3d_bench.metrics.forms import FORMS
from kt3d_bench.metrics.functional import mpjpe, pa_mpjpe
from kt3d_bench.metrics.predictions import read_predictions, write_predictions
from kt3d_bench.plugins import registry
from kt3d_bench.skeletons import H36M17

ROOT = Path(__file__).parents[2]
BENCHMARK = "h36m-s9s11-64"
Predicted = Callable[..., Path]


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def kt3d(home: Path, *words: str | Path, code: int = 0) -> Result:
    with working_in(home):
        result = CliRunner(env={"KT3D_DATA": ""}).invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def submit(home: Path, prepared: Path, file: Path, *more: str | Path, code: int = 0) -> Result:
    return kt3d(home, "submit", file, "--benchmark", BENCHMARK, "--name", "stranger", "--shards", prepared, *more,
                code=code)  # fmt: skip


def board(home: Path) -> Path:
    return home / "kt3d-data" / "leaderboards" / "generated" / BENCHMARK


def test_a_submission_becomes_an_entry_a_card_and_a_row(
    prepared: Path, predicted: Predicted, test_set: ShardSet, tmp_path: Path
) -> None:
    file = predicted()
    result = submit(tmp_path, prepared, file, "--title", "Some | net", "--link", "https://example.org/x", "--seed", 3,
                    "--labels-seen", "none", "--external", "a weight file")  # fmt: skip
    [entry] = read_entries(board(tmp_path))
    pred, true = read_predictions(file).joints_cam_mm, test_set.labels.joints_cam_mm
    assert entry.scores["mpjpe_mm"] == pytest.approx(mpjpe(pred, true, root=0).mean())
    assert entry.scores["pa_mpjpe_mm"] == pytest.approx(pa_mpjpe(pred, true).mean())
    assert (entry.method, entry.title, entry.seed) == ("stranger", "Some | net", 3)
    assert entry.flags.external_data == ("a weight file",)
    assert entry.provenance.submission.form == "kt3d-npz"
    assert entry.provenance.submission.suspicions == ()
    card = (board(tmp_path) / "cards" / f"{Path(entry.file_name).stem}.md").read_text()
    assert r"# Some \| net on `generated/h36m-s9s11-64`" in card
    assert f"{entry.scores['pa_mpjpe_mm']:.2f} mm" in card
    assert entry.provenance.predictions_sha256 in card
    assert NOTES in card
    assert "How can the predictions be made again?" in card
    assert r"Some \| net" in (board(tmp_path) / "README.md").read_text()
    assert "Model card: " in result.output
    assert check_boards(tmp_path / "kt3d-data" / "leaderboards") == []
    assert "The boards have no problems." in kt3d(tmp_path, "leaderboard", "check").output


def test_notes_written_on_a_card_survive_a_second_submission(
    prepared: Path, predicted: Predicted, tmp_path: Path
) -> None:
    submit(tmp_path, prepared, predicted())
    [card] = (board(tmp_path) / "cards").glob("*.md")
    card.write_text(card.read_text().split(NOTES)[0] + NOTES + "\n\nTrained on nothing.\n")
    submit(tmp_path, prepared, predicted(noise_mm=30.0), "--replace")
    assert "Trained on nothing." in card.read_text()
    assert check_boards(tmp_path / "kt3d-data" / "leaderboards") == []


def test_a_second_result_of_a_name_and_a_second_name_of_a_result_replace_the_first_only_on_request(
    prepared: Path, predicted: Predicted, tmp_path: Path
) -> None:
    """Names are equal whatever their case; another seed or level of supervision is another result."""
    submit(tmp_path, prepared, predicted(), "--name", "MyNet")
    [first] = read_entries(board(tmp_path))
    submit(tmp_path, prepared, predicted(), "--name", "MyNet")
    submit(tmp_path, prepared, predicted(seed=1), "--name", "MyNet", "--seed", 1)
    submit(tmp_path, prepared, predicted(seed=2), "--name", "MyNet", "--supervision", "full")
    before = {path: path.read_bytes() for path in board(tmp_path).rglob("*") if path.is_file()}
    other = predicted(noise_mm=30.0, seed=3)
    words = ("score", other, "--shards", prepared, "--name", "MYNET")
    for refused in (
        submit(tmp_path, prepared, other, "--name", "MyNet", code=1),
        submit(tmp_path, prepared, other, "--name", "mynet", code=1),
        kt3d(tmp_path, *words, code=1),
    ):
        said = " ".join(refused.output.split())
        value = f"{first.scores['mpjpe_mm']:.2f}"
        assert f"{first.file_name}: there is another result under the name 'MyNet': mpjpe_mm {value} " in said
        assert "replace it with --replace, or give another --name" in said
    said = submit(tmp_path, prepared, predicted(), "--name", "another", code=1).output
    assert "the same predictions are there under the name 'MyNet'" in said
    assert {path: path.read_bytes() for path in board(tmp_path).rglob("*") if path.is_file()} == before
    [card] = (board(tmp_path) / "cards").glob(f"{Path(first.file_name).stem}.md")
    card.write_text(card.read_text().split(NOTES)[0] + NOTES + "\n\nOf the first.\n")
    kt3d(tmp_path, *words, "--replace")
    names = [entry.method for entry in read_entries(board(tmp_path))]
    assert sorted(names) == ["MYNET", "MyNet", "MyNet"]
    [card] = (board(tmp_path) / "cards").glob("MYNET*.md")
    assert "Of the first." in card.read_text()
    assert check_boards(tmp_path / "kt3d-data" / "leaderboards") == []


@pytest.mark.parametrize("spoil", [lambda joints: joints, lambda joints: joints * [-1, 1, 1]])
def test_score_leaves_a_board_that_passes_the_check(
    prepared: Path, predicted: Predicted, tmp_path: Path, spoil: Callable[[np.ndarray], np.ndarray]
) -> None:
    said = kt3d(tmp_path, "score", predicted(spoil=spoil), "--shards", prepared).output
    [entry] = read_entries(board(tmp_path))
    assert entry.method == "p"
    assert "Entry: " in said
    assert entry.provenance.submission.file_sha256 == sha256((tmp_path / "p.npz").read_bytes()).hexdigest()
    assert len(entry.provenance.submission.suspicions) == said.count("Note: ")
    assert "The boards have no problems." in kt3d(tmp_path, "leaderboard", "check").output
    np.savez(tmp_path / "gaps.npz", **{name: values[:-3] for name, values in np.load(tmp_path / "p.npz").items()
                                      if values.ndim})  # fmt: skip
    kt3d(tmp_path, "score", "gaps.npz", "--benchmark", BENCHMARK, "--shards", prepared, "--incomplete")
    assert "The boards have no problems." in kt3d(tmp_path, "leaderboard", "check").output
    assert "0 of 2 entries" in kt3d(tmp_path, "score", "--rescore").output


def replaced_keys(path: Path, keys: np.ndarray, joints: np.ndarray) -> None:
    write_predictions(path, keys, joints, meta={"benchmark": BENCHMARK})


WRONG: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "metres": (lambda joints: joints / 1000, "in metres"),
    "left and right": (lambda joints: joints[:, H36M17.mirror], "left and right: the joints of the two sides"),
    "joint order": (lambda joints: np.roll(joints, -1, axis=1), "joint order: the joints seem to be in the hip last"),
    "mirrored": (lambda joints: joints * [-1, 1, 1], "mirrored: the poses are mirror images"),
    "shuffled": (lambda joints: np.roll(joints, 16, axis=0), "shuffled: "),
    "axes": (lambda joints: joints * [1, -1, -1], "axes: the axes seem to be (x, -y, -z)"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_wrong_file_is_refused_by_name_and_leaves_nothing(
    prepared: Path, predicted: Predicted, tmp_path: Path, mistake: str
) -> None:
    spoil, said = WRONG[mistake]
    result = submit(tmp_path, prepared, predicted(spoil=spoil), code=1)
    assert said in result.output
    assert not (tmp_path / "kt3d-data").exists()
    scored = kt3d(tmp_path, "score", "p.npz", "--shards", prepared, code=1 if mistake == "metres" else 0)
    assert said in " ".join(scored.output.split())


def test_keys_exchanged_at_random_are_shuffled(
    prepared: Path, predicted: Predicted, test_set: ShardSet, tmp_path: Path
) -> None:
    given = read_predictions(predicted())
    order = np.random.default_rng(0).permutation(len(given.keys))
    replaced_keys(tmp_path / "p.npz", given.keys[order], given.joints_cam_mm)
    assert "shuffled: " in submit(tmp_path, prepared, tmp_path / "p.npz", code=1).output


def test_frames_of_another_sampling_and_a_missing_tail_are_refused(
    prepared: Path, predicted: Predicted, tmp_path: Path
) -> None:
    given = read_predictions(predicted())
    later = np.array([f"{key[:-6]}{int(key[-6:]) + 1:06d}" for key in given.keys])
    replaced_keys(tmp_path / "late.npz", later, given.joints_cam_mm)
    said = submit(tmp_path, prepared, tmp_path / "late.npz", code=1).output
    assert "32 of 32 test samples have no prediction" in said
    assert "32 predictions are of no test sample" in said
    replaced_keys(tmp_path / "short.npz", given.keys[:-5], given.joints_cam_mm[:-5])
    said = submit(tmp_path, prepared, tmp_path / "short.npz", code=1).output
    assert "the tail is missing: 5 of 32 test samples have no prediction" in said


def test_16_bit_floats_are_refused_as_such_and_flagged_when_disguised(
    prepared: Path, predicted: Predicted, tmp_path: Path
) -> None:
    given = read_predictions(predicted())
    np.savez(tmp_path / "half.npz", keys=given.keys, joints_cam_mm=given.joints_cam_mm.astype(np.float16))
    assert "'joints_cam_mm' is float16" in submit(tmp_path, prepared, tmp_path / "half.npz", code=1).output
    file = predicted(spoil=lambda joints: joints.astype(np.float16).astype(float))
    assert "Note: float16: every coordinate is a 16-bit float" in submit(tmp_path, prepared, file).output
    [entry] = read_entries(board(tmp_path))
    assert entry.provenance.submission.suspicions[0].startswith("float16: ")


def test_a_suspicion_can_be_accepted_and_is_recorded(prepared: Path, predicted: Predicted, tmp_path: Path) -> None:
    file = predicted(spoil=lambda joints: joints[:, H36M17.mirror])
    submit(tmp_path, prepared, file, "--accept", "left and right")
    [entry] = read_entries(board(tmp_path))
    assert entry.provenance.submission.suspicions[0].startswith("left and right: ")
    assert "| Flagged | left and right: " in next((board(tmp_path) / "cards").glob("*.md")).read_text()
    said = submit(tmp_path, prepared, predicted(), "--accept", "metres", code=2).output
    assert "the file is not suspected of 'metres'" in said


def test_a_name_that_is_none_is_refused(prepared: Path, predicted: Predicted, tmp_path: Path) -> None:
    assert "cannot be the name of a method" in submit(tmp_path, prepared, predicted(), "--name", "../x", code=2).output


def official_name(test_set: ShardSet, row: int) -> tuple[int, str, str, int]:
    """Subject, recording, camera and frame of a sample, by the official file names."""
    labels = test_set.labels
    [recording] = [one for one in recordings() if one.clip == labels.sequence[row]]
    return recording.subject, recording.file_name, str(labels.camera_id[row]), int(labels.frame[row])


def test_mmposes_plain_form(prepared: Path, predicted: Predicted, test_set: ShardSet, tmp_path: Path) -> None:
    given = read_predictions(predicted())
    rows = []
    for row, pose in enumerate(given.joints_cam_mm.astype(float)):
        subject, recording, camera, frame = official_name(test_set, row)
        name = f"S{subject}_{recording.replace(' ', '_')}.{camera}_{frame + 1:06d}.jpg"
        rows.append({"img_path": f"data/S{subject}/{name}", "keypoints": ((pose - pose[0]) / 1000).tolist()})
    (tmp_path / "dump.json").write_text(json.dumps({"unit": "m", "predictions": rows}))
    submit(tmp_path, prepared, tmp_path / "dump.json")
    [entry] = read_entries(board(tmp_path))
    expected = mpjpe(given.joints_cam_mm, test_set.labels.joints_cam_mm, root=0).mean()
    assert entry.scores["mpjpe_mm"] == pytest.approx(expected, abs=1e-3)
    assert entry.provenance.submission.form == "mmpose-json"
    for row in rows:
        row["keypoints"] = np.array(row["keypoints"]).astype(np.float16).astype(float).tolist()
    (tmp_path / "half.json").write_text(json.dumps({"unit": "m", "predictions": rows}))
    assert (
        "Note: float16: every coordinate is a 16-bit float"
        in submit(tmp_path, prepared, tmp_path / "half.json", "--replace").output
    )


def test_videopose3ds_plain_form(prepared: Path, predicted: Predicted, test_set: ShardSet, tmp_path: Path) -> None:
    given = read_predictions(predicted())
    cameras = ["54138969", "55011271", "58860488", "60457274"]
    arrays: dict[str, np.ndarray] = {}
    for row, pose in enumerate(given.joints_cam_mm.astype(float)):
        subject, recording, camera, frame = official_name(test_set, row)
        name = f"S{subject}/{recording}/{cameras.index(camera)}"
        whole = arrays.setdefault(name, np.full((70, 17, 3), 0.1))
        whole[frame] = (pose - pose[0]) / 1000
        whole[frame, 0] = 0.0
    for whole in arrays.values():
        whole[:, 0] = 0.0
    np.savez(tmp_path / "vp3d.npz", **arrays)
    submit(tmp_path, prepared, tmp_path / "vp3d.npz")
    [entry] = read_entries(board(tmp_path))
    expected = mpjpe(given.joints_cam_mm, test_set.labels.joints_cam_mm, root=0).mean()
    assert entry.scores["mpjpe_mm"] == pytest.approx(expected, abs=1e-3)


def test_mmposes_lifting_models_name_target_frames(
    prepared: Path, predicted: Predicted, test_set: ShardSet, tmp_path: Path
) -> None:
    """One name in a list, several names with as many poses, and a mixture with ``img_path``."""
    given = read_predictions(predicted())
    names = []
    for row in range(len(given.keys)):
        subject, recording, camera, frame = official_name(test_set, row)
        names.append(f"S{subject}/S{subject}_{recording.replace(' ', '_')}.{camera}_{frame + 1:06d}.jpg")
    poses = [pose.tolist() for pose in given.joints_cam_mm.astype(float) / 1000]
    rows: list[dict[str, Any]] = [{"target_img_path": [names[0]], "img_path": names[3], "keypoints": poses[0]}]
    rows += [{"target_img_path": names[1:9], "keypoints": poses[1:9]}]
    rows += [
        {"target_img_path": name, "keypoints": [pose]} for name, pose in zip(names[9:20], poses[9:20], strict=True)
    ]
    rows += [{"img_path": name, "keypoints": pose} for name, pose in zip(names[20:], poses[20:], strict=True)]
    (tmp_path / "lifted.json").write_text(json.dumps({"unit": "m", "predictions": rows}))
    submit(tmp_path, prepared, tmp_path / "lifted.json")
    [entry] = read_entries(board(tmp_path))
    expected = mpjpe(given.joints_cam_mm, test_set.labels.joints_cam_mm).mean()
    assert entry.scores["mpjpe_mm"] == pytest.approx(expected, abs=1e-3)
    rows[1]["keypoints"] = poses[1:8]
    (tmp_path / "short.json").write_text(json.dumps({"unit": "m", "predictions": rows}))
    assert "prediction 1 is not an object with" in submit(tmp_path, prepared, tmp_path / "short.json", code=1).output


def test_motionberts_plain_form(prepared: Path, predicted: Predicted, test_set: ShardSet, tmp_path: Path) -> None:
    given = read_predictions(predicted())
    cameras = ["54138969", "55011271", "58860488", "60457274"]
    numbers = {(one.subject, one.file_name): (one.action, one.subaction) for one in recordings()}
    arrays: dict[str, np.ndarray] = {}
    for row, pose in enumerate(given.joints_cam_mm.astype(float)):
        subject, recording, camera, frame = official_name(test_set, row)
        action, subaction = numbers[subject, recording]
        name = f"s_{subject:02d}_act_{action:02d}_subact_{subaction:02d}_ca_{cameras.index(camera) + 1:02d}"
        arrays.setdefault(name, np.zeros((70, 17, 3)))[frame] = pose - pose[0]
    np.savez(tmp_path / "mb.npz", **arrays)
    submit(tmp_path, prepared, tmp_path / "mb.npz")
    [entry] = read_entries(board(tmp_path))
    expected = mpjpe(given.joints_cam_mm, test_set.labels.joints_cam_mm).mean()
    assert entry.scores["mpjpe_mm"] == pytest.approx(expected, abs=1e-3)
    assert entry.provenance.submission.form == "motionbert-npz"


def test_posepiles_plain_form(prepared: Path, predicted: Predicted, test_set: ShardSet, tmp_path: Path) -> None:
    given = read_predictions(predicted())
    labels = test_set.labels
    world = np.stack([
        pose @ rotation + centre
        for pose, rotation, centre in zip(given.joints_cam_mm.astype(float), labels.rotation, labels.position_world_mm,
                                          strict=True)
    ])  # fmt: skip
    paths = []
    for row in range(len(given.keys)):
        subject, recording, camera, frame = official_name(test_set, row)
        paths.append(f"h36m/S{subject}/Images/{recording}.{camera}/frame_{frame:06d}.jpg")
    order = np.random.default_rng(1).permutation(len(paths))
    np.savez(tmp_path / "pp.npz", image_path=np.array(paths)[order], coords3d_pred_world=world[order])
    submit(tmp_path, prepared, tmp_path / "pp.npz")
    [entry] = read_entries(board(tmp_path))
    expected = mpjpe(given.joints_cam_mm, labels.joints_cam_mm, root=0).mean()
    assert entry.scores["mpjpe_mm"] == pytest.approx(expected, abs=1e-2)


def garbage(tmp_path: Path, name: str, content: Any) -> Path:
    path = tmp_path / name
    if isinstance(content, dict) and path.suffix == ".npz":
        np.savez(path, **content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


POSE = [[0.0, 0.0, 0.0]] * 17


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.npz", "(lp0\n.", "is a pickle, and pickles are never loaded"),
        ("x.json", "", "is empty"),
        ("x.json", "{", "is not readable JSON"),
        ("x.json", [], "expected an object with the list 'predictions'"),
        ("x.json", {"predictions": []}, "'unit' is None"),
        ("x.json", {"unit": "m", "predictions": [{"img_path": "a.jpg"}]}, "prediction 0 is not an object with"),
        ("x.json", {"unit": "m", "predictions": [{"img_path": "a", "keypoints": [[0, 0, 0]]}]}, "prediction 0"),
        ("x.json", {"unit": "m", "predictions": [{"img_path": "a.jpg", "keypoints": POSE}]}, "1 names mean no sample"),
        ("x.npz", {"S9/Direction 1/0": np.zeros((4, 17, 3))}, "the nearest accepted name is S9/Directions 1/0/000000"),
        ("x.npz", {"poses": np.zeros((2, 17, 3))}, "holds the arrays poses, which no accepted form has"),
        ("x.npz", {"image_path": np.array(["a"])}, "needs both 'image_path' and 'coords3d_pred_world'"),
        ("x.npz", {"image_path": np.array(["a", "b"]), "coords3d_pred_world": np.zeros((1, 17, 3))}, "2 image paths"),
        ("x.npz", {"image_path": np.array(["a"]), "coords3d_pred_world": np.zeros((1, 25, 3))}, "expected (N, 17, 3)"),
        ("x.npz", {"image_path": np.array([{}]), "coords3d_pred_world": np.zeros((1, 17, 3))}, "pickled objects"),
        ("x.npz", {"S9/Directions 1/0": np.zeros((4, 17, 3), np.float16)}, "expected float32 or float64"),
        ("x.npz", {"S1/Directions 1/0": np.zeros((4, 17, 3))}, "no pose is of a test sample"),
    ],
)  # fmt: skip
def test_files_of_no_accepted_form(prepared: Path, tmp_path: Path, name: str, content: Any, said: str) -> None:
    assert said in submit(tmp_path, prepared, garbage(tmp_path, name, content), code=1).output


def test_score_as_prints_other_programs_numbers(prepared: Path, predicted: Predicted, tmp_path: Path) -> None:
    file = predicted()
    said = kt3d(tmp_path, "score", file, "--as", "all", "--shards", prepared).output
    for name in ("mmpose", "videopose3d", "3d-pose-baseline", "integral", "posepile"):
        assert f"\n{name}: " in said
    assert said.count("Why it differs: ") == 6
    assert "hm36_17j_align" in said
    assert not (tmp_path / "kt3d-data").exists()
    assert "Note: " not in said
    metres = predicted("m.npz", spoil=lambda joints: joints / 1000)
    assert "Note: metres: " in kt3d(tmp_path, "score", metres, "--as", "mmpose", "--shards", prepared).output
    one = kt3d(tmp_path, "score", file, "--as", "mmpose", "--shards", prepared).output
    assert "videopose3d" not in one
    said = kt3d(tmp_path, "score", file, "--as", "mmpos", "--shards", prepared, code=2).output
    assert "did you mean 'mmpose'?" in said
    assert "--as only prints" in kt3d(tmp_path, "score", file, "--as", "mmpose", "--name", "x", code=2).output


def test_evaluate_takes_keys_and_poses_records_and_files_of_every_form(
    prepared: Path, predicted: Predicted, test_set: ShardSet, tmp_path: Path
) -> None:
    """The same poses in five disguises, against the means of the public metric functions."""
    file = predicted()
    given = read_predictions(file)
    pred, true = given.joints_cam_mm.astype(float), test_set.labels.joints_cam_mm
    rows = [{"key": str(key), "keypoints": pose.tolist()} for key, pose in zip(given.keys, pred, strict=True)]
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps({"unit": "mm", "predictions": rows}))
    order = np.random.default_rng(0).permutation(len(given.keys))
    for scores in (
        kt.evaluate(BENCHMARK, file, shards=prepared),
        kt.evaluate(BENCHMARK, str(plain), shards=prepared),
        kt.evaluate(BENCHMARK, given, shards=prepared),
        kt.evaluate(BENCHMARK, list(given.keys), given.joints_cam_mm, shards=str(prepared)),
        kt.evaluate(registry.benchmark(BENCHMARK), given.keys[order], pred[order], shards=prepared),
    ):
        assert scores.overall["mpjpe_mm"] == pytest.approx(kt.mpjpe(pred, true).mean(), abs=1e-4)
        assert scores.overall["pa_mpjpe_mm"] == pytest.approx(kt.pa_mpjpe(pred, true).mean(), abs=1e-4)
        wrists = np.linalg.norm((pred - pred[:, :1]) - (true - true[:, :1]), axis=-1)[:, 13]
        assert scores.by_joint["left_wrist"]["mpjpe_mm"] == pytest.approx(wrists.mean(), abs=1e-3)
        low, high = scores.intervals["mpjpe_mm"]
        assert low < scores.overall["mpjpe_mm"] < high
        assert scores.warnings == ()
    assert not (tmp_path / "kt3d-data").exists()


def test_evaluate_says_what_is_missing_and_what_looks_wrong(
    prepared: Path, predicted: Predicted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = read_predictions(predicted())
    with pytest.raises(kt.ArtefactError, match="the tail is missing: 2 of 32 test samples have no prediction"):
        kt.evaluate(BENCHMARK, given.keys[:-2], given.joints_cam_mm[:-2], shards=prepared)
    half = kt.evaluate(BENCHMARK, given.keys[:-2], given.joints_cam_mm[:-2], shards=prepared, incomplete=True)
    assert half.unanswered == 2
    assert any("2 test samples have no prediction" in warning for warning in half.warnings)
    mirrored = kt.evaluate(BENCHMARK, given.keys, given.joints_cam_mm * np.float32([-1, 1, 1]), shards=prepared)
    assert mirrored.warnings[0].startswith("mirrored: the poses are mirror images of the true ones")
    with pytest.raises(kt.UsageError, match="sample keys were given without joints_cam_mm"):
        kt.evaluate(BENCHMARK, given.keys, shards=prepared)
    with pytest.raises(kt.UsageError, match="there is no benchmark 'h36m-s9s11'; did you mean 'h36m-s9s11-64'"):
        kt.evaluate("h36m-s9s11", given, shards=prepared)
    monkeypatch.setenv("KT3D_DATA", str(tmp_path))
    with pytest.raises(kt.ArtefactError, match=r"shards/h36m: there are no shards of 'h36m'.*kt3d prepare h36m"):
        kt.evaluate(BENCHMARK, given)


def test_every_way_to_a_number_reads_the_same_forms(
    prepared: Path, predicted: Predicted, test_set: ShardSet, tmp_path: Path
) -> None:
    """``score``, ``submit``, ``--as`` and Python read another program's file and agree."""
    given = read_predictions(predicted())
    rows = [
        {"key": str(key), "keypoints": (pose / 1000).tolist()}
        for key, pose in zip(given.keys, given.joints_cam_mm.astype(float), strict=True)
    ]
    file = tmp_path / "net.json"
    file.write_text(json.dumps({"unit": "m", "predictions": rows}))
    words = ("--benchmark", BENCHMARK, "--shards", prepared)
    scored = json.loads(kt3d(tmp_path, "score", file, *words, "--json").output)["overall"]["mpjpe_mm"]
    submit(tmp_path, prepared, file, "--replace")
    entries = {entry.method: entry.scores["mpjpe_mm"] for entry in read_entries(board(tmp_path))}
    assert entries == {"stranger": scored}
    printed = kt3d(tmp_path, "score", file, *words, "--as", "kt3d").output
    assert f"{scored:.2f} mm" in printed
    assert kt.evaluate(BENCHMARK, file, shards=prepared).overall["mpjpe_mm"] == scored
    assert scored == pytest.approx(kt.mpjpe(given.joints_cam_mm, test_set.labels.joints_cam_mm).mean(), abs=1e-3)


def test_rescoring_measures_again_what_is_at_hand(prepared: Path, predicted: Predicted, tmp_path: Path) -> None:
    submit(tmp_path, prepared, predicted(), "--seed", 0)
    submit(tmp_path, prepared, predicted(seed=5), "--seed", 1)
    first, gone = read_entries(board(tmp_path))
    for path in (tmp_path / "kt3d-data" / "submissions").iterdir():
        if sha256(path.read_bytes()).hexdigest() == gone.provenance.predictions_sha256:
            path.unlink()
        else:
            run = tmp_path / "kt3d-data" / "runs" / "moved" / "predictions"
            run.mkdir(parents=True)
            path.rename(run / f"{BENCHMARK}.npz")
    said = kt3d(tmp_path, "score", "--rescore").output
    assert "0 of 2 entries were measured again." in said
    assert "the shards it was tested on are not here" in said
    (tmp_path / "kt3d-data" / "shards").mkdir()
    (tmp_path / "kt3d-data" / "shards" / "h36m").symlink_to(prepared)
    spoiled = board(tmp_path) / "entries" / first.file_name
    document = json.loads(spoiled.read_text())
    document["scores"]["mpjpe_mm"] = 1.0
    document["provenance"]["metric_version"] = 0
    spoiled.write_text(json.dumps(document))
    said = kt3d(tmp_path, "score", "--rescore").output
    assert "1 of 2 entries were measured again." in said
    assert "its predictions are not here" in said
    assert "mpjpe_mm 1.00 (metric version 0) -> " in said
    assert read_entry(spoiled) == first
    assert check_boards(tmp_path / "kt3d-data" / "leaderboards") == []
    assert "goes with --leaderboards alone" in kt3d(tmp_path, "score", "--rescore", "--json", code=2).output


def test_the_guide_names_every_form_and_every_suspicion() -> None:
    guide = (ROOT / "leaderboards" / "SUBMITTING.md").read_text()
    assert [form for form in FORMS if f"`{form}`" not in guide] == []
    source = (ROOT / "kt3d_bench" / "metrics" / "plausibility.py").read_text()
    names = set(re.findall(r'Suspicion\(\s*"([a-z0-9 -]+)"', source)) | {"metres", "centimetres", "inches", "size"}
    assert len(names) >= 12
    assert [name for name in names if f"`{name}`" not in guide] == []


def test_what_a_method_read_beside_the_benchmarks_images_is_on_the_board(
    prepared: Path, predicted: Predicted, tmp_path: Path
) -> None:
    found = read_predictions(predicted())
    file = tmp_path / "told.npz"
    write_predictions(file, found.keys, found.joints_cam_mm, meta={"reads": ["rgb", "foreground", "<b>", 3]})
    submit(tmp_path, prepared, file)
    [entry] = read_entries(board(tmp_path))
    assert entry.flags.also_reads == ("foreground",)
    assert "stranger (also reads motion foreground)" in (board(tmp_path) / "README.md").read_text()
    write_predictions(file, found.keys, found.joints_cam_mm, meta={"reads": ["rgb", "foreground"], "masks": "others"})
    submit(tmp_path, prepared, file, "--replace")
    [entry] = read_entries(board(tmp_path))
    assert entry.flags.also_reads == ("masks by others",)
    assert "stranger (also reads masks by others)" in (board(tmp_path) / "README.md").read_text()
