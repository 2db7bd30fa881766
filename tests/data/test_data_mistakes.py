"""Mistakes planted in ITOP's raw data stop ``prepare``; test_data_mistakes_others.py plants in the other datasets, and
their own tests have what ``plan`` and ``convert`` find. CONTRIBUTING.md has the table."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from kt3d_bench.data.prepare import prepare
from kt3d_bench.data.validate import validate
from kt3d_bench.errors import RawDataError
from kt3d_bench.plugins import registry

Array = np.ndarray
LABELS = "ITOP_side_test_labels.h5"
PAIRS = ((2, 3), (4, 5), (6, 7), (9, 10), (11, 12), (13, 14))
"""Right and left of the file's 15 joints."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked test files of both views of a stand-in with two test people."""
    home = tmp_path_factory.mktemp("mistakes")
    plugin = registry.dataset("itop")
    assert plugin.generate is not None
    registry.load_function(plugin.generate, "generate")(home / "all", seed=2, workers=1, people=8, frames=30)
    raw = home / "raw"
    raw.mkdir()
    for packed in (home / "all").glob("ITOP_*_test_*.h5.gz"):
        (raw / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    shutil.copy(home / "all" / "kt3d-generated.json", raw)
    return raw


def swapped(pairs: tuple[tuple[int, int], ...]) -> Callable[[Array], Array]:
    order = np.arange(15)
    for one, other in pairs:
        order[[one, other]] = other, one
    return lambda joints: joints[:, order]


def mirrored(joints: Array) -> Array:
    return swapped(PAIRS)(joints) * np.array([-1, 1, 1], joints.dtype)


def plant(raw: Path, change: Callable[[Array], Array]) -> None:
    with h5py.File(raw / LABELS, "r+") as file:
        file["real_world_coordinates"][...] = change(file["real_world_coordinates"][...])


def of_next_person(joints: Array) -> Array:
    return np.roll(joints, 30, axis=0)


BESIDE = "of the joints lie beside the person in the images"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (of_next_person, BESIDE),
        (lambda joints: np.roll(joints, 25, axis=0), BESIDE),
        (mirrored, BESIDE),
        (lambda joints: joints / 10, BESIDE),
        (lambda joints: joints * 1000, "has no usable sample"),
        (swapped(PAIRS), "bent knees bend backward"),
        (swapped(PAIRS[3:]), "have hips and shoulders on opposite sides"),
    ],
    ids=["exchanged people", "25 frames late", "mirrored", "decimetres", "millimetres", "exchanged sides", "legs"],
)  # fmt: skip
def test_changed_labels_stop_prepare(
    sound: Path, tmp_path: Path, change: Callable[[Array], Array], message: str
) -> None:
    raw = shutil.copytree(sound, tmp_path / "raw")
    plant(raw, change)
    with pytest.raises(RawDataError, match=message):
        prepare("itop", raw=raw, out=tmp_path / "shards", splits=["front-test"], workers=1)


def test_the_other_views_labels_stop_prepare(sound: Path, tmp_path: Path) -> None:
    raw = shutil.copytree(sound, tmp_path / "raw")
    shutil.copy(raw / LABELS.replace("side", "top"), raw / LABELS)
    with pytest.raises(RawDataError, match=BESIDE):
        prepare("itop", raw=raw, out=tmp_path / "shards", splits=["front-test"], workers=1)


def test_sound_labels_raise_no_alarm_and_an_older_index_does(sound: Path, tmp_path: Path) -> None:
    prepare("itop", raw=sound, out=tmp_path / "shards", splits=["front-test"], workers=1)
    found = validate(tmp_path / "shards")
    assert found.sound
    assert {one.check.name for one in found.unchecked} <= {"one body", "elbows"}
    raw = shutil.copytree(sound, tmp_path / "raw")
    plant(raw, lambda joints: joints + np.array([0, 0.05, 0], joints.dtype))
    prepare("itop", raw=raw, out=tmp_path / "other", splits=["front-test"], workers=1)
    for index in (tmp_path / "other").glob("*.index.npz"):
        shutil.copy(index, tmp_path / "shards" / index.name)
    assert not validate(tmp_path / "shards").sound
