"""Prediction files of strangers: what is wrong is said at once, with the file; nothing is written then."""

from __future__ import annotations

import gzip
import io
import json
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from badinput_bench import CUTS, READS_EVERYTHING, Damage, copy_tree, kt3d, refused, replace, ways
from click.testing import Result

from kt3d_bench.data.reader import ShardSet

Arrays = dict[str, Any]
BOARD = "h36m-s9s11-64"


@pytest.fixture
def test_set(clean: Callable[[str], Path]) -> ShardSet:
    copy_tree(clean("h36m"), Path("data/shards/h36m"))
    return ShardSet.open("data/shards/h36m", "test")


@pytest.fixture
def good(test_set: ShardSet) -> Arrays:
    """A method that is off by some 20 mm."""
    noise = np.random.default_rng(5).normal(0, 12, test_set.labels.joints_cam_mm.shape)
    return {"keys": test_set.keys, "joints_cam_mm": (test_set.labels.joints_cam_mm + noise).astype(np.float32)}


def score(path: Path, *more: str) -> Result:
    return kt3d("score", path, "--benchmark", BOARD, *more)


def npz(path: Path, arrays: Arrays) -> Path:
    np.savez(path, **arrays)
    return path


def nothing_written() -> bool:
    return not Path("data/leaderboards").exists()


def keep(arrays: Arrays, rows: Any) -> Arrays:
    return {name: values[rows] for name, values in arrays.items()}


def test_a_good_file_is_scored(good: Arrays, tmp_path: Path) -> None:
    done = score(npz(tmp_path / "mine.npz", good), "--json")
    assert done.exit_code == 0, done.output
    assert 15 < json.loads(done.stdout)["overall"]["mpjpe_mm"] < 35
    assert len(list(Path(f"data/leaderboards/{BOARD}/entries").iterdir())) == 1


