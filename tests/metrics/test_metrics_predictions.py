"""Prediction files: round trips, and every way in which one can be wrong."""

from __future__ import annotations

import json
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kt3d_bench.errors import ArtefactError
from kt3d_bench.metrics.predictions import (
    Predictions,
    join,
    looks_like_metres,
    read_predictions,
    some,
    write_predictions,
)

KEYS = np.array(["s1_a_000", "s1_a_064", "s9_b_000"])
JOINTS = np.random.default_rng(0).normal(size=(3, 17, 3)).astype(np.float32) * 500
META = {"run": "tiny", "nested": {"seed": 1}}


def savez(path: Path, **arrays: object) -> Path:
    whole = {"keys": KEYS, "joints_cam_mm": JOINTS, "meta": np.array(json.dumps(META))}
    np.savez(path, **{name: value for name, value in (whole | arrays).items() if value is not None})
    return path


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "p.npz"
    write_predictions(path, KEYS, JOINTS, meta=META)
    found = read_predictions(path)
    np.testing.assert_array_equal(found.keys, KEYS)
    np.testing.assert_array_equal(found.joints_cam_mm, JOINTS)
    assert found.joints_cam_mm.dtype == np.float32
    assert found.meta == META


def test_a_file_that_numpy_wrote_is_fine_too(tmp_path: Path) -> None:
    found = read_predictions(savez(tmp_path / "p.npz", joints_cam_mm=JOINTS.astype(np.float64)))
    np.testing.assert_array_equal(found.joints_cam_mm, JOINTS)
    np.savez_compressed(tmp_path / "q.npz", keys=KEYS, joints_cam_mm=JOINTS, meta=np.array("{}"))
    np.testing.assert_array_equal(read_predictions(tmp_path / "q.npz").joints_cam_mm, JOINTS)


def test_not_valid_and_infinite_joints_come_back_as_nan(tmp_path: Path) -> None:
    valid = np.ones((3, 17), bool)
    valid[1, 4] = False
    joints = JOINTS.copy()
    joints[2, 0, 1] = np.inf
    write_predictions(tmp_path / "p.npz", KEYS, joints, valid=valid)
    found = read_predictions(tmp_path / "p.npz").joints_cam_mm
    assert np.isnan(found[1, 4]).all()
    assert np.isnan(found[2, 0, 1])
    assert np.isfinite(found).sum() == 3 * 17 * 3 - 4


