"""Labels that are late are found by joints of other frames that fit the images better. A person of limbs in a fixed
pose swings from side to side; the masks are drawn with OpenCV from where the person truly is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import scipy.stats
from scipy.ndimage import distance_transform_edt

from kt3d_bench.data.checks.moments import (
    FEWEST_IMAGES,
    FEWEST_RECORDINGS,
    GAIN,
    SHIFTS,
    SURE,
    TOO_SPARSE,
    Moments,
    Shift,
    best_shift,
    depths,
)
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.geometry.cameras import project
from kt3d_bench.records import Recorded, Sample
from kt3d_bench.skeletons import H36M17
from kt3d_bench.testing import tiny_sample, tiny_shards

STANDING = tiny_sample(modalities=())
FRAMES, RATE_MM = 400, 12.0


def joints(frame: int) -> np.ndarray:
    """Where the person is: two metres to and fro in 200 frames."""
    aside = abs((frame * RATE_MM + 600) % 2400 - 1200) - 600
    assert STANDING.joints_cam_mm is not None
    moved: np.ndarray = STANDING.joints_cam_mm * [0.6, 0.6, 1] + np.array([aside, 0, 0])
    return moved


def sample(recording: int, frame: int, late: int) -> Sample:
    """The image of a frame with the labels of ``late`` frames before."""
    labelled = joints(frame - late)
    mask = np.zeros((48, 40), np.uint8)
    shown = np.rint(project(STANDING.camera, joints(frame))).astype(int)
    for child, parent in H36M17.bones:
        cv2.line(mask, shown[child].tolist(), shown[parent].tolist(), 255, 2)
    return tiny_sample(
        f"r{recording:02d}_{frame:03d}", 0, modalities=(), sequence=f"r{recording:02d}", frame=frame, foreground=mask,
        joints_cam_mm=labelled, joints_px=project(STANDING.camera, labelled),
    )  # fmt: skip


def shards(folder: Path, late: int, recordings: int = 1, step: int = 5) -> ShardSet:
    frames = range(100, 100 + 24 * step, step)
    return tiny_shards(folder, [sample(one, frame, late) for one in range(recordings) for frame in frames])


def found(split: ShardSet, **more: Any) -> tuple[list[str], list[str], int]:
    moments = Moments(split, **more)
    for i in range(len(split)):
        moments.look(i, split.image(i, "foreground") > 0, 0.0)
    outcomes, unchecked = moments.found()
    return (
        [finding.sentence for one in outcomes for finding in one.findings],
        [one.reason for one in unchecked],
        sum(one.tested for one in outcomes),
    )


@pytest.mark.parametrize(("late", "said"), [(25, "(20|25|30) frames late"), (-40, "(35|40|45) frames early")])
def test_a_late_recording_is_found_and_a_right_one_is_not(tmp_path: Path, late: int, said: str) -> None:
    assert found(shards(tmp_path / "right", 0)) == ([], [], 1)
    [sentence], unchecked, _ = found(shards(tmp_path / "wrong", late))
    assert re.match(f"r00: the labels are about {said}: the joints of that frame fit the images better", sentence)
    assert unchecked == []


def test_a_whole_split_is_found_where_every_recording_has_one_image(tmp_path: Path) -> None:
    def looked_up(late: int) -> Any:
        recorded = Recorded(np.arange(FRAMES), np.array([joints(frame - late) for frame in range(FRAMES)]))
        return lambda i: recorded

    frames = [100 + 13 * number for number in range(FEWEST_RECORDINGS)]
    for late in (0, 25):
        split = tiny_shards(tmp_path / str(late), [sample(*one, late) for one in enumerate(frames)])
        sentences, unchecked, tested = found(split, recorded=looked_up(late))
        assert (unchecked, tested) == ([], FEWEST_RECORDINGS)
        assert [one[: one.index(":")] for one in sentences] == [
            "the labels of the whole split are about 25 frames late"
        ][: late // 25]
        assert found(split)[1] == [TOO_SPARSE]


def test_frames_far_apart_or_unknown_say_nothing(tmp_path: Path) -> None:
    sparse = shards(tmp_path, 25, step=64)
    assert found(sparse) == ([], [TOO_SPARSE], 0)
    assert found(sparse, recorded=lambda i: None) == ([], [TOO_SPARSE], 0)
    elsewhere = Recorded(np.arange(1000, 1100), np.zeros((100, 17, 3)))
    assert found(sparse, recorded=lambda i: elsewhere) == ([], [TOO_SPARSE], 0)


def test_only_recordings_that_can_be_compared_count_as_tested(tmp_path: Path) -> None:
    moments, rows = Moments(shards(tmp_path, 0)), np.full((FEWEST_IMAGES, len(SHIFTS)), np.nan)
    rows[:, SHIFTS == 0] = 0.0
    moments._looked["r00"], moments._gains["r00"] = FEWEST_IMAGES, list(rows)  # No other frame is known
    assert [one.reason for one in moments.found()[1]] == [TOO_SPARSE]
    known = rows.copy()
    known[:, SHIFTS == 50] = 0.0
    moments._gains |= {"r01": list(known), "r02": list(known[:-1])}  # r02: an image too few
    assert [(one.tested, one.failed) for one in moments.found()[0]] == [(1, 0)]
    moments._gains = {f"r{i:02}": [known[0]] for i in range(FEWEST_RECORDINGS)} | {"other": [rows[0]]}
    assert [one.tested for one in moments.found()[0]] == [FEWEST_RECORDINGS]


def test_depths_are_distances_to_the_persons_outline() -> None:
    """A joint at every pixel of a row, alone: SciPy's exact distances, cut at 1 inside and at 3 outside."""
    mask = np.zeros((100, 100), bool)
    mask[30:70, 40:60] = True
    rng = np.random.default_rng(0)
    at = rng.integers(20, 80, (50, 1, 2)).astype(float)
    measured = depths(mask, np.repeat(at, 17, axis=1))
    inside, outside = distance_transform_edt(mask), distance_transform_edt(~mask)
    exact = np.where(mask, np.minimum(inside / 2, 1), -np.minimum(outside / 2, 3))
    x, y = at[:, 0].astype(int).T
    np.testing.assert_allclose(measured, exact[y, x], atol=0.15)
    assert np.isnan(depths(mask, np.full((1, 17, 2), -5.0)))