WRONG: dict[str, tuple[Callable[[Arrays], Arrays], tuple[str, ...]]] = {
    "missing keys": (lambda a: keep(a, slice(0, -2)), ("2 of 8 test samples have no prediction", "predict exactly")),
    "every other key": (lambda a: keep(a, slice(0, None, 2)), ("4 of 8 test samples have no prediction",)),
    "no keys at all": (lambda a: keep(a, slice(0, 0)), ("8 of 8 test samples have no prediction",)),
    "keys of another set": (
        lambda a: a | {"keys": np.char.add("x", a["keys"])},
        ("8 of 8 test samples have no prediction", "8 predictions are of no test sample"),
    ),
    "doubled keys": (
        lambda a: {name: np.concatenate([values, values[:2]]) for name, values in a.items()},
        ("2 keys are given more than once",),
    ),
    "16 joints": (lambda a: a | {"joints_cam_mm": a["joints_cam_mm"][:, :16]}, ("'joints_cam_mm' is (8, 16, 3)",)),
    "image points": (lambda a: a | {"joints_cam_mm": a["joints_cam_mm"][..., :2]}, ("is (8, 17, 2), expected",)),
    "flat": (lambda a: a | {"joints_cam_mm": a["joints_cam_mm"].reshape(8, 51)}, ("is (8, 51), expected",)),
    "one pose less": (lambda a: a | {"joints_cam_mm": a["joints_cam_mm"][:7]}, ("8 keys for 7 poses",)),
    "scalars": (lambda a: {"keys": np.array("a"), "joints_cam_mm": np.array(1.0)}, ("'keys' is <U1 ()", "is (), exp")),
    "all NaN": (
        lambda a: a | {"joints_cam_mm": np.full_like(a["joints_cam_mm"], np.nan)},
        ("no joint has finite coordinates",),
    ),
    "all infinite": (
        lambda a: a | {"joints_cam_mm": np.full_like(a["joints_cam_mm"], -np.inf)},
        ("no joint has finite coordinates",),
    ),
    "float16": (
        lambda a: a | {"joints_cam_mm": a["joints_cam_mm"].astype(np.float16)},
        ("'joints_cam_mm' is float16, expected float32 or float64",),
    ),
    "whole numbers": (
        lambda a: a | {"joints_cam_mm": a["joints_cam_mm"].astype(np.int32)},
        ("'joints_cam_mm' is int32",),
    ),
    "complex numbers": (
        lambda a: a | {"joints_cam_mm": a["joints_cam_mm"].astype(np.complex64)},
        ("'joints_cam_mm' is complex64",),
    ),
    "keys as bytes": (lambda a: a | {"keys": a["keys"].astype("S")}, ("'keys' is |S", "expected text (N,)")),
    "keys as numbers": (lambda a: a | {"keys": np.arange(8)}, ("'keys' is int64 (8,), expected text",)),
    "keys as objects": (lambda a: a | {"keys": a["keys"].astype(object)}, ("pickled objects, which are never loaded",)),
    "poses as objects": (
        lambda a: a | {"joints_cam_mm": np.array([{"pose": 1}] * 8, object)},
        ("pickled objects, which are never loaded",),
    ),
    "other names": (lambda a: {"arr_0": a["joints_cam_mm"]}, ("holds the arrays arr_0, which no accepted form has",)),
    "more names": (lambda a: a | {"poses": np.zeros(3)}, ("the array 'poses' is not known",)),
    "valid of another shape": (lambda a: a | {"valid": np.ones(8, bool)}, ("'valid' is bool (8,), expected bool",)),
    "meta that is no JSON": (lambda a: a | {"meta": np.array("{")}, ("'meta' is not JSON",)),
    "meta nested too deeply": (lambda a: a | {"meta": np.array("[" * 200_000)}, ("'meta' is not JSON",)),
    "metres": (lambda a: a | {"joints_cam_mm": a["joints_cam_mm"] / 1000}, ("seem to be in metres", "in millimetres")),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arrays(good: Arrays, tmp_path: Path, name: str) -> None:
    change, texts = WRONG[name]
    path = npz(tmp_path / "mine.npz", change(good))
    refused(score(path), path, *texts)
    assert nothing_written()


def test_wrong_names_come_with_every_problem_at_once(good: Arrays, tmp_path: Path) -> None:
    path = npz(tmp_path / "mine.npz", {"keys": np.arange(3), "joints_cam_mm": np.zeros((8, 16, 3), np.float16), "x": 1})
    refused(
        score(path), path, "'x' is not known", "'keys' is int64", "is float16", "is (8, 16, 3)", "3 keys for 8 poses"
    )


@pytest.mark.parametrize("damage", ways(CUTS))
def test_damaged_files(good: Arrays, tmp_path: Path, damage: Damage) -> None:
    path = npz(tmp_path / "mine.npz", good)
    damage(path)
    refused(score(path), path, "not a readable .npz file", "write it again")
    assert nothing_written()


def test_a_flipped_byte_inside_an_array(good: Arrays, tmp_path: Path) -> None:
    path = npz(tmp_path / "mine.npz", good)
    content = bytearray(path.read_bytes())
    content[-2000] ^= 1
    refused(score(replace(path, bytes(content))), path, "Bad CRC-32", "write it again")


def test_files_of_another_kind(good: Arrays, tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", good["joints_cam_mm"])
    with (tmp_path / "mine.json.gz").open("wb") as file:
        file.write(gzip.compress(b"{}"))
    refused(score(file.name), Path(file.name), "is packed with gzip", "gzip -d mine.json.gz")
    refused(score(tmp_path / "mine.npy"), tmp_path / "mine.npy", "one array without names", "kt3d convert")
    refused(score(tmp_path / "absent.npz"), tmp_path / "absent.npz", "there is no such prediction file", "kt3d predict")
    (tmp_path / "folder.npz").mkdir()
    assert score(tmp_path / "folder.npz").exit_code == 1
    with zipfile.ZipFile(tmp_path / "notes.npz", "w") as archive:
        archive.writestr("notes.txt", "no array")
    refused(score(tmp_path / "notes.npz"), tmp_path / "notes.npz", "not a readable .npz file", "write it again")
    with zipfile.ZipFile(tmp_path / "evil.npz", "w") as archive:
        archive.writestr("keys.npy", b"\x80\x04cos\nsystem\n(S'touch pwned'\ntR.")
    refused(score(tmp_path / "evil.npz"), tmp_path / "evil.npz", "not a readable .npz file")
    assert not Path("pwned").exists()
    assert nothing_written()


def header(dtype: str, shape: tuple[int, ...]) -> bytes:
    text = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    ("dtype", "shape", "content"),
    [
        ("<f4", (1 << 40, 17, 3), b""),
        ("<f4", (1 << 62, 1 << 62, 3), b"abcd"),
        ("<f4", (-8, 17, 3), b"abcd"),
        ("<U0", (1 << 50,), b""),
        ("<U1000000000", (1,), b"abcd"),
        ("|O", (1,), b"\x80\x04N."),
        ([("x", "<f4"), ("y", "|O")], (1,), b""),
    ],
)
def test_headers_that_declare_what_is_not_there(
    good: Arrays, tmp_path: Path, dtype: Any, shape: tuple[int, ...], content: bytes
) -> None:
    path = tmp_path / "huge.npz"
    keys = io.BytesIO()
    np.save(keys, good["keys"])
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("keys.npy", keys.getvalue())
        archive.writestr("joints_cam_mm.npy", header(dtype, shape) + content)
    started = time.monotonic()
    said = ("pickled", "kt3d convert") if "O" in str(dtype) else ("not a readable .npz file", "write it again")
    refused(score(path), path, *said)
    assert time.monotonic() - started < 5


def test_a_zip_bomb_is_not_unpacked(good: Arrays, tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    poses = (3 << 30) // (17 * 3 * 4)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("joints_cam_mm.npy", header("<f4", (poses, 17, 3)) + bytes(1 << 20))
    content = path.read_bytes()
    size = len(header("<f4", (poses, 17, 3))) + (1 << 20)
    at = content.index(struct.pack("<I", size), content.index(b"PK\x01\x02"))
    lie = struct.pack("<I", size - (1 << 20) + poses * 17 * 3 * 4)
    replace(path, content[:at] + lie + content[at + 4 :])
    refused(score(path), path, "would unpack to 3221225408", "write it again")


def test_an_array_given_twice(good: Arrays, tmp_path: Path) -> None:
    path = npz(tmp_path / "mine.npz", good)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("keys.npy", b"x")
    refused(score(path), path, "holds an array twice")


def said(result: Result) -> str:
    assert result.exit_code == 0, result.output
    assert "Traceback" not in result.output
    return "\n".join(line for line in result.stdout.splitlines() if line.startswith("Note: "))


def test_extra_keys_are_refused_or_left_out_and_said(good: Arrays, tmp_path: Path) -> None:
    more = {name: np.concatenate([values, values[:1]]) for name, values in good.items()}
    more["keys"][-1] = "s09_of_another_set"
    path = npz(tmp_path / "mine.npz", more)
    refused(score(path), path, "1 predictions are of no test sample (s09_of_another_set)", "--incomplete")
    assert nothing_written()
    notes = said(score(path, "--incomplete"))
    assert "1 predictions are of no test sample and were left out (s09_of_another_set)" in notes


def test_some_missing_numbers_are_refused_or_counted_said_and_unranked(good: Arrays, tmp_path: Path) -> None:
    good["joints_cam_mm"][3, 5, 1] = np.nan
    good["joints_cam_mm"][4] = np.inf
    path = npz(tmp_path / "mine.npz", good)
    refused(
        score(path), path, f"2 samples lack a finite prediction of a counted joint ({good['keys'][3]}", "--incomplete"
    )
    assert nothing_written()
    notes = said(score(path, "--incomplete"))
    assert "2 samples lack a finite prediction of a counted joint: the row is not ranked" in notes
    assert "MPJPE is undefined for 2 samples" in notes


@pytest.mark.skipif(READS_EVERYTHING, reason="this user may read everything")
def test_a_file_without_permission(good: Arrays, tmp_path: Path) -> None:
    path = npz(tmp_path / "mine.npz", good)
    path.chmod(0)
    refused(score(path), path, "Permission denied")


def test_damaged_test_shards_are_named(test_set: ShardSet, good: Arrays, tmp_path: Path) -> None:
    path, folder = npz(tmp_path / "mine.npz", good), tmp_path / "data/shards/h36m"
    for name, hint in (("manifest.json", "prepare"), ("test-000000.index.npz", "prepare"),
                         ("test-000001.tar", "prepare")):  # fmt: skip
        whole = (folder / name).read_bytes()
        for damage in CUTS.values():
            damage(folder / name)
            refused(score(path), folder / name, hint)
            replace(folder / name, whole)
    assert nothing_written()
    assert score(path).exit_code == 0
