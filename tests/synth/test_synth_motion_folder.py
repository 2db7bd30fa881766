"""Motions of a folder: which files serve, how clips are spread over them, and resampling to another rate."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from synth_motion_files import MOCAP, NAMES, Person, recorded, walker, write_acclaim, write_bvh

from kt3d_bench.errors import RawDataError, UsageError
from kt3d_bench.synth import Clip, clip_from_motion, pose, read_bvh, read_motions, sample_bodies
from kt3d_bench.synth.motion.recorded import resampled

Z_UP = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def turning(time_s: np.ndarray, rate_hz: float) -> Person:
    """Everything turns at a constant speed: the root 2 rad/s about y, the left upper arm 3 rad/s about z."""
    turns = np.tile(np.eye(3), (len(time_s), len(NAMES), 1, 1))
    turns[:, 0] = Rotation.from_rotvec(time_s[:, None] * [0.0, 2.0, 0.0]).as_matrix()
    turns[:, NAMES.index("LeftArm")] = Rotation.from_rotvec(time_s[:, None] * [0.0, 0.0, 3.0]).as_matrix()
    root = np.stack([900 * time_s, 0 * time_s + 940, -300 * time_s], axis=-1)
    return replace(walker(len(time_s)), turns=turns, root=root, rate_hz=rate_hz)


@pytest.mark.parametrize("rate_hz", [30.0, 25.0, 50.0, 120.0, 37.5, 7.0])
def test_resampling_a_constant_turn_is_exact(tmp_path: Path, rate_hz: float) -> None:
    motion = read_bvh(write_bvh(tmp_path / "a.bvh", turning(np.arange(49) / 24, 24.0)))
    part = resampled(motion, rate_hz, start=3)
    count = int(np.floor(45 / 24 * rate_hz + 1e-6)) + 1
    assert (len(part), part.rate_hz) == (count, rate_hz)
    positions, _ = turning(3 / 24 + np.arange(count) / rate_hz, rate_hz).world()
    assert part.positions_mm == pytest.approx(positions @ Z_UP.T, abs=1e-3)


def test_resampling_by_hand(tmp_path: Path) -> None:
    """Halfway between a hanging and a level arm it stands at 45 degrees, as long as ever; the root is halfway too."""
    person = turning(np.arange(2) / 10, 10.0)
    person.turns[:, 0] = np.eye(3)
    arm = NAMES.index("LeftArm")
    person.turns[:, arm] = Rotation.from_rotvec([[0, 0, -np.pi / 2], [0, 0, 0]]).as_matrix()
    motion = read_bvh(write_bvh(tmp_path / "a.bvh", person))
    half = resampled(motion, 20.0)
    assert half.positions_mm[[0, 2]] == pytest.approx(motion.positions_mm, abs=1e-9)
    bone = half.joint("LeftForeArm")[1] - half.joint("LeftArm")[1]
    assert bone == pytest.approx([0, 280 / 2**0.5, -280 / 2**0.5], abs=1e-3)
    assert half.joint("Hips")[1] == pytest.approx(motion.joint("Hips").mean(axis=0))


def test_resampled_bones_keep_their_lengths_in_both_formats(tmp_path: Path) -> None:
    from kt3d_bench.synth import read_amc

    person = walker()
    for motion in (read_bvh(write_bvh(tmp_path / "a.bvh", person)), read_amc(write_acclaim(tmp_path, person))):
        part = resampled(motion, motion.rate_hz * 0.731)
        for whole in (motion, part):
            bones = whole.positions_mm[:, 1:] - whole.positions_mm[:, list(whole.parents[1:])]
            lengths = np.linalg.norm(bones, axis=-1)
            assert lengths == pytest.approx(np.broadcast_to(lengths[0], lengths.shape), abs=1e-3)
        assert np.linalg.det(part.orientations) == pytest.approx(1.0)


@pytest.mark.parametrize(("start", "frames"), [(0, 0), (-1, 1), (40, 1), (0, 41), (39, 2)])
def test_a_clip_that_does_not_fit_is_refused(tmp_path: Path, start: int, frames: int) -> None:
    motion = read_bvh(write_bvh(tmp_path / "a.bvh", walker(40)))
    assert len(resampled(motion, motion.rate_hz, 39, 1)) == 1
    with pytest.raises(RawDataError, match="do not fit into 40 frames at 60 Hz"):
        clip_from_motion(motion, motion.rate_hz, start, frames)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three usable files of 40, 60 and 80 frames at 60, 60 and 120 Hz, and four that are not."""
    root = tmp_path_factory.mktemp("motions")
    (root / "b").mkdir()
    (root / "a" / "deep").mkdir(parents=True)
    write_bvh(root / "b" / "second.BVH", walker(60, seed=1))
    write_bvh(root / "a" / "deep" / "first.bvh", walker(40, seed=2))
    write_acclaim(root / "b", walker(80, seed=5))
    whole = (root / "b" / "second.BVH").read_text()
    (root / "b" / "cut.bvh").write_text(whole[: len(whole) // 2])
    (root / "b" / "empty.bvh").touch()
    (root / "a" / "alone.amc").write_text("1\nroot 0 0 0 0 0 0\n")
    (root / "a" / "arm.bvh").write_text(
        "HIERARCHY\nROOT a\n{\nOFFSET 0 0 0\nCHANNELS 3 Xrotation Yrotation Zrotation\n"
        "End Site\n{\nOFFSET 1 0 0\n}\n}\n"
        "MOTION\nFrames: 1\nFrame Time: 0.01\n0 0 0\n"
    )
    (root / "notes.txt").write_text("not a motion")
    return root


def test_a_folder_gives_what_can_be_used_and_says_what_cannot(folder: Path) -> None:
    motions = read_motions(folder)
    used = [(recording.path.relative_to(folder).as_posix(), recording.frames) for recording in motions.recordings]
    assert used == [("a/deep/first.bvh", 40), ("b/07_01.amc", 80), ("b/second.BVH", 60)]
    assert [path.name for path, _ in motions.skipped] == ["alone.amc", "arm.bvh", "cut.bvh", "empty.bvh"]
    lines = motions.lines()
    assert lines[0] == f"3 motions, {40 / 60 + 60 / 60 + 80 / 120:.1f} s, from {folder}"
    assert "skipped a/alone.amc: an .amc needs its .asf skeleton" in lines[1]
    assert "no joint was found for ankle_l" in lines[2]
    assert "skipped b/empty.bvh: expected 'HIERARCHY', found the end of the file" in lines[4]
    assert len(pickle.dumps(motions)) < 10_000, "workers get names, not motions"


def test_clips_take_every_file_in_turn_and_cover_each_evenly(folder: Path) -> None:
    """The clip itself tells its file (by its pace) and, with one frame, its place."""
    motions = read_motions(folder)
    asked: list[tuple[str, int]] = []
    module = pytest.importorskip("kt3d_bench.synth.motion.folder")
    original = module.clip_from_motion
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "clip_from_motion",
                      lambda motion, rate, start, frames: (asked.append((Path(motion.source).name, start)),
                                                           original(motion, rate, start, frames))[1])  # fmt: skip
        for number in range(90):
            motions.clip(number, 1, 30.0, seed=4)
    per_file = Counter(name for name, _ in asked)
    assert per_file == {"first.bvh": 30, "07_01.amc": 30, "second.BVH": 30}
    for round_ in range(0, 90, 3):
        assert len({name for name, _ in asked[round_ : round_ + 3]}) == 3
    for name, frames in (("first.bvh", 40), ("07_01.amc", 80), ("second.BVH", 60)):
        starts = np.sort([start for file, start in asked if file == name])
        expected = (np.arange(30) + 0.5) / 30 * frames
        assert np.abs(starts - expected).max() < 0.09 * frames


def test_clips_depend_on_number_and_seed_alone(folder: Path) -> None:
    motions, again = read_motions(folder), pickle.loads(pickle.dumps(read_motions(folder)))

    def equal(one: Clip, other: Clip) -> bool:
        return np.array_equal(one.rotations, other.rotations) and np.array_equal(one.travel, other.travel)

    assert equal(motions.clip(7, 12, 25.0, seed=(3, 1)), again.clip(7, 12, 25.0, seed=(3, 1)))
    assert not equal(motions.clip(7, 12, 25.0, seed=(3, 1)), motions.clip(7, 12, 25.0, seed=(3, 2)))
    assert not equal(motions.clip(7, 12, 25.0, seed=(3, 1)), motions.clip(10, 12, 25.0, seed=(3, 1)))


def test_only_files_long_enough_serve_a_clip(folder: Path) -> None:
    motions = read_motions(folder)
    for number in range(8):
        assert len(motions.clip(number, 25, 25.0 + 1e-6)) == 25
    with pytest.raises(RawDataError, match=r"30 frames at 25 Hz take 1\.20 s, but the longest motion has only 1\.00 s"):
        motions.require(30, 25.0)
    with pytest.raises(RawDataError, match="but the longest motion has only"):
        motions.clip(0, 30, 25.0)


def test_a_file_serves_as_well_and_its_digest_tells_it_apart(folder: Path, tmp_path: Path) -> None:
    one = read_motions(folder / "b" / "second.BVH")
    assert (len(one), one.skipped) == (1, ())
    first, facts = one.lines()
    assert first == f"1 motion, 1.0 s, from {folder / 'b' / 'second.BVH'}"
    assert facts.startswith("second.BVH: 1 mm per unit, y up, 60 Hz; ankle_l = LeftFoot, ankle_r = RightFoot, ")
    assert one.digest == read_motions(folder / "b" / "second.BVH").digest != read_motions(folder).digest
    copy = tmp_path / "second.BVH"
    text = (folder / "b" / "second.BVH").read_text()
    copy.write_text(text)
    assert read_motions(copy).digest == one.digest
    copy.write_text(text.replace("\n", "\n\n"))
    assert read_motions(copy).digest != one.digest


def test_nothing_usable_is_an_error_that_says_why(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file or folder"):
        read_motions(tmp_path / "none")
    with pytest.raises(UsageError, match=r"expected a \.bvh or \.amc file, found 'notes\.txt'"):
        read_motions(folder / "notes.txt")
    with pytest.raises(RawDataError, match=r"there is no \.bvh or \.amc file in or below this folder"):
        read_motions(tmp_path)
    (tmp_path / "x.bvh").write_text("HIERARCHY\n")
    (tmp_path / "y.bvh").write_text("HIERARCHY\n")
    with pytest.raises(RawDataError, match=r"x\.bvh: expected 'ROOT', found the end of the file \(1 more failed too\)"):
        read_motions(tmp_path)
    with pytest.raises(RawDataError, match=r"x\.bvh, line 1: expected 'ROOT'"):
        read_motions(tmp_path / "x.bvh")


def test_an_acclaim_skeleton_is_found_by_subject_or_alone(tmp_path: Path) -> None:
    path = write_acclaim(tmp_path, walker(5))
    (tmp_path / "07.asf").rename(tmp_path / "07.ASF")
    assert read_motions(path).recordings[0].frames == 5
    (tmp_path / "07.ASF").rename(tmp_path / "skeleton.asf")
    assert read_motions(path).recordings[0].frames == 5
    (tmp_path / "other.asf").write_text("")
    with pytest.raises(RawDataError, match=r"there is no 07_01\.asf or 07\.asf beside it"):
        read_motions(path)


@recorded
def test_recorded_people_stand_walk_and_run_on_the_floor() -> None:
    """Soles within a millimetre of the floor while walking, whatever the recorded floor's slope; two feet off it for
    a part of each stride while running; the pace is the recorded one in leg lengths."""
    body = sample_bodies(np.random.default_rng(0), 1)
    for name, walks in (("02_01.bvh", True), ("02_01.amc", True), ("16_21.bvh", True), ("02_03.bvh", False)):
        motion = read_motions(MOCAP / name)
        clip = motion.clip(0, int(motion.recordings[0].frames / motion.recordings[0].rate_hz * 25), 25.0)
        figures = pose(body, clip)
        soles = (figures.cones_world_mm[..., 2] - figures.radii_mm).min(axis=(1, 2))
        assert soles.min() == pytest.approx(0, abs=1e-6)
        assert soles.max() < 1 if walks else 30 < soles.max() < 150
        if walks:
            pelvis = figures.landmark("pelvis")[:, :2]
            pace = np.linalg.norm(pelvis[-1] - pelvis[0]) * 25 / (len(clip) - 1)
            assert pace == pytest.approx(1180 if name.startswith("02") else 1693, rel=0.05)


@recorded
def test_a_folder_of_recordings_serves_whole() -> None:
    motions = read_motions(MOCAP)
    assert len(motions) == 6
    assert not motions.skipped
    assert json.dumps(motions.digest)
    for number in range(12):
        rotations = motions.clip(number, 20, 50.0).rotations
        assert np.abs(rotations @ np.swapaxes(rotations, -1, -2) - np.eye(3)).max() < 1e-6
