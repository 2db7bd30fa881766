"""The v5 reader against SciPy's writer and reader, and against damage."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from kt3d_ubc3v.matfile import Cells, Structs, read_mat
from ubc3v_sections import cells, ground_truth

from kt3d_bench.errors import RawDataError

CONTENT: dict[str, Any] = {
    "doubles": np.arange(6.0).reshape(2, 3),
    "bytes": np.arange(5, dtype=np.uint8),
    "small": np.int16([[7]]),
    "single": np.float32([[1.5, 2.5]]),
    "empty": np.zeros((0, 0)),
    "text": "Cam1",
    "cells": cells([np.ones((1, 2)), "x", np.zeros((0, 0))]),
    "nested": {"b": {"deep": np.float64([[3.0]])}, "a": "last"},
}


@pytest.mark.parametrize("compressed", [False, True])
def test_reads_what_scipy_writes(tmp_path: Path, compressed: bool) -> None:
    scipy.io.savemat(tmp_path / "x.mat", CONTENT, do_compression=compressed)
    found = read_mat(tmp_path / "x.mat")
    assert set(found) == set(CONTENT)
    np.testing.assert_array_equal(found["doubles"], CONTENT["doubles"])
    np.testing.assert_array_equal(found["bytes"], [[0, 1, 2, 3, 4]])
    assert found["small"].tolist() == [[7]]
    assert found["single"].tolist() == [[1.5, 2.5]]
    assert found["empty"].shape == (0, 0)
    assert found["text"] == "Cam1"
    assert isinstance(found["cells"], Cells)
    assert found["cells"].shape == (1, 3)
    assert found["cells"].items[1] == "x"
    assert isinstance(found["nested"], Structs)
    assert list(found["nested"].items[0]) == ["b", "a"]
    assert found["nested"].items[0]["b"].items[0]["deep"].tolist() == [[3.0]]


def test_reads_big_endian_files(tmp_path: Path) -> None:
    def element(kind: int, data: bytes) -> bytes:
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    array = element(6, struct.pack(">II", 6, 0)) + element(5, struct.pack(">ii", 1, 2)) + element(1, b"x")
    array += element(9, struct.pack(">dd", 1.5, -2.0))
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(">H", 0x0100) + b"MI"
    (tmp_path / "x.mat").write_bytes(header + element(14, array))
    assert read_mat(tmp_path / "x.mat")["x"].tolist() == [[1.5, -2.0]]
    assert scipy.io.loadmat(tmp_path / "x.mat")["x"].tolist() == [[1.5, -2.0]]


@pytest.mark.parametrize("compressed", [False, True])
def test_damage_raises_and_never_ends_the_process(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "x.mat"
    scipy.io.savemat(path, ground_truth(1) | CONTENT, do_compression=compressed)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(int(rng.integers(1, 4))):
            damaged[int(rng.integers(116, len(whole)))] = int(rng.integers(256))
        path.write_bytes(bytes(damaged))
        try:
            read_mat(path)
        except RawDataError:
            refused += 1
    assert refused > 40


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.99])
def test_files_cut_short_are_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "x.mat"
    scipy.io.savemat(path, ground_truth(2))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(RawDataError, match=r"damaged|not a MATLAB v5 file"):
        read_mat(path)


def test_other_kinds_of_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF")
    with pytest.raises(RawDataError, match=r"v7\.3 file, expected v5"):
        read_mat(path)
    path.write_bytes(b"\x89PNG" * 100)
    with pytest.raises(RawDataError, match="is not a MATLAB v5 file"):
        read_mat(path)
    with pytest.raises(RawDataError, match="cannot be read"):
        read_mat(tmp_path / "nothing.mat")


def test_a_claim_of_a_billion_cells_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    scipy.io.savemat(path, {"c": cells(["a", "b"])})
    data = path.read_bytes().replace(struct.pack("<IIii", 5, 8, 1, 2), struct.pack("<IIii", 5, 8, 30000, 30000))
    path.write_bytes(data)
    with pytest.raises(RawDataError, match="claims dimensions"):
        read_mat(path)
