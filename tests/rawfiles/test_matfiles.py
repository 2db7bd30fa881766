"""MATLAB v7.3 files say the same as those that SciPy reads, and what is none of MATLAB's is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
from kt3d_mpii.annotations import read_annotations
from kt3d_ubc3v.groundtruth import read_ground_truth
from mat73 import write_mat73

from kt3d_bench import matfiles
from kt3d_bench.budgets import OverBudgetError, require_bytes
from kt3d_bench.errors import RawDataError
from kt3d_bench.matfiles import is_matlab_73, load_mat, variables_of
from kt3d_bench.plugins import registry

HOOKED = np.empty((1, 2), object)
HOOKED[0, 0], HOOKED[0, 1] = np.array([["ab", "cd"]]), np.arange(6.0).reshape(2, 3)


def alike(one: Any, other: Any) -> None:
    one, other = np.atleast_2d(one), np.atleast_2d(other)
    assert one.shape == other.shape
    assert {*(one.dtype.names or ())} == {*(other.dtype.names or ())}
    for name in one.dtype.names or ():
        alike(one[name], other[name])
    if one.dtype == object:
        for at in np.ndindex(one.shape):
            alike(one[at], other[at])
    elif not one.dtype.names:
        np.testing.assert_array_equal(one, other)


def resaved(path: Path) -> None:
    """Save the variables of a v5 file again as v7.3."""
    write_mat73(path, {name: value for name, value in scipy.io.loadmat(path).items() if not name.startswith("__")})
    assert is_matlab_73(path)


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6.0).reshape(2, 3),
        np.array([[True, False]]),
        "text",
        np.array(["Ä b", "c d"]),
        HOOKED,
        {"a": 1.0, "b": {"c": "text", "d": HOOKED}},
        np.array([[(1.0, "x"), (2.0, "y")]], [("n", object), ("s", object)]),
        np.array([[(1.0, "x")], [(2.0, "y")]], [("n", object), ("s", object)]),
        {"none": np.zeros((0, 0))},
    ],
)
def test_every_kind_of_value_is_as_scipy_reads_it(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "x.mat"
    scipy.io.savemat(path, {"v": value, "w": 1.0})
    before = load_mat(path, ["v", "absent"])
    assert variables_of(path) == ["v", "w"]
    resaved(path)
    after = load_mat(path, ["v", "absent"])
    assert list(after) == ["v"]
    alike(before["v"], after["v"])
    assert variables_of(path) == ["v", "w"]


def test_a_section_saved_as_v73_has_the_same_joints_and_cameras(tmp_path: Path) -> None:
    registry.load_function("kt3d_ubc3v.generate", "generate")(tmp_path / "u", people=1, frames=2, seed=0, workers=1)
    path = next((tmp_path / "u").rglob("groundtruth.mat"))
    before = read_ground_truth(path)
    resaved(path)
    after = read_ground_truth(path)
    assert np.isfinite(before.joints_world_cm).all()
    np.testing.assert_array_equal(before.joints_world_cm, after.joints_world_cm)
    for name in before.rotate_deg:
        np.testing.assert_array_equal(before.rotate_deg[name], after.rotate_deg[name])
        np.testing.assert_array_equal(before.translate_cm[name], after.translate_cm[name])


def test_annotations_saved_as_v73_are_the_same(tmp_path: Path) -> None:
    registry.load_function("kt3d_mpii.generate", "generate")(tmp_path / "m", people=2, frames=1, seed=0, workers=1)
    path = next((tmp_path / "m").rglob("*.mat"))
    before = list(read_annotations([path]))
    resaved(path)
    assert before
    assert list(read_annotations([path])) == before


def test_what_takes_too_long_is_refused_with_the_line_that_converts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mat73(tmp_path / "x.mat", {"v": HOOKED})
    monkeypatch.setattr(matfiles, "MOST_OBJECTS", 1)
    said = (
        r"v7\.3 file of more than 1 arrays, which would take minutes to read; convert it in MATLAB: s = load.'x\.mat'"
    )
    with pytest.raises(RawDataError, match=said):
        load_mat(tmp_path / "x.mat", ["v"])


def cells_of_cells(path: Path, depth: int, each: int) -> None:
    """A small file of ``each`` ** ``depth`` numbers: every cell refers ``each`` times to the next one."""
    with h5py.File(path, "w", userblock_size=512) as file:
        inner = file.create_dataset("#refs#/number", data=np.ones((1, 1)))
        for number in range(depth):
            cell = file.create_dataset("v" if number == depth - 1 else f"#refs#/{number}", (1, each), h5py.ref_dtype)
            cell[0] = [inner.ref] * each
            inner = cell


def test_what_is_referred_to_again_and_again_is_counted_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells_of_cells(tmp_path / "x.mat", 3, 5)
    assert load_mat(tmp_path / "x.mat", ["v"])["v"].shape == (5, 1)
    made = 5 + 25 + 125
    monkeypatch.setattr(matfiles, "MOST_OBJECTS", made)
    load_mat(tmp_path / "x.mat", ["v"])
    monkeypatch.setattr(matfiles, "MOST_OBJECTS", made - 1)
    with pytest.raises(RawDataError, match=r"of more than 154 arrays"):
        load_mat(tmp_path / "x.mat", ["v"])


def test_fields_count_and_bytes_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mat73(tmp_path / "x.mat", {"v": np.array([[(1.0, 2.0)]], [("a", object), ("b", object)])})
    monkeypatch.setattr(matfiles, "MOST_OBJECTS", 1)
    with pytest.raises(RawDataError, match="of more than 1 arrays"):
        load_mat(tmp_path / "x.mat", ["v"])
    monkeypatch.undo()
    cells_of_cells(tmp_path / "y.mat", 2, 5)
    read = 8 * (5 + 25 + 25)  # bytes of references and numbers
    monkeypatch.setattr(matfiles, "require_bytes", lambda what, size: require_bytes(what, size, read))
    load_mat(tmp_path / "y.mat", ["v"])
    monkeypatch.setattr(matfiles, "require_bytes", lambda what, size: require_bytes(what, size, read - 1))
    with pytest.raises(OverBudgetError, match="its arrays would unpack to"):
        load_mat(tmp_path / "y.mat", ["v"])


def test_text_is_utf_16(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.mat", "w", userblock_size=512) as file:
        for name, units in (
            ("clef", np.array([[0xD834], [0xDD1E]], np.uint16)),
            ("half", np.array([[0xD834]], np.uint16)),
            ("real", np.array([[65.0]])),
            ("flat", np.array([65], np.uint16)),
        ):
            file[name] = units
            file[name].attrs["MATLAB_class"] = np.bytes_("char")
    assert load_mat(tmp_path / "x.mat", ["clef"])["clef"].tolist() == ["\U0001d11e"]
    for name, words in (
        ("half", "holds text that is no UTF-16"),
        ("real", r"holds text as float64 \(1, 1\), not as rows of UTF-16"),
        ("flat", r"holds text as uint16 \(1,\), not as rows"),
    ):
        with pytest.raises(RawDataError, match=words):
            load_mat(tmp_path / "x.mat", [name])


@pytest.mark.parametrize("link", [h5py.SoftLink("/v"), h5py.ExternalLink("other.mat", "/v")])
def test_references_are_not_looked_up_through_a_link(tmp_path: Path, link: Any) -> None:
    with h5py.File(tmp_path / "x.mat", "w", userblock_size=512) as file:
        file["v"] = np.ones((1, 1))
        file["#refs#"] = link
    with pytest.raises(RawDataError, match="its #refs# is a link"):
        load_mat(tmp_path / "x.mat", ["v"])


def test_links_other_files_and_endless_nesting_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.raw").write_bytes(bytes(8))
    with h5py.File(tmp_path / "x.mat", "w", userblock_size=512) as file:
        file["a"] = h5py.ExternalLink("other.mat", "/v")
        file.create_dataset("b", (1, 1), "f8", external=[(str(tmp_path / "secret.raw"), 0, 8)])
        cell = file.create_dataset("c", (1, 1), h5py.ref_dtype)
        cell[0, 0] = cell.ref
        file.create_dataset("d", (1 << 16, 1 << 16), "f8")
    for name, words in (
        ("a", "a is a link"),
        ("b", "b keeps values in another file"),
        ("c", "nested more than 16 deep"),
    ):
        with pytest.raises(RawDataError, match=words):
            load_mat(tmp_path / "x.mat", [name])
    with pytest.raises(ValueError, match="would unpack to"):
        load_mat(tmp_path / "x.mat", ["d"])
