"""Reading ``groundtruth.mat``: the documented structure, other kinds of file, and damage."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from kt3d_ubc3v.groundtruth import read_ground_truth
from ubc3v_sections import CAMERAS, WHERE_CM, cells, ground_truth, posture

from kt3d_bench.errors import RawDataError


@pytest.mark.parametrize("compressed", [False, True])
def test_reads_what_the_format_documents(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "groundtruth.mat"
    content = ground_truth(3) | {"joints": cells([posture(), 0.0, posture()])}
    scipy.io.savemat(path, content, do_compression=compressed)
    truth = read_ground_truth(path)
    assert truth.joints_world_cm.shape == (3, 18, 3)
    assert truth.joints_world_cm[2, 8].tolist() == list(WHERE_CM["RightToeBasePGX"])
    assert np.isnan(truth.joints_world_cm[1]).all()
    assert {name: one[2].tolist() for name, one in truth.translate_cm.items()} == {
        name: list(place) for name, place in CAMERAS.items()
    }


def test_frames_as_a_struct_array_and_matrices_of_whole_numbers_are_read(tmp_path: Path) -> None:
    frames = np.empty((1, 2), [("translate", object), ("rotate", object)])
    for at in range(2):
        frames[0, at] = (np.array([[at, 2, 3]], np.int16), np.array([[0.0, 0.0, 0.0]]))
    content = ground_truth(1)
    content["cameras"] = {name: {"frames": frames} for name in CAMERAS}
    scipy.io.savemat(tmp_path / "x.mat", content)
    assert read_ground_truth(tmp_path / "x.mat").translate_cm["Cam2"].tolist() == [[0, 2, 3], [1, 2, 3]]


def test_damage_raises_and_never_ends_the_process(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    scipy.io.savemat(path, ground_truth(2), do_compression=True)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(30):
        damaged = bytearray(whole)
        place = int(rng.integers(144, len(whole)))
        damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(bytes(damaged))
        with pytest.raises(RawDataError, match=r"x\.mat: is .*; download or unpack the archive again"):
            read_ground_truth(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.99])
def test_files_cut_short_are_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "x.mat"
    scipy.io.savemat(path, ground_truth(2))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(RawDataError, match=r"is damaged or cut short|is not a MATLAB file of version 5 to 7\.3"):
        read_ground_truth(path)


def test_other_kinds_of_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    for content in (b"MATLAB 4.2 MAT-file".ljust(512), b"\x89PNG" * 100):
        path.write_bytes(content)
        with pytest.raises(RawDataError, match=r"x\.mat: is not a MATLAB file of version 5 to 7\.3"):
            read_ground_truth(path)
    with pytest.raises(RawDataError, match="is missing"):
        read_ground_truth(tmp_path / "nothing.mat")


def test_a_claim_of_a_billion_cells_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    scipy.io.savemat(path, ground_truth(2))
    data = path.read_bytes()
    claimed = data.replace(struct.pack("<IIii", 5, 8, 1, 2), struct.pack("<IIii", 5, 8, 30000, 30000))
    assert claimed != data
    path.write_bytes(claimed)
    with pytest.raises(RawDataError, match="asks for more than 2048 MB of memory"):
        read_ground_truth(path)
