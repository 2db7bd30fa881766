from __future__ import annotations

import ast
import json
from pathlib import Path

import av
import cdflib
import kt3d_h36m
import numpy as np
import pytest
from kt3d_h36m.convert import convert, describe, plan
from kt3d_h36m.generate import VERSION, generate
from kt3d_h36m.metadata import read_cameras, read_frame_counts
from kt3d_h36m.recordings import ACTIONS, find_recording, recordings
from kt3d_h36m.standin_recordings import ACTIVITIES, JOINT_NAMES, file_name

from kt3d_bench.errors import RawDataError, UsageError
from kt3d_bench.geometry.cameras import project, world_to_cam
from kt3d_bench.records import Sample, Skipped

SMALL = {"people": 4, "frames": 3, "seed": 5, "actions": 2, "takes": 2, "frame_px": 96, "long_clip": False}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """S1, S9, S5 and S11, two actions, two takes."""
    out = tmp_path_factory.mktemp("h36m") / "generated"
    return out, generate(out, **SMALL)


@pytest.fixture(scope="module")
def read_back(small):
    return {split: [r for item in plan(small[0], split, {}) for r in convert(item)] for split in ("train", "test")}


def pose(path: Path) -> np.ndarray:
    values = cdflib.CDF(path).varget("Pose")
    assert values.dtype == np.float32
    assert values.shape[0] == 1
    return values[0].reshape(values.shape[1], 32, -1).astype(np.float64)


def test_prepare_finds_what_was_generated(small, read_back):
    _, counts = small
    found = {split: sum(isinstance(r, Sample) for r in records) for split, records in read_back.items()}
    assert found == counts
    assert counts == {"train": 2 * 2 * 2 * 4, "test": 2 * 2 * 2 * 4 - 1}
    skipped = [r for records in read_back.values() for r in records if isinstance(r, Skipped)]
    assert [r.name for r in skipped] == ["s11_act02_sub2_54138969"]


def test_marker_says_what_was_made(small):
    marker = json.loads((small[0] / "kt3d-generated.json").read_text())
    assert {key: marker[key] for key in ("dataset", "version", "seed", "people", "frames")} == {
        "dataset": "h36m", "version": VERSION, "seed": 5, "people": 4, "frames": 3
    }  # fmt: skip
    assert describe(small[0])[0] == f"A generated stand-in, version {VERSION}, seed 5."


def test_tree_is_the_official_one(small):
    root = small[0]
    assert {path.name for path in root.iterdir()} == {
        "S1", "S5", "S9", "S11", "metadata.xml", "kt3d-generated.json"
    }  # fmt: skip
    assert sorted(path.name for path in (root / "S5" / "MyPoseFeatures" / "D3_Positions").iterdir()) == [
        "Directions 1.cdf", "Directions 2.cdf", "Discussion 2.cdf", "Discussion 3.cdf"
    ]  # fmt: skip
    for feature in ("D2_Positions", "D3_Positions_mono"):
        assert len(list((root / "S5" / "MyPoseFeatures" / feature).iterdir())) == 16
    assert (root / "S9" / "Videos" / "Discussion 2.60457274.mp4").is_file()


def test_names_of_every_recording_are_the_readers():
    for recording in recordings():
        action = list(ACTIVITIES)[recording.action - 2]
        name = file_name(f"S{recording.subject}", action, recording.subaction)
        assert name == recording.file_name
        assert find_recording(recording.subject, name) == recording
    assert len(ACTIVITIES) == len(ACTIONS)


def test_pose_files_agree_with_each_other_and_with_the_cameras(small):
    root, _ = small
    cameras = read_cameras(root / "metadata.xml")
    features = root / "S9" / "MyPoseFeatures"
    for path in sorted((features / "D3_Positions").iterdir()):
        world = pose(path)
        assert np.abs(world[..., :2]).max() < 2500
        assert -60 < world[..., 2].min() < world[..., 2].max() < 2500
        for camera_id in ("54138969", "55011271", "58860488", "60457274"):
            camera = cameras[9, camera_id]
            cam = pose(features / "D3_Positions_mono" / f"{path.stem}.{camera_id}.cdf")
            np.testing.assert_allclose(world_to_cam(camera, world), cam, atol=0.01)
            image = pose(features / "D2_Positions" / f"{path.stem}.{camera_id}.cdf")
            np.testing.assert_allclose(project(camera, cam), image, atol=1e-3)
            assert 1300 < camera.position_world_mm[2] < 1800
            assert np.linalg.norm(cam[:, 0], axis=-1).min() > 2500