def test_equal_input_gives_equal_bytes_and_leaves_no_other_file(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        write_predictions(tmp_path / name, list(KEYS), JOINTS, meta={"b": 1, "a": 2})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    write_predictions(path, KEYS, JOINTS, meta=META)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="keys given twice: s1_a_000"):
        write_predictions(path, ["s1_a_000", "x", "s1_a_000"], JOINTS)
    with pytest.raises(ValueError, match=r"expected joints \(3, 17, 3\)"):
        write_predictions(path, KEYS, JOINTS[:, :16])
    with pytest.raises(ValueError, match="expected valid"):
        write_predictions(path, KEYS, JOINTS, valid=np.ones((3, 3), bool))
    with pytest.raises(ValueError, match="JSON"):
        write_predictions(path, KEYS, JOINTS, meta={"loss": float("nan")})
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["p.npz"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ArtefactError, match=r"p\.npz: cannot be written"):
        write_predictions(tmp_path / "file" / "p.npz", KEYS, JOINTS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keys": None}, "'keys' is missing"),
        ({"joints_cam_mm": None}, "'joints_cam_mm' is missing"),
        ({"joints_world_mm": JOINTS}, "'joints_world_mm' is not known"),
        ({"keys": np.arange(3)}, "expected text"),
        ({"keys": KEYS[:, None]}, r"expected text \(N,\)"),
        ({"keys": KEYS[:2]}, "2 keys for 3 poses"),
        ({"keys": np.array(["a", "b", "a"])}, r"1 keys are given more than once \(a\)"),
        ({"joints_cam_mm": JOINTS[:, :16]}, r"\(3, 16, 3\), expected \(N, 17, 3\)"),
        ({"joints_cam_mm": JOINTS[..., :2]}, r"expected \(N, 17, 3\)"),
        ({"joints_cam_mm": JOINTS[0]}, r"expected \(N, 17, 3\)"),
        ({"joints_cam_mm": np.array(3.0)}, r"expected \(N, 17, 3\)"),
        ({"joints_cam_mm": JOINTS.astype(np.int32)}, "int32, expected float32 or float64"),
        ({"joints_cam_mm": JOINTS.astype(np.float16)}, "float16, expected float32 or float64"),
        ({"valid": np.ones((3, 17), np.uint8)}, "'valid' is uint8"),
        ({"valid": np.ones((3, 16), bool)}, "'valid' is bool"),
        ({"meta": np.array("{broken")}, "'meta' is not JSON"),
        ({"meta": np.array("[1]")}, "'meta' is not a JSON object"),
        ({"meta": np.array(1.0)}, "'meta' is float64"),
    ],
)
def test_wrong_content_is_refused_with_file_and_hint(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = savez(tmp_path / "p.npz", **changes)
    with pytest.raises(ArtefactError, match=message) as caught:
        read_predictions(path)
    assert caught.value.where == str(path)
    assert "kt3d predict" in str(caught.value.hint)


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    path = savez(tmp_path / "p.npz", meta=np.array("[1]"), joints_cam_mm=JOINTS.astype(np.int32), extra=KEYS)
    with pytest.raises(ArtefactError, match=r"'extra' is not known.*int32.*'meta' is not a JSON object"):
        read_predictions(path)


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    savez(tmp_path / "p.npz", keys=np.array(list(KEYS), dtype=object))
    with pytest.raises(ArtefactError, match="pickled objects, which are never loaded"):
        read_predictions(tmp_path / "p.npz")


def test_what_is_no_npz(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no such prediction file"):
        read_predictions(tmp_path / "none.npz")
    with pytest.raises(ArtefactError, match="no such prediction file"):
        read_predictions(tmp_path)
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ArtefactError, match="not a readable"):
        read_predictions(tmp_path / "text.npz")
    np.save(tmp_path / "one.npy", JOINTS)
    with pytest.raises(ArtefactError, match="not a readable"):
        read_predictions(tmp_path / "one.npy")


def test_a_damaged_file_is_an_error_or_reads_the_same(tmp_path: Path) -> None:
    """Bytes cut off or changed never escape as anything but ``ArtefactError``."""
    path = tmp_path / "p.npz"
    write_predictions(path, KEYS, JOINTS, meta=META)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for size in rng.integers(0, len(whole), 60):
        path.write_bytes(whole[:size])
        with pytest.raises(ArtefactError):
            read_predictions(path)
    refused = 0
    for place in rng.integers(0, len(whole), 400):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            read_predictions(path)
        except ArtefactError:
            refused += 1
    assert refused > 300


def test_an_array_twice(tmp_path: Path) -> None:
    path = savez(tmp_path / "p.npz")
    with zipfile.ZipFile(path) as archive:
        member = archive.read("keys.npy")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("keys.npy", member)
    with pytest.raises(ArtefactError, match="it holds an array twice"):
        read_predictions(path)


def test_a_zip_that_unpacks_to_far_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kt3d_bench.metrics.predictions.MAX_BYTES", 1000)
    with pytest.raises(ArtefactError, match="it would unpack to 1244 bytes, and at most 1000 are read"):
        read_predictions(savez(tmp_path / "p.npz"))


@pytest.mark.parametrize("bomb", ["joints_cam_mm", "meta", "keys"])
def test_a_small_file_never_takes_gigabytes(tmp_path: Path, bomb: str) -> None:
    headers = {
        "joints_cam_mm": "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 17, 3), }",
        "meta": "{'descr': '<U50000000', 'fortran_order': False, 'shape': (), }",
        "keys": "{'descr': '<U50000000', 'fortran_order': False, 'shape': (1,), }",
    }
    sizes = {"joints_cam_mm": 204_000_000, "meta": 200_000_000, "keys": 200_000_000}
    path = savez(tmp_path / "p.npz", **{bomb: None})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open(f"{bomb}.npy", "w") as member:
        header = headers[bomb].encode() + b"\n"
        member.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
        for _ in range(sizes[bomb] // 2_000_000):
            member.write(bytes(2_000_000))
    assert path.stat().st_size < 1_000_000
    tracemalloc.start()
    with pytest.raises(ArtefactError, match=r"p\.npz: is not a readable \.npz file \(\d+ bytes would unpack to 20\d+"):
        read_predictions(path)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 17, 3), ",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (3L, 17, 3), \x27\x27\x27",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (-3, 17, 3), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 17, 10**9), }",
        b"\xff" * 40,
        b"[" * 3000,
    ],
)
def test_a_header_that_is_no_header(tmp_path: Path, header: bytes) -> None:
    path = savez(tmp_path / "p.npz", joints_cam_mm=None)
    with zipfile.ZipFile(path, "a") as archive:
        member = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + JOINTS.tobytes()
        archive.writestr("joints_cam_mm.npy", member)
    with pytest.raises(ArtefactError, match=r"p\.npz: is not a readable \.npz file \(.{8,}\)"):
        read_predictions(path)