def test_a_shift_must_gain_enough_and_surely() -> None:
    gains = np.full((FEWEST_IMAGES, len(SHIFTS)), np.nan)
    gains[:, SHIFTS == 0] = 0.0
    late, near = np.flatnonzero(SHIFTS == 25)[0], np.flatnonzero(SHIFTS == 5)[0]
    gains[:, near] = 1.0
    assert best_shift(gains, FEWEST_IMAGES) == Shift()
    gains[:, late] = 0.04
    assert best_shift(gains, FEWEST_IMAGES) == Shift(pytest.approx(0.04), 0, pytest.approx(0.8))
    gains[:, late] = 0.06
    assert best_shift(gains, FEWEST_IMAGES) == Shift(pytest.approx(0.06), 25, pytest.approx(1.2))
    gains[:, late] = [0.5, -0.4] * (FEWEST_IMAGES // 2)
    error = scipy.stats.sem(gains[:, late].ravel())  # 0.2
    assert best_shift(gains, FEWEST_IMAGES) == Shift(pytest.approx(0.05), 0, pytest.approx(0.05 / (SURE * error)))
    gains[1:, late] = np.nan
    assert best_shift(gains, FEWEST_IMAGES) == Shift()


def test_a_clear_shift_is_not_hidden_by_a_larger_unclear_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    gains = np.full((10, len(SHIFTS)), np.nan)
    gains[:, SHIFTS == 0] = 0.0
    gains[:, SHIFTS == 25] = rng.normal(0.10, 0.003, (10, 1))
    scattered = np.array([0.2, 0.2, 0.2, 0.2, 0.1, -0.2])  # 0.117 on average, and its error is 0.065
    for unclear in (-100, 100):
        rows = gains.copy()
        rows[:6, unclear == SHIFTS] = scattered[:, None]
        shift = best_shift(rows, FEWEST_IMAGES)
        assert (shift.frames, shift.gain) == (25, pytest.approx(0.1, abs=0.005))
        assert shift.excess == pytest.approx(shift.gain / GAIN)
    rows[:, SHIFTS == 25] = np.nan
    moments = Moments(shards(tmp_path, 0))
    moments._gains["r00"] = list(rows)
    [outcome], _ = moments.found()
    expected = scattered.mean() / (SURE * scipy.stats.sem(scattered))
    assert (outcome.failed, outcome.worst, outcome.excess) == (
        0, pytest.approx(scattered.mean()), pytest.approx(expected)
    )  # fmt: skip
    assert outcome.excess < 1