def test_skeleton_has_the_documented_offsets(small):
    files = sorted(small[0].glob("S*/MyPoseFeatures/D3_Positions/*.cdf"))
    joints = np.concatenate([pose(path) for path in files])

    def length(a, b):
        return np.linalg.norm(joints[:, a] - joints[:, b], axis=-1)

    np.testing.assert_allclose(joints[:, 0], (joints[:, 1] + joints[:, 6]) / 2, atol=1e-3)
    np.testing.assert_allclose(length(14, 15), 115.0, atol=0.01)
    assert 107 - 0.01 <= length(13, 14).min() <= length(13, 14).max() <= 121.01
    shoulders = (joints[:, 17] + joints[:, 25]) / 2
    assert 20 < np.median(np.linalg.norm(joints[:, 13] - shoulders, axis=-1)) < 90
    assert 200 < np.median(length(0, 12)) < 300
    assert 220 < np.median(length(12, 13)) < 310
    for copy, original in {11: 0, 16: 13, 20: 19, 23: 22, 24: 13, 28: 27, 31: 30}.items():
        np.testing.assert_array_equal(joints[:, copy], joints[:, original])
    for right, left in ((1, 6), (2, 7), (3, 8), (25, 17), (26, 18), (27, 19)):
        assert length(right, left).min() > 1


def test_joints_lie_inside_the_person(small, read_back):
    """Where a joint projects, the video differs from the empty room, which every other pixel's time-median is not
    needed for: the room is drawn again from the same seed."""
    from kt3d_h36m.generate import _new_studio
    from kt3d_h36m.standin_recordings import Take

    from kt3d_bench.geometry.crops import crop_person

    takes = [Take(subject, "Directions", 1, 1, 0) for subject in ("S1", "S9", "S5", "S11")]
    whole = _new_studio(small[0], SMALL["seed"], SMALL["frame_px"], takes, None, "cpu")
    inside = []
    for sample in read_back["test"][:16]:
        if not isinstance(sample, Sample):
            continue
        index = ["54138969", "55011271", "58860488", "60457274"].index(sample.camera_id)
        camera = whole.rig.camera(sample.subject, index)
        full = project(camera, sample.joints_cam_mm)
        low, high = full.min(0), full.max(0)
        middle, half = (low + high) / 2, (high - low).max() / 2
        empty = crop_person(camera, np.concatenate([middle - half, middle + half]), rgb=whole.rooms[index]).rgb
        person = np.abs(sample.rgb.astype(int) - empty[: sample.rgb.shape[0], : sample.rgb.shape[1]]).sum(-1) > 24
        at = np.round(sample.joints_px).astype(int)
        inside += [person[y, x] for x, y in at]
        assert person.mean() < 0.5
    assert np.mean(inside) > 0.9


def test_videos_are_longer_than_poses_as_officially(small):
    root, _ = small
    counts = read_frame_counts(root / "metadata.xml")
    for (subject, action, subaction), count in counts.items():
        recording = next(r for r in recordings() if (r.subject, r.action, r.subaction) == (subject, action, subaction))
        folder = root / f"S{subject}"
        assert count.poses == len(pose(folder / "MyPoseFeatures" / "D3_Positions" / f"{recording.file_name}.cdf"))
        assert 1 <= count.poses <= 3
        for index, camera_id in enumerate(("54138969", "55011271", "58860488", "60457274")):
            with av.open(str(folder / "Videos" / f"{recording.file_name}.{camera_id}.mp4")) as video:
                stream = video.streams.video[0]
                assert stream.average_rate == 50
                assert (stream.width, stream.height) == (96, 98 if index in (0, 3) else 96)
                assert sum(1 for _ in video.decode(stream)) == count.videos[index]
            assert count.videos[index] - count.poses in ((0, 1, 2) if index in (0, 3) else (2, 3, 4, 5))
    assert len(counts) == 4 * 4


def test_distortion_and_subjects_cameras_differ(small):
    cameras = read_cameras(small[0] / "metadata.xml")
    one, other = cameras[1, "54138969"], cameras[9, "54138969"]
    assert 0 < np.linalg.norm(one.position_world_mm - other.position_world_mm) < 100
    assert np.abs(one.distortion[:2]).min() > 0.1
    assert np.abs(one.distortion[2:4]).max() < 0.002
    assert one.focal_px[0] == pytest.approx(1145 * 0.096, rel=0.01)


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_same_seed_same_bytes_whatever_the_workers(small, tmp_path):
    again = tmp_path / "again"
    generate(again, **SMALL, workers=2)
    assert files_of(again) == files_of(small[0])


