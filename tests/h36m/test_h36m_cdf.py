from __future__ import annotations

import struct
import time
from contextlib import closing

import numpy as np
import pytest
from h36m_handmade import write_cdf
from kt3d_h36m import cdf
from kt3d_h36m.cdf import read_pose

from kt3d_bench.errors import RawDataError
from kt3d_bench.rawfiles import BoundedReader


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(0, 1000, (7, 96))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("leading_axis", [True, False])
def test_both_types_with_and_without_the_leading_axis(tmp_path, values, dtype, leading_axis):
    path = tmp_path / "Directions 1.cdf"
    write_cdf(path, values.astype(dtype), leading_axis=leading_axis)
    found = read_pose(path, 3)
    assert found.shape == (7, 32, 3)
    np.testing.assert_array_equal(found, values.astype(dtype).reshape(7, 32, 3).astype(np.float64))


def test_image_positions_have_two_columns_per_joint(tmp_path, values):
    path = tmp_path / "Directions 1.54138969.cdf"
    write_cdf(path, values[:, :64])
    np.testing.assert_array_equal(read_pose(path, 2)[3, 31], values[3, 62:64])


def test_one_frame(tmp_path, values):
    path = tmp_path / "one.cdf"
    write_cdf(path, values[:1])
    assert read_pose(path, 3).shape == (1, 32, 3)


def damage(path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "empty":
        content = bytearray()
    elif how == "magic":
        content[:8] = b"notacdf!"
    elif how == "cut":
        del content[len(content) // 2 :]
    elif how == "header":
        content[8:120] = b"\xff" * 112
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["empty", "magic", "cut", "header"])
def test_damaged_files_are_refused_and_the_next_is_read(tmp_path, values, how):
    path, good = tmp_path / "bad.cdf", tmp_path / "good.cdf"
    write_cdf(path, values)
    write_cdf(good, values)
    damage(path, how)
    with pytest.raises(RawDataError, match="MD5") as caught:
        read_pose(path, 3, where="Poses.tgz:bad.cdf")
    assert caught.value.where == "Poses.tgz:bad.cdf"
    assert len(read_pose(good, 3)) == 7


@pytest.mark.parametrize(
    ("columns", "message"),
    [(64, r"Pose is float64 \(7, 64\), expected numbers of shape \(1, n, 96\)"), (51, "expected")],
)
def test_wrong_shapes_are_refused(tmp_path, values, columns, message):
    path = tmp_path / "wrong.cdf"
    write_cdf(path, values[:, :columns])
    with pytest.raises(RawDataError, match=message):
        read_pose(path, 3)


def test_a_file_without_pose_is_refused(tmp_path, values):
    path = tmp_path / "other.cdf"
    write_cdf(path, values)
    path.write_bytes(path.read_bytes().replace(b"Pose", b"Nose"))
    with pytest.raises(RawDataError, match=r"no variable Pose \(found: Nose\)"):
        read_pose(path, 3)


def with_counter(path, values, field: int) -> None:
    """A file whose global record (type 2) holds an absurd number ``field`` bytes after its start."""
    write_cdf(path, values)
    content = bytearray(path.read_bytes())
    offset = 8
    while struct.unpack_from(">qi", content, offset)[1] != 2:
        offset += struct.unpack_from(">q", content, offset)[0]
    struct.pack_into(">i", content, offset + field, 0x7FFFFFFF)
    path.write_bytes(content)


def test_a_file_that_loops_is_given_up_in_time(tmp_path, values, monkeypatch):
    path, good = tmp_path / "loop.cdf", tmp_path / "good.cdf"
    with_counter(path, values, 44)
    write_cdf(good, values)
    with closing(BoundedReader("kt3d_h36m.cdf:read_variable", timeout_s=5, memory_mb=2048)) as reader:
        monkeypatch.setattr(cdf, "_reader", reader)
        start = time.monotonic()
        with pytest.raises(RawDataError, match=r"within 5 s.*MD5"):
            read_pose(path, 3)
        assert time.monotonic() - start < 20
        assert len(read_pose(good, 3)) == 7


def test_a_file_that_asks_for_too_much_memory_is_refused(tmp_path, values):
    path = tmp_path / "big.cdf"
    with_counter(path, values, 0)
    with pytest.raises(RawDataError, match="asks for more than 1536 MB of memory"):
        read_pose(path, 3)