@pytest.mark.parametrize("meta", ["\ud800", '{"a": "\\ud800"}', "[" * 5000, '{"a": ' * 5000])
def test_meta_that_no_terminal_or_parser_takes(tmp_path: Path, meta: str) -> None:
    with pytest.raises(ArtefactError, match="'meta' is not JSON") as caught:
        read_predictions(savez(tmp_path / "p.npz", meta=np.array(meta)))
    caught.value.message.encode()


def test_keys_that_cannot_be_printed_are_shown_escaped(tmp_path: Path) -> None:
    path = savez(tmp_path / "p.npz", keys=np.array(["a\ud800", "a\ud800", "\x1b[31m"]))
    with pytest.raises(ArtefactError, match=r"1 keys are given more than once \('a\\ud800'\)") as caught:
        read_predictions(path)
    caught.value.message.encode()
    assert some(["\x1b[31m", "b"]) == r"'\x1b[31m', b"
    long = savez(tmp_path / "q.npz", keys=np.array(["a" * 301, "b", "c"]))
    with pytest.raises(ArtefactError, match="at most 300 characters"):
        read_predictions(long)


def test_predictions_are_a_sequence_of_poses() -> None:
    found = Predictions(KEYS, JOINTS)
    assert len(found) == 3
    np.testing.assert_array_equal(found[1], JOINTS[1])
    np.testing.assert_array_equal(list(found), JOINTS)


def test_joining_by_key_in_any_order() -> None:
    predictions = Predictions(KEYS[[2, 0, 1]], JOINTS[[2, 0, 1]])
    joined, missing, extra = join(predictions, KEYS)
    np.testing.assert_array_equal(joined, JOINTS)
    assert (missing, extra) == ([], [])


def test_missing_and_extra_keys_are_named() -> None:
    joined, missing, extra = join(Predictions(KEYS, JOINTS), np.array(["zz", "s1_a_064", "aa"]))
    assert (missing, extra) == (["zz", "aa"], ["s1_a_000", "s9_b_000"])
    np.testing.assert_array_equal(joined[1], JOINTS[1])
    assert np.isnan(joined[[0, 2]]).all()
    joined, missing, extra = join(Predictions(KEYS[:0], JOINTS[:0]), KEYS)
    assert np.isnan(joined).all()
    assert (missing, extra) == (list(KEYS), [])


def test_metres_are_told_from_a_collapsed_pose() -> None:
    rng = np.random.default_rng(1)
    true = rng.normal(size=(40, 17, 3)) * 300 + np.array([0, 0, 4000])
    noisy = true + rng.normal(size=true.shape) * 100
    assert looks_like_metres(noisy / 1000, true)
    assert not looks_like_metres(noisy, true)
    assert not looks_like_metres(noisy / 10, true)
    assert not looks_like_metres(np.zeros_like(true), true)
    collapsed = np.zeros_like(true)
    collapsed[:, 3] = 0.5
    assert not looks_like_metres(collapsed, true)
    assert not looks_like_metres(np.full_like(true, np.nan), true)
    assert not looks_like_metres(true[:0], true[:0])
    half = noisy / 1000
    half[:, 5] = np.nan
    assert looks_like_metres(half, true)


def test_records_refuse_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="expected joints"):
        Predictions(KEYS, JOINTS[:2])
    with pytest.raises(ValueError, match="expected keys"):
        Predictions(np.arange(3), JOINTS)


def test_keys_and_poses_are_enough(tmp_path: Path) -> None:
    """What a stranger writes with NumPy alone."""
    np.savez(tmp_path / "p.npz", keys=KEYS, joints_cam_mm=JOINTS)
    found = read_predictions(tmp_path / "p.npz")
    np.testing.assert_array_equal(found.keys, KEYS)
    assert found.meta == {}
