from __future__ import annotations

import pytest
from kt3d_h36m.recordings import ACTIONS, CAMERAS, SPLITS, find_recording, recordings, select, video_name

from kt3d_bench.data.manifest import sample_list_digest
from kt3d_bench.errors import UsageError
from kt3d_bench.plugins import registry


def poses(*subjects: int) -> int:
    return sum(recording.poses for recording in recordings() if recording.subject in subjects)


def test_published_totals():
    assert {s: poses(s) for s in (1, 5, 6, 7, 8, 9, 11)} == {
        1: 62_094, 5: 99_079, 6: 62_466, 7: 101_621, 8: 64_678, 9: 79_417, 11: 58_244
    }  # fmt: skip
    assert 4 * poses(*SPLITS["train"]) == 1_559_752
    without = find_recording(11, "Directions")
    assert without is not None
    assert 4 * (poses(*SPLITS["test"]) - without.poses) == 543_344


def test_every_64th_test_frame():
    per_camera = sum(len(range(0, r.poses, 64)) for r in recordings() if r.subject in SPLITS["test"])
    assert (per_camera, 4 * per_camera) == (2181, 8724)
    selection = select("test")
    used = sum(
        len(range(0, r.poses, 64))
        for r in recordings()
        for camera in CAMERAS
        if r.subject in SPLITS["test"] and selection.reason(r, camera) is None
    )
    assert used == 8695


def test_s9s_short_pose_files_have_the_lengths_of_s8s():
    """Five of S9's pose files are far shorter than their videos; four have exactly S8's count of the same name."""
    counts = {name: [find_recording(s, name).poses for s in (8, 9)]
              for name in ("Greeting", "Phoning", "SittingDown 1", "Waiting 1")}  # fmt: skip
    assert counts == {
        "Greeting": [1447, 1447], "Phoning": [3319, 3319], "SittingDown 1": [1554, 1554], "Waiting 1": [1612, 1612]
    }  # fmt: skip
    assert find_recording(9, "Walking").poses == 1612


def test_each_subject_has_two_takes_of_fifteen_actions():
    assert len(recordings()) == 7 * 30
    assert len({(r.subject, r.action, r.subaction) for r in recordings()}) == 210
    assert len({(r.subject, r.file_name) for r in recordings()}) == 210


@pytest.mark.parametrize(
    ("subject", "name", "action", "subaction"),
    [
        (1, "TakingPhoto 1", "Photo", 1),
        (1, "WalkingDog", "WalkDog", 2),
        (1, "Photo_1", "Photo", 1),
        (9, "SittingDown", "SittingDown", 1),
        (9, "SittingDown 1", "SittingDown", 2),
        (5, "Discussion 3", "Discussion", 2),
        (6, "Waiting_3", "Waiting", 1),
        (11, "WalkingTogether", "WalkTogether", 2),
    ],
)
def test_irregular_names(subject, name, action, subaction):
    found = find_recording(subject, name)
    assert found is not None
    assert (ACTIONS[found.action - 2], found.subaction) == (action, subaction)


@pytest.mark.parametrize("name", ["_ALL", "_ALL 1", "Directions 7", "Dancing", "Walk", "Directions1"])
def test_other_names_mean_nothing(name):
    assert find_recording(1, name) is None


def test_names_and_clips():
    recording = find_recording(9, "Greeting")
    assert recording is not None
    assert (recording.title, recording.clip) == ("S9 Greeting", "s09_greeting_2")


def left_out(drop="", keep=""):
    selection = select("test", drop=drop, keep=keep)
    return {(r.title, camera) for r in recordings() for camera in CAMERAS if selection.reason(r, camera)}


def test_only_the_corrupt_video_is_dropped_by_default():
    assert left_out() == {("S11 Directions", "54138969")}
    assert left_out(keep="S11 Directions 54138969") == set()


def test_drop_names_recordings_or_single_videos():
    corrupt = ("S11 Directions", "54138969")
    assert left_out("S9 Greeting") == {corrupt, *(("S9 Greeting", camera) for camera in CAMERAS)}
    assert left_out("s1 Photo 55011271") == {corrupt, ("S1 TakingPhoto", "55011271")}
    assert len(left_out("shifted")) == 13
    assert left_out("shifted", keep="S9 Greeting, S9 SittingDown_1, S9 Waiting 1") == {corrupt}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("S9 Greting", "did you mean 'S9 Greeting'"),
        ("S2 Greeting", "is no recording"),
        ("S9 Greeting 12345678", "did you mean 'S9 Greeting"),
        ("Greeting", "write it like S9 Greeting"),
    ],
)
def test_unknown_names_are_refused(name, message):
    with pytest.raises(UsageError, match=message):
        select("test", drop=name)
    with pytest.raises(UsageError, match="keep names"):
        select("test", keep=name)


def test_the_benchmarks_sample_list_follows_from_the_table_of_recordings() -> None:
    """8695 frames, as public code counts them: every 64th of S9 and S11, without the corrupt video."""
    [benchmark] = [one for one in registry.benchmarks_of("h36m") if one.id == "h36m-s9s11-64"]
    chosen = select("test")
    keys = [
        f"{video_name(one, camera_id)}_{frame:06d}"
        for one in chosen.recordings()
        for camera_id in CAMERAS
        if chosen.reason(one, camera_id) is None
        for frame in range(0, one.poses, 64)
    ]
    assert len(keys) == 8695
    assert benchmark.sample_list_digest == sample_list_digest(keys)
