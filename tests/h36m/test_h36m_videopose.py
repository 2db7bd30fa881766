"""VideoPose3D's poses: the pickled file refused unread, the plain one checked."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import kt3d_h36m
import numpy as np
import pytest
from h36m_handmade import CAMERA_IDS, POSITIONS, looking_at_origin, metadata_xml, standing_person
from kt3d_h36m.convert import convert, describe, plan
from kt3d_h36m.videopose import CONVERSION, PLAIN_NAME

from kt3d_bench.errors import RawDataError, UsageError
from kt3d_bench.records import Sample, Skipped

PART = {"partial": True, "subjects": "S9"}


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def write(root: Path, name: str = PLAIN_NAME, **arrays: np.ndarray) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "metadata.xml").write_text(metadata_xml(1.0, poses=len(next(iter(arrays.values())))))
    np.savez_compressed(root / name, **arrays)
    return root / name


def metres(frames: int = 130) -> np.ndarray:
    return standing_person(frames, np.random.default_rng(1)) / np.float32(1000)


def converted(root: Path, **options: Any) -> list[Sample | Skipped]:
    return [r for item in plan(root, "test", PART | options) for r in convert(item)]


def test_every_64th_pose_in_each_camera(tmp_path):
    poses = metres()
    write(tmp_path, **{"S9/Directions 1": poses, "S9/_ALL": poses, "other": poses})
    items = plan(tmp_path, "test", PART)
    assert [item.expected_samples for item in items] == [3] * 4
    assert all(item.poses_only for item in items)
    samples = converted(tmp_path)
    assert [sample.key for sample in samples] == [
        f"s09_act02_sub1_{camera}_{frame:06d}" for camera in CAMERA_IDS for frame in (0, 64, 128)
    ]
    seventeen = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]
    for sample in samples:
        index = CAMERA_IDS.index(sample.camera_id)
        centre = np.array(POSITIONS[index]) + np.array([9 - 1, 0, 0])
        expected = (poses[sample.frame, seventeen] * 1000.0 - centre) @ looking_at_origin(POSITIONS[index]).T
        np.testing.assert_allclose(sample.joints_cam_mm, expected, rtol=0, atol=1e-2)
        assert sample.rgb is None


def test_the_official_file_is_refused_unread_with_the_command_that_converts_it(tmp_path):
    (tmp_path / "raw").mkdir()
    trap = tmp_path / "sprung"
    positions = {"S9": {"Directions 1": metres(3)}, "trap": Trap(trap)}
    np.savez_compressed(tmp_path / "raw" / "data_3d_h36m.npz", positions_3d=np.array(positions, object))
    with pytest.raises(RawDataError, match="holds pickled Python objects, which can run any code") as caught:
        plan(tmp_path / "raw", "test", PART)
    assert str(tmp_path / "raw" / "data_3d_h36m.npz") in caught.value.message
    assert CONVERSION in caught.value.message
    assert any(line.startswith("Not read: ") and CONVERSION in line for line in describe(tmp_path / "raw"))
    assert not trap.exists()


def test_the_readme_has_the_same_command():
    assert CONVERSION in (Path(kt3d_h36m.__file__).parent / "README.md").read_text()


def test_the_command_makes_what_is_read(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "metadata.xml").write_text(metadata_xml(1.0, poses=3))
    positions = {"S9": {"Directions 1": metres(3)}, "S11": {"Photo": metres(3)}}
    np.savez_compressed(raw / "data_3d_h36m.npz", positions_3d=np.array(positions, object))
    program = CONVERSION.removeprefix('python -c "').removesuffix('"')
    assert '"' not in program
    subprocess.run([sys.executable, "-c", program], cwd=raw, check=True)
    assert (raw / PLAIN_NAME).is_file()
    records = converted(raw, subjects="S9,S11")
    assert [record.action for record in records if isinstance(record, Sample)] == ["Directions"] * 4 + ["Photo"] * 4
    assert any("Not read" in line and "data_3d_h36m.npz" in line for line in describe(raw))


def test_cameras_are_needed(tmp_path):
    write(tmp_path, **{"S9/Directions 1": metres(3)})
    (tmp_path / "metadata.xml").unlink()
    with pytest.raises(RawDataError, match=r"metadata\.xml with the cameras is missing; put code-v1\.2\.zip"):
        plan(tmp_path, "test", PART)
    assert any(line.startswith("metadata.xml is missing: put code-v1.2.zip") for line in describe(tmp_path))


def test_missing_recordings_are_named_unless_a_part_will_do(tmp_path):
    write(tmp_path, **{"S9/Directions 1": metres(3)})
    with pytest.raises(RawDataError, match=r"29 arrays are missing, the first is S9/Directions;.*--partial yes"):
        plan(tmp_path, "test", {"subjects": "S9"})
    with pytest.raises(RawDataError, match="holds no poses of S1, S5"):
        plan(tmp_path, "train", {"partial": True})
    text = "\n".join(describe(tmp_path))
    assert "Split test: 1 of 59 recordings; missing: S9/Directions, S9/Discussion 1" in text
    with pytest.raises(UsageError, match="official boxes go with the official videos"):
        plan(tmp_path, "test", PART | {"boxes": "official"})


def test_what_videopose3d_leaves_out_and_what_is_dropped_are_listed(tmp_path):
    write(tmp_path, **{"S9/Greeting": metres(3), "S11/Photo": metres(3)})
    records = converted(tmp_path, subjects="S9,S11", drop="shifted")
    assert [record.reason for record in records if isinstance(record, Skipped)] == [
        *["dropped by request: S9 Greeting"] * 4,
        "corrupt video in the official release (--keep uses it)",
        *["VideoPose3D leaves this recording out"] * 3,
    ]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.zeros((3, 17, 3), np.float32),
            r"S9/Directions 1\.npy is float32 \(3, 17, 3\), expected float",
        ),
        (np.zeros((0, 32, 3), np.float32), r"is float32 \(0, 32, 3\)"),
        (np.zeros((3, 32, 3), np.int16), r"is int16 \(3, 32, 3\)"),
        (np.full((3, 32, 3), 900.0), "holds a coordinate of 900, expected metres; divide millimetres by 1000"),
    ],
)
def test_other_arrays_are_refused(tmp_path, array, message):
    path = write(tmp_path, **{"S9/Directions 1": array})
    with pytest.raises(RawDataError, match=message) as caught:
        converted(tmp_path)
    assert str(path) in caught.value.message


def test_poses_that_are_not_finite_are_skipped_one_by_one(tmp_path):
    poses = metres(70)
    poses[64, 8] = np.nan
    write(tmp_path, **{"S9/Directions 1": poses})
    records = converted(tmp_path)
    assert [record.reason for record in records if isinstance(record, Skipped)] == ["a joint is not finite"] * 4
    assert sum(isinstance(record, Sample) for record in records) == 4


def test_columns_first_arrays_are_read_as_they_are_meant(tmp_path):
    poses = metres(3)
    write(tmp_path / "a", **{"S9/Directions 1": poses})
    write(tmp_path / "b", **{"S9/Directions 1": np.asfortranarray(poses)})
    for one, other in zip(converted(tmp_path / "a"), converted(tmp_path / "b"), strict=True):
        np.testing.assert_array_equal(one.joints_cam_mm, other.joints_cam_mm)


@pytest.mark.parametrize("kept", [0.2, 0.9])
def test_a_cut_file_is_refused(tmp_path, kept):
    path = write(tmp_path, **{"S9/Directions 1": metres()})
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(RawDataError, match="is damaged") as caught:
        converted(tmp_path)
    assert str(path) in caught.value.message


def test_headers_that_may_claim_anything_are_not_read(tmp_path):
    path = write(tmp_path, **{"S9/Directions 1": metres(3)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("S9/Directions 1.npy", b"\x93NUMPY\x02\x00" + b"\xff" * 200)
    with pytest.raises(RawDataError, match=r"is damaged .*npy version \(2, 0\), expected \(1, 0\)"):
        converted(tmp_path)


def test_a_member_shorter_than_its_header_says_is_refused(tmp_path):
    path = write(tmp_path, **{"S9/Directions 1": metres(3)})
    with zipfile.ZipFile(path) as archive:
        content = archive.read("S9/Directions 1.npy")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("S9/Directions 1.npy", content[:-4])
    with pytest.raises(RawDataError, match="holds 1148 bytes, expected 1152"):
        converted(tmp_path)


@pytest.mark.parametrize(
    "text", [b"{'descr': ('<f8',", b"{'descr': '<f8', 'fortran_order': False, 'shape': (1, ", b"((((("]
)
def test_a_header_that_is_no_python_literal_is_refused(tmp_path, text):
    path = write(tmp_path, **{"S9/Directions 1": metres(3)})
    header = text.ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("S9/Directions 1.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(RawDataError, match=r"plain\.npz: is damaged or cut short"):
        converted(tmp_path)
