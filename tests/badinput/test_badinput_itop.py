"""ITOP: two files per view and split, so damage to one stops that split before anything is written."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from badinput_bench import CUTS, EVERY_WAY, READS_EVERYTHING, Bench, contents, refused, replace, restore

Made = Callable[[str], Bench]
FRONT = ("--split", "front-test")


def packed(bench: Bench, kind: str = "labels", view: str = "side") -> Path:
    return bench.raw / f"ITOP_{view}_test_{kind}.h5.gz"


def plain(bench: Bench, kind: str = "labels") -> Path:
    """The file unpacked in place, to be edited."""
    source = packed(bench, kind)
    path = source.with_suffix("")
    path.write_bytes(gzip.decompress(source.read_bytes()))
    source.unlink()
    return path


@pytest.mark.parametrize("kind", ["labels", "depth_map"])
def test_a_damaged_download_stops_and_loses_nothing(bench: Made, standin: Callable[[str], Path], kind: str) -> None:
    made = bench("itop")
    assert made.prepare("--view", "top").exit_code == 0
    path, before = packed(made, kind), made.bytes_of()
    for damage in CUTS.values():
        damage(path)
        refused(made.prepare(), path, "; download")
        assert made.bytes_of() == before
        restore(path, standin("itop") / path.name)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 0x55
    replace(path, bytes(damaged))
    refused(made.prepare(), path, "is damaged", "; download")
    assert made.bytes_of() == before
    restore(path, standin("itop") / path.name)
    assert made.prepare().exit_code == 0
    assert made.is_clean()
    EVERY_WAY["a folder"](path)
    refused(made.prepare(), made.raw, f"ITOP_side_test_{kind}.h5", "is missing", "download it from")


@pytest.mark.parametrize("kind", ["labels", "depth_map"])
def test_a_damaged_unpacked_file(bench: Made, kind: str) -> None:
    made = bench("itop")
    path = plain(made, kind)
    whole = path.read_bytes()
    for damage in CUTS.values():
        damage(path)
        refused(made.prepare(), path, "; download the file again")
        replace(path, whole)
    assert made.prepare().exit_code == 0
    assert made.bytes_of("*.tar") == contents(made.clean, "*.tar")


def test_ids_in_another_order(bench: Made) -> None:
    made = bench("itop")
    with h5py.File(plain(made), "r+") as file:
        ids = file["id"][()]
        file["id"][()] = ids[::-1]
    said = refused(made.prepare(), packed(made, "depth_map"), "both files must be of one view and one split")
    assert "the ids differ from those of ITOP_side_test_labels.h5: number 0 is" in said


@pytest.mark.parametrize("name", ["id", "is_valid", "visible_joints", "real_world_coordinates", "segmentation"])
def test_datasets_that_are_missing_or_of_another_kind(bench: Made, name: str) -> None:
    made = bench("itop")
    path = plain(made)
    with h5py.File(path, "r+") as file:
        values = file[name][()]
        del file[name]
        file["other"] = 1
    refused(made.prepare(*FRONT), path, f"holds no dataset '{name}'", "download")
    with h5py.File(path, "r+") as file:
        file[name] = np.zeros(len(values), np.float64)
    refused(made.prepare(*FRONT), path, f"'{name}' is float64 (12,), expected", "use the official file")
    with h5py.File(path, "r+") as file:
        del file[name]
        file[name] = values[:-1]
    refused(made.prepare(*FRONT), path, "different numbers of frames", f"{name} 11", "download")
    with h5py.File(path, "r+") as file:
        del file[name]
        file[name] = h5py.ExternalLink(str(packed(made, "depth_map")), "data")
    refused(made.prepare(*FRONT), path, f"holds no dataset '{name}' of its own", "download")


def test_a_file_that_declares_more_than_any_machine_holds(bench: Made) -> None:
    made = bench("itop")
    path = plain(made, "depth_map")
    with h5py.File(path, "r+") as file:
        del file["data"]
        file.create_dataset("data", (1 << 40, 240, 320), np.float16, chunks=(1, 240, 320))
    refused(made.prepare(*FRONT), path, "lies in 1099511627776 pieces", "download")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.nan, "joints without finite coordinates: Head"),
        (np.inf, "joints without finite coordinates: Head"),
        (6e4, "joints nearer than 0.1 m or further than 10 m: Head"),
        (-1.0, "joints nearer than 0.1 m or further than 10 m: Head"),
    ],
)
def test_impossible_joints_cost_their_frame(bench: Made, value: float, reason: str) -> None:
    made = bench("itop")
    with h5py.File(plain(made), "r+") as file:
        row = int(np.flatnonzero(file["is_valid"][()])[2])
        joints = file["real_world_coordinates"][row]
        joints[0, 2] = value
        file["real_world_coordinates"][row] = joints
        name = file["id"][row].decode()
    done = made.prepare(*FRONT)
    assert done.exit_code == 0, done.output
    (skipped,) = made.skipped("front-test")
    assert skipped["name"] == f"front_test_{name}"
    assert skipped["reason"].startswith(reason)
    assert skipped["reason"] in done.stdout


def test_labels_in_millimetres_leave_nothing(bench: Made) -> None:
    made = bench("itop")
    with h5py.File(plain(made), "r+") as file:
        file["real_world_coordinates"][()] = file["real_world_coordinates"][()] * np.float16(1000)
    refused(
        made.prepare(*FRONT), made.raw, "split front-test has no usable sample", "further than 10 m", "kt3d inspect"
    )


def test_part_ids_and_depth_that_mean_nothing_cost_their_frame(bench: Made) -> None:
    made = bench("itop")
    with h5py.File(plain(made), "r+") as file:
        parts, depth = (int(row) for row in np.flatnonzero(file["is_valid"][()])[:2])
        file["segmentation"][parts, 0, 0] = 15
    with h5py.File(plain(made, "depth_map"), "r+") as file:
        file["data"][depth] = np.nan
    assert made.prepare(*FRONT).exit_code == 0
    assert [one["reason"] for one in made.skipped("front-test")] == [
        "segmentation holds 15, expected -1..14", "no depth reading around the person"
    ]  # fmt: skip


def test_a_view_that_is_not_there_is_said_when_the_work_was_narrowed(bench: Made) -> None:
    made = bench("itop")
    for path in made.raw.glob("ITOP_top_*"):
        path.unlink()
    refused(made.prepare(), made.raw, "ITOP_top_train_depth_map.h5", "are missing", "download them")
    done = made.prepare("--split", "test")
    assert done.exit_code == 0, done.output
    assert "Left out:" in done.stderr
    assert list(made.manifest()["splits"]) == ["front-test"]
    refused(made.prepare("--view", "top"), made.raw, "are missing", "download them")


@pytest.mark.skipif(READS_EVERYTHING, reason="this user may read everything")
def test_files_without_permission(bench: Made) -> None:
    made = bench("itop")
    path = packed(made)
    replace(path, path.read_bytes()).chmod(0)
    refused(made.prepare(), path, "Permission denied")
