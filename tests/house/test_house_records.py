"""Skeleton, label subsets, mappings, supervision levels and the records' own checks."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from kt3d_bench.errors import RawDataError, UsageError, did_you_mean
from kt3d_bench.records import Camera, Sample
from kt3d_bench.skeletons import H36M17, LABEL_SUBSETS, JointMapping, JointSource, Quality
from kt3d_bench.supervision import LEVELS, grant


def test_skeleton_is_the_documented_one() -> None:
    assert H36M17.parents == (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)
    swaps = {frozenset(pair) for pair in H36M17.mirror_pairs}
    assert swaps == {frozenset(pair) for pair in ((1, 4), (2, 5), (3, 6), (11, 14), (12, 15), (13, 16))}
    assert H36M17.root == 0
    assert len(H36M17.bones) == 16


def test_mirror_is_an_involution_that_keeps_bones() -> None:
    mirror = H36M17.mirror
    assert (mirror[mirror] == np.arange(17)).all()
    bones = {frozenset(bone) for bone in H36M17.bones}
    assert {frozenset(int(mirror[j]) for j in bone) for bone in bones} == bones


def test_label_subsets_are_nested_and_symmetric() -> None:
    assert list(LABEL_SUBSETS) == [1, 3, 6, 12, 17]
    sets = [set(joints) for joints in LABEL_SUBSETS.values()]
    assert [len(joints) for joints in sets] == [1, 3, 6, 12, 17]
    assert all(smaller < larger for smaller, larger in pairwise(sets))
    assert all({int(H36M17.mirror[j]) for j in joints} == joints for joints in sets)
    assert sets[2] == {10, 3, 6, 0, 13, 16}


def test_mapping_averages_keeps_nan_and_marks_absent() -> None:
    absent = JointSource(Quality.ABSENT)
    table = (
        JointSource(Quality.DERIVED, ("a", "b")),
        JointSource(Quality.EXACT, ("b",)),
        *[absent] * 15,
    )
    mapping = JointMapping(("a", "b"), table)
    mapped = mapping.apply(np.array([[[0.0, 2.0], [4.0, 6.0]]]))
    assert mapped.shape == (1, 17, 2)
    assert mapped[0, 0].tolist() == [2.0, 4.0]
    assert mapped[0, 1].tolist() == [4.0, 6.0]
    assert np.isnan(mapped[0, 2:]).all()
    assert mapping.quality.tolist() == [Quality.DERIVED, Quality.EXACT] + [Quality.ABSENT] * 15
    assert np.isnan(mapping.apply(np.array([[np.nan, 1.0], [1.0, 1.0]]))[0, 0])


@pytest.mark.parametrize(
    ("level", "count_2d", "count_3d"),
    [
        ("none", 0, 0),
        ("partial-2d", 6, 0),
        ("partial-3d", 0, 6),
        ("partial", 6, 6),
        ("full-2d", 17, 0),
        ("full-3d", 0, 17),
        ("full", 17, 17),
    ],
)
def test_supervision_levels_grant_what_the_table_says(level: str, count_2d: int, count_3d: int) -> None:
    granted = grant(level)
    assert (granted.mask_2d.sum(), granted.mask_3d.sum()) == (count_2d, count_3d)
    assert granted.sees_labels == (level != "none")
    assert level in LEVELS


def test_unknown_level_and_joint_count_are_refused_with_a_suggestion() -> None:
    with pytest.raises(UsageError, match=r"unknown supervision level 'ful'; did you mean 'full'\?"):
        grant("ful")
    with pytest.raises(UsageError, match=r"no label subset of 5 joints; choose one of \[1, 3, 6, 12, 17\]"):
        grant("partial", 5)


def test_did_you_mean_lists_names_when_none_is_near() -> None:
    assert did_you_mean("zzz", ["b", "a"]) == "known names: a, b"
    assert did_you_mean("zzz", []) == "none are known"
    assert did_you_mean("zzz", ["b", "a", "b"]) == "known names: a, b"


def test_errors_carry_their_parts_across_processes() -> None:
    error = pickle.loads(pickle.dumps(RawDataError("is cut", where="x.tar", hint="download it again")))
    assert type(error) is RawDataError
    assert error.message == "x.tar: is cut; download it again"
    assert (error.exit_code, UsageError("x").exit_code) == (1, 2)


def sample(**changes: Any) -> Sample:
    fields: dict[str, Any] = {
        "key": "a_1",
        "camera": Camera.pinhole((100, 100), (4, 3), (8, 6)),
        "joints_px": np.zeros((17, 2)),
        "joints_cam_mm": np.ones((17, 3)),
        "visible": np.ones(17),
        "quality": np.full(17, Quality.EXACT),
        "box_px": np.array([0, 0, 7, 5]),
        "subject": "S1",
        "action": "walk",
        "camera_id": "c",
        "sequence": "s",
        "frame": 0,
        "rgb": np.zeros((6, 8, 3), np.uint8),
    }
    return Sample(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": "a.b"}, "may hold letters"),
        ({"key": "../a"}, "may hold letters"),
        ({"joints_px": np.zeros((16, 2))}, r"joints_px: expected shape \(17, 2\), found \(16, 2\)"),
        ({"rgb": np.zeros((8, 6, 3), np.uint8)}, r"rgb is uint8 \(8, 6, 3\), expected uint8 \(6, 8, 3\)"),
        ({"depth_mm": np.zeros((6, 8), np.float32)}, "depth_mm is float32"),
    ],
)
def test_samples_check_themselves(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample(**changes)


def test_a_sample_may_be_a_pose_without_an_image() -> None:
    made = sample(rgb=None)
    assert (made.rgb, made.depth_mm, made.parts) == (None, None, None)
    assert made.camera.size_px == (8, 6)


def test_records_are_frozen_all_the_way() -> None:
    made = sample()
    with pytest.raises(FrozenInstanceError):
        made.key = "b"  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        made.joints_px[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        made.camera.rotation[0] = 1


def test_cameras_refuse_what_is_no_camera() -> None:
    camera = Camera.pinhole((100, 110), (4, 3), (8, 6))
    assert (camera.focal_px, camera.center_px) == ((100, 110), (4, 3))
    with pytest.raises(ValueError, match="not a proper rotation"):
        replace(camera, rotation=np.diag([1, 1, -1]))
    with pytest.raises(ValueError, match="intrinsics_px is not finite"):
        replace(camera, intrinsics_px=np.full((2, 3), np.nan))
    with pytest.raises(ValueError, match="distortion: expected shape"):
        replace(camera, distortion=np.zeros(4))