def test_another_seed_is_another_set(small, tmp_path):
    other = tmp_path / "other"
    generate(other, **{**SMALL, "seed": 6, "people": 2, "actions": 1, "takes": 1})
    name = "S9/MyPoseFeatures/D3_Positions/Directions 1.cdf"
    assert (other / name).read_bytes() != (small[0] / name).read_bytes()


def test_the_long_clip_has_three_test_frames(tmp_path):
    steps = []
    counts = generate(
        tmp_path / "long",
        people=2,
        frames=1,
        seed=1,
        actions=1,
        takes=1,
        frame_px=64,
        progress=lambda done, total: steps.append((done, total)),
    )
    assert counts == {"train": 4, "test": 12}
    assert steps == [(1, 2), (2, 2)]
    found = [r.frame for item in plan(tmp_path / "long", "test", {}) for r in convert(item)]
    assert found == [0, 64, 128] * 4


def test_an_earlier_stand_in_is_replaced_and_real_data_is_not(tmp_path):
    tiny = {"people": 7, "frames": 1, "seed": 1, "actions": 1, "takes": 1, "frame_px": 64, "long_clip": False}
    out = tmp_path / "out"
    out.mkdir()
    generate(out, **tiny)
    generate(out, **{**tiny, "people": 2})
    assert {path.name for path in out.iterdir()} == {"S1", "S9", "metadata.xml", "kt3d-generated.json"}
    official = tmp_path / "official"
    official.mkdir()
    (official / "Videos_S1.tgz").write_bytes(b"precious")
    with pytest.raises(UsageError, match=r"already holds Videos_S1\.tgz, which was not generated"):
        generate(official, **tiny)
    assert (official / "Videos_S1.tgz").read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": 0}, "frames must be 1 to 10,000, found 0"),
        ({"actions": 16}, "actions must be 1 to 15, found 16"),
        ({"takes": 3}, "takes must be 1 to 2, found 3"),
        ({"frame_px": 32}, "frame_px must be 64 to 2,000, found 32"),
        ({"frame_px": 101}, "even sizes; use 102"),
        ({"workers": 0}, "workers must be 1 to 1,024, found 0"),
        ({"seed": -1}, "seed must be 0 to .*, found -1"),
    ],
)
def test_impossible_numbers_are_refused(tmp_path, change, message):
    with pytest.raises(UsageError, match=message):
        generate(tmp_path / "out", **{**SMALL, **change})
    assert not any(tmp_path.iterdir())


def test_a_motion_file_moves_the_people(tmp_path):
    walk = Path(__file__).parents[2] / "../shared/samples/mocap/02_01.bvh"
    if not walk.is_file():
        pytest.skip("../shared/samples is not here: no motion file to try")
    tiny = {"people": 2, "frames": 3, "seed": 2, "actions": 3, "takes": 2, "frame_px": 64, "long_clip": False}
    counts = generate(tmp_path / "walk", **tiny, motion=walk)
    generate(tmp_path / "own", **tiny)
    assert counts["test"] == 2 * 3 * 4
    read = {split: [r for i in plan(tmp_path / "walk", split, {}) for r in convert(i)] for split in counts}
    assert {split: len(records) for split, records in read.items()} == counts
    for path in sorted((tmp_path / "walk").glob("S*/MyPoseFeatures/D3_Positions/*.cdf")):
        walking = pose(path)
        assert walking[:, 15, 2].min() > 1200
        assert not np.array_equal(walking, pose(tmp_path / "own" / path.relative_to(tmp_path / "walk")))


def test_a_motion_shorter_than_a_clip_is_refused(tmp_path):
    walk = Path(__file__).parents[2] / "../shared/samples/mocap/02_01.bvh"
    if not walk.is_file():
        pytest.skip("../shared/samples is not here: no motion file to try")
    with pytest.raises(RawDataError, match="but the longest motion has only"):
        generate(tmp_path / "out", **{**SMALL, "frames": 5000}, motion=walk)
    assert not (tmp_path / "out").exists()


def test_reader_and_writer_share_nothing():
    folder = Path(kt3d_h36m.__file__).parent
    writers = {"generate", *(path.stem for path in folder.glob("standin_*.py"))}
    readers = {path.stem for path in folder.glob("*.py")} - writers - {"__init__"}
    assert len(writers) == 3
    assert {"layout", "metadata", "recordings", "convert"} <= readers
    for path in folder.glob("*.py"):
        forbidden = readers if path.stem in writers else writers
        for node in ast.walk(ast.parse(path.read_text())):
            module = getattr(node, "module", None) if isinstance(node, ast.ImportFrom) else None
            if module and module.startswith("kt3d_h36m."):
                assert module.split(".")[1] not in forbidden, f"{path.name} imports {module}"


def test_joint_names_count():
    assert len(JOINT_NAMES) == 32
